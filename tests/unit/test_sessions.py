"""Sessions over HTTP, on the in-memory twins."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from storlever.model import Traffic
from storlever.principal import Role
from storlever.web.app import create_app
from storlever.web.edge import Edge
from storlever.web.san import PREFIX
from storlever.web.threads import Threaded
from tests.unit.core import Core
from tests.world import WIKI_TARGET, folder, image

TARGET = f"{PREFIX}/target_list/{WIKI_TARGET}"
SESSIONS = f"{TARGET}/session_list"
HOST, OTHER = "iqn.2026-01.test:host", "iqn.2026-01.test:other"


@pytest.fixture
def core() -> Iterator[Core]:
    with folder() as path:
        core = Core(path)
        core.settle()
        core.service.add_target(WIKI_TARGET)
        core.service.add_unit(WIKI_TARGET, 1, {"backing_path": str(image(path / "a.img", 1))})
        yield core


@pytest.fixture
def client(core: Core) -> TestClient:
    app = create_app(Threaded(core.service), Edge())
    return TestClient(app, "http://localhost", client=("127.0.0.1", 1))


@pytest.fixture(autouse=True)
def _admin(client: TestClient, core: Core) -> None:
    """TestClient's server is no loopback address."""
    _, secret = core.service.add_token("an-admin", Role.ADMIN, None)
    client.headers["Authorization"] = f"Bearer {secret}"


def listed(client: TestClient) -> list[dict[str, Any]]:
    answer = client.get(SESSIONS)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()
    return found


def test_a_session_is_told_with_all_that_is_known_of_it(core: Core, client: TestClient) -> None:
    core.service.sampler.look()
    number = core.tgtd.log_in(WIKI_TARGET, HOST, "10.0.0.5", alias="host-a")
    core.tgtd.work(WIKI_TARGET, 1, number, Traffic(4096, 8, 512, 1, 2))
    core.settle()
    core.service.sampler.look()
    (told,) = listed(client)
    assert datetime.fromisoformat(told.pop("since")).tzinfo is not None
    assert told == {
        "id": number,
        "initiator": HOST,
        "alias": "host-a",
        "connections": [{"cid": 0, "addr": "10.0.0.5"}],
        "read_bytes": 4096,
        "reads": 8,
        "written_bytes": 512,
        "writes": 1,
        "errors": 2,
    }
    assert client.get(f"{SESSIONS}/{number}").json() | {"since": None} == told | {"since": None}


def test_who_has_just_come_is_listed_though_not_counted_yet(core: Core, client: TestClient) -> None:
    number = core.tgtd.log_in(WIKI_TARGET, HOST)
    (told,) = listed(client)
    assert (told["id"], told["read_bytes"]) == (number, None)
    core.tgtd.log_out(WIKI_TARGET, number)
    assert listed(client) == []


def test_while_tgtd_is_hung_nobody_knows_of_sessions(core: Core, client: TestClient) -> None:
    core.tgtd.hung = True
    assert client.get(SESSIONS).json()["code"] == "tgtd-unavailable"


@pytest.mark.parametrize("number", ["99", "0", "-1", "x", str(1 << 70)])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_session_that_is_not_there_is_not_found(
    client: TestClient, number: str, method: str
) -> None:
    answer = client.request(method, f"{SESSIONS}/{number}")
    assert (answer.status_code, answer.json()["code"]) == (404, "session-not-found")


@pytest.mark.parametrize("path", ["session_list", "session_list/1", "access"])
def test_there_are_no_sessions_of_a_target_that_is_not_there(client: TestClient, path: str) -> None:
    answer = client.get(f"{PREFIX}/target_list/{OTHER}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "target-not-found")


def test_a_session_can_be_ended_and_the_others_stay(core: Core, client: TestClient) -> None:
    number, other = (core.tgtd.log_in(WIKI_TARGET, name) for name in (HOST, OTHER))
    answer = client.delete(f"{SESSIONS}/{number}")
    assert (answer.status_code, answer.json()) == (200, {"closed": 1, "removed": []})
    core.service.sampler.look()
    assert [each["id"] for each in listed(client)] == [other]


def test_who_is_blocked_is_off_the_lists_before_its_sessions_are_closed(
    core: Core, client: TestClient
) -> None:
    core.service.edit_target(WIKI_TARGET, names=(HOST, OTHER), addresses=("10.0.0.5",))
    number = core.tgtd.log_in(WIKI_TARGET, HOST, "10.0.0.5")
    core.tgtd.log_in(WIKI_TARGET, HOST, "10.0.0.5")
    other = core.tgtd.log_in(WIKI_TARGET, OTHER, "10.0.0.6")
    answer = client.delete(f"{SESSIONS}/{number}?block=true")
    removed = [{"initiator_name": HOST}, {"initiator_addr": "10.0.0.5"}]
    assert (answer.status_code, answer.json()) == (200, {"closed": 2, "removed": removed})
    target = core.service.inventory.target(WIKI_TARGET)
    assert (target.access.names, target.access.addresses) == ((OTHER,), ())
    core.service.sampler.look()
    assert [each["id"] for each in listed(client)] == [other]


@pytest.mark.parametrize(
    ("names", "addresses", "named"),
    [
        ([], [], "both lists are empty"),
        ([HOST], [], HOST),
        ([HOST, OTHER], ["10.0.0.0/8"], "10.0.0.0/8"),
        ([HOST, OTHER], ["ALL"], "ALL"),
    ],
)
def test_who_cannot_be_blocked_alone_is_not_and_stays(
    core: Core, client: TestClient, names: list[str], addresses: list[str], named: str
) -> None:
    core.service.edit_target(WIKI_TARGET, names=tuple(names), addresses=tuple(addresses))
    before = core.service.inventory
    number = core.tgtd.log_in(WIKI_TARGET, HOST, "10.0.0.5")
    answer = client.delete(f"{SESSIONS}/{number}?block=true")
    assert (answer.status_code, answer.json()["code"]) == (409, "cannot-block")
    assert named in answer.json()["detail"]
    assert core.service.inventory is before
    core.service.sampler.look()
    assert len(listed(client)) == 1


def test_who_asks_for_access_hears_the_rule_and_a_reason(core: Core, client: TestClient) -> None:
    core.service.edit_target(WIKI_TARGET, names=(HOST,))
    answer = client.get(f"{TARGET}/access", params={"initiator": HOST, "address": "10.0.0.1"})
    assert answer.json()["admitted"] is True
    assert answer.json()["rule"] == "initiator_name_list"
    assert HOST in answer.json()["reason"]
    answer = client.get(f"{TARGET}/access", params={"initiator": OTHER})
    assert (answer.json()["admitted"], answer.json()["rule"]) == (False, "unlisted")
    core.known.down = "tgtd has died"
    assert client.get(f"{TARGET}/access").json()["rule"] == "state"


@pytest.mark.parametrize(
    ("query", "field"), [("address=x", "address"), ("address=10.0.0.0/8", "address"), ("x=1", "x")]
)
def test_a_question_that_makes_no_sense_names_the_field(
    client: TestClient, query: str, field: str
) -> None:
    answer = client.get(f"{TARGET}/access?{query}")
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


def test_a_rehearsal_closes_nothing_and_says_what_would_be(core: Core, client: TestClient) -> None:
    core.service.edit_target(WIKI_TARGET, names=(HOST, OTHER))
    number = core.tgtd.log_in(WIKI_TARGET, HOST)
    before = core.service.inventory
    for query in ("dry_run=true", "dry_run=true&block=true"):
        answer = client.delete(f"{SESSIONS}/{number}?{query}")
        assert answer.status_code == 200
        assert f"closes 1 session of {WIKI_TARGET}" in [
            step["effect"] for step in answer.json()["steps"]
        ]
    assert core.service.inventory is before
    core.service.sampler.look()
    assert len(listed(client)) == 1


@pytest.mark.parametrize("block", ["true", "false"])
def test_one_that_is_gone_already_will_do_where_that_is_said(
    client: TestClient, block: str
) -> None:
    answer = client.delete(f"{SESSIONS}/99?missing_ok=true&block={block}")
    assert (answer.status_code, answer.json()) == (200, {"closed": 0, "removed": []})
