"""Looking at what tgtd has: at everything, at what it tells at a small price, at its statistics.

Stands on `accounts`, and on `openings` for the sizes of units.
"""

import time

from storlever.errors import Unavailable
from storlever.model import Bindings, Sample
from storlever.observed import Observed
from storlever.tgtd import accounts, show
from storlever.tgtd.life import PATIENCE, Life
from storlever.tgtd.openings import Openings
from storlever.tgtd.wire import EVERY, Mode, Op, Request


class Lookout:
    """Outlives every Life, which it is shown to look at. Whatever looks raises TgtRefusal and
    Unavailable."""

    def __init__(self, openings: Openings) -> None:
        self._openings = openings
        self.reader = show.TargetReader()
        self.portals: tuple[str, ...] = ()
        """Where it serves iSCSI, as HOST:PORT, by the last look."""
        self.stall = 0.0
        """Seconds that tgtd took to print everything, and served nobody."""

    def observe(self, life: Life) -> Observed:
        """Raises Forged."""
        for _ in range(3):
            ids = show.target_ids(life.ask(Request(Mode.DRIVER, Op.SHOW)))
            started = time.monotonic()
            everything = Request(Mode.TARGET, Op.SHOW, tid=EVERY, patience=len(ids) * PATIENCE)
            shown = life.ask(everything)
            self.stall = time.monotonic() - started
            found = self.reader.read(shown, ids)
            if found.keys() == ids.keys():
                break  # else somebody made or removed a target between the two answers
        life.ids = {name: ids[name] for name in found}
        life.last = max((life.last, *ids.values()))
        self._openings.measure(found)
        self.portals = tuple(sorted(show.portals(life.ask(Request(Mode.PORTAL, Op.SHOW)))))
        return Observed(
            {name: target for name, (target, _) in found.items()},
            dict.fromkeys(accounts.names(life)),
            accounts.discovery(life),
        )

    def familiar(self, life: Life, known: Observed) -> bool:
        """A target made anew has another number."""
        # An outgoing account of discovery that stands alone is not shown.
        discovery = known.discovery if known.discovery.incoming else Bindings()
        return (
            show.target_ids(life.ask(Request(Mode.DRIVER, Op.SHOW))) == life.ids
            and frozenset(accounts.names(life)) == known.accounts.keys()
            and accounts.discovery(life) == discovery
        )

    def sample(self, life: Life) -> Sample:
        """Raises Unavailable where nothing was looked at yet."""
        if life.pid is None:
            raise Unavailable("not looked at yet")
        request = Request(Mode.SYSTEM, Op.STATS, patience=life.patience)
        told = show.traffic(life.ask(request))
        names = {tid: name for name, tid in life.ids.copy().items()} if told else {}
        return Sample(
            life.pid,
            {
                (names[tid], lun, sid): traffic
                for (tid, lun, sid), traffic in told.items()
                if tid in names
            },
        )
