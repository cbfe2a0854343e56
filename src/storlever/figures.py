"""What there is to measure of the core at one moment, copied from memory."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from storlever.failures import Failed
from storlever.inventory import Inventory
from storlever.model import Place, Traffic
from storlever.status import state, trouble
from storlever.tally import Tally


class Figures(Struct, frozen=True):
    """`failures`: (target, LUN or None for the target) -> why it is not served. `traffic` and
    `sessions` (how many, by target) are those of the last sample. `pid` is tgtd's, 0 when it is
    down."""

    inventory: Inventory
    down: str | None
    hole: str | None
    pid: int
    foreign: int
    failures: Mapping[Failed, str]
    tally: Tally
    traffic: Mapping[Place, Traffic]
    sessions: Mapping[str, int]
    sampled: datetime | None
    events: int

    def states(self) -> tuple[dict[str, int], dict[str, int]]:
        """How many targets and LUNs are in which state: what a GET of each would say."""
        targets, units = (dict.fromkeys(("ready", "offline", "error"), 0) for _ in range(2))
        for name, target in self.inventory.targets.items():
            targets[state(target.online, trouble(self.down, self.failures, name))] += 1
            for unit in target.units:
                units[state(unit.online, trouble(self.down, self.failures, name, unit.lun))] += 1
        return targets, units

    def open_targets(self) -> list[str]:
        """Targets that admit everybody and ask for no password."""
        return sorted(
            name
            for name, target in self.inventory.targets.items()
            if target.access.everybody and not target.incoming
        )
