"""A fault at every single request of every kind of write: all of it is in force, or nothing."""

from collections.abc import Callable, Iterator

import pytest

from storlever.document import Document, TargetPart, UnitPart, UserPart
from storlever.errors import NotFound, Refused, StateFailed, StorLeverError, Unavailable
from storlever.failpoint import FailPoint
from storlever.inventory import Direction
from storlever.model import Account, DeviceType
from storlever.service import Service
from storlever.tgtd.wire import Mode, Op
from tests.points import POINTS, Control
from tests.unit.core import Core, Crash
from tests.world import folder, image

T = "iqn.2026-01.test:one"
U = "iqn.2026-01.test:two"
IN, OUT = Direction.INCOMING, Direction.OUTGOING
MOST_REQUESTS = 60
LOOKING_REQUESTS = 5
"""What it takes to look at everything."""
DURABLE = ("write.committed", "write.finished")
"""Fail points that a write reaches when it is durable already."""


@pytest.fixture
def core() -> Iterator[Core]:
    """Two targets that share a user, each with LUNs, discovery users, and a foreign target."""
    with folder() as path:
        for number in range(1, 5):
            image(path / f"{number}.img", number)
        core = Core(path)
        core.settle()
        service = core.service
        for name in (T, U):
            service.add_target(name)
            service.add_user(name, IN, Account("shared", "shared secret"))
        service.add_user(T, IN, Account("alice", "alice's secret"))
        service.add_user(T, OUT, Account("target", "target's secret"))
        service.add_unit(T, 1, {"backing_path": f"{path}/1.img"})
        service.add_unit(T, 2, {"backing_path": f"{path}/2.img", "readonly": True})
        service.set_discovery({IN: Account("finder", "finder's secret")})
        core.add_foreign()
        core.settle()
        yield core


Write = Callable[[Service, str], object]

NEW = "iqn.2026-01.test:new"


def parts(path: str) -> tuple[TargetPart, ...]:
    """Of everything something: a target that goes, one that is new, LUNs that swap their stores,
    users that come, go, and get another password."""
    one, two = ({"backing_path": f"{path}/{number}.img"} for number in (2, 1))
    three = {"backing_path": f"{path}/3.img", "write_cache": False}
    return (
        TargetPart(
            T, names=(), incoming=("alice", "bob"), units=(UnitPart(1, one), UnitPart(2, two))
        ),
        TargetPart(NEW, online=False, incoming=("alice",), units=(UnitPart(9, three),)),
    )


def document(path: str) -> Document:
    users = (UserPart("alice", "another secret"), UserPart("bob", "bob's secret"))
    return Document(parts(path), users, {IN: None, OUT: "bob"})


WRITES: dict[str, Write] = {
    "add target": lambda s, _: s.add_target("iqn.2026-01.test:new"),
    "lists": lambda s, _: s.edit_target(T, names=("iqn.2026-01.test:i",), addresses=("10.0.0.1",)),
    "offline": lambda s, _: s.edit_target(T, online=False),
    "remove target": lambda s, _: s.remove_target(T),
    "add user": lambda s, _: s.add_user(T, IN, Account("bob", "bob's secret")),
    "first user": lambda s, _: s.set_discovery({IN: None, OUT: Account("o", "outgoing secret")}),
    "password": lambda s, _: s.set_secret(T, IN, "alice", "another secret"),
    "password everywhere": lambda s, _: s.set_secret(T, IN, "shared", "new", everywhere=True),
    "remove user": lambda s, _: s.remove_user(T, IN, "shared"),
    "remove last user": lambda s, _: s.remove_user(U, IN, "shared"),
    "outgoing password": lambda s, _: s.set_secret(T, OUT, "target", "another secret"),
    "remove outgoing": lambda s, _: s.remove_user(T, OUT, "target"),
    "discovery": lambda s, _: s.set_discovery({IN: Account("finder", "changed secret")}),
    "add unit": lambda s, path: s.add_unit(T, 3, {"backing_path": f"{path}/3.img"}),
    "unit flags": lambda s, _: s.edit_unit(T, 1, {"readonly": True, "write_cache": False}),
    "unit offline": lambda s, _: s.edit_unit(T, 1, {"online": False}),
    "unit path": lambda s, path: s.edit_unit(T, 1, {"backing_path": f"{path}/4.img"}),
    "unit type": lambda s, _: s.edit_unit(T, 2, {"device_type": DeviceType.CD}),
    "document": lambda s, path: s.apply(document(path), prune=True, force=True),
    "whole target": lambda s, path: s.add_target(
        NEW, parts(path)[1], [Account("alice", "alice's secret")]
    ),
    "restore": lambda s, _: s.restore(2, force=True),
    "remove unit": lambda s, _: s.remove_unit(T, 1),
}


@pytest.fixture(params=WRITES)
def write(request: pytest.FixtureRequest) -> Write:
    return WRITES[request.param]


def every_step(core: Core, fault: str, write: Write) -> Iterator[BaseException]:
    """Run the write with the fault at its 1st, 2nd, … request until none is left to fail."""
    for number in range(1, MOST_REQUESTS):
        core.flaky.fail(number, getattr(core.flaky, fault))
        try:
            write(core.service, str(core.folder))
        except (StorLeverError, Crash) as error:
            core.flaky.mend()
            yield error
        else:
            core.flaky.mend()
            assert number > 1, "the write made no request at all"
            assert not core.flaky.hit, "a fault went unnoticed"
            return
    raise AssertionError("the write never ends")


def test_a_write_that_tgtd_refuses_anywhere_changes_nothing(core: Core, write: Write) -> None:
    before, inventory = core.shown(), core.service.inventory
    for error in every_step(core, "refuse", write):
        assert isinstance(error, Refused | Unavailable)  # the latter when it refuses to show
        assert core.service.inventory is inventory
        assert core.shown() == before
        assert core.settle() == 0


@pytest.mark.parametrize("fault", ["die", "time_out_after"])
def test_a_write_that_loses_tgtd_changes_nothing(core: Core, write: Write, fault: str) -> None:
    before, inventory = core.shown(), core.service.inventory
    for error in every_step(core, fault, write):
        assert isinstance(error, Unavailable)
        assert core.service.inventory is inventory
        if core.tgtd.dead:
            core.tgtd.restart()
            core.add_foreign()
        core.settle()
        assert core.shown() == before
        assert core.settle() == 0


@pytest.mark.parametrize("fault", ["crash_before", "crash_after"])
def test_a_service_killed_anywhere_is_undone_by_its_next_life(
    core: Core, write: Write, fault: str
) -> None:
    before = core.shown()
    lives = [core]
    for number in range(1, MOST_REQUESTS):
        life = lives[-1]
        life.flaky.fail(number, getattr(life.flaky, fault))
        try:
            write(life.service, str(core.folder))
        except Crash:
            lives.append(life.reborn())
            lives[-1].settle()
            assert lives[-1].shown() == before
            assert lives[-1].settle() == 0
        else:
            assert number > 1
            return
    raise AssertionError("the write never ends")


def test_a_write_that_cannot_be_stored_changes_nothing(core: Core, write: Write) -> None:
    before, inventory = core.shown(), core.service.inventory
    core.store.full = True
    with pytest.raises(StateFailed):
        write(core.service, str(core.folder))
    assert core.service.inventory is inventory
    assert core.shown() == before
    core.store.full = False
    write(core.service, str(core.folder))
    assert core.shown() != before


def test_a_write_is_in_force_and_stored_when_it_returns(core: Core, write: Write) -> None:
    write(core.service, str(core.folder))
    assert core.store.load() == core.service.inventory
    after = core.shown()
    assert core.settle() == 0
    next_life = core.reborn()
    assert next_life.settle() == 0
    core.tgtd.restart()
    core.add_foreign()
    next_life.settle()
    assert next_life.shown() == after


# -- errors that nobody expects


@pytest.mark.parametrize(
    "point", [point for point in POINTS if point.startswith(("write.", "change.", "unit."))]
)
def test_an_error_that_nobody_expects_leaves_a_write_whole_or_not_at_all(
    core: Core, control: Control, write: Write, point: str
) -> None:
    before, inventory = core.shown(), core.service.inventory
    for number in range(1, MOST_REQUESTS):
        control.order(f"{point} exception {number}")
        try:
            write(core.service, str(core.folder))
        except FailPoint:
            if point in DURABLE:
                break
        else:
            break
        assert core.service.inventory is inventory
        assert core.shown() == before
        assert core.settle() == 0
    after = core.shown()
    assert core.store.load() == core.service.inventory != inventory
    assert after != before
    core.settle()
    assert core.shown() == after
    assert core.settle() == 0


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("undo.")])
def test_what_could_not_be_undone_at_once_is_undone_by_the_next_pass(
    core: Core, control: Control, write: Write, point: str
) -> None:
    before, inventory = core.shown(), core.service.inventory
    for number in range(1, MOST_REQUESTS):
        control.order("change.made exception 1", f"{point} exception {number}")
        with pytest.raises(FailPoint):
            write(core.service, str(core.folder))
        assert core.service.inventory is inventory
        if core.known.down is None:
            assert number > 1
            break
        core.settle()
        assert core.shown() == before
        assert core.settle() == 0


def test_an_error_after_looking_at_drift_puts_the_target_back(core: Core, control: Control) -> None:
    before = core.shown()
    tid = next(tid for tid, target in core.tgtd.targets.items() if target.name == U)
    core.raw(Mode.TARGET, Op.DELETE, tid=tid)
    control.order("write.drifted exception")
    with pytest.raises(FailPoint):
        core.service.edit_target(U, addresses=("10.0.0.1",))
    assert core.shown() == before
    assert core.settle() == 0


def test_a_write_that_failed_before_it_began_leaves_no_note_of_its_names(
    core: Core, control: Control
) -> None:
    """Else a target that somebody makes by this name would be taken for a rest of ours."""
    control.order("write.noted exception")
    with pytest.raises(FailPoint):
        core.service.add_target("iqn.2026-01.test:new")
    core.raw(Mode.TARGET, Op.NEW, ("targetname", "iqn.2026-01.test:new"), tid=98)
    core.settle()
    assert 98 in core.tgtd.targets


def test_a_backing_store_is_free_once_the_removal_of_its_lun_is_durable(
    core: Core, control: Control
) -> None:
    control.order("write.committed exception")
    with pytest.raises(FailPoint):
        core.service.remove_unit(T, 1)
    with pytest.raises(NotFound):
        core.service.unit(T, 1)
    core.service.add_unit(U, 1, {"backing_path": f"{core.folder}/1.img"})


def test_a_lun_that_was_failing_goes_on_failing_when_its_mending_cannot_be_stored(
    core: Core,
) -> None:
    (core.folder / "1.img").unlink()
    core.tgtd.restart()
    core.settle()
    assert core.service.unit(T, 1).state == "error"
    core.store.full = True
    with pytest.raises(StateFailed):
        core.service.edit_unit(T, 1, {"backing_path": f"{core.folder}/3.img"})
    assert core.known.down is None
    assert "does not exist" in str(core.service.unit(T, 1).reason)


def test_a_rest_of_a_write_that_tgtd_does_not_let_go_stays_ours(core: Core) -> None:
    core.flaky.fail(1, core.flaky.crash_after)
    with pytest.raises(Crash):
        core.service.add_target("iqn.2026-01.test:new")
    core = core.reborn()
    core.flaky.fail(LOOKING_REQUESTS + 1, core.flaky.refuse)
    core.settle()
    assert core.known.failures
    core.passes.glance(core.service.inventory)
    core.settle()
    assert "iqn.2026-01.test:new" not in core.shown()
