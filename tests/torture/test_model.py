"""Belief, API and tgtd stay one, whatever is asked, whoever is killed, and whatever others do.

A failure prints the shortest run that leads to it; the same seed and n lead there again.
"""

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from storlever import enforcer
from tests.torture.machine.drawn import tape
from tests.torture.model.living import DISKS, TAPES, Living
from tests.torture.model.troubled import Troubled
from tests.torture.model.worlds import RealWorld, TwinWorld, World
from tests.torture.rig import Torture, runs
from tests.world import Tgtd, image


@pytest.fixture
def release(pytestconfig: pytest.Config) -> bool:
    """Whether a release is near: then runs have more steps."""
    return bool(pytestconfig.option.release)


def play(machine: type[Living], torture: Torture, steps: int) -> None:
    how = settings(
        max_examples=torture.runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(torture.seed)(machine), settings=how)
    torture.figure(steps=steps, **machine.figures)


def furnish(root: Path) -> None:
    for size, name in enumerate((*DISKS, "theirs.img"), 1):
        image(root / name, size)
    for name in TAPES:
        tape(root / name)
    (root / "link.img").symlink_to(root / DISKS[0])
    (root / "blank.img").touch()
    (root / "small.img").write_bytes(b"x" * 100)


@pytest.fixture
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at tgtd counts as cheap however busy this machine is: what happens must depend on
    the seed alone."""
    monkeypatch.setattr(enforcer, "CHEAP_LOOK", math.inf)


@pytest.mark.usefixtures("quiet", "swift")
@runs(push=200, release=5000)
def test_belief_api_and_the_twin_stay_one(root: Path, torture: Torture, release: bool) -> None:
    """With faults at any request to tgtd and at any commit, and with sessions."""
    furnish(root)

    class OnTheTwin(Troubled):
        folder, figures = root, Counter[str]()

        def make(self) -> World:
            return TwinWorld(root)

    play(OnTheTwin, torture, steps=100 if release else 50)


@pytest.mark.usefixtures("quiet", "swift")
@runs(push=100, release=2000)
def test_belief_api_and_tgtd_stay_one(root: Path, torture: Torture, release: bool) -> None:
    furnish(root)
    daemon = Tgtd(root)

    class OnTgtd(Living):
        folder, figures = root, Counter[str]()

        def make(self) -> World:
            daemon.kill()
            daemon.start()
            return RealWorld(daemon)

    try:
        play(OnTgtd, torture, steps=50 if release else 30)
    finally:
        daemon.kill()
