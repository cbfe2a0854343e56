"""Adoption: a foreign target becomes ours as it is, and whoever is logged in notices nothing."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from starlette.testclient import TestClient

from storlever.adoption import wished
from storlever.errors import Conflict, Invalid, NotFound, StateFailed, StorLeverError
from storlever.inventory import Direction
from storlever.model import (
    Access,
    Account,
    BackingType,
    Bindings,
    DeviceType,
    ObservedTarget,
    ObservedUnit,
)
from storlever.names import GUARD
from storlever.tgtd.wire import Device, Mode, Op, Request
from storlever.warning import SHORT_SECRET_WARNING
from storlever.web.app import create_app
from storlever.web.edge import Edge
from storlever.web.threads import Threaded
from tests.unit.core import FOREIGN, Core, Crash, MortalStore
from tests.world import folder, image

T = "iqn.2026-01.test:one"
HOST, ADDRESS = "iqn.2026-01.test:host", "10.0.0.9"
STRANGER = Account("stranger", "stranger's")
TID = 99
MOST_REQUESTS = 60
FOREIGN_LIST = "/storlever/api/v1/foreign_list"


# -- what can be a wish

UNIT = ObservedUnit(
    1, DeviceType.DISK, BackingType.RDWR, "/srv/a.img", "IET     00630001", "beaf991", False, True
)
SEEN = ObservedTarget(FOREIGN, acl=("ALL",), bindings=Bindings(("alice", "bob")), units=(UNIT,))


def test_what_tgtd_shows_is_wished_as_it_is() -> None:
    target = wished(replace(SEEN, acl=("10.0.0.0/8", "fe80::1", HOST)))
    assert target.access == Access((HOST,), ("10.0.0.0/8", "fe80::1"))
    assert target.access.entries == ("10.0.0.0/8", "fe80::1", HOST)
    assert target.slots == (GUARD, "alice", "bob")
    assert ObservedUnit.of(target.units[0]) == replace(UNIT, write_cache=True)


def test_all_and_nobody_else_is_no_access_list() -> None:
    assert wished(SEEN).access == Access()
    assert wished(replace(SEEN, acl=("ALL", HOST))).access == Access((HOST,), ("ALL",))


def test_the_guard_of_a_storlever_of_before_is_no_user() -> None:
    assert wished(replace(SEEN, bindings=Bindings((GUARD, "alice")))).incoming == ("alice",)


CANNOT = {
    "an access list that admits nobody": (replace(SEEN, acl=()), "admits nobody"),
    "an entry that never matches": (replace(SEEN, acl=("10.0.0.1/8",)), "10.0.0.0/8"),
    "an entry that is none": (replace(SEEN, acl=("host.example.com",)), "IPv4"),
    "an entry twice": (replace(SEEN, acl=("10.0.0.1", "10.0.0.1")), "twice"),
    "an address bound as a name": (replace(SEEN, acl=(HOST, "10.0.0.1")), "bound as a name"),
    "a target's name": (replace(SEEN, name="tgt"), "iSCSI name"),
    "a user's name": (replace(SEEN, bindings=Bindings(("a b",))), "a b"),
    "the guard elsewhere": (replace(SEEN, bindings=Bindings(("a", GUARD))), GUARD),
    "a LUN that cannot be asked for": (
        replace(SEEN, units=(replace(UNIT, lun=256),)),
        "LUN 256 has a number",
    ),
    "a backing type": (replace(SEEN, units=(replace(UNIT, backing_type=None),)), "backing type"),
    "a device type": (replace(SEEN, units=(replace(UNIT, device_type=None),)), "device type"),
    "types that do not fit": (
        replace(SEEN, units=(replace(UNIT, device_type=DeviceType.TAPE),)),
        "tape takes ssc",
    ),
    "a path with a comma": (replace(SEEN, units=(replace(UNIT, backing_path="/a,b"),)), "comma"),
    "no path": (replace(SEEN, units=(replace(UNIT, backing_path=None),)), "no path"),
    "a disk that is half offline": (
        replace(SEEN, units=(replace(UNIT, online=None),)),
        "bring it online",
    ),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_said_exactly_is_not_adopted(name: str) -> None:
    seen, why = CANNOT[name]
    with pytest.raises(Conflict, match=why) as caught:
        wished(seen)
    assert caught.value.code == "not-adoptable"


# -- down to tgtd


def furnished(core: Core) -> Core:
    """A target of ours, and a foreign one that has a user, a LUN, and a session."""
    core.settle()
    core.service.add_target(T)
    core.service.add_user(T, Direction.INCOMING, Account("ours", "our secret"))
    core.add_foreign()
    add_unit(core, 1)
    core.tgtd.log_in(FOREIGN, HOST, ADDRESS)
    core.settle()
    return core


def add_unit(core: Core, number: int) -> None:
    path = str(core.folder / f"{number}.img")
    parameters = (("path", path), ("bstype", "rdwr"))
    new = Request(Mode.UNIT, Op.NEW, TID, number, device=Device.DISK, parameters=parameters)
    assert core.tgtd.exchange(new).error == 0


@pytest.fixture
def core() -> Iterator[Core]:
    with folder() as path:
        for number in (1, 2):
            image(path / f"{number}.img", 1)
        yield furnished(Core(path))


def theirs(core: Core) -> str:
    """What the foreign target's hosts have of it."""
    target = core.tgtd.targets[TID]
    return f"{target.sessions} {target.units} {target.ready} {core.tgtd.dead}"


def admitted(core: Core) -> tuple[bool, bool]:
    """Whether somebody without a password, and its user, could log in now."""
    admits = core.tgtd.admits
    return (
        admits(FOREIGN, HOST, ADDRESS, "x", "x"),
        admits(FOREIGN, HOST, ADDRESS, STRANGER.name, STRANGER.secret),
    )


def test_a_foreign_target_becomes_ours_with_its_sessions_and_luns_untouched(core: Core) -> None:
    before = theirs(core)
    core.service.adopt(FOREIGN, [STRANGER])
    assert theirs(core) == before
    assert admitted(core) == (False, True)
    assert core.tgtd.targets[TID].bound.slots[:2] == [GUARD, STRANGER.name]
    assert not core.service.health().foreign
    assert not core.service.health().failing
    assert core.service.target(FOREIGN).state == "ready"
    assert core.service.unit(FOREIGN, 1).size == 1 << 20
    assert core.settle() == 0
    assert core.reborn().settle() == 0
    shown = core.shown()
    core.tgtd.restart()
    core.settle()
    after = [line for line in core.shown().split("\n") if not line.startswith(FOREIGN)]
    assert after == [line for line in shown.split("\n") if not line.startswith(FOREIGN)]
    assert admitted(core) == (False, True)


def test_its_store_is_claimed_from_then_on(core: Core) -> None:
    core.service.adopt(FOREIGN, [STRANGER])
    with pytest.raises(Conflict) as caught:
        core.service.add_unit(T, 1, {"backing_path": f"{core.folder}/1.img"})
    assert caught.value.code == "backing-store-in-use"


@pytest.mark.parametrize("fault", ["refuse", "die", "time_out_after"])
def test_a_fault_anywhere_leaves_it_foreign_or_ours_and_its_sessions_alone(
    core: Core, fault: str
) -> None:
    before, foreign = theirs(core), core.shown()
    for number in range(1, MOST_REQUESTS):
        core.flaky.fail(number, getattr(core.flaky, fault))
        try:
            core.service.adopt(FOREIGN, [STRANGER])
        except StorLeverError:
            assert FOREIGN not in core.service.target_names()
        hit = core.flaky.hit
        core.flaky.mend()
        if core.tgtd.dead:
            core = after_death(core)
            continue
        assert theirs(core) == before
        assert not admitted(core)[0]
        core.settle()
        if FOREIGN in core.service.target_names():
            assert admitted(core) == (False, True)
            if not hit:
                assert number > 1
                return
            core = again(core)
        else:
            assert core.shown() == foreign
    raise AssertionError("the adoption never ends")


def after_death(core: Core) -> Core:
    """tgtd forgot everything. If the target is ours by then, it is there again."""
    core.tgtd.restart()
    core.settle()
    ours = FOREIGN in core.service.target_names()
    assert admitted(core) == (False, ours)
    return again(core)


def again(core: Core) -> Core:
    """Everything from the start, on another tgtd."""
    return furnished(Core(core.folder))


@pytest.mark.parametrize("fault", ["crash_before", "crash_after"])
def test_a_service_killed_anywhere_disturbs_nothing_and_ends_it_in_its_next_life(
    core: Core, fault: str
) -> None:
    before = theirs(core)
    for number in range(1, MOST_REQUESTS):
        core.flaky.fail(number, getattr(core.flaky, fault))
        try:
            core.service.adopt(FOREIGN, [STRANGER])
        except Crash:
            assert theirs(core) == before
            assert not admitted(core)[0]
            life = core.reborn()
            life.settle()
            assert theirs(life) == before
            ours = FOREIGN in life.service.target_names()
            assert ours or [each.name for each in life.service.foreign()] == [FOREIGN]
            assert admitted(life) == (False, True)
            assert life.settle() == 0
            core = again(core)
        else:
            assert number > 1
            return
    raise AssertionError("the adoption never ends")


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_service_killed_around_the_commit_disturbs_nothing(killed: str) -> None:
    with folder() as path:
        for number in (1, 2):
            image(path / f"{number}.img", 1)
        store = MortalStore()
        core = furnished(Core(path, store=store))
        before = theirs(core)
        store.killed = killed
        with pytest.raises(Crash):
            core.service.adopt(FOREIGN, [Account("stranger", "another secret")])
        store.killed = ""
        life = core.reborn()
        life.settle()
        assert theirs(life) == before
        wanted = "another secret" if killed == "after" else STRANGER.secret
        assert core.tgtd.accounts["stranger"] == wanted
        assert life.settle() == 0


def test_one_that_cannot_be_stored_stays_foreign_and_is_not_touched(core: Core) -> None:
    before = core.shown()
    core.store.full = True
    calls = [
        lambda: core.service.add_target(f"{T}.2"),
        lambda: core.service.adopt(FOREIGN, [STRANGER]),
    ]
    outcomes = core.together(calls)
    assert all(isinstance(each, StateFailed) for each in outcomes)
    assert core.shown() == before
    core.store.full = False
    core.settle()
    assert core.shown() == before
    assert core.tgtd.targets[TID].sessions


def test_nothing_is_done_to_it_before_it_is_durably_ours(core: Core) -> None:
    """What comes after an adoption waits for the next commit."""
    calls = [
        lambda: core.service.adopt(FOREIGN, [STRANGER]),
        lambda: core.service.edit_target(FOREIGN, addresses=("10.0.0.1",)),
    ]
    assert core.together(calls) == [(SHORT_SECRET_WARNING,)]


def test_passwords_of_all_its_users_are_needed(core: Core) -> None:
    with pytest.raises(Invalid, match="stranger"):
        core.service.adopt(FOREIGN, [])
    with pytest.raises(Invalid, match="nobody"):
        core.service.adopt(FOREIGN, [STRANGER, Account("nobody", "secret")])
    with pytest.raises(NotFound):
        core.service.adopt("iqn.2026-01.test:none", [])
    with pytest.raises(Conflict):
        core.service.adopt(T, [])


def test_a_user_of_another_foreign_target_is_not_taken_from_it(core: Core) -> None:
    core.raw(Mode.TARGET, Op.NEW, ("targetname", f"{FOREIGN}.2"), tid=98)
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "stranger"), tid=98)
    with pytest.raises(Conflict) as caught:
        core.service.adopt(FOREIGN, [STRANGER])
    assert caught.value.code == "user-foreign"


def test_a_store_that_a_target_of_ours_serves_is_not_adopted_with_another(core: Core) -> None:
    core.service.add_unit(T, 1, {"backing_path": f"{core.folder}/2.img"})
    add_unit(core, 2)
    with pytest.raises(Conflict) as caught:
        core.service.adopt(FOREIGN, [STRANGER])
    assert caught.value.code == "backing-store-in-use"


def test_over_http_it_is_shown_and_adopted(core: Core) -> None:
    client = TestClient(create_app(Threaded(core.service), Edge()), "http://localhost")
    (shown,) = client.get(FOREIGN_LIST).json()
    assert (shown["iqn"], shown["initiator_acl"]) == (FOREIGN, ["ALL"])
    assert shown["incominguser_list"] == ["stranger"]
    assert shown["lun_list"][0]["path"] == f"{core.folder}/1.img"
    where = f"{FOREIGN_LIST}/{FOREIGN}/adopt"
    answer = client.post(where, json={})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "user_list")
    users = [{"username": STRANGER.name, "password": STRANGER.secret}]
    answer = client.post(where, json={"user_list": users})
    assert answer.status_code == 201
    assert client.get(answer.headers["Location"]).json()["session_list"][0]["addr"] == ADDRESS
    assert client.get(FOREIGN_LIST).json() == []
    assert client.post(where, json={}).json()["code"] == "target-exists"
