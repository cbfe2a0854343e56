"""The HTTP edge without a socket: guard, errors, bodies, and shapes, on the in-memory twins."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict
from pydantic import ValidationError
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from storlever.errors import (
    ConfigError,
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    StateFailed,
    StateUnusable,
    StorLeverError,
    Throttled,
    Unauthenticated,
    Unavailable,
)
from storlever.inventory import Direction
from storlever.model import Account, DiscoveryAuth, LogicalUnit
from storlever.status import UnitStatus
from storlever.tgtd.reply import Reply
from storlever.web.app import create_app
from storlever.web.authentication import Authentication
from storlever.web.body import MAX_BODY, MAX_DEPTH, MAX_KEYS
from storlever.web.edge import Edge
from storlever.web.gate import MAX_HEADER, Gate
from storlever.web.hosts import host_of, is_local
from storlever.web.problem import CODES, STATUSES, TITLES, of_error
from storlever.web.san import PREFIX
from storlever.web.threads import Threaded
from storlever.web.wire import (
    Conf,
    ConfUpdate,
    LunCreate,
    LunShown,
    LunUpdate,
    PasswordUpdate,
    TargetUpdate,
    UserCreate,
    wire_name,
)
from tests.unit import strategies as some
from tests.unit.core import Core
from tests.world import WIKI_TARGET, folder, image

LOCAL = "http://localhost"
TARGET = f"{PREFIX}/target_list/{WIKI_TARGET}"
SECRET = "correct horse battery staple"


# -- whose request it is


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost:6543", "localhost"),
        ("127.0.0.1:6543", "127.0.0.1"),
        ("[::1]:6543", "::1"),
        ("[::1]", "::1"),
        ("a-b.example.com", "a-b.example.com"),
        ("", None),
        ("localhost:", None),
        ("localhost:123456", None),
        ("localhost:1:2", None),
        ("::1", None),
        ("[::1", None),
        ("user@localhost", None),
        ("localhost/x", None),
        ("localhost ", None),
        ("localhost\n", None),
        ("lo_calhost", None),
        ("löcalhost", None),
    ],
)
def test_a_host_is_read_from_its_header_or_not_at_all(header: str, host: str | None) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com", False),
        ("127.1", False),
        ("2130706433", False),
        ("0x7f000001", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("::", False),
        ("example.com", False),
    ],
)
def test_this_machine_is_known_by_its_very_spelling(host: str, local: bool) -> None:
    assert is_local(host) is local


@given(st.text(max_size=30))
def test_any_host_header_can_be_judged(header: str) -> None:
    host = host_of(header)
    if host is not None:
        assert host.lower() == host
        assert isinstance(is_local(host), bool)


@pytest.fixture(scope="module")
def guarded() -> TestClient:
    """An application that says yes to whatever the gate lets through."""
    service = Core(Path("/nowhere")).service
    edge = Edge()
    gate = Gate(PlainTextResponse("yes"), edge, Authentication(edge, service), service)
    return TestClient(gate, LOCAL)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "other.example.com"}, 421),
        ({"Host": "127.0.0.1.example.com"}, 421),
        ({"Host": "bad host"}, 400),
        ({"Host": ""}, 400),
    ],
)
def test_only_known_hosts_are_served(
    guarded: TestClient, headers: dict[str, str], status: int
) -> None:
    assert guarded.get("/", headers=headers).status_code == status


def test_two_hosts_are_none(guarded: TestClient) -> None:
    answer = guarded.get("/", headers=[("Host", "localhost"), ("Host", "localhost")])
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://evil.example.com"}, False),
        ({"Origin": "http://localhost:8080"}, False),
        ({"Origin": "http://localhost.evil.example.com"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://["}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
    ],
)
def test_a_page_of_another_site_may_not_write(
    guarded: TestClient, method: str, headers: dict[str, str], allowed: bool
) -> None:
    answer = guarded.request(method, "/", headers=headers)
    assert answer.status_code == (200 if allowed else 403)
    assert guarded.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/a%0Ab", "/a%00", "/a%1B[2J", "/%7F"])
def test_a_path_with_control_characters_leads_nowhere(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 404


@pytest.mark.parametrize(
    "said",
    [
        {"X": "x" * MAX_HEADER},
        {f"X-{number}": "x" * 1000 for number in range(17)},
        {f"X{number}": "" for number in range(3000)},
    ],
    ids=["one", "some", "many"],
)
def test_a_header_has_a_limit_however_it_arrives(guarded: TestClient, said: dict[str, str]) -> None:
    answer = guarded.get("/", headers=said)
    assert (answer.status_code, answer.json()["code"]) == (431, "header-too-large")
    assert guarded.get("/" + "x" * MAX_HEADER).status_code == 431
    assert guarded.get("/?" + "x" * MAX_HEADER).status_code == 431
    assert guarded.get("/", headers={"X": "x" * (MAX_HEADER - 1000)}).status_code == 200


def test_a_body_whose_length_is_said_twice_is_refused(guarded: TestClient) -> None:
    """RFC 9112, 6.3: somebody on the way may have read another body, and so another request."""
    both = {"Content-Length": "2", "Transfer-Encoding": "chunked"}
    answer = guarded.post("/", content=b"{}", headers=both)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("host", ["localhost", "other.example.com"])
def test_every_answer_is_marked_and_kept_by_nobody(guarded: TestClient, host: str) -> None:
    answers = [guarded.get("/", headers={"Host": host}) for _ in range(2)]
    assert answers[0].headers["X-Request-Id"] != answers[1].headers["X-Request-Id"]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
        if host != "localhost":
            assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


# -- errors as answers

SCOPE = {"type": "http", "path": "/x", "headers": [], "state": {"request_id": "id"}}

ERRORS: list[tuple[StorLeverError, int, str]] = [
    (Invalid(Fault("backing_path", "must be")), 422, "invalid"),
    (NotFound("no target", code="target-not-found"), 404, "target-not-found"),
    (Conflict("there", code="target-exists"), 409, "target-exists"),
    (Refused("tgtd will not"), 409, "refused"),
    (Unauthenticated("who?"), 401, "token-missing"),
    (Throttled(3.2), 429, "too-many-failures"),
    (Forbidden("no"), 403, "forbidden"),
    (Unavailable("tgtd is down"), 503, "tgtd-unavailable"),
    (StateFailed("no luck"), 503, "state-unwritable"),
    (StateFailed("no room", code="state-full"), 507, "state-full"),
    (StateFailed("who knows", code="state-doubtful"), 503, "state-doubtful"),
]


@pytest.mark.parametrize(("error", "status", "code"), ERRORS)
def test_an_error_is_answered_in_one_shape(error: StorLeverError, status: int, code: str) -> None:
    answer = of_error(SCOPE, error)
    assert answer.status_code == status
    assert answer.media_type == "application/problem+json"
    body = json.loads(bytes(answer.body))
    assert body["status"] == status
    assert body["code"] == body["exception"] == code
    assert body["type"].endswith(code)
    assert body["detail"] == body["info"] != ""
    assert (body["instance"], body["request_id"]) == ("/x", "id")
    assert body["title"] == TITLES[status]


def test_every_error_that_a_request_can_meet_has_a_status() -> None:
    """Those of the start end the service before it serves."""
    leaves = set(StorLeverError.__subclasses__())
    assert leaves - {StateUnusable, ConfigError} == set(STATUSES) - {Throttled}
    assert {*STATUSES.values(), *CODES} <= TITLES.keys()


def test_faults_are_told_by_the_names_of_the_api() -> None:
    error = Invalid(Fault("backing_path", "is gone"), Fault("serial_number", "is long"))
    body = json.loads(bytes(of_error(SCOPE, error).body))
    assert body["errors"] == [
        {"field": "path", "message": "is gone"},
        {"field": "scsi_sn", "message": "is long"},
    ]
    assert body["detail"] == "path: is gone; scsi_sn: is long"


def test_sessions_in_the_way_are_told() -> None:
    error = Conflict("in use", code="sessions-active", blocking=(("iqn.me", "10.0.0.1"),))
    body = json.loads(bytes(of_error(SCOPE, error).body))
    assert body["blocking"] == [{"initiator": "iqn.me", "addr": "10.0.0.1"}]


def test_what_is_unavailable_says_when_to_ask_again() -> None:
    assert of_error(SCOPE, Unavailable("x")).headers["Retry-After"] == "2"


# -- the application on the twins


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with folder() as path:
        image(path / "a.img", 1)
        core = Core(path)
        core.settle()
        core.service.add_target(WIKI_TARGET)
        yield core


@pytest.fixture(scope="module")
def client(core: Core) -> TestClient:
    return TestClient(
        create_app(Threaded(core.service), Edge()), LOCAL, raise_server_exceptions=False
    )


def put(client: TestClient, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
    """Of the target; the status, and the problem if it is one."""
    answer = client.put(TARGET, content=body, headers={"Content-Type": kind})
    return answer.status_code, answer.json() if answer.content else None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 200),
        (b" \n{ }\t", 200),
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe{\0}\0", 400),
        (b"\xef\xbb\xbf{}", 400),
        (b'{"state": "ready", "state": "ready"}', 400),
        (b'{"state": NaN}', 400),
        (b'{"state": Infinity}', 400),
        (b"[" * 100_000, 400),
        (b'{"x": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}", 422),
        (b'{"x": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", 400),
        (b'{"x":' * MAX_DEPTH + b"[]" + b"}" * MAX_DEPTH, 400),
        (b'{"state": ' + b"1" * 5000 + b"}", 400),
        (b"{" + b",".join(b'"%d":1' % key for key in range(MAX_KEYS)) + b"}", 422),
        (b"{" + b",".join(b'"%d":1' % key for key in range(MAX_KEYS + 1)) + b"}", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b"{}" + b" " * (MAX_BODY - 2), 200),
        (b"{}" + b" " * (MAX_BODY - 1), 413),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_is_one_sound_json_object(client: TestClient, body: bytes, status: int) -> None:
    found, problem = put(client, body)
    assert found == status
    if status != 200:
        assert problem["code"] in (CODES.get(status), "invalid")


@pytest.mark.parametrize("part", ["bytes=99999999-", "bytes=x", "bytes=0-1,3-4"])
def test_the_documentation_is_sent_whole(client: TestClient, part: str) -> None:
    asset = "/docs/assets/swagger-ui.css"
    answer = client.get(asset, headers={"Range": part})
    assert (answer.status_code, answer.content) == (200, client.get(asset).content)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonx", 415),
        ("", 415),
    ],
)
def test_a_body_has_the_type_of_json(client: TestClient, kind: str, status: int) -> None:
    assert put(client, b"{}", kind)[0] == status


def test_an_error_of_our_own_tells_nothing_but_its_number(client: TestClient, core: Core) -> None:
    def broken(_: object) -> Reply:
        raise RuntimeError(SECRET)

    core.flaky.fail(1, broken)
    answer = client.get(TARGET)
    core.flaky.mend()
    assert answer.status_code == 500
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Connection"] == "close"
    assert answer.json()["code"] == "internal"
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
FIELDS = {
    "iqn": "iqn.2014-09.com.example:x",
    "state": "offline",
    "initiator_addr_list": ["10.0.0.1/24"],
    "initiator_name_list": ["iqn.2014-09.com.example:me"],
    "incomingdiscoveryuser": "user:secret",
    "outgoingdiscoveryuser": "",
    "username": "user",
    "password": "secret",
    "lun": 1,
    "path": "/gone.img",
    "device_type": "cd",
    "bs_type": "ssc",
    "direct_map": True,
    "write_cache": False,
    "readonly": True,
    "online": False,
    "shared": False,
    "scsi_id": "",
    "scsi_sn": "x,y",
}
ROUTES = (
    ("PUT", f"{PREFIX}/conf"),
    ("POST", f"{PREFIX}/target_list"),
    ("PUT", TARGET),
    ("POST", f"{TARGET}/incominguser_list"),
    ("PUT", f"{TARGET}/incominguser_list/user"),
    ("POST", f"{TARGET}/outgoinguser_list"),
    ("PUT", f"{TARGET}/outgoinguser_list/user"),
    ("POST", f"{TARGET}/lun_list"),
    ("PUT", f"{TARGET}/lun_list/1"),
)
NAMED = st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON, max_size=2)
BODIES = st.builds(
    lambda right, wrong: {name: FIELDS[name] for name in right} | wrong,
    st.sets(st.sampled_from(sorted(FIELDS)), max_size=4),
    NAMED,
)


@given(route=st.sampled_from(ROUTES), body=BODIES | JSON)
@example(route=ROUTES[0], body={"incomingdiscoveryuser": "a:" + SECRET, "outgoingdiscoveryuser": 1})
@example(route=ROUTES[2], body={"initiator_addr_list": ["fe80::1%eth0"]})
@example(route=ROUTES[3], body={"username": "\udc80", "password": SECRET})
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_is_an_error_of_ours(
    client: TestClient, route: tuple[str, str], body: object
) -> None:
    """Whatever comes is taken or refused with a reason; a password is never said back."""
    answer = client.request(
        *route, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (200, 201, 400, 404, 409, 422)
    assert SECRET not in answer.text
    if answer.status_code < 300:
        assert answer.content == b""
        return
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert all(fault["field"] and fault["message"] for fault in problem["errors"])
    assert bool(problem["errors"]) is (answer.status_code == 422)


@given(path=st.text(max_size=30))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_is_an_error_of_ours(client: TestClient, path: str) -> None:
    answer = client.get(f"{PREFIX}/{quote(path, safe='/', errors='replace')}")
    assert answer.status_code in (200, 404, 405)


# -- shapes


@given(some.units())
def test_a_lun_that_is_shown_can_be_given_as_it_is(unit: LogicalUnit) -> None:
    """What GET answers, less what only it tells, is a POST of the same unit."""
    shown = LunShown.of(UnitStatus(unit, "ready", None, 1024)).model_dump(mode="json")
    only_shown = {"state", "reason", "size"}
    given_back = {name: value for name, value in shown.items() if name not in only_shown}
    body = LunCreate.model_validate(given_back)
    wished = asdict(unit)
    del wished["product"]  # read from the device, never given
    assert {"lun": body.lun, **body.fields()} == wished
    assert all(name in shown for name in map(wire_name, wished))


@pytest.mark.parametrize("shape", [LunUpdate, TargetUpdate, ConfUpdate])
def test_what_is_absent_is_left_as_it_is(
    shape: type[LunUpdate | TargetUpdate | ConfUpdate],
) -> None:
    body = shape.model_validate({})
    match body:
        case LunUpdate():
            assert body.fields() == {}
        case TargetUpdate():
            assert body.changes() == {}
        case ConfUpdate():
            assert body.directions() == {}
    for name in shape.model_fields:
        with pytest.raises(ValidationError):
            shape.model_validate({name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [("lun", "1"), ("lun", 1.0), ("lun", True), ("readonly", "true"), ("readonly", 1), ("path", 7)],
)
def test_types_are_those_of_json(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        LunUpdate.model_validate({name: value})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="read_only"):
        LunCreate.model_validate({"lun": 1, "path": "/a", "read_only": True})


def test_access_is_given_in_the_form_that_tgtd_matches_and_once() -> None:
    body = TargetUpdate.model_validate(
        {"initiator_addr_list": ["10.0.0.9/24", "10.0.0.0/24", "10.0.0.1/32"]}
    )
    assert body.changes() == {"addresses": ("10.0.0.0/24", "10.0.0.1")}


def test_a_bad_entry_of_a_list_is_named() -> None:
    with pytest.raises(ValidationError, match="entry 1: must be"):
        TargetUpdate.model_validate({"initiator_addr_list": ["10.0.0.1", "host"]})


@given(some.accounts)
def test_a_discovery_user_is_split_at_its_first_colon(account: Account) -> None:
    if ":" in account.name:
        return
    text = f"{account.name}:{account.secret}"
    body = ConfUpdate.model_validate({"incomingdiscoveryuser": text, "outgoingdiscoveryuser": ""})
    assert body.directions() == {Direction.INCOMING: account, Direction.OUTGOING: None}


@given(some.accounts)
def test_discovery_users_are_shown_without_their_password(account: Account) -> None:
    shown = Conf.of(DiscoveryAuth(account.name, None))
    assert shown.incomingdiscoveryuser == f"{account.name}:*"
    assert shown.outgoingdiscoveryuser == ""


@pytest.mark.parametrize(
    "body",
    [
        UserCreate(username="user", password=SECRET),
        PasswordUpdate(password=SECRET),
        ConfUpdate(incomingdiscoveryuser=f"in:{SECRET}", outgoingdiscoveryuser=f"out:{SECRET}"),
    ],
)
def test_a_password_is_in_no_repr(body: UserCreate | PasswordUpdate | ConfUpdate) -> None:
    assert SECRET not in f"{body!r} {body}"
