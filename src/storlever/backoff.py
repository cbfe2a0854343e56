"""LUNs that tgtd refuses rest before they are tried again.

Every try makes and removes a unit, which tgtd announces to all sessions of the target with a unit
attention each, and never merges them. A file that is not there costs nothing to look for, so LUNs
that only miss theirs do not rest.
"""

from collections.abc import Set

from storlever.model import Place

FIRST, LONGEST = 4.0, 300.0
"""Seconds of rest after the first failure, doubled after each, and the most."""


class Backoff:
    """`now` is any clock that goes forward, in seconds."""

    def __init__(self) -> None:
        self._rests: dict[Place, tuple[float, float]] = {}

    def resting(self, now: float) -> frozenset[Place]:
        return frozenset(place for place, (until, _) in self._rests.items() if now < until)

    def note(self, failed: Set[Place], now: float) -> None:
        """These failed when they were last tried; all others that do not rest are well."""
        self._rests = {
            place: (until, length)
            for place, (until, length) in self._rests.items()
            if now < until or place in failed
        }
        for place in failed:
            _, length = self._rests.get(place, (0.0, FIRST / 2))
            length = min(length * 2, LONGEST)
            self._rests[place] = (now + length, length)

    def forget(self, place: Place) -> None:
        """A write has mended it, or taken it away."""
        self._rests.pop(place, None)

    def clear(self) -> None:
        """tgtd has a new life."""
        self._rests.clear()
