"""What happened, in order, as long as there is room: a ring that any thread writes to.

An event's number counts from 1 in each life of the service, which has an `epoch` of its own.
"""

import contextlib
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from storlever.audit import stamp
from storlever.clock import now
from storlever.inventory import Edit, Inventory
from storlever.model import Target, differing

MOST = 4_000
"""Events that are kept."""

Bell = Callable[[], object]
About = Mapping[str, str | int | None]
Told = tuple[str, About]
"""Kind of an event, and what it is about."""


class Event(Struct, frozen=True, eq=False):
    number: int
    kind: str
    time: str
    about: About


class Events:
    def __init__(self, most: int = MOST) -> None:
        self.epoch = secrets.token_hex(6)
        self._kept: deque[Event] = deque(maxlen=most)
        self._last = 0
        self._lock = threading.Lock()
        self._bells: frozenset[Bell] = frozenset()

    @property
    def last(self) -> int:
        """The number of the latest; 0 before the first."""
        return self._last

    def publish(self, *told: Told) -> None:
        """Never waits for whoever listens, and never raises."""
        if not told:
            return
        time = stamp(now())
        with self._lock:
            for number, (kind, about) in enumerate(told, self._last + 1):
                self._kept.append(Event(number, kind, time, about))
            self._last += len(told)
        for bell in self._bells:
            with contextlib.suppress(RuntimeError):  # of an event loop that has ended
                bell()

    def after(self, number: int, limit: int) -> list[Event] | None:
        """The next ones; None where some of them are not kept any more, or never were."""
        with self._lock:
            missed = self._last - number
            if not 0 <= missed <= len(self._kept):
                return None
            start = len(self._kept) - missed
            return list(islice(self._kept, start, start + limit))

    def listen(self, bell: Bell) -> None:
        """`bell` is rung after each publication, by whichever thread that is."""
        with self._lock:
            self._bells |= {bell}

    def unlisten(self, bell: Bell) -> None:
        with self._lock:
            self._bells -= {bell}


def of_edit(edit: Edit, old: Inventory) -> Iterator[Told]:
    """What an edit of `old` did."""
    for name, target in edit.targets.items():
        yield from _of_target(name, old.targets.get(name), target)
    for name, account in edit.accounts.items():
        if account != old.accounts.get(name):
            yield "user-changed", {"user": name}
    if edit.discovery is not None and edit.discovery != old.discovery:
        yield "conf-changed", {}


def _of_target(name: str, was: Target | None, became: Target | None) -> Iterator[Told]:
    """A LUN goes before its target does, and comes after it."""
    units = tuple(_of_units(name, was, became))
    if was is None and became is not None:
        yield "target-created", {"target": name}
    if was is not None and became is not None and replace(was, units=became.units) != became:
        yield "target-changed", {"target": name}
    yield from units
    if was is not None and became is None:
        yield "target-deleted", {"target": name}


def _of_units(name: str, was: Target | None, became: Target | None) -> Iterator[Told]:
    for lun, before, after in differing(was, became):
        how = "created" if before is None else "deleted" if after is None else "changed"
        yield f"lun-{how}", {"target": name, "lun": lun}
