"""Fail points: off unless armed, and obedient to the control file once they are."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storlever import failpoint
from storlever.failpoint import FailPoint, reached
from tests.points import POINTS, Control, Hit, found


def test_a_point_has_one_place_and_its_name_says_what_was_reached() -> None:
    assert len(POINTS) == len(set(POINTS)), found()
    assert POINTS
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", point) for point in POINTS)


def test_points_are_off_unless_the_environment_asks_for_them() -> None:
    assert failpoint.arm({}) is None
    reached("one")


def test_without_an_order_a_point_is_only_written_down(control: Control) -> None:
    reached("one")
    assert control.hits() == [Hit("one", "-", "MainThread")]
    control.order("two exception")
    reached("one")
    assert control.hits() == [Hit("one", "-", "MainThread")]


def test_an_order_is_carried_out_once_and_again_when_it_is_given_again(control: Control) -> None:
    for _ in range(2):
        control.order("one exception 2", "one exception 3")
        reached("one")
        for _ in range(2):
            with pytest.raises(FailPoint):
                reached("one")
        reached("one")
        assert [hit.action for hit in control.hits()] == ["-", "exception", "exception", "-"]


def test_a_delay_is_as_long_as_it_says(control: Control) -> None:
    control.order("one delay=0.1")
    started = time.monotonic()
    reached("one")
    assert time.monotonic() - started >= 0.1


def test_a_kill_leaves_a_line_in_the_log_and_no_chance_to_clean_up(tmp_path: Path) -> None:
    control = Control(tmp_path / "control")
    control.order("one kill")
    code = (
        "from storlever import failpoint\n"
        f"failpoint.arm({{failpoint.VARIABLE: {str(control.path)!r}}})\n"
        "try: failpoint.reached('one')\n"
        "finally: print('cleaned up')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
    assert control.hits() == [Hit("one", "kill", "MainThread")]
