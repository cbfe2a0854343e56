"""The use cases on the in-memory twins: what needs more than one layer, and no real tgtd."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from storlever.audit import Entry
from storlever.backing import BackingStore, Machine
from storlever.errors import (
    Conflict,
    Invalid,
    NotFound,
    Refused,
    StateFailed,
    Unavailable,
    Unfit,
    Untrusted,
)
from storlever.inventory import Direction, Edit
from storlever.model import Account, BackingType, DeviceType
from storlever.names import GUARD
from storlever.receipt import Receipt
from storlever.territory import Territory
from storlever.tgtd.memory import Unit
from storlever.tgtd.openings import Files
from storlever.tgtd.wire import EVERY, Mode, Op, Request
from storlever.twins import MemoryStore
from storlever.warning import AIO_WARNING, SHORT_SECRET_WARNING
from tests.others import unchecked
from tests.unit.core import FOREIGN, Core, Crash, MortalStore
from tests.world import Credulous, folder, image

T = "iqn.2026-01.test:one"
U = "iqn.2026-01.test:two"
LOOKING_REQUESTS = 5
"""What it takes to look at everything: targets by number, all, portals, accounts, discovery."""
IN, OUT = Direction.INCOMING, Direction.OUTGOING


@pytest.fixture
def core() -> Iterator[Core]:
    """Two targets without anything, and some backing files."""
    with folder() as path:
        for number in range(1, 5):
            image(path / f"{number}.img", number)
        core = Core(path)
        core.settle()
        core.service.add_target(T)
        core.service.add_target(U)
        yield core


def add_unit(core: Core, lun: int = 1, target: str = T, file: str = "1.img", **fields: Any) -> None:
    core.service.add_unit(target, lun, {"backing_path": str(core.folder / file), **fields})


# -- the life of a write


def killed(core: Core, *writes: Callable[[Core], object], when: str = "before") -> Core:
    """The next life of a service that was killed at the commit of these."""
    store = MortalStore(core.service.inventory)
    life = Core(core.folder, core.tgtd, store, core.notes)
    life.settle()
    store.killed = when
    with pytest.raises(Crash):
        life.together([lambda write=write: write(life) for write in writes])  # type: ignore[misc]
    store.killed = ""
    return life.reborn()


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_the_commit_decides_what_a_kill_leaves(core: Core, when: str, there: bool) -> None:
    next_life = killed(
        core, lambda life: life.service.add_target("iqn.2026-01.test:new"), when=when
    )
    next_life.settle()
    names = {target.name for target in core.tgtd.targets.values()}
    assert ("iqn.2026-01.test:new" in names) is there
    assert ("iqn.2026-01.test:new" in next_life.service.target_names()) is there


def test_a_user_that_was_going_when_the_service_died_has_the_secret_it_had(core: Core) -> None:
    """Taken for another one, it would have to be made anew, which it cannot while others use it."""
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.settle()
    core.add_foreign()
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "alice"), tid=99)
    next_life = killed(core, lambda life: life.service.remove_user(T, IN, "alice"))
    next_life.settle()
    assert next_life.service.target(T).state == "ready"
    assert core.tgtd.admits(T, "iqn.2026-01.test:i", "10.0.0.1", "alice", "alice's secret")
    assert next_life.settle() == 0


def test_without_tgtd_nothing_can_be_written_and_everything_read(core: Core) -> None:
    add_unit(core)
    core.tgtd.dead = True
    with pytest.raises(Unavailable):
        core.service.add_target("iqn.2026-01.test:new")
    assert core.service.target_names() == [T, U]
    assert core.service.target(T).state == "error"
    assert core.service.unit(T, 1).state == "error"


def test_a_write_that_meets_drift_looks_again_and_goes_through(core: Core) -> None:
    tid = next(tid for tid, target in core.tgtd.targets.items() if target.name == T)
    core.raw(Mode.TARGET, Op.DELETE, tid=tid)
    core.service.edit_target(T, addresses=("10.0.0.1",))
    assert core.tgtd.admits(T, "iqn.2026-01.test:i", "10.0.0.1", "", "")
    assert not core.tgtd.admits(T, "iqn.2026-01.test:i", "10.0.0.2", "", "")


def test_a_write_that_is_put_back_and_meets_drift_looks_again_and_leaves_all_as_it_was(
    core: Core,
) -> None:
    """Somebody has removed the target: to remove its LUN needs nothing, to put that back does."""
    core.service.add_unit(T, 1, {"backing_path": str(image(core.folder / "one.img", 1))})
    tid = next(tid for tid, target in core.tgtd.targets.items() if target.name == T)
    core.raw(Mode.TARGET, Op.DELETE, tid=tid)
    core.store.full = True
    with pytest.raises(StateFailed):
        core.service.remove_unit(T, 1)
    core.store.full = False
    assert core.known.down is None
    assert core.settle() == 0
    assert core.service.unit(T, 1).state == "ready"


def test_nothing_to_change_asks_nothing_of_tgtd(core: Core) -> None:
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    asked = core.tgtd.requests
    core.service.edit_target(T)
    core.service.set_secret(T, IN, "alice", "alice's secret")
    core.service.set_secret(T, IN, "alice", None)
    core.service.set_discovery({})
    assert core.tgtd.requests == asked


class Looking(MemoryStore):
    """A store that notes what readers are shown when a write is in force and not durable yet."""

    core: Core

    def commit(
        self, edit: Edit, entries: Sequence[Entry] = (), receipts: Sequence[Receipt] = ()
    ) -> None:
        service = self.core.service
        self.shown = service.target(T).state, service.unit(T, 1).state, service.unit(T, 1).reason
        super().commit(edit, entries, receipts)


@pytest.mark.parametrize(
    "write",
    [
        lambda core: core.service.edit_target(T, online=False),
        lambda core: core.service.edit_unit(T, 1, {"online": False}),
        lambda core: core.service.remove_unit(T, 1),
        lambda core: core.service.remove_target(T),
    ],
)
def test_a_state_that_is_read_during_a_write_is_that_from_before(
    core: Core, write: Callable[[Core], object]
) -> None:
    """The write may still fail, and what tgtd has by then be put back."""
    add_unit(core)
    store = Looking(core.service.inventory)
    store.core = Core(core.folder, core.tgtd, store, core.notes)  # type: ignore[arg-type]
    store.core.settle()
    write(store.core)
    assert store.shown == ("ready", "ready", None)


# -- what tgtd does not tell


def test_a_living_tgtd_is_taken_over_without_a_change(core: Core) -> None:
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.service.set_discovery({OUT: Account("finder", "finder's secret")})
    add_unit(core, write_cache=False)
    core.settle()
    assert core.reborn().settle() == 0


def test_a_tgtd_that_is_not_known_has_its_secrets_set_again(core: Core) -> None:
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.tgtd.accounts["alice"] = "somebody else's"
    stranger = Core(core.folder, core.tgtd, core.store)
    stranger.settle()
    assert core.tgtd.accounts["alice"] == "alice's secret"
    assert core.tgtd.admits(T, "iqn.2026-01.test:i", "10.0.0.1", "alice", "alice's secret")
    assert stranger.settle() == 0


def test_a_restarted_tgtd_gets_everything_again(core: Core) -> None:
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.service.edit_target(U, online=False)
    add_unit(core, readonly=True, write_cache=False)
    before = core.shown()
    core.tgtd.restart()
    assert core.settle() > 0
    assert core.shown() == before
    assert core.settle() == 0


# -- foreign targets and accounts


def test_foreign_targets_are_shown_and_never_touched(core: Core) -> None:
    core.add_foreign()
    core.settle()
    assert core.service.health().foreign == (FOREIGN,)
    with pytest.raises(Conflict, match="not StorLever's"):
        core.service.add_target(FOREIGN)
    assert 99 in core.tgtd.targets
    assert core.service.target_names() == [T, U]


def test_a_foreign_account_is_no_account_of_ours(core: Core) -> None:
    core.add_foreign()
    core.settle()
    core.raw(Mode.ACCOUNT, Op.NEW, ("user", "unbound"), ("password", "somebody's"))
    core.settle()
    for name in ("stranger", "unbound"):
        with pytest.raises(Conflict, match="not StorLever's"):
            core.service.add_user(T, IN, Account(name, "our secret"))
    assert core.tgtd.accounts["unbound"] == "somebody's"
    assert core.tgtd.accounts["stranger"] == "stranger's"
    assert core.tgtd.targets[99].bound.visible() == ["stranger"]
    core.service.add_user(T, IN, Account("alice", "alice's secret"))


def test_an_account_that_a_foreign_target_uses_too_is_not_deleted_under_it(core: Core) -> None:
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.add_foreign()
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "alice"), tid=99)
    core.settle()
    with pytest.raises(Conflict, match="not StorLever's alone"):
        core.service.set_secret(T, IN, "alice", "another secret")
    core.service.remove_user(T, IN, "alice")
    assert core.tgtd.targets[99].bound.visible() == ["stranger", "alice"]
    assert core.settle() == 0


def lose_a_user(core: Core) -> None:
    """Somebody else's is there first, when tgtd comes back."""
    core.service.add_user(T, IN, Account("stranger", "our secret"))
    core.tgtd.restart()
    core.add_foreign()
    core.settle()
    assert core.service.target(T).state == "error"


def test_a_target_whose_user_is_somebody_elses_stays_closed(core: Core) -> None:
    lose_a_user(core)
    assert not core.tgtd.admits(T, "iqn.2026-01.test:i", "10.0.0.1", "stranger", "stranger's")
    assert core.service.target(U).state == "ready"


# -- LUNs that cannot be served


def test_a_missing_file_fails_one_lun_and_heals(core: Core) -> None:
    add_unit(core, 1)
    add_unit(core, 2, file="2.img")
    (core.folder / "1.img").unlink()
    core.tgtd.restart()
    core.settle()
    failing = core.service.unit(T, 1)
    assert (failing.state, "does not exist" in str(failing.reason)) == ("error", True)
    assert core.service.unit(T, 2).state == "ready"
    assert core.service.target(T).state == "ready"
    core.service.edit_target(T, addresses=("10.0.0.1",))
    image(core.folder / "1.img", 1)
    core.settle()
    assert core.service.unit(T, 1).state == "ready"


def test_a_lun_that_tgtd_refuses_rests_before_it_is_tried_again(core: Core) -> None:
    add_unit(core, 1)
    core.tgtd.restart()
    (core.folder / "1.img").unlink()
    (core.folder / "1.img").symlink_to(core.folder)
    core.backend._openings._files = Credulous(Territory(core.folder / "private"))
    core.settle()
    assert "does not accept" in str(core.service.unit(T, 1).reason)
    asked = core.tgtd.requests
    core.settle()
    assert core.tgtd.requests - asked == LOOKING_REQUESTS
    assert "does not accept" in str(core.service.unit(T, 1).reason)
    (core.folder / "1.img").unlink()
    image(core.folder / "1.img", 1)
    core.service.edit_unit(T, 1, {"backing_path": str(core.folder / "1.img")})
    assert core.service.unit(T, 1).state == "ready"


def test_a_failing_lun_can_be_mended_moved_and_removed(core: Core) -> None:
    add_unit(core, 1)
    (core.folder / "1.img").unlink()
    core.tgtd.restart()
    core.settle()
    core.service.edit_unit(T, 1, {"backing_path": str(core.folder / "2.img")})
    assert core.service.unit(T, 1).state == "ready"
    core.service.remove_unit(T, 1)
    assert core.known.failures == {}


def test_a_failing_lun_is_removed_as_any_other(core: Core) -> None:
    add_unit(core, 1)
    (core.folder / "1.img").unlink()
    core.tgtd.restart()
    core.settle()
    core.service.remove_unit(T, 1)
    assert core.service.units(T) == []
    assert core.service.health().failing == ()


# -- backing stores


def test_a_store_is_handed_out_once_unless_asked(core: Core) -> None:
    add_unit(core)
    (core.folder / "link.img").symlink_to(core.folder / "1.img")
    (core.folder / "hard.img").hardlink_to(core.folder / "1.img")
    for file in ("1.img", "link.img", "hard.img"):
        with pytest.raises(Conflict, match="is LUN 1 of target"):
            add_unit(core, 2, U, file)
    add_unit(core, 2, U, "link.img", shared=True)


def test_two_readonly_luns_may_share_until_one_wants_to_write(core: Core) -> None:
    add_unit(core, 1, readonly=True)
    add_unit(core, 2, readonly=True)
    with pytest.raises(Conflict):
        core.service.edit_unit(T, 1, {"readonly": False})
    core.service.remove_unit(T, 2)
    core.service.edit_unit(T, 1, {"readonly": False})


def test_a_store_is_free_again_when_its_lun_or_target_goes(core: Core) -> None:
    add_unit(core, 1)
    core.service.edit_unit(T, 1, {"backing_path": str(core.folder / "2.img")})
    add_unit(core, 3)
    core.service.remove_target(T)
    add_unit(core, 1, U)
    add_unit(core, 2, U, "2.img")


def test_a_store_is_free_again_when_a_lun_that_is_offline_moves_away(core: Core) -> None:
    """tgtd may have it open still, and serves it to nobody."""
    add_unit(core, 1)
    core.service.edit_unit(T, 1, {"online": False})
    core.service.edit_unit(T, 1, {"backing_path": str(core.folder / "2.img")})
    add_unit(core, 1, U)
    core.service.edit_unit(T, 1, {"online": True})
    with pytest.raises(Conflict, match="is LUN 1 of target"):
        core.service.add_unit(U, 2, {"backing_path": str(core.folder / "2.img")})


def test_what_was_forced_is_forced_for_what_was_there_alone(core: Core) -> None:
    """Who turns a link to a disk that the machine uses needs to be an admin as well."""
    held = Held(Territory(core.folder / "private"))
    core.service._shelf._host = held
    link = core.folder / "link"
    link.symlink_to(core.folder / "1.img")
    core.service.add_unit(T, 7, {"backing_path": str(link)})
    held.identities.add(str(held.identity(str(core.folder / "2.img"))))
    core.service.edit_unit(T, 7, {"backing_path": str(link)})
    link.unlink()
    link.symlink_to(core.folder / "2.img")
    with pytest.raises(Conflict, match="in use by"):
        core.service.edit_unit(T, 7, {"backing_path": str(link)})
    core.service.edit_unit(T, 7, {"backing_path": str(link)}, force=True)
    core.service.edit_unit(T, 7, {"backing_path": str(link), "write_cache": False})


class Held(Machine):
    """Some of its stores are used by the machine itself."""

    def __init__(self, territory: Territory) -> None:
        super().__init__(territory)
        self.identities: set[str] = set()

    def inspect(self, path: str) -> BackingStore:
        found = super().inspect(path)
        return replace(found, holder="a test" if found.identity in self.identities else None)


def test_our_own_state_is_not_handed_out(core: Core) -> None:
    private = core.folder / "private"
    private.mkdir()
    image(private / "state.db", 1)
    (core.folder / "link.db").hardlink_to(private / "state.db")
    (core.folder / "soft.db").symlink_to(private / "state.db")
    for file in ("private/state.db", "link.db", "soft.db"):
        with pytest.raises(Invalid, match="belongs to StorLever"):
            add_unit(core, file=file)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"backing_path": "/nowhere/at-all"}, "backing_path"),
        ({"backing_path": "/"}, "backing_path"),
        ({"device_type": DeviceType.TAPE}, "backing_path"),
        ({"device_type": DeviceType.TAPE, "backing_type": BackingType.RDWR}, "backing_type"),
        ({"device_type": DeviceType.PASSTHROUGH}, "backing_path"),
        ({"device_type": DeviceType.CD, "write_cache": False}, "write_cache"),
        ({"direct_map": True}, "direct_map"),
    ],
)
def test_what_cannot_be_served_names_the_field(
    core: Core, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as invalid:
        add_unit(core, **fields)
    assert [fault.field for fault in invalid.value.faults] == [field]
    assert core.service.units(T) == []


def test_a_grown_file_is_served_anew_when_its_path_is_given_again(core: Core) -> None:
    add_unit(core)
    image(core.folder / "1.img", 8)
    core.service.edit_unit(T, 1, {"readonly": False})
    assert core.service.unit(T, 1).size == 1 << 20
    core.service.edit_unit(T, 1, {"backing_path": str(core.folder / "1.img")})
    assert core.service.unit(T, 1).size == 8 << 20


# -- identities


def test_identities_are_generated_once_and_differ(core: Core) -> None:
    add_unit(core, 1, scsi_id="", serial_number="")
    add_unit(core, 2, file="2.img")
    first, second = (status.unit for status in core.service.units(T))
    assert len(first.scsi_id) == 31
    assert first.scsi_id != second.scsi_id
    assert first.serial_number != second.serial_number
    core.service.edit_unit(T, 1, {"scsi_id": "", "readonly": True})
    assert core.service.unit(T, 1).unit.scsi_id == first.scsi_id


def test_a_device_type_brings_its_backing_type(core: Core) -> None:
    add_unit(core, 1, backing_type=BackingType.AIO)
    core.service.edit_unit(T, 1, {"device_type": DeviceType.CD})
    assert core.service.unit(T, 1).unit.backing_type is BackingType.AIO
    core.service.edit_unit(T, 1, {"device_type": DeviceType.DISK, "backing_type": BackingType.RDWR})
    assert core.service.unit(T, 1).unit.backing_type is BackingType.RDWR


# -- users


def test_the_shared_account_of_the_wiki_page_outlives_each_of_its_uses(core: Core) -> None:
    test = Account("test", "123456")
    core.service.set_discovery({IN: test})
    core.service.add_user(T, IN, test)
    core.service.remove_user(T, IN, "test")
    assert core.tgtd.lists_targets("test", "123456")
    core.service.add_user(T, OUT, test)
    core.service.remove_user(T, OUT, "test")
    core.service.set_discovery({IN: None})
    assert "test" not in core.tgtd.accounts


def test_one_user_has_one_password(core: Core) -> None:
    core.service.add_user(T, IN, Account("alice", "first secret"))
    with pytest.raises(Conflict, match=f"incoming user of {T}"):
        core.service.add_user(U, IN, Account("alice", "other secret"))
    core.service.add_user(U, OUT, Account("alice", "first secret"))
    with pytest.raises(Conflict, match="outgoing user of") as shared:
        core.service.set_secret(T, IN, "alice", "other secret")
    assert shared.value.code == "password-shared"
    core.service.set_secret(T, IN, "alice", "other secret", everywhere=True)
    assert core.tgtd.accounts["alice"] == "other secret"
    assert core.tgtd.admits(T, "iqn.2026-01.test:i", "10.0.0.1", "alice", "other secret")


def test_the_guard_lets_nobody_in(core: Core) -> None:
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    assert core.tgtd.accounts[GUARD] not in ("", "alice's secret")
    assert len(core.tgtd.accounts[GUARD]) == 64
    assert core.tgtd.targets[1].bound.visible() == [GUARD, "alice"]


def test_warnings_are_told_where_they_are_due(core: Core) -> None:
    short, long = Account("a", "short"), Account("b", "long enough it is")
    assert core.service.add_user(T, IN, short) == (SHORT_SECRET_WARNING,)
    assert core.service.add_user(T, IN, long) == ()
    given = {"backing_path": str(core.folder / "1.img"), "backing_type": BackingType.AIO}
    assert core.service.add_unit(T, 1, given) == (AIO_WARNING,)


def test_a_user_that_is_not_there_is_not_found(core: Core) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: core.service.set_secret(T, IN, "nobody", None),
        lambda: core.service.remove_user(T, OUT, "nobody"),
    )
    for call in calls:
        with pytest.raises(NotFound) as missing:
            call()
        assert missing.value.code == "user-not-found"


# -- sessions


def test_sessions_in_the_way_are_named_and_closed_only_when_forced(core: Core) -> None:
    calls: tuple[Callable[[bool], object], ...] = (
        lambda force: core.service.edit_target(T, online=False, force=force),
        lambda force: core.service.remove_target(T, force=force),
    )
    for call in calls:
        core.tgtd.log_in(T, "iqn.2026-01.test:i", "10.0.0.1")
        with pytest.raises(Conflict) as conflict:
            call(False)
        assert ("iqn.2026-01.test:i", "10.0.0.1") in conflict.value.blocking
        assert core.service.target(T).sessions
        call(True)
    assert core.service.target_names() == [U]


def test_a_busy_lun_is_waited_for_and_then_named(core: Core) -> None:
    add_unit(core)
    unit = next(iter(core.tgtd.targets.values())).units[1]
    unit.busy = 3
    core.service.remove_unit(T, 1)
    add_unit(core)
    next(iter(core.tgtd.targets.values())).units[1].busy = 1 << 30
    with pytest.raises(Conflict) as conflict:
        core.service.remove_unit(T, 1)
    assert conflict.value.code == "lun-busy"
    assert core.service.unit(T, 1).state == "ready"


def test_an_outgoing_discovery_user_that_somebody_bound_is_replaced(core: Core) -> None:
    core.raw(Mode.ACCOUNT, Op.NEW, ("user", "other"), ("password", "of somebody"))
    core.tgtd.discovery.outgoing = "other"
    core.service.set_discovery({OUT: Account("finder", "finder's secret")})
    assert core.tgtd.discovery.outgoing == "finder"


# -- what a review found


def test_a_user_named_like_a_foreign_target_does_not_make_it_ours(core: Core) -> None:
    core.add_foreign()
    core.settle()
    core.flaky.fail(4, core.flaky.time_out_after)
    with pytest.raises(Unavailable):
        core.service.add_user(T, IN, Account(FOREIGN, "some secret"))
    core.flaky.mend()
    core.settle()
    assert 99 in core.tgtd.targets


def test_a_lun_without_its_file_can_be_taken_offline(core: Core) -> None:
    add_unit(core)
    (core.folder / "1.img").unlink()
    core.tgtd.restart()
    core.settle()
    core.service.edit_unit(T, 1, {"online": False})
    assert core.service.unit(T, 1).state == "offline"
    core.service.add_target("iqn.2026-01.test:new")


def test_an_edit_of_a_lun_without_its_file_does_not_stop_others(core: Core) -> None:
    add_unit(core)
    (core.folder / "1.img").unlink()
    core.tgtd.restart()
    core.settle()
    with pytest.raises(Unfit):
        core.service.edit_unit(T, 1, {"write_cache": False})
    core.service.add_target("iqn.2026-01.test:new")


@pytest.mark.parametrize("kind", [BackingType.RDWR, BackingType.AIO])
@pytest.mark.parametrize("device", [DeviceType.DISK, DeviceType.CD])
def test_the_path_given_again_serves_what_is_there_now(
    core: Core, kind: BackingType, device: DeviceType
) -> None:
    add_unit(core, backing_type=kind, device_type=device)
    image(core.folder / "new.img", 3)
    (core.folder / "new.img").rename(core.folder / "1.img")
    asked = core.tgtd.requests
    core.service.edit_unit(T, 1, {"backing_path": str(core.folder / "1.img")})
    assert core.tgtd.requests > asked
    assert core.service.unit(T, 1).size == 3 << 20
    image(core.folder / "1.img", 5)
    core.service.edit_unit(T, 1, {"backing_path": str(core.folder / "1.img")})
    assert core.service.unit(T, 1).size == 5 << 20


def test_a_cd_is_not_warned_of_aio(core: Core) -> None:
    given = {
        "backing_path": str(core.folder / "1.img"),
        "backing_type": BackingType.AIO,
        "device_type": DeviceType.CD,
    }
    assert core.service.add_unit(T, 1, given) == ()


def test_a_file_that_came_back_is_claimed_by_its_lun(core: Core) -> None:
    add_unit(core)
    core.tgtd.restart()
    (core.folder / "1.img").unlink()
    late = core.reborn()
    late.settle()
    image(core.folder / "1.img", 1)
    late.settle()
    (core.folder / "link.img").symlink_to(core.folder / "1.img")
    with pytest.raises(Conflict, match="is LUN 1 of target"):
        late.service.add_unit(U, 1, {"backing_path": str(core.folder / "link.img")})


def test_a_lun_that_a_write_mended_does_not_rest(core: Core) -> None:
    add_unit(core, 1)
    core.tgtd.restart()
    (core.folder / "1.img").unlink()
    (core.folder / "1.img").symlink_to(core.folder)
    core.settle()
    core.service.edit_unit(T, 1, {"backing_path": str(core.folder / "2.img")})
    for target in core.tgtd.targets.values():
        target.units.clear()
    core.settle()
    assert core.service.unit(T, 1).state == "ready"


def test_an_entry_that_somebody_bound_as_a_name_is_removed(core: Core) -> None:
    for key in ("initiator-name", "initiator-address"):
        core.raw(Mode.TARGET, Op.BIND, (key, "foo"), tid=1)
        core.raw(Mode.TARGET, Op.BIND, (key, "iqn.2026-01.test:x"), tid=1)
    core.settle()
    assert (core.tgtd.targets[1].names, core.tgtd.targets[1].addresses) == ([], ["ALL"])
    assert core.settle() == 0


def test_a_target_of_ours_that_is_being_made_is_not_foreign(core: Core) -> None:
    core.service.add_target("iqn.2026-01.test:new")
    assert core.service.health().foreign == ()


def test_another_tgtd_is_not_asked_by_the_numbers_of_the_last_one(core: Core) -> None:
    """Target 1 may be somebody else's there."""
    core.tgtd.restart()
    core.raw(Mode.TARGET, Op.NEW, ("targetname", FOREIGN), tid=1)
    with pytest.raises(Unavailable, match="restarted"):
        core.service.edit_target(T, addresses=("10.0.0.1",))
    assert core.tgtd.targets[1].addresses == []
    core.settle()
    assert core.service.target(T).state == "ready"


def test_a_write_that_looks_brings_nothing_into_a_tgtd_that_no_pass_has_seen(core: Core) -> None:
    """What it brought there would be of nobody's making, should the service end before the pass."""
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.tgtd.restart()
    with pytest.raises(Unavailable, match="restarted"):
        core.service.remove_user(T, IN, "alice")
    with pytest.raises(Unavailable, match="restarted"):
        core.service.set_discovery({IN: Account("bob", "bob's secret")})
    assert not core.tgtd.accounts
    core.settle()
    assert core.service.inventory.targets[T].incoming == ("alice",)
    assert core.service.target(T).state == "ready"


def test_a_refusal_to_show_is_no_reason_to_fall_over(core: Core) -> None:
    core.flaky.fail(1, core.flaky.refuse)
    with pytest.raises(Unavailable, match="does not show"):
        core.settle()


def test_an_initiator_whose_name_forges_tgtds_words_stops_nobody(core: Core) -> None:
    forged = core.tgtd.targets[2].name
    core.tgtd.log_in(T, f"evil\nTarget 2: {forged}\n    System information:", "10.0.0.1")
    core.settle()
    core.service.edit_target(U, addresses=("10.0.0.1",))
    assert core.service.target(U).state == "ready"
    assert core.tgtd.targets[2].addresses == ["10.0.0.1"]
    stranger = core.reborn()
    with pytest.raises(Untrusted):
        stranger.settle()
    assert core.service.target(T).sessions[0].initiator_name.startswith("evil\\nTarget")


def test_discovery_users_of_somebody_else_stay_until_ours_are_asked_for(core: Core) -> None:
    core.raw(Mode.ACCOUNT, Op.NEW, ("user", "theirs"), ("password", "their secret"))
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "theirs"), tid=EVERY)
    core.settle()
    assert not core.tgtd.lists_targets("nobody", "")
    core.service.set_discovery({IN: Account("ours", "our secret")})
    assert core.tgtd.lists_targets("ours", "our secret")
    assert not core.tgtd.lists_targets("theirs", "their secret")
    core.service.set_discovery({IN: None})
    assert core.tgtd.lists_targets("nobody", "")
    assert core.tgtd.accounts["theirs"] == "their secret"


# -- what an attack found


def test_an_account_that_somebody_has_just_bound_is_not_rotated_under_them(core: Core) -> None:
    """Nobody had looked since; unbinding alone would have been done, and tgtd have died."""
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.settle()
    core.add_foreign()
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "alice"), tid=99)
    with pytest.raises(Conflict, match="not StorLever's alone"):
        core.service.set_secret(T, IN, "alice", "another secret")
    core.settle()
    assert not core.tgtd.dead


def test_a_user_goes_from_under_an_account_that_somebody_has_just_bound(core: Core) -> None:
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.settle()
    core.raw(Mode.ACCOUNT, Op.NEW, ("user", "theirs"), ("password", "their secret"))
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "theirs"), tid=1)
    core.service.remove_user(T, IN, "alice")
    core.settle()
    assert not core.tgtd.dead


def test_what_the_last_tgtd_was_being_told_says_nothing_of_the_next(core: Core) -> None:
    core.flaky.fail(2, core.flaky.time_out_after)
    with pytest.raises(Unavailable):
        core.service.add_target(FOREIGN)
    core.flaky.mend()
    core.tgtd.restart()
    core.add_foreign()
    core.tgtd.log_in(FOREIGN, "iqn.2026-01.test:i")
    core.settle()
    assert 99 in core.tgtd.targets
    assert core.service.health().foreign == (FOREIGN,)


def test_an_aio_lun_that_the_machine_has_no_room_for_is_not_tried(core: Core) -> None:
    """tgtd would close a descriptor that is somebody's session."""
    core.backend._openings._files = Crowded(Territory(core.folder / "private"))
    asked = core.tgtd.requests
    with pytest.raises(Unfit, match="no room"):
        add_unit(core, backing_type=BackingType.AIO)
    assert core.tgtd.requests == asked


class Crowded(Machine):
    def room_for_aio(self) -> bool:
        return False


def test_a_path_that_leads_to_our_state_by_now_is_not_served_again(core: Core) -> None:
    add_unit(core)
    (core.folder / "private").mkdir()
    image(core.folder / "private" / "state.db", 1)
    (core.folder / "1.img").unlink()
    (core.folder / "1.img").symlink_to(core.folder / "private" / "state.db")
    core.tgtd.restart()
    core.settle()
    assert "StorLever itself" in str(core.service.unit(T, 1).reason)


def test_a_hung_tgtd_that_a_write_met_is_known_to_the_next(core: Core) -> None:
    core.tgtd.hung = True
    with pytest.raises(Unavailable):
        core.service.remove_target(T)
    assert core.service.health().down is not None


# -- what a reader found


def test_a_hung_tgtd_that_a_read_met_is_not_known_to_writes(core: Core) -> None:
    """It may be busy with others, or the last life's; a pass finds out."""
    core.tgtd.hung = True
    assert core.service.target(T).state == "error"
    core.tgtd.hung = False
    core.service.add_target("iqn.2026-01.test:new")


def test_a_lun_made_offline_has_not_the_size_of_one_of_its_number_before(core: Core) -> None:
    add_unit(core)
    core.service.remove_target(T)
    core.service.add_target(T)
    add_unit(core, file="2.img", online=False)
    assert core.service.unit(T, 1).size is None


def test_a_write_that_brings_a_failing_target_into_force_mends_it(core: Core) -> None:
    lose_a_user(core)
    core.raw(Mode.ACCOUNT, Op.UNBIND, ("user", "stranger"), tid=99)
    core.raw(Mode.ACCOUNT, Op.DELETE, ("user", "stranger"))
    core.service.remove_user(T, IN, "stranger")
    assert core.service.target(T).state == "ready"
    assert core.settle() == 0


# -- passwords that tgtd may have otherwise


def rotated(core: Core) -> object:
    return core.service.set_secret(T, IN, "alice", "another secret", everywhere=True)


def held(core: Core) -> object:
    """Goes online, and a host logs in, so that nothing can take it offline again."""
    core.service.edit_target(T, online=True)
    return core.tgtd.log_in(T, "iqn.2026-01.test:i")


def admitted(core: Core, target: str) -> list[bool]:
    """By the password that is stored, and by the one that never was."""
    return [
        core.tgtd.admits(target, "iqn.2026-01.test:i", "10.0.0.1", "alice", secret)
        for secret in ("alice's secret", "another secret")
    ]


def test_a_password_stays_in_doubt_until_a_pass_went_through(core: Core) -> None:
    """Also over writes of other things, and over a restart."""
    core.service.add_user(T, IN, Account("alice", "alice's secret"))
    core.service.edit_target(T, online=False)
    life = killed(core, rotated, held)
    life.settle()
    life.service.add_target("iqn.2026-01.test:new")
    life = life.reborn()
    life.settle()
    life.log_out()
    life.settle()
    assert life.settle() == 0
    life.service.edit_target(T, online=True)
    assert admitted(life, T) == [True, False]


def test_no_target_is_opened_to_a_password_in_doubt(core: Core) -> None:
    for target in (T, U):
        core.service.add_user(target, IN, Account("alice", "alice's secret"))
    core.service.edit_target(T, online=False)
    life = killed(core, rotated, held)
    life.settle()
    assert life.service.target(U).state == "error"
    with pytest.raises(Unavailable, match="'alice' with another password"):
        life.service.edit_target(U, addresses=("10.0.0.1",))
    assert admitted(life, U) == [False, False]
    life.log_out()
    life.passes.glance(life.service.inventory)
    life.settle()
    assert life.settle() == 0
    assert admitted(life, U) == [True, False]
    life.service.edit_target(U, addresses=("10.0.0.1",))


def test_a_target_that_fails_lets_nobody_stop_the_service_by_a_name(core: Core) -> None:
    """Nothing is in doubt of it, so what is known holds while somebody forges what tgtd shows."""
    core.service.edit_target(U, online=False)
    core.raw(Mode.TARGET, Op.UPDATE, ("state", "ready"), tid=2)
    core.tgtd.log_in(U, "iqn.2026-01.test:i")
    core.settle()
    assert core.service.health().failing
    core.tgtd.log_in(T, f"x\nTarget 1: {T}\n")
    core.settle()
    core.service.remove_target(T, force=True)


@pytest.mark.parametrize("fault", ["crash_after", "time_out_after"])
def test_an_outgoing_user_of_discovery_is_in_doubt_too(core: Core, fault: str) -> None:
    """tgtd does not show it where it stands alone."""
    core.service.add_user(T, OUT, Account("alice", "alice's secret"))
    core.service.add_user(U, OUT, Account("bob", "bob's secret"))
    core.service.set_discovery({OUT: Account("alice", "alice's secret")})
    core.settle()
    for given in (Account("bob", "bob's secret"), None):
        core.flaky.fail(1, getattr(core.flaky, fault))
        with pytest.raises((Crash, Unavailable)):
            core.service.set_discovery({OUT: given})
        core.flaky.mend()
        core = core.reborn() if fault == "crash_after" else core
        core.settle()
        assert core.tgtd.discovery.outgoing == "alice"
        assert core.settle() == 0
    core.service.set_discovery({OUT: None})
    assert core.tgtd.discovery.outgoing is None


# -- what the torture tests found


def test_what_only_others_would_make_of_our_target_is_put_right(core: Core) -> None:
    """It stopped every pass, and with them every write, for as long as it was there."""
    for entry in ("", "a\tb"):
        core.tgtd.exchange(unchecked(Mode.TARGET, Op.BIND, ("initiator-name", entry), tid=1))
    core.tgtd.exchange(unchecked(Mode.ACCOUNT, Op.NEW, ("user", "\t"), ("password", "x")))
    core.tgtd.exchange(unchecked(Mode.ACCOUNT, Op.BIND, ("user", "\t"), tid=1))
    core.tgtd.exchange(unchecked(Mode.UNIT, Op.NEW, tid=1, lun=300))
    core.settle()
    assert core.known.failures == {}
    assert core.settle() == 0
    target = core.tgtd.targets[1]
    assert (target.names, target.bound.visible(), target.units) == ([], [], {})


def test_a_blank_disc_does_not_become_readonly_by_an_edit_either(core: Core) -> None:
    """tgtd would let initiators write it all the same."""
    (core.folder / "blank.iso").touch()
    add_unit(core, file="blank.iso", device_type=DeviceType.CD)
    with pytest.raises(Invalid, match="blank disc"):
        core.service.edit_unit(T, 1, {"readonly": True})
    assert not core.service.unit(T, 1).unit.readonly


def test_a_medium_that_somebody_took_out_is_put_in_again(core: Core) -> None:
    """What was known of it was believed more than what tgtd showed."""
    add_unit(core)
    core.settle()
    core.tgtd.exchange(Request(Mode.UNIT, Op.UPDATE, tid=1, lun=1, parameters=(("online", "0"),)))
    assert core.settle() == 1
    assert core.tgtd.targets[1].units[1].online
    assert core.settle() == 0


def test_a_lun_that_somebody_replaced_gets_everything_again(core: Core) -> None:
    add_unit(core, write_cache=False)
    before = core.shown()
    for request in (
        Request(Mode.UNIT, Op.DELETE, tid=1, lun=1),
        Request(
            Mode.UNIT, Op.NEW, tid=1, lun=1, parameters=(("path", str(core.folder / "1.img")),)
        ),
    ):
        assert core.tgtd.exchange(request).error == 0
    core.settle()
    assert core.shown() == before


def test_a_user_whom_others_have_let_go_is_ours_alone_again(core: Core) -> None:
    """It stayed in tgtd when we let it go as well, and could not be added again."""
    core.service.add_user(T, OUT, Account("alice", "alice's secret"))
    core.add_foreign()
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "alice"), tid=99)
    core.settle()
    core.raw(Mode.ACCOUNT, Op.UNBIND, ("user", "alice"), tid=99)
    core.service.set_secret(T, OUT, "alice", "another secret")
    core.settle()
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "alice"), tid=99)
    core.settle()
    core.raw(Mode.ACCOUNT, Op.UNBIND, ("user", "alice"), tid=99)
    core.service.remove_user(T, OUT, "alice")
    core.service.add_user(U, IN, Account("alice", "a third secret"))


def test_a_name_that_cannot_be_said_is_the_trouble_of_its_target(core: Core) -> None:
    core.tgtd.targets[1].addresses.append("a,b")
    core.settle()
    assert "cannot be said" in str(core.service.target(T).reason)
    core.service.edit_target(U, addresses=("10.0.0.1",))


def test_session_numbers_that_an_initiator_made_up_do_not_keep_its_target(core: Core) -> None:
    name = "x\nSession: 99999999999999999999\n    Connection: 0\n        Initiator: y"
    core.tgtd.log_in(T, name, "10.0.0.1")
    core.service.remove_target(T, force=True)
    assert core.service.target_names() == [U]


# -- paths that lead elsewhere by the time tgtd opens them


def units(core: Core) -> dict[int, Unit]:
    """What tgtd has in the first target."""
    return next(each.units for each in core.tgtd.targets.values() if each.name == T)


class Swapping(Machine):
    """Somebody is quick: right after a look, the path leads to `other`."""

    def __init__(self, other: Path) -> None:
        super().__init__(Territory(Path("/nowhere")))
        self.other = other

    def look(self, path: str) -> BackingStore:
        found = super().look(path)
        Path(path).unlink()
        Path(path).symlink_to(self.other)
        return found


def test_a_new_lun_whose_file_is_swapped_before_tgtd_opens_it_is_gone(core: Core) -> None:
    core.backend._openings._files = Swapping(image(core.folder / "other", 2))
    with pytest.raises(Refused, match="replaced") as caught:
        add_unit(core)
    assert caught.value.code == "backing-store-changed"
    assert units(core) == {}
    assert core.known.down is None


def test_an_edited_lun_whose_new_file_is_swapped_stands_on_its_old_one(core: Core) -> None:
    add_unit(core)
    swapping = Swapping(image(core.folder / "other", 2))
    core.backend._openings._files = Once(swapping, core.backend._openings._files)
    with pytest.raises(Refused, match="replaced"):
        core.service.edit_unit(T, 1, {"backing_path": f"{core.folder}/2.img"})
    assert units(core)[1].path == f"{core.folder}/1.img"
    assert core.service.unit(T, 1).state == "ready"


class Once(Machine):
    """The first look is another machine's."""

    def __init__(self, first: Machine, then: Files) -> None:
        super().__init__(Territory(Path("/nowhere")))
        self._machines = iter((first, then, then, then))

    def look(self, path: str) -> BackingStore:
        return next(self._machines).look(path)


def test_a_pass_does_not_serve_what_was_swapped_in_and_lets_it_rest(core: Core) -> None:
    """Each try makes and removes a unit, which all sessions of the target hear of."""
    add_unit(core)
    core.tgtd.restart()
    core.backend._openings._files = Swapping(image(core.folder / "other", 2))
    core.settle()
    assert units(core) == {}
    assert "replaced" in str(core.service.unit(T, 1).reason)
    asked = core.tgtd.requests
    core.settle()
    assert core.tgtd.requests - asked == LOOKING_REQUESTS


def test_a_lun_that_was_swapped_is_claimed_as_what_tgtd_opened(core: Core) -> None:
    """Whatever its path leads to since: another LUN must not have the same store."""
    first, link = image(core.folder / "first", 1), core.folder / "link"
    link.symlink_to(first)
    core.service.add_unit(T, 7, {"backing_path": str(link)})
    link.unlink()
    link.symlink_to(image(core.folder / "second", 1))
    core.service.edit_unit(T, 7, {"readonly": False, "write_cache": False})
    with pytest.raises(Conflict, match="LUN 7"):
        core.service.add_unit(T, 8, {"backing_path": str(first)})


def test_a_path_that_leads_out_of_the_roots_by_now_is_not_served(core: Core) -> None:
    """Not by a pass, not when it is given again, and not when the LUN comes back online."""
    (core.folder / "open").mkdir()
    territory = Territory(core.folder / "private", roots=[core.folder / "open"])
    core.backend._openings._files = core.service._shelf._host = Machine(territory)
    link = core.folder / "open/link"
    link.symlink_to(image(core.folder / "open/a", 1))
    core.service.add_unit(T, 7, {"backing_path": str(link)})
    link.unlink()
    link.symlink_to(image(core.folder / "b", 1))
    with pytest.raises(Invalid, match="must lie below"):
        core.service.edit_unit(T, 7, {"backing_path": str(link)})
    with pytest.raises(Invalid, match="must lie below"):
        core.service.add_unit(T, 8, {"backing_path": str(link)})
    core.service.edit_unit(T, 7, {"online": False})
    with pytest.raises(Conflict, match="must lie below") as caught:
        core.service.edit_unit(T, 7, {"online": True})
    assert caught.value.code == "backing-store-forbidden"
    link.unlink()
    link.symlink_to(core.folder / "open/a")
    core.service.edit_unit(T, 7, {"online": True})
    link.unlink()
    link.symlink_to(core.folder / "b")
    core.tgtd.restart()
    core.settle()
    assert "must lie below" in str(core.service.unit(T, 7).reason)
    assert 7 not in units(core)
