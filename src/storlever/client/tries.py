"""When a call is tried again, decided without doing it.

Again only what is safe: after an answer that never came, what may be done twice (reads, PUT,
DELETE, and POST with a key that the service knows it by); when nothing was sent, or the service
says that it did nothing (503 with Retry-After), anything. And not for ever: `patience` seconds.
"""

import random
import time
from dataclasses import replace
from typing import Generic, TypeVar

from storlever.client.call import Call, Raw
from storlever.client.connection import Connection

T = TypeVar("T")

FIRST, LONGEST = 0.1, 2.0
"""Seconds between tries, doubling from the one to the other."""
IN_FLIGHT = "idempotency-key-in-flight"


class Pauses:
    """Ever longer ones; the last ends when `patience` seconds are over."""

    def __init__(self, patience: float) -> None:
        self._end = time.monotonic() + patience
        self._next = FIRST

    def another(self, least: float = 0.0) -> float | None:
        """How many seconds to wait, at least `least`; None: give up."""
        left = self._end - time.monotonic()
        if not 0 < left >= least:
            return None
        spread = random.uniform(0.5, 1.0)  # noqa: S311  so that many clients do not come at once
        pause = max(self._next * spread, least)
        self._next = min(self._next * 2, LONGEST)
        return min(pause, left)


class Tries(Generic[T]):
    """Of one call. Each answer, or the want of one, is told; what comes back is how many seconds to
    wait before the next try."""

    def __init__(self, call: Call[T], patience: float, where: Connection) -> None:
        self._call = call
        self._where = where
        self._pauses = Pauses(patience)
        self._maybe_done = False

    def failed(self, why: Exception, *, sent: bool) -> float:
        """There was no answer. `sent`: some of the request may have arrived. Raises Unreachable."""
        self._maybe_done |= sent
        pause = self._pauses.another() if self._call.repeatable or not sent else None
        if pause is None:
            raise self._where.unreachable(why, maybe_done=self._maybe_done) from why
        return pause

    def answered(self, raw: Raw) -> float | None:
        """None: this is the answer."""
        if raw.status in self._call.answers:
            return None
        if raw.status == 409 and raw.trouble.code == IN_FLIGHT:
            return self._pauses.another()
        if raw.status == 503 and (after := raw.trouble.retry_after) is not None:
            return self._pauses.another(after)
        return None

    def decoded(self, raw: Raw) -> T:
        """What the answer means. Raises Problem or NotUnderstood."""
        if raw.status in self._call.answers:
            return self._call.decode(raw)
        if raw.status == 404 and self._call.method == "DELETE" and self._maybe_done:
            # an earlier try may have deleted it, and it is gone as was asked
            return self._call.decode(replace(raw, status=200))
        raise raw.trouble
