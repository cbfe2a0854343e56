"""The loop that keeps tgtd as desired: passes on a timer, when woken, and when tgtd dies."""

import os
import select
import threading
from collections.abc import Callable

import structlog

from storlever.errors import StorLeverError
from storlever.inventory import Inventory
from storlever.reconciler import Reconciler

log = structlog.get_logger(__name__)

SHORTEST_INTERVAL = 2.0
LONGEST_INTERVAL = 4.0
"""Somebody else's change in tgtd is promised to be put right within 5 s."""
LOOKING_SHARE = 1 / 200
"""Timer passes keep tgtd busy for at most this share of its time, while intervals allow it."""
BACK_OFF = (0.1, 0.2, 0.5, 1.0)


class Loop:
    """`desired` is asked with the lock held."""

    def __init__(
        self, reconciler: Reconciler, desired: Callable[[], Inventory], lock: threading.Lock
    ) -> None:
        self._reconciler = reconciler
        self._desired = desired
        self._lock = lock
        self._stopping = False

    def run(self) -> None:
        """Until `stop`, whatever happens."""
        attempt = 0
        while not self._stopping:
            if self._pass(first=attempt == 0):
                attempt, wait = 0, self._interval()
            else:
                wait = BACK_OFF[min(attempt, len(BACK_OFF) - 1)]
                attempt += 1
            self._wait(wait)

    def stop(self) -> None:
        self._stopping = True
        self._reconciler.wake()

    def _pass(self, *, first: bool) -> bool:
        """Whether it went through. The one place that survives anything."""
        with self._lock:
            known = self._reconciler.down
            try:
                self._reconciler.full_pass(self._desired())
                return True
            except Exception as error:
                if not isinstance(error, StorLeverError):
                    log.exception("a pass failed")
                elif str(error) != known or first:
                    log.warning("tgtd is not available", reason=str(error))
                self._reconciler.down = str(error)
                return False

    def _interval(self) -> float:
        gentle = self._reconciler.looking / LOOKING_SHARE
        return min(max(SHORTEST_INTERVAL, gentle), LONGEST_INTERVAL)

    def _wait(self, seconds: float) -> None:
        """Until the time is over, somebody wakes us, or the daemon dies."""
        reconciler = self._reconciler
        death = _death_of(reconciler.pid) if reconciler.down is None else None
        poll = select.poll()
        poll.register(reconciler.alarm, select.POLLIN)
        if death is not None:
            poll.register(death, select.POLLIN)
        try:
            ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        finally:
            if death is not None:
                os.close(death)
        if reconciler.alarm in ready:
            os.eventfd_read(reconciler.alarm)
        if death in ready:
            reconciler.down = "tgtd has died"
            log.warning("tgtd has died", pid=reconciler.pid)


def _death_of(pid: int) -> int | None:
    """A descriptor that is readable once the process is gone; None where that cannot be had.

    For one that is gone already it is the read end of a pipe that nobody can write to.
    """
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        read, write = os.pipe2(os.O_CLOEXEC)
        os.close(write)
        return read
    except OSError:
        return None
