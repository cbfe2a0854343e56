"""Belief, API and tgtd stay one, whatever is asked, whoever is killed, and whatever others do.

A failure prints the shortest run that leads to it; the same seed and n lead there again.
"""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.torture.drawn import tape
from tests.torture.living import DISKS, TAPES, Living
from tests.torture.rig import Torture, runs
from tests.torture.worlds import TwinWorld, World
from tests.world import image

STEPS = {False: 50, True: 100}


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


@pytest.mark.usefixtures("quiet")
@runs(push=200, release=5000)
def test_belief_api_and_the_twin_stay_one(
    root: Path, torture: Torture, pytestconfig: pytest.Config
) -> None:
    furnish(root)

    class OnTheTwin(Living):
        folder, figures = root, Counter[str]()

        def make(self) -> World:
            return TwinWorld(root)

    play(OnTheTwin, torture, 50)
