"""The loop that keeps tgtd as desired: glances and passes on a timer, passes when woken, and when
tgtd dies."""

import os
import select
import threading
import time
from collections.abc import Callable

import structlog

from storlever import failpoint
from storlever.errors import StorLeverError
from storlever.inventory import Inventory
from storlever.passes import Passes

log = structlog.get_logger(__name__)

GLANCES = 2.0
"""Seconds between two glances."""
STALL_SHARE = 1 / 200
"""For at most this share of its time, full looks keep tgtd from serving anybody. That puts right
within 5 s what somebody else changes in a tgtd of 1,000 targets, and within minutes in one of
10,000, where a full look stalls all I/O for most of a second."""
SHORTEST_INTERVAL, LONGEST_INTERVAL = 2.0, 300.0
"""Seconds between two full passes."""
BACK_OFF = (0.1, 0.2, 0.5, 1.0)
OUR_FAULT = "an error in StorLever itself; see its log"


class Loop:
    """`run` is for a thread of its own. `desired` is asked with the lock held."""

    def __init__(
        self, passes: Passes, desired: Callable[[], Inventory], lock: threading.RLock
    ) -> None:
        self._passes = passes
        self._known = passes.known
        self._desired = desired
        self._lock = lock
        self._stopping = False
        self._due = 0.0
        """When the next full pass is due, on the monotonic clock."""

    def run(self) -> None:
        """Until `stop`, whatever happens."""
        attempt = 0
        while not self._stopping:
            if self.tend(first=attempt == 0):
                attempt, wait = 0, min(GLANCES, max(self._due - time.monotonic(), 0))
            else:
                wait = BACK_OFF[min(attempt, len(BACK_OFF) - 1)]
                attempt += 1
            try:
                self._wait(wait)
            except Exception:  # as for want of a descriptor
                log.exception("cannot wait for tgtd's death")
                time.sleep(BACK_OFF[-1])

    def stop(self) -> None:
        self._stopping = True
        self._known.wake()

    def tend(self, *, first: bool) -> bool:
        """Look, and bring tgtd to what is desired; whether that went through. Survives anything."""
        with self._lock:
            reason = self._known.down
            try:
                failpoint.reached("loop.tending")
                self._look()
                return True
            except StorLeverError as error:
                if str(error) != reason or first:
                    log.warning("tgtd is not available", reason=str(error))
                self._known.down = str(error)
            except Exception:
                log.exception("a pass failed")
                self._known.down = OUR_FAULT
            self._due = 0.0
            return False

    def _look(self) -> None:
        """A full pass where one is due, or a glance sees that one is needed."""
        desired = self._desired()
        if time.monotonic() < self._due and self._passes.glance(desired):
            return
        self._passes.full(desired)
        gentle = self._known.backend.stall / STALL_SHARE
        interval = min(max(SHORTEST_INTERVAL, gentle), LONGEST_INTERVAL)
        self._due = time.monotonic() + interval

    def _wait(self, seconds: float) -> None:
        """Until the time is over, somebody wakes us, or the daemon dies."""
        failpoint.reached("loop.waiting")
        known = self._known
        death = _death_of(known.pid) if known.down is None else None
        poll = select.poll()
        poll.register(known.alarm, select.POLLIN)
        if death is not None:
            poll.register(death, select.POLLIN)
        try:
            ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        finally:
            if death is not None:
                os.close(death)
        if ready:
            self._due = 0.0
        if known.alarm.fileno() in ready:
            known.alarm.hear()
        if death in ready:
            known.down = "tgtd has died"
            log.warning("tgtd has died", pid=known.pid)


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
