"""How often somebody may fail, or be told of."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 10_000
"""Who failed longest ago is forgotten first."""


class Throttle:
    """`burst` at once, and one more each `interval` seconds: the generic cell rate algorithm, which
    keeps for every key a time up to which it has spent that."""

    def __init__(
        self, burst: int, interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._interval = interval
        self._clock = clock
        self._spent: OrderedDict[str, float] = OrderedDict()

    def fail(self, *keys: str) -> float:
        """Count a failure of all of them; seconds until the next would count as one of few, 0.0
        while it does."""
        now = self._clock()
        wait = max(self._wait(key, now) for key in keys)
        if wait <= 0:
            for key in keys:
                self._spent[key] = max(self._spent.get(key, now), now) + self._interval
                self._spent.move_to_end(key)
        while len(self._spent) > MOST_KEYS:
            self._spent.popitem(last=False)
        return max(wait, 0.0)

    def _wait(self, key: str, now: float) -> float:
        return self._spent.get(key, now) + self._interval - now - self._burst * self._interval
