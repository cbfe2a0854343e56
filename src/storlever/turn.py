"""Turns: one at a time may change anything, and what ends a turn makes it durable."""

import threading
from collections.abc import Callable
from types import TracebackType

from storlever.errors import Unavailable

PATIENCE = 10.0
"""Seconds a write waits for the thread that makes it, and then for its turn."""


class Turn:
    """`with turn:` has it end with `commit`, or with `abandon` if it raised an Exception. One
    within another one is a part of it. Raises Unavailable when the others take too long."""

    def __init__(
        self, lock: threading.RLock, commit: Callable[[], None], abandon: Callable[[], None]
    ) -> None:
        self._lock = lock
        self._commit = commit
        self._abandon = abandon
        self._depth = 0

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=PATIENCE):
            raise no_turn()
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._depth -= 1
            if self._depth == 0:
                self._end(error)
        finally:
            self._lock.release()

    def _end(self, error: BaseException | None) -> None:
        if error is None:
            self._commit()
        elif isinstance(error, Exception):
            self._abandon()


def no_turn() -> Unavailable:
    return Unavailable("too many changes are waiting for their turn", code="too-busy")
