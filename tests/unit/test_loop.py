"""The loop outlives whatever happens in it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storlever.loop import OUR_FAULT, Loop
from storlever.tgtd.wire import Mode, Op
from tests.points import POINTS, Control
from tests.unit.core import Core
from tests.world import image, wait_until

T = "iqn.2026-01.test:one"
IN_A_PASS = ("pass.", "change.", "unit.", "loop.tend")


@pytest.fixture
def core(tmp_path: Path) -> Core:
    core = Core(tmp_path)
    core.settle()
    core.service.add_target(T)
    core.service.add_unit(T, 1, {"backing_path": str(image(tmp_path / "1.img", 1))})
    core.settle()
    return core


@pytest.fixture
def loop(core: Core) -> Iterator[Loop]:
    loop = Loop(core.passes, lambda: core.service.inventory, threading.RLock())
    yield loop
    loop.stop()


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith(IN_A_PASS)])
def test_an_error_in_a_pass_is_told_and_the_next_pass_puts_it_right(
    core: Core, loop: Loop, control: Control, point: str
) -> None:
    before = core.shown()
    core.tgtd.restart()
    for number in range(1, 30):
        control.order(f"{point} exception {number}")
        if loop.tend(first=True):
            assert number > 1
            break
        assert core.known.down == OUR_FAULT
        assert point not in str(core.service.target(T).reason)
    control.order()
    assert core.known.down is None
    assert core.shown() == before
    assert core.settle() == 0


def test_the_loop_goes_on_when_it_cannot_even_wait(
    core: Core, loop: Loop, control: Control
) -> None:
    control.order("loop.waiting exception")
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        wait_until(lambda: any(hit.action == "exception" for hit in control.hits()))
        core.raw(Mode.TARGET, Op.DELETE, tid=next(iter(core.tgtd.targets)))
        core.known.wake()
        wait_until(lambda: core.tgtd.targets)
    finally:
        loop.stop()
        thread.join(10)
    assert not thread.is_alive()
