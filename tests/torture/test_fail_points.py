"""The service is killed, fails, or is slow at every boundary of its steps.

The points come from the source. Each is met under two clients that write at random; one that
cannot be reached fails the test. Afterwards state file, API and tgtd agree on what was answered,
and what was not answered is there whole or not at all.
"""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.points import POINTS, Control, Hit
from tests.system.furnished import events, service, tgtds_of
from tests.torture.clients.tenant import login
from tests.torture.clients.writers import FOREIGN, Guests, Writers
from tests.torture.machine.proc import starved
from tests.torture.rig import Torture, runs
from tests.torture.truth import facts
from tests.torture.truth.facts import Facts
from tests.world import StorLever, wait_until

READY_AGAIN, CONVERGED = 3.0, 5.0
"""Seconds that are promised."""
PATIENCE = 20.0
"""Seconds in which clients reach a point as often as it takes."""
TENANTS = 2
ANSWERED = "write.answered"

DURABLE = {"write.committed", "write.finished", ANSWERED}
"""Points that a write reaches once it is durable."""
SHARED = {"write.claimed", "store.begun", "store.written", *DURABLE}
"""Points that all writes of a group may reach together."""
FIRST = {"loop.tending", "pass.looked", "pass.planned", "pass.concluded"}
"""Points that every start reaches."""

FAILED_WRITES = tuple(f"write.changed exception {number}" for number in range(1, 30))
FAILED_UNDOS = tuple(f"undo.begun exception {number}" for number in range(1, 30))


def provocation(point: str) -> tuple[str, ...]:
    """Orders without which clients that do nothing wrong never come to the point, or seldom."""
    if point.startswith("undo."):
        return FAILED_WRITES
    if point.startswith(("pass.", "loop.")):
        return FAILED_WRITES + FAILED_UNDOS  # of which the second kind wakes the loop
    return ()


class House:
    """A service under siege, and all that must be true of it."""

    def __init__(
        self, storlever: StorLever, torture: Torture, control: Control, stack: ExitStack
    ) -> None:
        self.storlever = storlever.start()
        self.torture = torture
        self.control = control
        self.writers = Writers(storlever, torture, TENANTS)
        self.slowest: dict[str, float] = {}
        self._stack = stack
        self._guests: Guests | None = None
        stack.callback(self.writers.leave)
        self._invite()

    def _invite(self) -> None:
        """Guests in this life of tgtd, which they do not survive."""
        self._guests = self._stack.enter_context(Guests(self.storlever))

    # -- an attack

    def attack(self, point: str, action: str) -> None:
        countdown = self.torture.chance.randint(1, 3 if point != "tgtd.spawned" else 1)
        self.torture.note("order", point=point, action=action, countdown=countdown)
        for writer in self.writers.clients:
            writer.on_error = self._meaning(point)
            writer.before = self._delete if point == "write.drifted" else None
        delay = f"={self.torture.chance.uniform(0.02, 0.2):.3f}" if action == "delay" else ""
        self.control.order(f"{point} {action}{delay} {countdown}", *provocation(point))
        with self.writers.writing():
            if point == "tgtd.spawned":
                self._kill_tgtd()
            hits = self._await(point, action)
            if action == "kill":
                assert self.storlever.process is not None
                assert self.storlever.process.wait(5) == -signal.SIGKILL
        if action == "kill" and point in FIRST and self.torture.chance.random() < 1 / 3:
            self._kill_at_start(point)
        started = time.monotonic()
        hits += self.control.hits()
        self.control.order()
        before = 0.0
        if action == "kill":
            self.storlever.start(ready=False)
        else:
            before = self._starved()
        self._recover(started, before)
        if action != "kill":
            self._require_right_answers(point, hits)
        if point == "tgtd.spawned":
            self._invite()
        self._write_on()

    @staticmethod
    def _meaning(point: str) -> str:
        if provocation(point):
            return "undone"
        return "done" if point in DURABLE else "undone"

    def _await(self, point: str, action: str) -> list[Hit]:
        hits: list[Hit] = []

        def acted() -> bool:
            hits.extend(self.control.hits())
            return any(hit.point == point and hit.action.startswith(action) for hit in hits)

        try:
            wait_until(acted, PATIENCE)
        except AssertionError:
            raise AssertionError(f"{point} was not reached often enough") from None
        return hits

    def _kill_at_start(self, point: str) -> None:
        """A life that ends in its first pass."""
        self.control.order(f"{point} kill")
        with pytest.raises(AssertionError):
            self.storlever.start()
        assert self.storlever.process is not None
        assert self.storlever.process.wait(5) == -signal.SIGKILL

    def _kill_tgtd(self) -> None:
        """Which takes the guests along."""
        pid = self.storlever.tgtd_pid()
        assert pid is not None
        self._guests = None
        os.kill(pid, signal.SIGKILL)

    def _delete(self, name: str) -> None:
        """As somebody else would, right before a write finds out."""
        listed = self.storlever.admin("show", "target", check=False).splitlines()
        for line in listed:
            if line.startswith("Target ") and line.endswith(f": {name}"):
                tid = line.split()[1].rstrip(":")
                self.storlever.admin("delete", "target", "--tid", tid, "--force", check=False)

    # -- and what must be true afterwards

    def _recover(self, started: float, before: float) -> None:
        """Ready and converged in time, not counting what other programs took of it."""
        wait_until(lambda: self.storlever.answers(ready=True), PATIENCE)
        taken = self._starved() - before
        self._require_in_time("ready", READY_AGAIN, started, taken)
        truth = self.writers.settle()
        self.writers.require_told(truth, CONVERGED)
        self._require_in_time("converged", CONVERGED, started, taken)
        self._require_sessions(truth)

    def _require_in_time(self, what: str, deadline: float, started: float, taken: float) -> None:
        seconds = time.monotonic() - started
        self.torture.note(what, seconds=seconds, taken=taken)
        for name, value in ((what, seconds - taken), (f"{what}_by_the_clock", seconds)):
            self.slowest[name] = max(self.slowest.get(name, 0.0), value)
        assert seconds - taken <= deadline, f"{what} after {seconds:.2f} s, {taken:.2f} of it taken"

    def _starved(self) -> float:
        assert self.storlever.process is not None
        return starved(self.storlever.process.pid)

    def _require_sessions(self, truth: Facts) -> None:
        """Nobody's session ended who had one, and who may log in can, with the right password."""
        if self._guests is not None:
            self._guests.require_undisturbed()
        else:
            assert FOREIGN not in facts.blocks(self.storlever)
        for writer in self.writers.clients:
            mine = {fact[1] for fact in writer.now if fact[0] == "target"}
            mine -= {fact[1] for fact in writer.now if fact[0] == "target offline"}
            if mine:
                name = self.torture.chance.choice(sorted(map(str, mine)))
                with login(self.storlever, truth, name):
                    pass

    def _require_right_answers(self, point: str, hits: list[Hit]) -> None:
        """An error is told to the one it happened to, as 500 and in no words of its own; where
        that was on the way of a whole group, to all of it. Others hear of it only where tgtd is
        gone, or was left as it should not be."""
        answers = [json.loads(text) for text in self.writers.refusals]
        codes = Counter((answer["status"], answer["code"]) for answer in answers)
        thrown = [hit for hit in hits if hit.action == "exception"]
        to_writers = sum(_of_a_request(hit) and hit.point[:5] != "undo." for hit in thrown)
        told = codes.pop((500, "internal"), 0)
        shared = point in SHARED and to_writers > 0
        assert told >= to_writers if shared else told == to_writers, (answers, thrown)
        passes = not all(map(_of_a_request, thrown))
        if provocation(point) or passes or point == "tgtd.spawned":
            codes.pop((503, "tgtd-unavailable"), None)
        assert not codes, answers
        assert not any(word in str(answers) for word in ("FailPoint", "Traceback", point)), answers

    def _write_on(self) -> None:
        for writer in self.writers.clients:
            writer.before = None
        self.writers.require_writes(PATIENCE)
        for writer in self.writers.clients:
            writer.errors.clear()


def _of_a_request(hit: Hit) -> bool:
    """A write has a thread for all but its answer; passes have one of their own."""
    return "writer" in hit.thread or hit.point == ANSWERED


@pytest.fixture
def house(root: Path, torture: Torture) -> Iterator[House]:
    control = Control(root / "failpoints")
    control.order()
    with service(root, failpoints=str(control.path)) as storlever, ExitStack() as stack:
        try:
            yield House(storlever, torture, control, stack)
        finally:
            shutil.copy(storlever.log, torture.folder)
        assert tgtds_of(storlever) == [storlever.tgtd_pid()]


@runs(push=3, release=50)
@pytest.mark.parametrize("action", ["kill", "exception", "delay"])
def test_a_write_is_there_whole_or_not_at_all_whatever_happens_between_two_steps(
    house: House, torture: Torture, action: str
) -> None:
    attacks = [point for point in POINTS for _ in range(torture.runs)]
    torture.chance.shuffle(attacks)
    for point in attacks:
        house.attack(point, action)
    torture.figure(
        points=len(POINTS),
        attacks=len(attacks),
        answered=house.writers.answered,
        unanswered=house.writers.cut_off,
        lost=0,
        half=0,
        **{f"slowest_{name}": f"{value:.2f} s" for name, value in house.slowest.items()},
    )


def test_the_service_starts_although_its_first_pass_fails(root: Path) -> None:
    control = Control(root / "failpoints")
    control.order("pass.looked exception")
    with service(root, failpoints=str(control.path)) as storlever:
        storlever.start()
        assert any(hit.action == "exception" for hit in control.hits())
        assert any("FAIL POINTS ARE ARMED" in event["event"] for event in events(storlever))
        storlever.add_target()
