"""Paths that lead elsewhere from one moment to the next: what may not be served never is.

A process of its own turns a link back and forth, some ten thousand times a second, between a file
below the root and one that is not, in a folder that is another user's.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.torture.rig import Torture, runs
from tests.world import StorLever, image, wait_until

NOBODY = 65534
SWAPPED = "backing-store-changed"
ANSWERS = ("done", "invalid", "backing-store-forbidden", SWAPPED)
FLIPPER = """
import os, sys
link, ways, flips = sys.argv[1], sys.argv[2:], 0
try:
    while True:
        for way in ways:
            os.symlink(way, link + ".new")
            os.rename(link + ".new", link)
            flips += 1
except KeyboardInterrupt:
    print(flips)
"""


class Flipper:
    """A link that never rests; `flips` is known once it does."""

    def __init__(self, link: Path, *ways: Path) -> None:
        self.flips = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", FLIPPER, link, *ways], stdout=subprocess.PIPE, text=True
        )
        wait_until(link.is_symlink)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self.flips = int(self._process.communicate(timeout=10)[0] or 0)


@contextmanager
def flipping(link: Path, *ways: Path) -> Iterator[Flipper]:
    flipper = Flipper(link, *ways)
    try:
        yield flipper
    finally:
        flipper.stop()


class Stage:
    """A service that may serve what lies below `open`, and a link in there."""

    def __init__(self, root: Path) -> None:
        (root / "open").mkdir()
        self.allowed, self.forbidden = image(root / "open/a.img", 1), image(root / "b.img", 2)
        self.link = root / "open/link"
        os.chown(root / "open", NOBODY, NOBODY)
        self.storlever = StorLever(root, backing_root=str(root / "open")).start()
        self.target = self.storlever.add_target()
        self.lun = f"{self.target}/lun_list/1"

    def opened(self, file: Path) -> int:
        """How many descriptors of tgtd lead to the file."""
        found = 0
        for each in Path(f"/proc/{self.storlever.tgtd_pid()}/fd").iterdir():
            with suppress(FileNotFoundError):
                found += each.samefile(file)
        return found

    def state(self) -> str:
        """Of the LUN; what tgtd has open must fit it."""
        seen = self.storlever.api("GET", self.lun)
        state: str = seen.json()["state"] if seen.status_code == 200 else "gone"
        wait_until(self.harmless, 1)
        if state in ("ready", "gone"):
            assert self.opened(self.allowed) == (state == "ready"), seen.text
            assert ("LUN: 1" in self.storlever.show()) == (state == "ready")
        return state

    def harmless(self) -> bool:
        """A LUN that failed is tried again, for which tgtd opens what it must not, for a moment."""
        return self.opened(self.forbidden) == 0

    def asked(self, method: str, path: str, body: object = None) -> str:
        """Ask until tgtd can be changed; "done", or the code of the refusal."""

        def answer() -> str:
            said = self.storlever.api(method, path, body)
            code = "done" if said.is_success else said.json()["code"]
            return "" if code == "tgtd-unavailable" else code

        code: str = wait_until(answer, 15)
        assert code in ANSWERS
        return code


@runs(push=300, release=10_000)
def test_a_link_that_is_turned_never_serves_what_lies_outside(root: Path, torture: Torture) -> None:
    """Added, opened anew, taken offline and back, and deleted, and looked at after every answer:
    refused LUNs leave nothing, and those that are served stand on the file that may be."""
    stage, answers, states = Stage(root), Counter[str](), Counter[str]()
    try:
        with flipping(stage.link, stage.allowed, stage.forbidden) as flipper:
            for run in range(torture.runs):
                body = {"lun": 1, "path": str(stage.link)}
                added = stage.asked("POST", f"{stage.target}/lun_list", body)
                answers[added] += 1
                assert stage.state() == ("ready" if added == "done" else "gone")
                if added != "done":
                    continue
                edits = ({"path": str(stage.link)},), ({"online": False}, {"online": True})
                for edit in torture.chance.choice(edits):
                    answers[stage.asked("PUT", stage.lun, edit)] += 1
                    states[stage.state()] += 1
                torture.note("run", run=run, answers=answers)
                assert stage.asked("DELETE", stage.lun) == "done"
                assert stage.state() == "gone"
        torture.figure(flips=flipper.flips, **dict(sorted(answers.items())), **states)
        assert {"done", "invalid", SWAPPED} <= answers.keys()
    finally:
        stage.storlever.close()


@runs(push=10, release=300)
def test_a_link_that_is_turned_leads_no_replay_outside(root: Path, torture: Torture) -> None:
    """tgtd is killed, and passes bring all back by path: the LUN is served from the file that may
    be, or fails, and is well as soon as the link rests."""
    stage, states = Stage(root), Counter[str]()
    try:
        stage.link.symlink_to(stage.allowed)
        stage.storlever.add_lun(stage.target, 1, stage.link)
        for _ in range(torture.runs):
            before = stage.storlever.tgtd_pid()
            assert before
            with flipping(stage.link, stage.allowed, stage.forbidden):
                os.kill(before, signal.SIGKILL)
                wait_until(lambda pid=before: stage.storlever.tgtd_pid() not in (None, pid))
                wait_until(lambda: "LUN: 0" in stage.storlever.show())
                wait_until(lambda: stage.storlever.answers(ready=True) or failing(stage))
                states[stage.state()] += 1
            stage.link.unlink()
            stage.link.symlink_to(stage.allowed)
            wait_until(lambda: stage.state() == "ready", 30)
        torture.figure(**states)
    finally:
        stage.storlever.close()


def failing(stage: Stage) -> bool:
    return bool(stage.storlever.get(stage.lun)["state"] == "error")
