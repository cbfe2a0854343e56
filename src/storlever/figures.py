"""What there is to measure of the core at one moment, copied from memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from storlever.inventory import Inventory
from storlever.model import Place, Traffic
from storlever.tally import Tally


@dataclass(frozen=True, slots=True)
class Figures:
    """`failures`: (target, LUN or None for the target) -> why it is not served. `traffic` and
    `sessions` (how many, by target) are those of the last sample. `pid` is tgtd's, 0 when it is
    down."""

    inventory: Inventory
    down: str | None
    hole: str | None
    pid: int
    foreign: int
    failures: Mapping[tuple[str, int | None], str]
    tally: Tally
    traffic: Mapping[Place, Traffic]
    sessions: Mapping[str, int]
    sampled: datetime | None
    events: int

    def states(self) -> tuple[dict[str, int], dict[str, int]]:
        """How many targets and LUNs are in which state: what a GET of each would say."""
        targets, units = (dict.fromkeys(("ready", "offline", "error"), 0) for _ in range(2))
        closed = {name for name, lun in self.failures if lun is None}
        for name, target in self.inventory.targets.items():
            error = self.down is not None or name in closed
            targets[_state(error, target.online)] += 1
            for unit in target.units:
                units[_state(error or (name, unit.lun) in self.failures, unit.online)] += 1
        return targets, units

    def open_targets(self) -> list[str]:
        """Targets that admit everybody and ask for no password."""
        return sorted(
            name
            for name, target in self.inventory.targets.items()
            if target.access.everybody and not target.incoming
        )


def _state(error: bool, online: bool) -> str:
    return "error" if error else "ready" if online else "offline"
