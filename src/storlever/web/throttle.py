"""How often somebody may fail."""

import time
from collections import OrderedDict
from collections.abc import Callable

BURST = 10
INTERVAL = 6.0
"""Seconds in which one more failure is forgiven."""
MOST_KEYS = 10_000
"""Who failed longest ago is forgotten first."""


class Throttle:
    """For every key a time up to which its failures are spent: the generic cell rate algorithm."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent: OrderedDict[str, float] = OrderedDict()

    def fail(self, *keys: str) -> float:
        """Count a failure of all of them; seconds until the next would count as one of few, 0.0
        while it does."""
        now = self._clock()
        wait = max(self._wait(key, now) for key in keys)
        if wait <= 0:
            for key in keys:
                self._spent[key] = max(self._spent.get(key, now), now) + INTERVAL
                self._spent.move_to_end(key)
        while len(self._spent) > MOST_KEYS:
            self._spent.popitem(last=False)
        return max(wait, 0.0)

    def _wait(self, key: str, now: float) -> float:
        return self._spent.get(key, now) + INTERVAL - now - BURST * INTERVAL
