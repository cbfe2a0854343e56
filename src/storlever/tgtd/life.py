"""One life of tgtd: which one it is, the numbers it gave to targets, and asking it by them.

The numbers live and die here: elsewhere a target is known by its name. Stands on `transport`.
"""

import time
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from storlever.model import Session
from storlever.tgtd.refusal import TgtRefusal, text_of
from storlever.tgtd.transport import Transport
from storlever.tgtd.wire import Request, TgtError

PATIENCE = 0.001
"""Seconds a target to wait longer for what tgtd (1.0.85) does by looking at every target for each
target: at 10,000 of them, 1 to 2 s that it has for itself."""
BUSY_PATIENCE = 2.0
"""Seconds to wait for commands in flight before a busy unit or target is given up on."""


class Peer(Struct, frozen=True):
    """Which life of the daemon: process ids come again, so the start time is part of it."""

    pid: int
    started: int

    def __str__(self) -> str:
        """As it stands in the notes, for the next version too."""
        return f"{self.pid} started {self.started}"


def _a_little() -> None:
    time.sleep(0.005)


class Life:
    """What is known of one tgtd by its numbers; the next one gets another Life from the backend.
    Whatever asks raises TgtRefusal and Unavailable."""

    def __init__(self, transport: Transport, pid: int | None = None) -> None:
        self.pid = pid
        """The process that the numbers below are of: another one must not be asked by them."""
        self.send = partial(transport.send, pid=pid)
        self.ids: dict[str, int] = {}
        """By name of the target."""
        self.last = 0
        """The highest number that was given, as far as we know."""
        self.told: dict[int, tuple[str, tuple[Session, ...]]] = {}
        """What tgtd last said of a target's connections, and what that means."""

    @property
    def patience(self) -> float:
        """With what takes tgtd longer the more targets it has."""
        return len(self.ids) * PATIENCE

    def tid(self, target: str) -> int:
        try:
            return self.ids[target]
        except KeyError:
            raise TgtRefusal(TgtError.NO_TARGET) from None

    def ask(self, request: Request) -> str:
        return text_of(self.send(request)())

    def ask_patiently(self, request: Request, meanwhile: Callable[[], None] = _a_little) -> None:
        """Until nothing is in flight any more, or patience ends."""
        deadline = time.monotonic() + BUSY_PATIENCE
        while True:
            try:
                self.ask(request)
                return
            except TgtRefusal as refusal:
                busy = refusal.number in (TgtError.LUN_ACTIVE, TgtError.TARGET_ACTIVE)
                if not busy or time.monotonic() > deadline:
                    raise
            meanwhile()
