"""Asks tgtd again and again for its counters: what went through, and which sessions come and go.

One small exchange tells both, in numbers alone; who a session is, tgtd is asked once (figures in
docs/decisions/0030).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import structlog
from msgspec import Struct

from storlever.clock import now
from storlever.counters import CONTROLLER, Counters
from storlever.errors import Unavailable
from storlever.events import Told
from storlever.inventory import Inventory
from storlever.knowledge import Knowledge
from storlever.model import Sample, Session

log = structlog.get_logger(__name__)

SHORTEST_INTERVAL, LONGEST_INTERVAL = 1.0, 10.0
"""Seconds between two samples."""
ASKING_SHARE = 1 / 200
"""For at most this share of its time, samples keep tgtd from serving anybody."""
MOST_ASKED = 200
"""Targets that are asked at once who their new sessions are: there may be 10,000 at a start."""


class Visit(Struct, frozen=True):
    """A session, and when it was first seen."""

    session: Session
    since: datetime


class Sampler:
    """`run` is for a thread of its own; any may call the rest. `desired`: what is ours."""

    def __init__(self, known: Knowledge, desired: Callable[[], Inventory]) -> None:
        self.counters = Counters()
        self.taken: datetime | None = None
        """When the last sample was."""
        self._visits: Mapping[str, Mapping[int, Visit]] = {}
        """By target and number; replaced, never changed."""
        self._life: int | None = None
        self._known = known
        self._desired = desired
        self._events = known.events
        self._turn = threading.Lock()
        self._stopped = threading.Event()
        self._spent = deque([0.0] * 5, maxlen=5)
        """Seconds that the last samples took; the least of them is not that of others' work."""

    def visits(self, target: str) -> Mapping[int, Visit]:
        """The sessions of a target, by number, as of the last sample."""
        return self._visits.get(target, {})

    def present(self) -> dict[str, int]:
        """How many sessions there were, by target, where there were any."""
        return {target: len(visits) for target, visits in self._visits.items()}

    def run(self) -> None:
        """Until it is stopped, whatever happens."""
        interval = 0.0
        while not self._stopped.wait(interval):
            try:
                self.look()
                gentle = min(self._spent) / ASKING_SHARE
                interval = min(max(SHORTEST_INTERVAL, gentle), LONGEST_INTERVAL)
            except Unavailable:  # the loop tells, and sees to it
                interval = SHORTEST_INTERVAL
            except Exception:
                log.exception("cannot sample tgtd's counters")
                interval = LONGEST_INTERVAL

    def stop(self) -> None:
        self._stopped.set()

    def look(self) -> None:
        """Take one sample. Raises Unavailable."""
        with self._turn:
            started = time.monotonic()
            sample = self._known.backend.sample()
            self._spent.append(time.monotonic() - started)
            inventory = self._desired()
            self.counters.take(sample, lambda place: inventory.find(*place) is not None)
            self.taken = now()
            present = _present(sample, inventory)
            self._see_off(sample.life, present)
            self._greet(present)

    def _see_off(self, life: int, present: Mapping[str, frozenset[int]]) -> None:
        """Who is not there any more; in another life of tgtd, nobody is."""
        left: dict[str, Mapping[int, Visit]] = {}
        told: list[Told] = []
        for target, visits in self._visits.items():
            here = present.get(target, frozenset()) if life == self._life else frozenset()
            told += _told(
                "session-closed", target, (visits[sid] for sid in visits if sid not in here)
            )
            if staying := {sid: visit for sid, visit in visits.items() if sid in here}:
                left[target] = staying
        self._visits, self._life = left, life
        self._events.publish(*told)

    def _greet(self, present: Mapping[str, frozenset[int]]) -> None:
        """Who is new: of some targets, and the rest the next time."""
        new = [target for target in present if present[target] - self.visits(target).keys()]
        all_visits, told = dict(self._visits), list[Told]()
        try:
            for target in new[:MOST_ASKED]:
                known = self.visits(target)
                visits = {
                    each.sid: Visit(each, now())
                    for each in self._known.backend.sessions(target)
                    if each.sid in present[target] and each.sid not in known
                }
                all_visits[target] = {**known, **visits}
                told += _told("session-opened", target, visits.values())
        finally:
            self._visits = all_visits
            self._events.publish(*told)


def _present(sample: Sample, inventory: Inventory) -> dict[str, frozenset[int]]:
    """The numbers of the sessions of our targets; every session has the controller's counters."""
    found: dict[str, set[int]] = {}
    for target, lun, number in sample.traffic:
        if lun == CONTROLLER and target in inventory.targets:
            found.setdefault(target, set()).add(number)
    return {target: frozenset(numbers) for target, numbers in found.items()}


def _told(kind: str, target: str, visits: Iterable[Visit]) -> list[Told]:
    return [
        (
            kind,
            {
                "target": target,
                "session": visit.session.sid,
                "initiator_name": visit.session.initiator_name,
                "address": visit.session.address,
            },
        )
        for visit in visits
    ]
