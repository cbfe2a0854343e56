"""What the audit has to tell of requests that changed nothing: it waits for the next commit."""

from collections import deque

from msgspec import Struct

from storlever import audit
from storlever.audit import Entry
from storlever.clock import now
from storlever.principal import Act, Principal, Role
from storlever.throttle import Throttle

TOLD_AT_ONCE, TOLD_EACH = 100, 1.0
"""Refusals of one principal that are told of at once, and seconds until one more is."""
MOST = 10_000
"""Entries that may wait."""
OURSELVES = Act(Principal("storlever", Role.ADMIN), "", "audit", "")


class Batch(Struct, frozen=True):
    """`lost`: how many more there would be, had there been room."""

    entries: tuple[Entry, ...]
    lost: int

    @property
    def told(self) -> tuple[Entry, ...]:
        if not self.lost:
            return self.entries
        return (*self.entries, audit.entry(OURSELVES, now(), f"{self.lost} entries were lost"))


class Backlog:
    """The event loop tells, and does not wait; the rest needs the caller's lock."""

    def __init__(self) -> None:
        self._waiting: deque[Entry] = deque()
        self._lost = 0
        self._throttle = Throttle(TOLD_AT_ONCE, TOLD_EACH)

    def __bool__(self) -> bool:
        """Whether there is anything to tell, if only that something was lost."""
        return bool(self._waiting or self._lost)

    @property
    def waiting(self) -> bool:
        """Whether that is worth a commit of its own."""
        return bool(self._waiting)

    def tell(self, act: Act, outcome: str) -> None:
        """Of each principal a few a second, or somebody could have the audit filled with what is
        nothing."""
        if self._throttle.fail(act.principal.name):
            self._lost += 1
        else:
            self.add(audit.entry(act, now(), outcome))

    def add(self, entry: Entry) -> None:
        if len(self._waiting) < MOST:
            self._waiting.append(entry)
        else:
            self._lost += 1

    def batch(self) -> Batch:
        """All that is there now."""
        return Batch(tuple(self._waiting), self._lost)

    def forget(self, batch: Batch) -> None:
        """It is durable."""
        self._lost -= batch.lost
        for _ in batch.entries:
            self._waiting.popleft()
