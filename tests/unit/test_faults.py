"""A fault at every single request of every kind of write: all of it is in force, or nothing."""

from collections.abc import Callable, Iterator

import pytest

from storlever.errors import Refused, StateFailed, StorLeverError, Unavailable
from storlever.inventory import Direction
from storlever.model import Account, DeviceType
from storlever.service import Service
from tests.unit.core import Core, Crash
from tests.world import folder, image

T = "iqn.2026-01.test:one"
U = "iqn.2026-01.test:two"
IN, OUT = Direction.INCOMING, Direction.OUTGOING
MOST_REQUESTS = 60


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
