"""Documents: what they lead to from any state, and what of them is refused, with its place."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from starlette.testclient import TestClient

from storlever.audit import MASK, Search
from storlever.document import Document, TargetPart, UnitPart, UserPart, toward
from storlever.errors import Conflict, Invalid
from storlever.inventory import Direction, Inventory
from storlever.model import Account, LogicalUnit, Target
from storlever.web.app import create_app
from storlever.web.body import HUGE_BODY, MAX_BODY
from storlever.web.config import ENOUGH
from storlever.web.edge import Edge
from storlever.web.problem import MOST_FAULTS
from storlever.web.san import PREFIX
from storlever.web.threads import Threaded
from tests.unit import strategies as some
from tests.unit.core import Core
from tests.world import folder, image

T, U = "iqn.2026-01.test:one", "iqn.2026-01.test:two"
IN, OUT = Direction.INCOMING, Direction.OUTGOING
CONFIG = "/storlever/api/v1/config"
LUN = {"backing_path": "/srv/a.img", "scsi_id": "0123", "serial_number": "SN"}


def made(old: LogicalUnit | None, lun: int, given: Mapping[str, Any]) -> LogicalUnit:
    return replace(old, **given) if old else LogicalUnit(lun=lun, **given)


def whole(inventory: Inventory) -> Document:
    """The document that says all of it."""
    return Document(
        tuple(_part(inventory.targets[name]) for name in sorted(inventory.targets)),
        tuple(UserPart(each.name, each.secret) for each in inventory.accounts.values()),
        {IN: inventory.discovery.incoming, OUT: inventory.discovery.outgoing},
    )


def _part(target: Target) -> TargetPart:
    names = [name for name in LogicalUnit.__struct_fields__ if name != "lun"]
    return TargetPart(
        target.name,
        target.online,
        tuple(sorted(target.access.names)),
        tuple(sorted(target.access.addresses)),
        tuple(sorted(target.incoming)),
        (target.outgoing,) if target.outgoing else (),
        tuple(
            UnitPart(unit.lun, {name: getattr(unit, name) for name in names})
            for unit in target.units
        ),
    )


def unordered(inventory: Inventory) -> Inventory:
    """Without the order of what has none to those who read it."""
    targets = [
        replace(
            target,
            incoming=tuple(sorted(target.incoming)),
            access=replace(
                target.access,
                names=tuple(sorted(target.access.names)),
                addresses=tuple(sorted(target.access.addresses)),
            ),
        )
        for target in inventory.targets.values()
    ]
    return Inventory.of(targets, inventory.accounts.values(), inventory.discovery)


# -- where a document leads


@given(inventory=some.inventories(), prune=st.booleans())
def test_a_document_of_what_is_there_changes_nothing(inventory: Inventory, prune: bool) -> None:
    assert not toward(whole(inventory), inventory, made, prune=prune)


@given(wanted=some.inventories(), there=some.inventories())
def test_a_whole_document_leads_there_from_anywhere(wanted: Inventory, there: Inventory) -> None:
    edit = toward(whole(wanted), there, made, prune=True)
    assert unordered(there.after(edit)) == unordered(wanted)


@given(there=some.inventories())
def test_an_empty_document_changes_nothing_even_where_it_prunes(there: Inventory) -> None:
    assert not toward(Document(), there, made, prune=True)
    parts = tuple(TargetPart(name) for name in there.targets)
    assert not toward(Document(parts), there, made, prune=True)


@given(wanted=some.inventories(), there=some.inventories())
def test_without_pruning_nothing_goes(wanted: Inventory, there: Inventory) -> None:
    try:
        after = there.after(toward(whole(wanted), there, made, prune=False))
    except Conflict:  # there is room for one outgoing user
        return
    assert set(after.targets) == {*wanted.targets, *there.targets}
    for name, old in there.targets.items():
        assert set(after.targets[name].incoming) >= set(old.incoming)
        assert {unit.lun for unit in after.targets[name].units} >= {u.lun for u in old.units}


# -- what is refused

ALICE = Account("alice", "alice's secret")
HAS = Inventory.of(
    [Target(T, incoming=("alice",), units=(LogicalUnit(1, **LUN),))],  # type: ignore[arg-type]
    [ALICE],
    Inventory().discovery,
)
FAULTY = {
    "a target that is there twice": (
        Document((TargetPart(U), TargetPart(U))),
        ["targets.1.name"],
    ),
    "a LUN that is there twice": (
        Document((TargetPart(U, units=(UnitPart(1, LUN), UnitPart(2, LUN), UnitPart(1, LUN))),)),
        ["targets.0.units.2.lun"],
    ),
    "a user of a target that is there twice": (
        Document((TargetPart(U, incoming=("alice", "alice")),)),
        ["targets.0.incoming.1"],
    ),
    "users that nobody knows": (
        Document((TargetPart(T), TargetPart(U, incoming=("x",), outgoing=("y",))), (), {IN: "z"}),
        ["targets.1.incoming.0", "targets.1.outgoing.0", "discovery.incoming"],
    ),
    "a new user without a password": (
        Document((TargetPart(U, incoming=("bob",)),), (UserPart("bob"),)),
        ["users.0.secret"],
    ),
    "a user that nothing uses": (
        Document((TargetPart(U),), (UserPart("alice"), UserPart("bob", "bob's secret"))),
        ["users.1.name"],
    ),
    "a user that is there twice": (
        Document((), (UserPart("alice", "a"), UserPart("alice", "b"))),
        ["users.1.name"],
    ),
    "types that do not fit": (
        Document((TargetPart(T, units=(UnitPart(1, {"backing_type": "ssc"}),)),)),
        ["targets.0.units.0.backing_type"],
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_named_by_its_place(name: str) -> None:
    document, places = FAULTY[name]
    with pytest.raises(Invalid) as caught:
        toward(document, HAS, made, prune=False)
    assert [fault.field for fault in caught.value.faults] == places


# -- over HTTP, down to tgtd


@pytest.fixture
def core() -> Iterator[Core]:
    with folder() as path:
        for number in range(1, 7):
            image(path / f"{number}.img", 1)
        core = Core(path)
        core.settle()
        yield core


@pytest.fixture
def client(core: Core) -> TestClient:
    return client_of(core)


def client_of(core: Core, **edge: Any) -> TestClient:
    app = create_app(Threaded(core.service), Edge(**edge))
    return TestClient(app, "http://localhost", raise_server_exceptions=False)


@st.composite
def wishes(draw: st.DrawFn, path: Path) -> dict[str, Any]:
    """A whole document; its LUNs stand on six files, each on one at most."""
    stores = draw(st.permutations(range(1, 7)))
    users: dict[str, str] = {
        "alice": "alice's secret",
        "bob": "bob's secret",
        "carol": draw(some.chap_secrets),
    }
    targets: list[dict[str, Any]] = []
    for name in draw(st.lists(st.sampled_from((T, U, f"{U}.3")), unique=True)):
        luns = draw(st.lists(st.integers(1, 3), unique=True, max_size=2))
        targets.append(
            {
                "iqn": name,
                "state": draw(st.sampled_from(("ready", "offline"))),
                "initiator_addr_list": draw(st.sampled_from(([], ["10.0.0.1"], ["ALL"]))),
                "initiator_name_list": draw(st.sampled_from(([], ["iqn.2026-01.test:i"]))),
                "incominguser_list": draw(st.lists(st.sampled_from(sorted(users)), unique=True)),
                "outgoinguser_list": draw(st.sampled_from(([], ["alice"]))),
                "lun_list": [_lun(draw, path, lun, stores.pop()) for lun in luns],
            }
        )
    disco = draw(st.sampled_from(("", "bob")))
    conf = {"incomingdiscoveryuser": disco, "outgoingdiscoveryuser": ""}
    used = {disco}.union(*(t["incominguser_list"] + t["outgoinguser_list"] for t in targets))
    listed = [{"username": n, "password": p} for n, p in users.items() if n in used]
    return {"version": 1, "conf": conf, "user_list": listed, "target_list": targets}


def _lun(draw: st.DrawFn, path: Path, lun: int, store: int) -> dict[str, Any]:
    return {
        "lun": lun,
        "path": f"{path}/{store}.img",
        "device_type": draw(st.sampled_from(("disk", "cd"))),
        "bs_type": "rdwr",
        "direct_map": False,
        "write_cache": True,
        "readonly": draw(st.booleans()),
        "online": draw(st.booleans()),
        "shared": False,
        "scsi_id": f"{lun}{store}",
        "scsi_sn": f"S{lun}{store}",
    }


def ordered(document: dict[str, Any]) -> dict[str, Any]:
    targets = sorted(document["target_list"], key=lambda target: target["iqn"])
    for target in targets:
        target["lun_list"].sort(key=lambda lun: lun["lun"])
        target["incominguser_list"].sort()
    users = sorted(document["user_list"], key=lambda user: user["username"])
    return {**document, "target_list": targets, "user_list": users}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_was_taken_out_brings_any_state_back_to_what_it_was(data: st.DataObject) -> None:
    with folder() as path:
        for number in range(1, 7):
            image(path / f"{number}.img", 1)
        one, two = data.draw(wishes(path)), data.draw(wishes(path))
        there, fresh = Core(path), Core(path)
        for core in (there, fresh):
            core.settle()
        client, clean = client_of(there), client_of(fresh)
        for each, document in ((client, two), (client, one), (clean, one)):
            answer = each.put(CONFIG, params={"prune": True, "force": True}, json=document)
            assert answer.status_code == 200, answer.text
        told = client.get(CONFIG, params={"secrets": True}).json()
        assert told == clean.get(CONFIG, params={"secrets": True}).json() == ordered(one)
        assert there.shown() == fresh.shown()
        assert there.settle() == 0
        requests = there.tgtd.requests
        assert client.put(CONFIG, params={"prune": True}, json=told).status_code == 200
        assert there.tgtd.requests == requests


def lun(core: Core, number: int, store: int, **more: Any) -> dict[str, Any]:
    return {"lun": number, "path": f"{core.folder}/{store}.img", **more}


def put(client: TestClient, *targets: Any, users: Any = (), **said: Any) -> Any:
    body = {"target_list": list(targets), "user_list": list(users)}
    return client.put(CONFIG, params=said, json=body)


def test_a_store_moves_from_one_lun_to_another_in_one_document(
    core: Core, client: TestClient
) -> None:
    first: list[dict[str, Any]] = [
        {"iqn": T, "lun_list": [lun(core, 1, 1), lun(core, 2, 2)]},
        {"iqn": U},
    ]
    assert put(client, *first).status_code == 200
    moved = [
        {"iqn": T, "lun_list": [lun(core, 2, 3)]},
        {"iqn": U, "lun_list": [lun(core, 1, 1), lun(core, 2, 2)]},
    ]
    assert put(client, *moved, prune=True, force=True).status_code == 200
    swapped = [
        {"iqn": T, "lun_list": [lun(core, 2, 2)]},
        {"iqn": U, "lun_list": [lun(core, 1, 1), lun(core, 2, 3)]},
    ]
    assert put(client, *swapped).status_code == 200
    free = client.post(f"{PREFIX}/target_list/{T}/lun_list", json=lun(core, 9, 3))
    assert free.json()["code"] == "backing-store-in-use"
    assert core.settle() == 0


@pytest.mark.parametrize(
    ("one", "two", "status"),
    [({}, {}, 409), ({"shared": True}, {}, 200), ({"readonly": True}, {"readonly": True}, 200)],
)
def test_two_new_luns_on_one_store_must_share_it(
    core: Core, client: TestClient, one: dict[str, bool], two: dict[str, bool], status: int
) -> None:
    luns = [lun(core, 1, 1, **one), lun(core, 2, 1, **two)]
    answer = put(client, {"iqn": T, "lun_list": luns})
    assert answer.status_code == status
    assert core.service.target_names() == ([T] if status == 200 else [])


def test_every_fault_of_a_document_is_told_with_its_place(core: Core, client: TestClient) -> None:
    gone = {"lun": 1, "path": f"{core.folder}/none.img"}
    luns = [gone, lun(core, 2, 1), {"lun": 3, "path": str(core.folder)}]
    answer = put(client, {"iqn": U}, {"iqn": T, "lun_list": luns})
    assert answer.status_code == 422
    found = [fault["field"] for fault in answer.json()["errors"]]
    assert found == ["target_list.1.lun_list.0.path", "target_list.1.lun_list.2.path"]
    answer = put(client, {"iqn": T, "lun_list": [{"lun": 1}], "outgoinguser_list": ["nobody"]})
    found = [fault["field"] for fault in answer.json()["errors"]]
    assert found == ["target_list.0.outgoinguser_list.0", "target_list.0.lun_list.0.path"]
    assert core.service.target_names() == []


def test_of_too_many_faults_some_are_told_and_how_many_more_there_are(client: TestClient) -> None:
    answer = put(client, *({"iqn": str(number)} for number in range(MOST_FAULTS + 7)))
    assert len(answer.json()["errors"]) == MOST_FAULTS
    assert answer.json()["detail"].endswith("; and 7 more")


def test_with_faults_enough_the_rest_of_a_document_fills_no_memory(client: TestClient) -> None:
    answer = client.put(CONFIG, json={"target_list": [1] * (2 * ENOUGH)})
    assert answer.json()["detail"].endswith(f"; and {ENOUGH - MOST_FAULTS} more")


def test_what_takes_much_away_must_be_forced(core: Core, client: TestClient) -> None:
    names = [{"iqn": f"{T}.{number}"} for number in range(6)]
    assert put(client, *names).status_code == 200
    answer = put(client, *names[:3], prune=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "too-much-removed")
    assert put(client, *names[:4], prune=True).status_code == 200
    assert put(client, prune=True, force=True).status_code == 200
    assert core.service.target_names() == []


@pytest.mark.parametrize(
    "after",
    [{"lun_list": [2, 3, 4]}, {"lun_list": [1, 2, 3], "dark": True}, {"state": "offline"}, None],
)
def test_what_goes_under_sessions_must_be_forced(
    core: Core, client: TestClient, after: dict[str, Any] | None
) -> None:
    others = [{"iqn": f"{U}.{number}"} for number in range(3)]
    luns = [lun(core, number, number) for number in (1, 2, 3, 4)]
    assert put(client, *others, {"iqn": T, "lun_list": luns}).status_code == 200
    core.tgtd.log_in(T, "iqn.2026-01.test:host", "10.0.0.9")
    less = dict(after or {})
    if "lun_list" in less:
        online = not less.pop("dark", False)
        less["lun_list"] = [lun(core, n, n, online=online) for n in less["lun_list"]]
    wanted = [*others, *([{"iqn": T, **less}] if after is not None else [])]
    answer = put(client, *wanted, prune=True)
    assert answer.json()["code"] in ("sessions-active", "too-much-removed")
    if answer.json()["code"] == "sessions-active":
        assert answer.json()["blocking"][0]["addr"] == "10.0.0.9"
    assert put(client, *wanted, prune=True, force=True).status_code == 200


def test_a_target_is_posted_with_all_it_has_or_not_at_all(core: Core, client: TestClient) -> None:
    body = {
        "iqn": T,
        "state": "offline",
        "initiator_addr_list": ["10.0.0.0/8"],
        "incominguser_list": [{"username": "alice", "password": "alice's secret"}],
        "outgoinguser_list": [{"username": "me", "password": "my own secret"}],
        "lun_list": [lun(core, 1, 1), lun(core, 2, 9)],
    }
    answer = client.post(f"{PREFIX}/target_list", json=body)
    assert answer.json()["errors"][0]["field"] == "lun_list.1.path"
    assert core.service.target_names() == []
    body["lun_list"] = [lun(core, 1, 1), lun(core, 2, 2)]
    answer = client.post(f"{PREFIX}/target_list", json=body)
    assert answer.status_code == 201
    shown = client.get(answer.headers["Location"]).json()
    assert shown["state"] == "offline"
    assert (shown["incominguser_list"], shown["lun_num"]) == (["alice"], 2)
    body |= {"iqn": U, "lun_list": []}
    body["incominguser_list"] = [{"username": "alice", "password": "another secret"}]
    answer = client.post(f"{PREFIX}/target_list", json=body)
    assert answer.json()["code"] == "password-differs"
    body["incominguser_list"] = [{"username": "me", "password": "yet another secret"}]
    answer = client.post(f"{PREFIX}/target_list", json=body)
    assert answer.json()["errors"][0]["field"] == "outgoinguser_list.0.password"
    assert core.settle() == 0


def test_secrets_are_handed_out_to_an_admin_and_the_audit_tells_at_once(core: Core) -> None:
    core.service.add_target(T)
    core.service.add_user(T, IN, ALICE)
    client = client_of(core)
    assert client.get(CONFIG).json()["user_list"] == [{"username": "alice"}]
    told = client.get(CONFIG, params={"secrets": True}).json()
    assert told["user_list"] == [{"username": "alice", "password": ALICE.secret}]
    _, entries = core.store.audit(Search())
    assert (entries[0]["operation"], entries[0]["who"]) == ("get_config", "loopback")
    assert ALICE.secret not in json.dumps(entries)
    assert MASK not in client.get(CONFIG).text


def test_only_the_whole_configuration_may_be_a_huge_body(client: TestClient) -> None:
    blanks = b" " * MAX_BODY
    kind = {"Content-Type": "application/json"}
    answer = client.put(CONFIG, content=blanks + b"{}", headers=kind)
    assert answer.status_code == 200
    assert client.put(f"{PREFIX}/conf", content=blanks + b"{}", headers=kind).status_code == 413
    huge = b" " * HUGE_BODY
    assert client.put(CONFIG, content=huge + b"{}", headers=kind).status_code == 413
