"""How a client may ask for a write: on a condition, once a key, content with what is so already."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta
from functools import partial
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from storlever.audit import Search
from storlever.clock import now
from storlever.errors import Conflict, Reused, StateFailed
from storlever.inventory import Direction
from storlever.model import Account
from storlever.principal import Role
from storlever.receipt import LASTS, Done, Key, Receipt
from storlever.service import Service
from storlever.web import etag, resource
from storlever.web.app import create_app
from storlever.web.edge import Edge
from storlever.web.etag import Condition, Tags, listed
from storlever.web.san import PREFIX
from storlever.web.table import API, Guarded
from storlever.web.threads import Threaded
from storlever.writer import Write
from tests.unit.core import ACT, FOREIGN, Core, Crash, MortalStore
from tests.unit.test_rights import ROUTES, method_of, path_of
from tests.world import WIKI_TARGET, folder, image

LOCAL = "http://localhost"
TARGET = f"{PREFIX}/target_list/{WIKI_TARGET}"
SECRET = "a secret of this test"
KEY = b"0" * 32
IN = Direction.INCOMING
LUN = {"lun": 1, "device_type": "disk"}


@pytest.fixture
def core() -> Iterator[Core]:
    """A target with a user and a LUN."""
    with folder() as path:
        for number in range(1, 4):
            image(path / f"{number}.img", 1)
        core = Core(path, store=MortalStore())
        core.settle()
        core.service.add_target(WIKI_TARGET)
        core.service.add_user(WIKI_TARGET, IN, Account("alice", SECRET))
        core.service.add_unit(WIKI_TARGET, 1, {"backing_path": f"{path}/1.img"})
        yield core


@pytest.fixture
def client(core: Core) -> TestClient:
    return client_of(core)


def client_of(core: Core) -> TestClient:
    app = create_app(Threaded(core.service), Edge())
    return TestClient(app, LOCAL, client=("127.0.0.1", 1), raise_server_exceptions=False)


def ask(
    client: TestClient,
    method: str,
    path: str,
    body: Any = None,
    *,
    expect: int,
    code: str = "",
    **headers: str,
) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named["Content-Type"] = "application/json"
    content = None if body is None else json.dumps(body)
    answer = client.request(method, path, content=content, headers=named)
    assert answer.status_code == expect, answer.text
    if code:
        assert answer.json()["code"] == code
    return answer


# -- tags


def tag_of(client: TestClient, path: str) -> str:
    return str(ask(client, "GET", path, expect=200).headers["ETag"])


CHANGES: dict[str, Callable[[Service, str], object]] = {
    "state": lambda s, _: s.edit_target(WIKI_TARGET, online=False),
    "list": lambda s, _: s.edit_target(WIKI_TARGET, addresses=("10.0.0.1",)),
    "user": lambda s, _: s.add_user(WIKI_TARGET, IN, Account("bob", SECRET)),
    "password": lambda s, _: s.set_secret(WIKI_TARGET, IN, "alice", SECRET + "!"),
    "lun": lambda s, path: s.add_unit(WIKI_TARGET, 2, {"backing_path": f"{path}/2.img"}),
    "field of a lun": lambda s, _: s.edit_unit(WIKI_TARGET, 1, {"readonly": True}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_targets_tag_changes_with_all_that_is_wished_of_it(
    core: Core, client: TestClient, change: str
) -> None:
    before = tag_of(client, TARGET)
    assert tag_of(client, TARGET) == before
    CHANGES[change](core.service, str(core.folder))
    assert tag_of(client, TARGET) != before


def test_sessions_failures_and_other_targets_are_nothing_to_a_tag(
    core: Core, client: TestClient
) -> None:
    before = tag_of(client, TARGET), tag_of(client, f"{TARGET}/lun_list/1")
    core.tgtd.log_in(WIKI_TARGET, "iqn.2026-01.test:host")
    core.service.add_target("iqn.2026-01.test:other")
    (core.folder / "1.img").unlink()
    core.tgtd.restart()
    core.settle()
    assert ask(client, "GET", f"{TARGET}/lun_list/1", expect=200).json()["state"] == "error"
    assert before == (tag_of(client, TARGET), tag_of(client, f"{TARGET}/lun_list/1"))


def test_a_users_tag_changes_with_the_password_and_cannot_be_tried_without_the_key(
    core: Core, client: TestClient
) -> None:
    path = f"{TARGET}/incominguser_list/alice"
    before = tag_of(client, path)
    wish = resource.user(WIKI_TARGET, IN, "alice")(core.service.inventory)
    assert Tags(core.service.tag_key).of(wish) == before
    assert Tags(KEY).of(wish) != before
    core.service.set_secret(WIKI_TARGET, IN, "alice", "another secret")
    assert tag_of(client, path) != before


def test_a_tokens_tag_does_not_change_when_it_is_used(core: Core, client: TestClient) -> None:
    core.service.add_token("mine", Role.READER, None)
    paths = f"{API}/token_list", f"{API}/token_list/mine"
    before = [tag_of(client, path) for path in paths]
    core.service.note_use("mine")
    core.service.keep(last=True)
    assert core.service.inventory.token("mine").last_used
    assert [tag_of(client, path) for path in paths] == before


def test_who_has_what_there_is_is_told_so(client: TestClient) -> None:
    for path in (TARGET, f"{PREFIX}/conf", f"{PREFIX}/target_list", f"{TARGET}/lun_list"):
        found = tag_of(client, path)
        answer = ask(client, "GET", path, expect=304, If_None_Match=f'"x", {found}')
        assert answer.headers["ETag"] == found
        assert not answer.content
        ask(client, "GET", path, expect=200, If_None_Match=f"W/{found}")


def test_a_tag_is_the_same_whether_its_value_was_seen_before(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many were seen, and whichever object stands for it."""
    monkeypatch.setattr(etag, "MOST_KNOWN", 1)
    tags, inventory = Tags(KEY), core.service.inventory
    views = [resource.target(WIKI_TARGET), resource.units(WIKI_TARGET), resource.targets]
    first = [tags.of(view(inventory)) for view in views]
    assert len(set(first)) == len(views)
    assert first == [tags.of(view(deepcopy(inventory))) for view in views]
    assert first == [Tags(KEY).of(view(inventory)) for view in views]


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ('"a"', {'"a"'}),
        ('"a", "b,c"', {'"a"', '"b,c"'}),
        ('W/"a", "b"', {'"b"'}),
        ("a", set()),
        ("", set()),
        ('"a', set()),
    ],
)
def test_only_strong_tags_are_read_from_a_header(header: str, tags: set[str]) -> None:
    assert listed(header) == tags


# -- conditions


WRITES_OF_ONE = [
    ("PUT", TARGET, {"initiator_addr_list": ["10.0.0.1"]}),
    ("PUT", f"{PREFIX}/conf", {"incomingdiscoveryuser": f"d:{SECRET}"}),
    ("PUT", f"{TARGET}/incominguser_list/alice", {"password": "another secret"}),
    ("PUT", f"{TARGET}/lun_list/1", {"readonly": True}),
    ("DELETE", f"{TARGET}/lun_list/1", None),
    ("DELETE", f"{TARGET}/incominguser_list/alice", None),
    ("DELETE", TARGET, None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES_OF_ONE)
def test_what_somebody_changed_is_not_written_over(
    core: Core, client: TestClient, method: str, path: str, body: Any
) -> None:
    good, inventory = tag_of(client, path), core.service.inventory
    other = '"00000000000000000000000000000000"'
    failed = partial(ask, client, method, path, body, expect=412, code="precondition-failed")
    failed(If_Match=other)
    failed(If_Match="nonsense")
    failed(If_Match=f"W/{good}")
    if method == "PUT":
        failed(If_None_Match="*")
        failed(If_None_Match=good)
    assert core.service.inventory is inventory
    answer = ask(client, method, path, body, expect=200, If_Match=f"{other}, {good}")
    if method == "PUT":
        assert answer.headers["ETag"] == tag_of(client, path) != good


def test_the_tag_in_an_answer_is_of_what_that_write_left(core: Core) -> None:
    """Not of what a later one of its group made of it: whoever builds on it would not notice."""
    service, seen = core.service, []
    view, tags = resource.target(WIKI_TARGET), Tags(KEY)
    service.together(
        [
            Write(
                ACT,
                partial(service.edit_target, WIKI_TARGET, addresses=(address,)),
                left=lambda inventory: seen.append(tags.of(view(inventory))),
            )
            for address in ("10.0.0.1", "10.0.0.2")
        ]
    )
    assert len(set(seen)) == 2
    assert seen[1] == tags.of(view(service.inventory))


def test_a_condition_is_asked_of_what_the_write_begins_with(core: Core) -> None:
    """Of two in a group that build on the same, one is refused."""
    service, view = core.service, resource.target(WIKI_TARGET)
    tags = Tags(KEY)
    condition = Condition(tags.of(view(service.inventory)))
    done, refused = service.together(
        [
            Write(
                ACT,
                partial(service.edit_target, WIKI_TARGET, addresses=(address,)),
                require=partial(condition.require, tags, view),
            )
            for address in ("10.0.0.1", "10.0.0.2")
        ]
    )
    assert done == Done(())
    assert getattr(refused, "code", "") == "precondition-failed"
    assert service.inventory.target(WIKI_TARGET).access.addresses == ("10.0.0.1",)


def test_what_is_not_there_is_not_found_whatever_its_tag(client: TestClient) -> None:
    path = f"{PREFIX}/target_list/iqn.2026-01.test:none"
    ask(client, "PUT", path, {}, expect=404, If_Match='"x"')
    ask(client, "DELETE", path, expect=404, If_Match="*")
    ask(client, "DELETE", path + "?missing_ok=true", expect=200, If_Match="*")


def test_what_is_there_is_not_made_where_it_must_be_new(client: TestClient) -> None:
    new = {"iqn": "iqn.2026-01.test:new"}
    ask(client, "POST", f"{PREFIX}/target_list", new, expect=201, If_None_Match="*")
    for query in ("", "?exists_ok=true"):
        path = f"{PREFIX}/target_list{query}"
        ask(client, "POST", path, new, expect=412, code="precondition-failed", If_None_Match="*")


def test_what_has_no_tag_meets_no_condition(core: Core) -> None:
    for condition in (Condition("*"), Condition('"x"')):
        with pytest.raises(Exception, match="If-Match"):
            condition.require(Tags(KEY), None, core.service.inventory)
    Condition(None, "*").require(Tags(KEY), None, core.service.inventory)


# -- dry runs


def test_every_write_can_be_rehearsed_over_http(core: Core, client: TestClient) -> None:
    core.service.add_token("nobody's", Role.READER, None)
    core.add_foreign()
    core.settle()
    inventory = core.service.inventory
    _, before = core.service.audit(Search())
    for route in ROUTES:
        method, path = method_of(route), _path(core, route)
        if "session_list" in path:
            continue  # with sessions, others would be refused
        if method != "GET" and not path.endswith("outgoinguser_list/alice"):  # there is none
            body = _body(core, route)
            said = f"{path}{'&' if '?' in path else '?'}dry_run=true"
            if path.endswith("/session_list/1"):  # which would be in the way of others
                core.tgtd.log_in(WIKI_TARGET, "iqn.2026-01.test:host")
            answer = ask(client, method, said, body, expect=200)
            core.log_out()
            assert answer.json()["steps"], (method, path)
            assert answer.json().keys() == {"steps", "warnings"}
            assert "ETag" not in answer.headers
    assert core.service.inventory is inventory
    core.service.keep()
    assert core.service.audit(Search())[1] == before


def _path(core: Core, route: Guarded) -> str:
    """One that leads to something that can be done."""
    path = path_of(route).replace(f"{WIKI_TARGET}/adopt", f"{FOREIGN}/adopt")
    if not path.endswith("/restore"):
        return path
    _, one_before = core.service.revisions(None, 2)
    return path.replace("/1/", f"/{one_before['revision']}/") + "?force=true"


def _body(core: Core, route: Guarded) -> Any:
    """One that is good for any route of that kind; None for those that take none."""
    path, method = route.path, method_of(route)
    if method == "DELETE":
        return None
    if path.endswith("/restore"):
        return None
    if path.endswith("/adopt"):
        return {"user_list": [{"username": "stranger", "password": "stranger's"}]}
    if path.endswith("/config"):
        return {"target_list": [{"iqn": "iqn.2026-01.test:new"}]}
    if path.endswith("/conf"):
        return {"incomingdiscoveryuser": f"d:{SECRET}"}
    if "lun_list" in path:
        new = {"lun": 2, "path": f"{core.folder}/2.img"}
        return new if method == "POST" else {"readonly": True}
    if "user_list" in path:
        password = {"password": "another secret"}
        return password if method == "PUT" else {"username": "bob", **password}
    if "token_list" in path:
        return {"name": "new", "role": "reader"}
    return {"iqn": "iqn.2026-01.test:new"} if method == "POST" else {"state": "offline"}


def test_a_refused_rehearsal_is_in_the_audit_and_keeps_no_key(
    core: Core, client: TestClient
) -> None:
    path, there = f"{PREFIX}/target_list", {"iqn": WIKI_TARGET}
    ask(client, "POST", f"{path}?dry_run=true", there, expect=409, Idempotency_Key="k")
    core.service.keep()
    assert core.service.audit(Search())[1][0]["outcome"] == "target-exists"
    ask(client, "POST", path, {"iqn": "iqn.2026-01.test:new"}, expect=201, Idempotency_Key="k")


# -- keys


POSTS = [route for route in ROUTES if method_of(route) == "POST"]


@pytest.mark.parametrize("route", POSTS, ids=[route.name for route in POSTS])
def test_the_same_request_with_the_same_key_gets_the_first_answer_again(
    core: Core, client: TestClient, route: Guarded
) -> None:
    core.add_foreign()
    core.settle()
    path, body = _path(core, route), _body(core, route)
    status = 201 if route.status_code == 201 else 200
    first = ask(client, "POST", path, body, expect=status, Idempotency_Key="k")
    revision = core.service.inventory
    again = ask(client, "POST", path, body, expect=status, Idempotency_Key="k")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    for name in ("Location", "Warning"):
        assert again.headers.get(name) == first.headers.get(name)
    assert again.content == first.content
    assert core.service.inventory is revision


def test_a_key_is_for_one_request(core: Core, client: TestClient) -> None:
    path, body = f"{PREFIX}/target_list", {"iqn": "iqn.2026-01.test:new"}
    ask(client, "POST", path, body, expect=201, Idempotency_Key="k")
    reused = partial(ask, client, "POST", expect=422, code="idempotency-key-reused")
    reused(path, {"iqn": "iqn.2026-01.test:other"}, Idempotency_Key="k")
    reused(path + "?exists_ok=true", body, Idempotency_Key="k")
    answer = reused(f"{TARGET}/lun_list", _lun(core), Idempotency_Key="k")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    ask(client, "POST", path, body, expect=409, Idempotency_Key="another")


def _lun(core: Core, **fields: Any) -> dict[str, Any]:
    return {"lun": 2, "path": f"{core.folder}/2.img", **fields}


def test_each_principal_has_keys_of_their_own() -> None:
    assert Key.of("token:a", "k", b"x").name != Key.of("token:b", "k", b"x").name
    assert Key.of("a", "bc", b"x").name != Key.of("ab", "c", b"x").name
    assert Key.of("a", "k", b"x", b"y").request != Key.of("a", "k", b"xy", b"").request


def test_a_refusal_keeps_no_key(core: Core, client: TestClient) -> None:
    path, body = f"{TARGET}/lun_list", _lun(core, path="/nowhere/at.all")
    ask(client, "POST", path, body, expect=422, code="invalid", Idempotency_Key="k")
    ask(client, "POST", path, _lun(core), expect=201, Idempotency_Key="k")


@pytest.mark.parametrize("key", ["", "ä", "x" * 256, "a\tb"])
def test_what_is_no_key_is_refused_by_name(client: TestClient, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = client.post(f"{PREFIX}/target_list", json={"iqn": WIKI_TARGET}, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].lower() == "idempotency-key"


def test_two_keys_are_refused(core: Core, client: TestClient) -> None:
    """Which of them the answer would be kept under is nobody's guess."""
    target = {"iqn": "iqn.2026-01.test:new"}
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = client.post(f"{PREFIX}/target_list", json=target, headers=keys)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"field": "Idempotency-Key", "message": "must be there once"}
    ]
    assert target["iqn"] not in core.service.target_names()


def test_two_at_once_with_one_key_are_one_and_a_conflict(core: Core) -> None:
    begun, go_on = threading.Event(), threading.Event()
    key = Key.of("tester", "k", b"")

    def slow() -> tuple[str, ...]:
        begun.set()
        assert go_on.wait(10)
        return core.service.add_target("iqn.2026-01.test:new")

    async def both() -> None:
        threaded = Threaded(core.service)

        async def first() -> object:
            with threaded.in_flight(key):
                return await threaded.write(Write(ACT, slow, key=key))

        task = asyncio.create_task(first())
        await asyncio.to_thread(begun.wait, 10)
        with pytest.raises(Conflict) as refused, threaded.in_flight(key):
            pass
        assert refused.value.code == "idempotency-key-in-flight"
        go_on.set()
        assert await task == Done(())
        with threaded.in_flight(key):
            again = await threaded.write(Write(ACT, slow, key=key))
        assert again == Done((), replayed=True)

    asyncio.run(both())


def test_the_same_key_twice_in_a_group_is_done_once(core: Core) -> None:
    key = Key.of("tester", "k", b"")
    write = Write(ACT, lambda: core.service.add_target("iqn.2026-01.test:new"), key=key)
    assert core.service.together([write, write]) == [Done(()), Done((), replayed=True)]


def test_a_change_that_cannot_be_stored_keeps_no_key(core: Core) -> None:
    key = Key.of("tester", "k", b"")
    write = Write(ACT, lambda: core.service.add_target("iqn.2026-01.test:new"), key=key)
    core.store.full = True
    (failed,) = core.service.together([write])
    assert isinstance(failed, StateFailed)
    core.store.full = False
    assert core.service.together([write]) == [Done(())]


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_retry_after_a_kill_finds_what_was_durable(core: Core, killed: str) -> None:
    """Between the commit and the answer nobody knows whether it was done: the key does."""
    key = Key.of("tester", "k", b"")

    def write(core: Core) -> Write:
        return Write(ACT, lambda: core.service.add_target("iqn.2026-01.test:new"), key=key)

    assert isinstance(core.store, MortalStore)
    core.store.killed = killed
    with pytest.raises(Crash):
        core.service.together([write(core)])
    core.store.killed = ""
    life = core.reborn()
    life.settle()
    assert life.service.together([write(life)]) == [Done((), replayed=killed == "after")]


def test_what_was_so_already_is_told_so_again(core: Core, client: TestClient) -> None:
    """Though the first of them changed nothing, and it is gone by the second."""
    path, body = f"{PREFIX}/target_list?exists_ok=true", {"iqn": WIKI_TARGET}
    ask(client, "POST", path, body, expect=200, Idempotency_Key="k")
    core.service.remove_target(WIKI_TARGET)
    again = ask(client, "POST", path, body, expect=200, Idempotency_Key="k")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert not core.service.inventory.targets


def test_a_key_is_forgotten_after_a_day(core: Core) -> None:
    key, other = Key.of("tester", "k", b"1"), Key.of("tester", "k", b"2")
    kept = Receipt.of(key, now(), Done(("advice",)))
    assert kept.again(key, kept.time + LASTS) == Done(("advice",), replayed=True)
    with pytest.raises(Reused):
        kept.again(other, kept.time)
    late = kept.time + LASTS + timedelta(seconds=1)
    assert kept.again(key, late) is kept.again(other, late) is None
    core.store.commit(core.service.inventory.add_target("iqn.2026-01.test:new"), (), [kept])
    core.service.keep()
    assert core.store.receipt(key.name) == kept
    core.store.forget(late)
    assert core.store.receipt(key.name) is None


def test_an_answer_that_cannot_be_kept_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="object"):
        Receipt.of(Key("n", "r"), now(), Done(object()))


# -- content with what is so already


def test_a_target_that_is_there_is_as_it_would_be_made(client: TestClient) -> None:
    path, body = f"{PREFIX}/target_list", {"iqn": WIKI_TARGET}
    ask(client, "POST", path, body, expect=409, code="target-exists")
    answer = ask(client, "POST", path + "?exists_ok=true", body, expect=200)
    assert answer.headers["Location"].endswith(TARGET)
    assert answer.headers["ETag"] == tag_of(client, TARGET)


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({}, True),
        ({"bs_type": "rdwr", "scsi_id": "", "readonly": False}, True),
        ({"readonly": True}, False),
        ({"write_cache": False}, False),
        ({"device_type": "cd"}, False),
        ({"scsi_id": "mine"}, False),
        ({"path": "2.img"}, False),
    ],
)
def test_a_lun_that_is_there_does_if_it_is_as_it_would_be_made(
    core: Core, client: TestClient, fields: dict[str, Any], same: bool
) -> None:
    body = {"lun": 1, **fields, "path": f"{core.folder}/{fields.get('path', '1.img')}"}
    path = f"{TARGET}/lun_list?exists_ok=true"
    inventory = core.service.inventory
    ask(client, "POST", path, body, expect=200 if same else 409)
    assert core.service.inventory is inventory


def test_defaults_count_as_if_they_were_said(core: Core, client: TestClient) -> None:
    core.service.edit_unit(WIKI_TARGET, 1, {"readonly": True})
    body = {"lun": 1, "path": f"{core.folder}/1.img"}
    ask(client, "POST", f"{TARGET}/lun_list?exists_ok=true", body, expect=409, code="lun-exists")


def test_a_user_that_is_there_does_with_the_same_password(client: TestClient) -> None:
    path = f"{TARGET}/incominguser_list?exists_ok=true"
    ask(client, "POST", path, {"username": "alice", "password": SECRET}, expect=200)
    other = {"username": "alice", "password": SECRET + "!"}
    ask(client, "POST", path, other, expect=409, code="user-exists")
    outgoing = f"{TARGET}/outgoinguser_list"
    ask(client, "POST", outgoing, {"username": "bob", "password": SECRET}, expect=201)
    another = {"username": "eve", "password": SECRET}
    ask(client, "POST", outgoing + "?exists_ok=true", another, expect=409)


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}/target_list/iqn.2026-01.test:none",
        f"{PREFIX}/target_list/iqn.2026-01.test:none/lun_list/1",
        f"{TARGET}/lun_list/9",
        f"{TARGET}/incominguser_list/nobody",
        f"{API}/token_list/nothing",
    ],
)
def test_what_is_gone_already_need_not_go(client: TestClient, path: str) -> None:
    ask(client, "DELETE", path, expect=404)
    ask(client, "DELETE", path + "?missing_ok=true", expect=200)


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}/target_list/no-name",
        f"{TARGET}/lun_list/1000",
        f"{TARGET}/incominguser_list/a,b",
        f"{API}/token_list/-",
    ],
)
def test_what_could_not_be_there_is_a_mistake(client: TestClient, path: str) -> None:
    ask(client, "DELETE", path + "?missing_ok=true", expect=404)


# -- lists, and the request's own id


def test_lists_can_be_had_with_all_that_is_in_them(core: Core, client: TestClient) -> None:
    core.tgtd.log_in(WIKI_TARGET, "iqn.2026-01.test:host")
    asked = core.tgtd.requests
    (listed,) = ask(client, "GET", f"{PREFIX}/target_list?expand=true", expect=200).json()
    assert core.tgtd.requests == asked, "tgtd is not asked for the sessions of each"
    one = ask(client, "GET", TARGET, expect=200).json()
    assert listed == {**one, "session_list": None}
    assert list(listed) == list(one)
    users = f"{TARGET}/incominguser_list"
    assert ask(client, "GET", users + "?expand=true", expect=200).json() == [{"username": "alice"}]
    assert ask(client, "GET", users, expect=200).json() == ["alice"]


def test_a_clients_own_id_of_a_request_is_its_id_everywhere(core: Core, client: TestClient) -> None:
    path, body = f"{PREFIX}/target_list", {"iqn": "iqn.2026-01.test:new"}
    answer = ask(client, "POST", path, body, expect=201, X_Request_Id="mine.1_a-B")
    assert answer.headers["X-Request-Id"] == "mine.1_a-B"
    assert core.service.audit(Search())[1][0]["request_id"] == "mine.1_a-B"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a/b", 'a"b'])
def test_what_is_no_id_of_a_request_is_replaced(client: TestClient, given: str) -> None:
    answer = ask(client, "GET", f"{PREFIX}/conf", expect=200, X_Request_Id=given)
    assert len(answer.headers["X-Request-Id"]) == 32
    two = [("X-Request-Id", "a"), ("X-Request-Id", "b")]
    assert len(client.get(f"{PREFIX}/conf", headers=two).headers["X-Request-Id"]) == 32
