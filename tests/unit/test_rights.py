"""Who may do what, for every route with every role; and what the audit tells of it."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from storlever import audit, throttle
from storlever.audit import MASK, START, Link, Search
from storlever.backlog import TOLD_AT_ONCE
from storlever.clock import now
from storlever.errors import StateFailed, Unauthenticated
from storlever.inventory import Direction
from storlever.model import Account, Pending
from storlever.names import NAME_BYTES
from storlever.principal import Principal, Role
from storlever.throttle import Throttle
from storlever.token import Token
from storlever.web.app import TABLES, create_app
from storlever.web.authentication import BURST, INTERVAL
from storlever.web.edge import Edge
from storlever.web.gate import MOST_OF_A_METHOD, MOST_OF_A_PATH
from storlever.web.peer import UnixPeer
from storlever.web.san import PREFIX
from storlever.web.table import Guarded, require_rights
from storlever.web.threads import Threaded
from storlever.writer import Write
from tests.unit.core import ACT, Core
from tests.world import WIKI_TARGET, folder, image

LOCAL = "http://localhost"
TARGET = f"{PREFIX}/target_list/{WIKI_TARGET}"
TOKENS = "/storlever/api/v1/token_list"
AUDIT = "/storlever/api/v1/audit"
SECRET = "a secret of this test"
IN = Direction.INCOMING

ROUTES = [route for table in TABLES for route in table.router.routes if isinstance(route, Guarded)]
VALUES = {
    "iqn": WIKI_TARGET,
    "user:user": "alice",
    "lun": "1",
    "id": "1",
    "name": "nobody's",
    "number": "1",
}


def path_of(route: Guarded) -> str:
    path = route.path
    for name, value in VALUES.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path
    return path + ("?follow=false" if path.endswith("/events") else "")  # else it has no end


def method_of(route: Guarded) -> str:
    (method,) = route.methods or {"GET"}
    return method


@pytest.fixture
def core() -> Iterator[Core]:
    with folder() as path:
        image(path / "a.img", 1)
        core = Core(path)
        core.settle()
        core.service.add_target(WIKI_TARGET)
        core.service.add_user(WIKI_TARGET, IN, Account("alice", SECRET))
        yield core


@pytest.fixture
def client(core: Core) -> TestClient:
    """Of a service that asks everybody who they are."""
    return client_of(core, Edge(open_loopback=False))


def client_of(core: Core, edge: Edge) -> TestClient:
    return TestClient(
        create_app(Threaded(core.service), edge), LOCAL, raise_server_exceptions=False
    )


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def token(core: Core, role: Role) -> dict[str, str]:
    _, secret = core.service.add_token(f"a-{role}", role, timedelta(days=1))
    return bearer(secret)


def entries(core: Core, **search: Any) -> list[dict[str, Any]]:
    """Of the audit, oldest first."""
    core.service.keep()
    _, found = core.service.audit(Search(**search))
    return list(reversed(found))


# -- the route table


def test_a_route_that_does_not_say_who_may_does_not_start() -> None:
    forgotten = Route("/x", lambda _: Response())
    with pytest.raises(TypeError, match="who may"):
        require_rights([*ROUTES, forgotten])


def test_what_changes_anything_takes_an_operator_and_what_tells_anything_a_reader() -> None:
    """But for health and the documentation, which tell nothing of what is served."""
    open_to_all = {route.path for route in ROUTES if route.may is Role.NOBODY}
    assert open_to_all == {"/healthz", "/readyz", "/docs", "/docs/start.js", "/openapi.json"}
    for route in ROUTES:
        if route.path not in open_to_all:
            assert route.may >= (Role.READER if method_of(route) == "GET" else Role.OPERATOR)
        if "token" in route.path:
            assert route.may is Role.ADMIN


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{method_of(route)} {route.path}")
def test_every_route_lets_in_whom_it_says(
    core: Core, client: TestClient, route: Guarded, role: Role
) -> None:
    """And whom it keeps out has changed nothing."""
    before = core.shown()
    headers = token(core, role) if role else {}
    kept_out = 401 if role is Role.NOBODY else 403
    answer = client.request(method_of(route), path_of(route), headers=headers, json={})
    if role >= route.may:
        assert answer.status_code not in (401, 403)
    else:
        assert answer.status_code == kept_out
        assert answer.headers["content-type"] == "application/problem+json"
        assert core.shown() == before


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_only_an_admin_may_force_a_lun(
    core: Core, client: TestClient, role: Role, method: str
) -> None:
    path = f"{TARGET}/lun_list" + ("/1?force=true" if method == "PUT" else "?force=true")
    body = {"lun": 1, "path": str(core.folder / "a.img")} if method == "POST" else {}
    answer = client.request(method, path, headers=token(core, role), json=body)
    assert (answer.status_code == 403) == (role is Role.OPERATOR)


def test_who_may_not_hears_nothing_of_what_fails(core: Core, client: TestClient) -> None:
    core.add_foreign()
    core.settle()
    assert client.get("/readyz").json()["foreign"] == []
    assert client.get("/readyz", headers=token(core, Role.READER)).json()["foreign"] != []


def test_a_hole_of_tgtd_is_told_to_who_may_read_and_to_nobody_else(
    core: Core, client: TestClient
) -> None:
    reader = token(core, Role.READER)
    assert client.get("/readyz", headers=reader).json()["warnings"] == []
    core.tgtd.known_hole = "CVE-0000-1"
    core.tgtd.restart()
    core.settle()
    assert client.get("/readyz").json()["warnings"] == []
    assert client.get("/readyz", headers=reader).json()["warnings"] == ["CVE-0000-1"]


def test_what_should_not_be_so_is_told_to_everybody(core: Core) -> None:
    client = client_of(core, Edge(open_loopback=False, warnings=("insecure",)))
    assert client.get("/readyz").json()["warnings"] == ["insecure"]


# -- who asks


def test_a_token_is_good_as_a_password_of_http_basic(core: Core, client: TestClient) -> None:
    _, secret = core.service.add_token("old", Role.READER, None)
    assert client.get(f"{PREFIX}/conf", auth=("whoever", secret)).status_code == 200
    assert client.get(f"{PREFIX}/conf", auth=(secret, "")).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic",
        "Basic ~",
        "Basic /w==",
        "Digest x",
        "x",
        "Bearer \xe4",
        "Basic \xff",
    ],
)
def test_what_is_no_token_is_refused_even_where_none_is_needed(core: Core, header: str) -> None:
    client = client_of(core, Edge())
    answer = client.get("/healthz", headers=[(b"Authorization", header.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.json()["code"] == "token-unknown"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_two_tokens_are_none(core: Core, client: TestClient) -> None:
    header = token(core, Role.ADMIN)["Authorization"]
    headers = [("Authorization", header), ("Authorization", header)]
    assert client.get(f"{PREFIX}/conf", headers=headers).status_code == 401


def test_a_token_ends_when_it_expires(core: Core, client: TestClient) -> None:
    old, secret = Token.new("old", Role.ADMIN, timedelta(hours=1), now() - timedelta(hours=2))
    core.service._take(core.service.inventory.add_token(old))
    core.service.keep(last=True)
    answer = client.get(f"{PREFIX}/conf", headers=bearer(secret))
    assert (answer.status_code, answer.json()["code"]) == (401, "token-expired")
    assert entries(core)[-1]["who"] == "token:old"


def test_a_token_ends_at_once_when_it_is_revoked(core: Core, client: TestClient) -> None:
    admin, reader = token(core, Role.ADMIN), token(core, Role.READER)
    assert client.get(f"{PREFIX}/conf", headers=reader).status_code == 200
    assert client.delete(f"{TOKENS}/a-reader", headers=admin).status_code == 200
    assert client.get(f"{PREFIX}/conf", headers=reader).status_code == 401


def test_what_a_token_asked_for_is_not_done_once_it_is_revoked(core: Core) -> None:
    """Its body may take ten seconds, and other writes as long."""
    made, _ = core.service.add_token("gone", Role.ADMIN, None)
    act = replace(ACT, principal=Principal("token:gone", Role.ADMIN, "", made.digest))
    core.service.remove_token("gone")
    backdoor = Write(act, lambda: core.service.add_token("backdoor", Role.ADMIN, None))
    assert isinstance(core.service.apart(backdoor), Unauthenticated)
    core.service.add_token("gone", Role.ADMIN, None)
    assert isinstance(core.service.apart(backdoor), Unauthenticated), "another of that name"
    assert set(core.service.inventory.tokens) == {"gone"}


def test_a_token_of_a_name_that_was_there_before_was_never_used(
    core: Core, client: TestClient
) -> None:
    client.get(f"{PREFIX}/conf", headers=token(core, Role.READER))
    core.service.remove_token("a-reader")
    token(core, Role.READER)
    assert core.service.token("a-reader").last_used is None


def test_a_token_is_told_once_and_known_by_its_digest_alone(core: Core, client: TestClient) -> None:
    admin = token(core, Role.ADMIN)
    made = client.post(TOKENS, headers=admin, json={"name": "new", "role": "reader"})
    secret = made.json()["token"]
    assert len(base64.urlsafe_b64decode(secret.removeprefix("storlever_") + "=")) == 32
    assert client.get(f"{PREFIX}/conf", headers=bearer(secret)).status_code == 200
    shown = client.get(made.headers["location"], headers=admin)
    assert shown.json()["role"] == "reader"
    assert secret not in shown.text + client.get(TOKENS, headers=admin).text
    assert secret not in repr(core.service.inventory)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "reader"}, "name"),
        ({"name": "x"}, "role"),
        ({"name": "x y", "role": "reader"}, "name"),
        ({"name": "x", "role": "nobody"}, "role"),
        ({"name": "x", "role": "reader", "expires": "soon"}, "expires"),
        ({"name": "x", "role": "reader", "expires": "1000d"}, "expires"),
    ],
)
def test_a_token_that_breaks_a_rule_is_not_made(
    core: Core, client: TestClient, body: dict[str, str], field: str
) -> None:
    answer = client.post(TOKENS, headers=token(core, Role.ADMIN), json=body)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "header",
    [
        *("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded", "Forwarded", "Via", "X-Real-IP"),
        *("X-Client-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP"),
    ],
)
def test_what_a_proxy_passes_on_does_not_come_from_this_machine(core: Core, header: str) -> None:
    client = client_of(core, Edge())
    assert client.get(f"{PREFIX}/conf").status_code == 200
    assert client.get(f"{PREFIX}/conf", headers={header: "x"}).status_code == 401


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("1.1.1.1, 192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_behind_a_proxy_an_address_is_what_that_saw(core: Core, hop: str, address: str) -> None:
    client = client_of(core, Edge(open_loopback=False, proxied=True))
    client.get(f"{PREFIX}/conf", headers={"X-Forwarded-For": hop})
    assert entries(core)[-1]["address"] == address


def test_over_a_unix_socket_or_tls_nobody_says_by_a_header_where_they_are(core: Core) -> None:
    edge = Edge(open_loopback=False, proxied=True)
    for state, scheme in (({"peer": UnixPeer(4242, frozenset())}, "http"), ({}, "https")):
        app = _with(create_app(Threaded(core.service), edge), state)
        asked = TestClient(app, f"{scheme}://localhost")
        asked.delete(TARGET, headers={"X-Forwarded-For": "8.8.8.8"})
        assert entries(core)[-1]["address"] != "8.8.8.8"


def test_when_a_token_was_used_is_known_and_made_durable(core: Core, client: TestClient) -> None:
    headers = token(core, Role.READER)
    assert core.service.token("a-reader").last_used is None
    client.get(f"{PREFIX}/conf", headers=headers)
    assert core.service.token("a-reader").last_used is not None
    assert core.service.inventory.token("a-reader").last_used is None
    core.service.keep(last=True)
    assert core.service.inventory.token("a-reader").last_used is not None


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ((), "https://panel.example.com", 403),
        (("https://panel.example.com",), "https://panel.example.com", 200),
        (("https://panel.example.com",), "http://panel.example.com", 403),
        (("https://panel.example.com",), "https://evil.example.com", 403),
        (("https://panel.example.com",), "null", 403),
    ],
)
def test_only_pages_of_an_allowed_origin_may_change_anything(
    core: Core, origins: tuple[str, ...], origin: str, status: int
) -> None:
    client = client_of(core, Edge(origins=origins))
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    answer = client.put(TARGET, json={}, headers=headers)
    assert answer.status_code == status
    allowed = answer.headers.get("access-control-allow-origin")
    assert allowed == (origin if status == 200 else None)
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    before = client.options(TARGET, headers=asked)
    assert (before.headers.get("access-control-allow-origin") == origin) == (status == 200)


# -- who fails


def test_who_fails_too_often_is_not_heard_and_a_good_token_always_is(
    core: Core, client: TestClient
) -> None:
    good = token(core, Role.READER)
    codes = [
        client.get(f"{PREFIX}/conf", headers=bearer(f"bad {number}")).status_code
        for number in range(BURST + 3)
    ]
    assert codes == [401] * BURST + [429] * 3
    last = client.get(f"{PREFIX}/conf", headers=bearer("bad"))
    assert 0 < int(last.headers["retry-after"]) <= INTERVAL
    assert client.get(f"{PREFIX}/conf", headers=good).status_code == 200
    told = [each["outcome"] for each in entries(core)]
    assert told.count("token-unknown") == BURST, "the audit cannot be flooded"


def test_a_failure_is_forgiven_in_time() -> None:
    time = 0.0
    watch = Throttle(BURST, INTERVAL, lambda: time)
    for _ in range(BURST):
        assert watch.fail("a", "b") == 0
    assert watch.fail("a") == pytest.approx(INTERVAL)
    assert watch.fail("c") == 0
    time += INTERVAL
    assert watch.fail("b") == 0
    assert watch.fail("a", "b") > 0, "of several keys, the worst counts"


def test_the_throttle_forgets_who_failed_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_KEYS", 3)
    watch = Throttle(BURST, INTERVAL, lambda: 0.0)
    for _ in range(BURST):
        watch.fail("first")
    assert watch.fail("first") > 0
    for number in range(3):
        watch.fail(str(number))
    assert watch.fail("first") == 0


# -- the audit


def test_every_write_that_is_refused_is_told(core: Core, client: TestClient) -> None:
    writes = [route for route in ROUTES if method_of(route) != "GET"]
    reader = token(core, Role.READER)
    for route in writes:
        client.request(method_of(route), path_of(route), headers=reader, json={})
    told = entries(core)
    assert [each["operation"] for each in told] == [route.name for route in writes]
    assert {each["outcome"] for each in told} == {"forbidden"}
    assert {each["who"] for each in told} == {"token:a-reader"}


@pytest.mark.parametrize(
    ("method", "path", "body", "outcome"),
    [
        ("POST", "/target_list", b'{"iqn": 1}', "invalid"),
        ("POST", "/target_list", b"{", "malformed"),
        ("POST", "/target_list", b'{"iqn": "%s"}' % WIKI_TARGET.encode(), "target-exists"),
        ("DELETE", "/target_list/iqn.2026-01.test:none", b"", "target-not-found"),
        ("DELETE", "/conf", b"", "method-not-allowed"),
        ("POST", "/nowhere", b"{}", "path-not-found"),
    ],
)
def test_the_outcome_is_the_code_that_the_client_got(
    core: Core, method: str, path: str, body: bytes, outcome: str
) -> None:
    client = client_of(core, Edge())
    headers = {"Content-Type": "application/json"}
    answer = client.request(method, PREFIX + path, content=body, headers=headers)
    (told,) = entries(core)
    assert told["outcome"] == answer.json()["code"] == outcome
    assert told["request_id"] == answer.headers["x-request-id"]
    assert (told["who"], told["before"], told["after"]) == ("loopback", {}, {})


def test_what_was_done_is_told_with_what_it_changed(core: Core) -> None:
    client = client_of(core, Edge())
    body = {"lun": 1, "path": str(core.folder / "a.img")}
    assert client.post(f"{TARGET}/lun_list", json=body).status_code == 201
    assert client.put(f"{TARGET}/lun_list/1", json={"readonly": True}).status_code == 200
    assert client.put(f"{TARGET}/lun_list/1", json={"readonly": True}).status_code == 200
    assert client.delete(f"{TARGET}/lun_list/1").status_code == 200
    made, edited, same, gone = entries(core, target=WIKI_TARGET)
    assert {each["outcome"] for each in (made, edited, same, gone)} == {"done"}
    assert made["before"]["targets"][WIKI_TARGET] == {"lun 1": None}
    unit = made["after"]["targets"][WIKI_TARGET]["lun 1"]
    assert unit["backing_path"] == body["path"]
    assert edited["before"]["targets"][WIKI_TARGET]["lun 1"] == unit
    assert edited["after"]["targets"][WIKI_TARGET]["lun 1"] == unit | {"readonly": True}
    assert (same["before"], same["after"]) == ({}, {})
    assert gone["after"]["targets"][WIKI_TARGET] == {"lun 1": None}


def test_what_nobody_tries_cannot_fill_the_audit(core: Core, client: TestClient) -> None:
    for path in ("/nowhere", AUDIT):
        assert client.post(path, json={}).status_code in (404, 405)
    assert client.put(TARGET, headers={"Origin": "http://evil"}).status_code == 403
    assert entries(core) == []


def test_a_write_of_somebody_without_a_role_is_told(core: Core) -> None:
    edge = Edge(open_loopback=False)
    app = create_app(Threaded(core.service), edge)
    asked = TestClient(_with(app, {"client_certificate": "stranger"}), LOCAL)
    assert asked.delete(TARGET).status_code == 403
    (told,) = entries(core)
    assert (told["who"], told["outcome"]) == ("certificate:stranger", "forbidden")


def _with(app: ASGIApp, state: dict[str, Any]) -> ASGIApp:
    """As the protocol hands on a connection of which it knows this."""

    async def handed_on(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {**scope.get("state", {}), **state}}, receive, send)

    return handed_on


def test_who_is_known_cannot_fill_it_either(core: Core, client: TestClient) -> None:
    reader = token(core, Role.READER)
    for _ in range(TOLD_AT_ONCE + 30):
        client.delete(TARGET, headers=reader)
    told = [each["outcome"] for each in entries(core, limit=1000)]
    assert TOLD_AT_ONCE <= told.count("forbidden") <= TOLD_AT_ONCE + 5
    assert told[-1] == f"{TOLD_AT_ONCE + 30 - told.count('forbidden')} entries were lost"
    assert client.delete(TARGET, headers=token(core, Role.ADMIN)).status_code == 200
    assert [each["outcome"] for each in entries(core)][-1] == "done", "what is done is told always"


def test_a_path_is_told_up_to_a_length(core: Core) -> None:
    client_of(core, Edge()).delete("/" + "x" * 10_000)
    (told,) = entries(core)
    assert len(told["path"]) == MOST_OF_A_PATH
    client_of(core, Edge()).delete(f"{PREFIX}/target_list/" + "x" * 10_000)
    assert len(entries(core)[-1]["target"]) == NAME_BYTES
    client_of(core, Edge()).request("A" * 10_000, "/x", headers=bearer("bad"))
    assert len(entries(core)[-1]["operation"]) == MOST_OF_A_METHOD


def test_every_write_has_a_line_in_the_log_that_says_who_what_and_what_came_of_it(
    core: Core, client: TestClient
) -> None:
    admin = token(core, Role.ADMIN)
    with capture_logs() as log:
        client.put(TARGET, json={}, headers=admin)
        client.put(TARGET, json={}, headers=bearer("bad"))
        client.put(TARGET, content=b"{", headers={**admin, "Content-Type": "application/json"})
    told = [(line["who"], line["method"], line["path"], line["code"]) for line in log]
    assert told == [
        ("token:a-admin", "PUT", TARGET, None),
        ("nobody", "PUT", TARGET, "token-unknown"),
        ("token:a-admin", "PUT", TARGET, "malformed"),
    ]
    assert {line["address"] for line in log} == {"testclient"}
    assert [line["request_id"] for line in log if line["code"] is None] == [
        each["request_id"] for each in entries(core) if each["outcome"] == "done"
    ]


def test_what_is_made_behind_a_proxy_is_found_by_https(core: Core) -> None:
    admin = token(core, Role.ADMIN)
    for proxied, scheme in ((True, "https"), (False, "http")):
        client = client_of(core, Edge(open_loopback=False, proxied=proxied))
        body = {"name": scheme, "role": "reader"}
        made = client.post(TOKENS, headers=admin, json=body)
        assert made.headers["location"] == f"{scheme}://localhost{TOKENS}/{scheme}"


def test_a_token_lets_no_half_done_write_of_an_earlier_life_be_forgotten(core: Core) -> None:
    """What that changed in tgtd is known by the notes alone, until a pass has looked at it."""
    core.notes.begin(Pending(frozenset({WIKI_TARGET}), peer=str(core.tgtd.ensure())))
    reborn = core.reborn()
    reborn.service.add_token("new", Role.READER, None)
    reborn.service.keep(last=True)
    assert reborn.notes.pending().targets == {WIKI_TARGET}


def test_a_search_by_time_is_one_by_number(core: Core) -> None:
    for _ in range(3):
        core.service.tell(ACT, "x")
    told = entries(core)
    assert entries(core, since=told[0]["time"]) == told
    assert entries(core, until=told[0]["time"]) == []
    assert entries(core, since="9") == []
    assert entries(core, until="9") == told


def test_a_secret_is_masked(core: Core) -> None:
    client = client_of(core, Edge())
    user = f"{TARGET}/incominguser_list/alice"
    assert client.put(user, json={"password": "another secret"}).status_code == 200
    conf = {"incomingdiscoveryuser": "bob:bob's long secret"}
    assert client.put(f"{PREFIX}/conf", json=conf).status_code == 200
    changed, found = entries(core)
    assert changed["before"] == changed["after"] == {"users": {"alice": MASK}}
    assert found["after"]["users"] == {"bob": MASK}
    assert found["before"]["discovery"] != found["after"]["discovery"]
    assert "secret" not in str([changed, found])


def test_what_could_not_be_made_durable_is_told_as_that(core: Core) -> None:
    core.store.full = True
    outcome = core.together([lambda: core.service.add_target("iqn.2026-01.test:new")])
    assert isinstance(outcome[0], StateFailed)
    core.store.full = False
    assert entries(core) == [], "who answers the client tells of it"


def test_entries_that_find_no_room_wait_and_are_told_in_order(core: Core) -> None:
    core.store.full = True
    for number in range(3):
        core.service.tell(replace(ACT, request_id=str(number)), "invalid")
        with pytest.raises(StateFailed):
            core.service.keep()
    core.store.full = False
    assert [each["request_id"] for each in entries(core)] == ["0", "1", "2"]


def test_a_change_need_not_wait_for_room_that_what_was_told_would_take(core: Core) -> None:
    """Or who fills the disk with refusals could not be stopped."""
    core.service.tell(ACT, "forbidden")
    core.store.room = 1
    assert core.together([lambda: core.service.add_target("iqn.2026-01.test:new")]) == [()]
    core.store.room = None
    assert [each["outcome"] for each in entries(core)] == ["done", "forbidden"]


def test_how_many_entries_were_lost_is_told(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storlever.backlog.MOST", 2)
    for _ in range(5):
        core.service.tell(ACT, "invalid")
    assert [each["outcome"] for each in entries(core)] == ["invalid"] * 2 + ["3 entries were lost"]


def test_the_audit_is_filtered_and_paged(core: Core, client: TestClient) -> None:
    reader = token(core, Role.READER)
    for number in range(5):
        core.service.tell(replace(ACT, request_id=str(number)), "x")
    core.service.keep()

    def numbers(query: str) -> list[int]:
        page = client.get(f"{AUDIT}?{query}", headers=reader)
        assert page.status_code == 200
        return [each["number"] for each in page.json()["entries"]]

    assert numbers("") == [5, 4, 3, 2, 1]
    assert numbers("limit=2") == [5, 4]
    assert numbers("limit=2&before=4") == [3, 2]
    assert numbers("limit=2&after=1") == [2, 3]
    assert numbers("who=nobody") == numbers("target=x") == []
    assert numbers("who=tester&limit=1") == [5]
    assert numbers("until=2026-01-01T00:00:00Z") == []
    assert numbers("since=2026-01-01T00:00:00%2B02:00") == [5, 4, 3, 2, 1]
    for bad in (
        *("limit=0", "limit=1001", "since=yesterday", "since=2026-01-01T00:00:00", "x=1"),
        *("since=0", "until=0.5", "after=99999999999999999999", "since=2026-02-31T00:00:00Z"),
        "since=0001-01-01T00:00:00%2B14:00",
    ):
        assert client.get(f"{AUDIT}?{bad}", headers=reader).status_code == 422


def test_the_chain_shows_what_was_altered_or_taken_out(core: Core) -> None:
    for number in range(5):
        core.service.tell(replace(ACT, request_id=str(number)), "x")
    found = entries(core)
    assert audit.broken(found, Link()) is None
    assert audit.broken(found[2:], Link(2, found[1]["hash"])) is None
    assert audit.broken(found[1:], Link()) == "entry 1 is not there"
    assert audit.broken([*found[:2], *found[3:]], Link()) == "entry 3 is not there"
    altered = [*found[:2], found[2] | {"outcome": "done"}, *found[3:]]
    assert audit.broken(altered, Link()) == "entry 3 is not as it was written"
    assert audit.broken(found, Link(0, "1" * len(START))) == "entry 1 is not as it was written"
