"""The Python client against a service whose behaviour is forced: what it sends, understands, and
tries again."""

import asyncio
import inspect
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storlever import client as package
from storlever.client import (
    AsyncClient,
    Client,
    ClientError,
    Conflict,
    Invalid,
    NotFound,
    NotUnderstood,
    Problem,
    Unavailable,
    Unreachable,
    errors,
    operations,
)
from storlever.client.call import KEY, warnings
from storlever.client.decode import decoded
from storlever.client.errors import KINDS, problem
from storlever.client.shapes import Lun, NewLun, Target, User
from storlever.web.problem import TITLES
from tests import methods

IQN = "iqn.2026-01.test:one"
TARGET: dict[str, Any] = {
    "iqn": IQN,
    "state": "ready",
    "reason": None,
    "initiator_addr_list": [],
    "initiator_name_list": [],
    "incominguser_list": ["joe"],
    "outgoinguser_list": [],
    "session_list": [{"initiator": "iqn.2026-01.test:host", "addr": "10.0.0.5", "sid": 3}],
    "lun_num": 1,
}
Handler = Callable[[httpx2.Request], httpx2.Response]
LOST = httpx2.ReadError("connection reset")
REFUSED = httpx2.ConnectError("connection refused")


class Service:
    """Answers in turn; the last answer again and again."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, patience: float = 5.0) -> Client:
        return Client(transport=httpx2.MockTransport(self), patience=patience)


def ok(body: Any = None, **headers: str) -> httpx2.Response:
    return httpx2.Response(200, headers=headers, json=body)


def refused(status: int, code: str, **headers: str) -> httpx2.Response:
    body = {"status": status, "code": code, "detail": f"{code}!", "request_id": "r1"}
    return httpx2.Response(status, headers=headers, json=body)


def test_the_methods_of_both_clients_are_those_of_the_operations() -> None:
    assert methods.MADE.read_text() == methods.text(), "run script/generate"


def test_the_client_that_waits_is_the_one_that_awaits_without_that() -> None:
    assert methods.BLOCKING.read_text() == methods.blocking(), "run script/generate"


def test_both_clients_can_do_the_same() -> None:
    assert {name for name in dir(Client) if name[0] != "_"} == {
        name for name in dir(AsyncClient) if name[0] != "_"
    }


def test_what_the_package_promises_is_there() -> None:
    assert all(inspect.isclass(getattr(package, name)) for name in package.__all__)


def test_a_target_is_understood_whatever_a_newer_service_adds() -> None:
    service = Service(ok({**TARGET, "colour": "red"}))
    found = service.client().target(IQN)
    assert (found.iqn, found.incominguser_list) == (IQN, ("joe",))
    assert found.session_list is not None
    assert found.session_list[0].addr == "10.0.0.5"
    assert service.asked[0].url.path == f"/storlever/api/v1/san/tgt/target_list/{IQN}"


@pytest.mark.parametrize("broken", [[], {}, {**TARGET, "lun_num": "1"}, {**TARGET, "iqn": None}])
def test_an_answer_that_is_none_is_one_kind_of_error(broken: Any) -> None:
    with pytest.raises(NotUnderstood):
        Service(ok(broken)).client().target(IQN)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: (
    st.lists(inner) | st.dictionaries(st.sampled_from([*TARGET]) | st.text(), inner)
)))  # fmt: skip
def test_whatever_an_answer_holds_it_is_understood_or_not_understood(found: Any) -> None:
    for kind in (Target, Lun, tuple[str, ...]):
        try:
            decoded(kind, found)
        except NotUnderstood:
            continue


@given(st.binary(), st.integers(300, 599))
def test_whatever_a_refusal_holds_it_is_a_problem(content: bytes, status: int) -> None:
    found = problem(status, {}, content)
    assert found.status == status
    assert str(found)


def test_every_status_of_the_service_has_its_kind_of_error() -> None:
    plain = {405, 421, 431, 500}
    assert TITLES.keys() - plain <= KINDS.keys()


ROWS = [line.split("|")[1:3] for line in Path("docs/errors.md").read_text().splitlines()]
DOCUMENTED = [
    (int(row[0]), code)
    for row in ROWS
    if row and row[0].strip().isdigit()
    for code in re.findall(r"`([a-z-]+)`", row[1])
]
TREE = {
    int(status): name
    for name, listed in re.findall(r"── (\w+) +(\d[\d, ]*)", errors.__doc__ or "")
    for status in listed.split(",")
}
"""Which error a status has, as the docstring has it."""


@pytest.mark.parametrize(("status", "code"), DOCUMENTED)
def test_each_code_that_the_service_documents_raises_the_error_that_the_client_does(
    status: int, code: str
) -> None:
    with pytest.raises(Problem) as caught:
        Service(refused(status, code)).client(patience=0).delete_target(IQN)
    error = caught.value
    assert type(error).__name__ == TREE.get(status, "Problem")
    assert (error.status, error.code, str(error)) == (status, code, f"{code}!")


def test_an_error_tells_all_that_the_service_told() -> None:
    body = {
        "code": "sessions-active",
        "detail": "cannot",
        "errors": [{"field": "state", "message": "no"}],
        "blocking": [{"initiator": "iqn.x", "addr": "10.0.0.5"}],
        "request_id": "r9",
    }
    with pytest.raises(Conflict) as caught:
        Service(httpx2.Response(409, json=body)).client().delete_target(IQN)
    error = caught.value
    assert (error.status, error.code, error.detail) == (409, "sessions-active", "cannot")
    assert error.errors[0].field == "state"
    assert error.blocking[0].initiator == "iqn.x"
    assert error.request_id == "r9"


def test_only_what_was_said_is_sent_and_a_name_may_hold_anything() -> None:
    service = Service(ok())
    with service.client() as client:
        client.set_target(IQN, state="offline", force=True)
        client.remove_user(IQN, "a/b ?")
    put, delete = service.asked
    assert json.loads(put.content) == {"state": "offline"}
    assert dict(put.url.params) == {"force": "true"}
    assert delete.url.raw_path.endswith(b"/incominguser_list/a%2Fb%20%3F")


def test_a_target_is_made_with_all_that_belongs_to_it() -> None:
    service = Service(httpx2.Response(201))
    service.client().create_target(
        IQN,
        incominguser_list=[User("joe", "a long password")],
        lun_list=[NewLun(1, "/srv/a.img", readonly=True)],
    )
    assert json.loads(service.asked[0].content) == {
        "iqn": IQN,
        "incominguser_list": [{"username": "joe", "password": "a long password"}],
        "lun_list": [{"lun": 1, "path": "/srv/a.img", "readonly": True}],
    }


def test_advice_comes_with_what_is_done() -> None:
    advice = '299 storlever "too short", 299 storlever "say \\"no\\""'
    done = Service(ok(Warning=advice, ETag='"7"')).client().set_conf(incomingdiscoveryuser="a:b")
    assert done.warnings == ("too short", 'say "no"')
    assert done.etag == '"7"'
    assert warnings({}) == ()


PUBLISHED = {
    "components": {"parameters": {"Dry": {"name": "dry_run"}}},
    "paths": {
        "/storlever/api/v1/san/tgt/target_list/{iqn}": {
            "delete": {"parameters": [{"name": "force"}, {"$ref": "#/components/parameters/Dry"}]},
            "put": {"parameters": [{"name": "force"}]},
        }
    },
}


def test_a_rehearsal_is_the_same_request_as_a_question() -> None:
    body = {"steps": [{"step": "delete target", "effect": "closes 2 sessions"}], "warnings": []}
    service = Service(ok(PUBLISHED), ok(body))
    found = service.client().rehearse(operations.delete_target(IQN, force=True))
    assert found.steps[0].effect == "closes 2 sessions"
    assert dict(service.asked[1].url.params) == {"force": "true", "dry_run": "true"}
    assert service.asked[1].method == "DELETE"


@pytest.mark.parametrize(
    "call", [operations.set_target(IQN, state="offline"), operations.delete_lun(IQN, 1)]
)
def test_a_service_that_would_do_what_it_should_only_tell_is_not_asked(call: Any) -> None:
    service = Service(ok(PUBLISHED))
    with pytest.raises(NotUnderstood):
        service.client().rehearse(call)
    assert [each.method for each in service.asked] == ["GET"]


def test_a_token_goes_in_a_header_and_no_secret_in_what_is_shown() -> None:
    secret = "S3CRET"
    service = Service(ok([]))
    with Client(token=secret, transport=httpx2.MockTransport(service)) as client:
        client.targets()
    assert service.asked[0].headers["authorization"] == f"Bearer {secret}"
    shown = repr(operations.add_user(IQN, "joe", secret)) + repr(User("joe", secret))
    assert secret not in shown


# -- again, or not


@pytest.mark.parametrize(
    "call",
    [
        operations.targets(),
        operations.set_lun(IQN, 1, readonly=True),
        operations.create_lun(IQN, 1, "/a"),
        operations.add_user(IQN, "joe", "a long password"),
    ],
    ids=lambda call: str(call.method),
)
def test_what_may_be_done_twice_is_tried_again_after_an_answer_that_never_came(call: Any) -> None:
    service = Service(LOST, REFUSED, ok([]))
    service.client().do(call)
    assert len(service.asked) == 3


def test_each_create_has_one_key_of_its_own_whatever_the_tries() -> None:
    service = Service(LOST, httpx2.Response(201))
    with service.client() as client:
        client.create_target(IQN)
        client.create_target(IQN)
    first, again, other = (each.headers[KEY] for each in service.asked)
    assert first == again != other


@pytest.mark.parametrize(
    "call",
    [
        operations.close_session(IQN, 3),
        operations.create_token("me", "admin"),
        operations.set_target(IQN, state="offline").matching('"7"'),
    ],
    ids=("a session", "a token", "If-Match"),
)
def test_what_may_not_be_done_twice_is_not_and_the_error_says_that_it_may_be_done(
    call: Any,
) -> None:
    service = Service(LOST, ok())
    with pytest.raises(Unreachable) as caught:
        service.client().do(call)
    assert len(service.asked) == 1
    assert caught.value.maybe_done


def test_what_was_never_sent_is_tried_again_whatever_it_is() -> None:
    service = Service(REFUSED, ok({"closed": 1}))
    assert service.client().close_session(IQN, 3).closed == 1
    assert len(service.asked) == 2


def test_a_service_that_is_not_there_is_given_up_when_patience_ends_and_not_before() -> None:
    service = Service(REFUSED)
    started = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        service.client(patience=0.4).targets()
    assert len(service.asked) > 1
    assert 0.4 <= time.monotonic() - started < 2
    assert not caught.value.maybe_done


def test_without_patience_there_is_one_try() -> None:
    service = Service(REFUSED)
    with pytest.raises(Unreachable):
        service.client(patience=0).targets()
    assert len(service.asked) == 1


def test_what_nothing_came_of_is_tried_again_when_the_service_says_so() -> None:
    busy = {"Retry-After": "1"}
    service = Service(refused(503, "tgtd-unavailable", **busy), ok({"closed": 1}))
    started = time.monotonic()
    service.client().close_session(IQN, 3)
    assert 1 <= time.monotonic() - started < 4
    assert len(service.asked) == 2


def test_a_wait_beyond_patience_is_not_begun() -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable):
        Service(refused(503, "too-busy", **{"Retry-After": "60"})).client(patience=2).targets()
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "state-doubtful"), (500, "internal"), (409, "lun-busy"), (429, "too-many-failures")],
)
def test_no_other_refusal_is_tried_again(status: int, code: str) -> None:
    service = Service(refused(status, code))
    with pytest.raises(Problem):
        service.client().set_lun(IQN, 1, readonly=True)
    assert len(service.asked) == 1


def test_a_create_waits_for_its_first_try_to_end() -> None:
    flight = refused(409, "idempotency-key-in-flight")
    service = Service(LOST, flight, httpx2.Response(201))
    service.client().create_target(IQN)
    assert len(service.asked) == 3


def test_what_an_earlier_try_may_have_deleted_is_deleted() -> None:
    gone = refused(404, "lun-not-found")
    Service(LOST, gone).client().delete_lun(IQN, 1)
    for service in (Service(gone), Service(REFUSED, gone)):
        with pytest.raises(NotFound):
            service.client().delete_lun(IQN, 1)


def test_the_client_for_asyncio_does_the_same() -> None:
    service = Service(LOST, ok([IQN]), refused(422, "invalid"))

    async def ask() -> tuple[str, ...]:
        async with AsyncClient(transport=httpx2.MockTransport(service)) as client:
            found = await client.targets()
            with pytest.raises(Invalid):
                await client.delete_target(IQN)
            return found

    assert asyncio.run(ask()) == (IQN,)


# -- events


def stream(*events: tuple[str, str]) -> httpx2.Response:
    """Each event's id and type."""
    lines = [
        f"id: {number}\nevent: {kind}\ndata: {json.dumps({'time': '2026-01-02T03:04:05Z'})}\n\n"
        for number, kind in events
    ]
    text = ": alive\n\n" + "".join(lines)
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, text=text)


def test_events_go_on_after_a_lost_connection_where_they_were() -> None:
    answers = (stream(("e-1", "drift"), ("e-2", "tgtd-up")), REFUSED, stream(("e-3", "reset")))
    service = Service(*answers)
    trouble: list[ClientError] = []
    found = service.client().events(lost=trouble.append)
    assert [(each.id, each.type) for each in take(found, 3)] == [
        ("e-1", "drift"),
        ("e-2", "tgtd-up"),
        ("e-3", "reset"),
    ]
    assert [each.headers.get("last-event-id") for each in service.asked] == [None, "e-2", "e-2"]
    assert len(trouble) == 2


def test_a_place_to_go_on_from_is_kept_although_nothing_has_happened_there() -> None:
    head = {"Content-Type": "text/event-stream"}
    service = Service(
        httpx2.Response(200, headers=head, text="id: e-9\n\n"), stream(("e-10", "drift"))
    )
    assert next(service.client().events()).id == "e-10"
    assert service.asked[1].headers["last-event-id"] == "e-9"


def test_patience_is_counted_from_when_events_were_lost() -> None:
    def slow() -> Iterator[bytes]:
        yield b"id: e-1\n\n"
        time.sleep(0.5)

    head = {"Content-Type": "text/event-stream"}
    service = Service(httpx2.Response(200, headers=head, content=slow()), stream(("e-2", "drift")))
    assert next(service.client().events(patience=0.3)).id == "e-2"


def test_events_that_nobody_sends_any_more_end_with_an_error() -> None:
    with pytest.raises(Unreachable):
        list(Service(REFUSED).client().events(patience=0.2))


def test_events_that_may_not_be_read_are_refused_at_once() -> None:
    service = Service(refused(403, "forbidden"))
    with pytest.raises(Problem):
        next(service.client().events())
    assert len(service.asked) == 1


def test_events_reach_asyncio_too() -> None:
    service = Service(stream(("e-1", "drift")), REFUSED, stream(("e-2", "drift")))

    async def read() -> list[str]:
        found = []
        async with AsyncClient(transport=httpx2.MockTransport(service)) as client:
            async for each in client.events():
                found.append(each.id)
                if len(found) == 2:
                    break
        return found

    assert asyncio.run(read()) == ["e-1", "e-2"]


def take(events: Iterator[Any], count: int) -> list[Any]:
    return [next(events) for _ in range(count)]


def test_files_of_tls_that_cannot_be_read_are_told_when_the_client_is_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Client("https://localhost:1", ca_file=tmp_path / "none.pem")


@pytest.mark.parametrize("url", ["gopher://x", "localhost:1", "http://", "http://a/?b", ""])
def test_what_is_no_url_is_told_when_the_client_is_made(url: str) -> None:
    with pytest.raises(ValueError, match="no URL"):
        Client(url)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_is_sent_without_blanks_around_it_and_never_told(kind: Any) -> None:
    made = kind(token=" secret\n")
    assert made._http.headers["Authorization"] == "Bearer secret"
    for token in ("sec\nret", "sec ret", "secr\u00e9t", "sec\x00ret", "  "):
        with pytest.raises(ValueError, match=r"^the token must be of printable ASCII") as caught:
            kind(token=token)
        assert "sec" not in str(caught.value)
