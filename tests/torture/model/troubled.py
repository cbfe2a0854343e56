"""A service on the twin, which can fail in the middle of a request, and has sessions."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import rule

from storlever.errors import Refused, StateFailed, StorLeverError, Unavailable
from storlever.service import Service
from tests.torture.model.living import Living, targets
from tests.torture.model.moves import Move
from tests.torture.model.worlds import TwinWorld
from tests.unit.core import Crash

FAULTS = ("refuse", "die", "time_out_after", "crash_before", "crash_after")
"""Of tgtd, at a request to it."""
STORE_FAULTS = ("full", "killed before", "killed after")
"""Of the store, at a commit."""
MOST_REQUESTS = 15
INITIATOR = "iqn.2026-01.test:initiator"


class Troubled(Living):
    """`trouble`: the fault of the next request that would succeed, and at which of the requests to
    tgtd it comes."""

    world: TwinWorld

    def __init__(self) -> None:
        super().__init__()
        self.trouble: tuple[str, int] | None = None

    @rule(
        fault=st.sampled_from(FAULTS + STORE_FAULTS),
        number=st.integers(1, MOST_REQUESTS),
    )
    def brew(self, fault: str, number: int) -> None:
        self.trouble = fault, number

    def ask(self, move: Move, call: Callable[[Service], object]) -> None:
        unseen = move.names & self.stranger.gone
        if self.trouble is None or move.refusals or unseen or self.killed or not self.settled:
            super().ask(move, call)
            return
        sessions = self.world.sessions()
        self.arm(*self.trouble)
        self.trouble = None
        try:
            call(self.world.service)
        except Crash:
            self.revive(move)
        except StorLeverError as error:
            self.require_undone(error)
        else:
            move.done()
        self.disarm()
        self.require_sessions(sessions, move.closes)

    def arm(self, fault: str, number: int) -> None:
        flaky, store = self.world.core.flaky, self.world.store
        if fault in FAULTS:
            flaky.fail(number, getattr(flaky, fault))
        else:
            store.full, store.killed = fault == "full", fault.removeprefix("killed ")

    def disarm(self) -> None:
        self.world.core.flaky.mend()
        self.world.store.full, self.world.store.killed = False, ""

    def revive(self, move: Move) -> None:
        """The service was killed: what was committed is there, whoever heard of it or not."""
        self.figures["service killed"] += 1
        if self.world.store.killed == "after":
            move.done()
        self.disarm()
        self.world.be_reborn()
        self.recover()

    def require_undone(self, error: StorLeverError) -> None:
        self.figures["undone"] += 1
        if isinstance(error, StateFailed):
            assert self.world.store.full
        else:
            assert isinstance(error, Refused | Unavailable), error
            assert self.world.core.flaky.hit, error
        self.disarm()
        if not self.world.alive:
            self.kill()
        elif isinstance(error, Unavailable):
            self.recover()

    @rule(fault=st.sampled_from(FAULTS[1:]), number=st.integers(1, MOST_REQUESTS))
    def pass_in_trouble(self, fault: str, number: int) -> None:
        """A pass does not come to its end."""
        if self.killed:
            return
        self.arm(fault, number)
        try:
            self.settle()
        except Crash:
            self.revive(Move())
        except Unavailable as error:
            self.require_undone(error)
        self.disarm()

    @rule(name=targets)
    def log_in(self, name: str) -> None:
        """To a target that is there and wished to be."""
        ready = {each.name for each in self.world.tgtd.targets.values() if each.ready}
        wished = self.belief.targets.get(name, {"online": False})["online"]
        if wished and name in ready and not self.killed:
            self.world.tgtd.log_in(name, INITIATOR)
            self.figures["sessions"] += 1
