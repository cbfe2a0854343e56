"""What went through each LUN and each session: totals that never fall, of counters that do. Pure.

tgtd counts by LUN and session, and forgets both with the session. What a session did between the
last sample and its end is lost.
"""

from collections.abc import Callable, Mapping

from storlever.model import Counted, Place, Sample, Traffic

AROUND = 1 << 32
"""Where commands and errors begin at 0 again."""
CONTROLLER = 0
"""The LUN that is no disk of anybody's."""

NOTHING = Traffic()


class Counters:
    """The maps are replaced by each sample, and never changed: any thread may read them."""

    def __init__(self) -> None:
        self.units: Mapping[Place, Traffic] = {}
        """Since the first sample."""
        self.sessions: Mapping[tuple[str, int], Traffic] = {}
        """By target and number, since the session began: of those of the last sample."""
        self._last: Mapping[Counted, Traffic] = {}
        self._life: int | None = None

    def take(self, sample: Sample, there: Callable[[Place], bool]) -> None:
        """Add what is new in it. The series of what is not `there` any more ends."""
        first = self._life is None
        same = sample.life == self._life
        last, known = (self._last, self.sessions) if same else ({}, {})
        units = {place: done for place, done in self.units.items() if there(place)}
        sessions: dict[tuple[str, int], Traffic] = {}
        for counted, now in sample.traffic.items():
            target, lun, number = counted
            place, session = (target, lun), (target, number)
            so_far = sessions.get(session) or known.get(session, NOTHING)
            if lun == CONTROLLER or not there(place):
                sessions[session] = so_far
                continue
            more = since(last.get(counted, NOTHING), now)
            sessions[session] = so_far.plus(more)
            # What there was before we came may be in the totals of our last life.
            units[place] = units.get(place, NOTHING).plus(NOTHING if first else more)
        self.units, self.sessions = units, sessions
        self._last, self._life = sample.traffic, sample.life


def since(before: Traffic, now: Traffic) -> Traffic:
    """What was done between two samples. Commands and errors may have gone around; what fell
    otherwise began anew, as where another LUN took the number."""
    read, written = now.read_bytes - before.read_bytes, now.written_bytes - before.written_bytes
    reads = (now.reads - before.reads) % AROUND
    writes = (now.writes - before.writes) % AROUND
    errors = (now.errors - before.errors) % AROUND
    if min(read, written) < 0 or max(reads, writes, errors) >= AROUND // 2:
        return now
    return Traffic(read, reads, written, writes, errors)
