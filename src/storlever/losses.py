"""What an edit takes away: from hosts, and of all there is."""

from collections.abc import Iterator

from msgspec import Struct

from storlever.errors import Conflict
from storlever.inventory import Edit, Inventory
from storlever.model import Place, Target

FRACTION = 3
"""More than one in as many that goes at once is too much to be meant."""


class Losses(Struct, frozen=True):
    """`bearers`: the targets whose hosts may notice: it goes or goes offline, or LUNs of it do."""

    targets: frozenset[str]
    units: frozenset[Place]
    bearers: frozenset[str]

    @classmethod
    def of(cls, edit: Edit, before: Inventory) -> "Losses":
        targets, units, bearers = set(), set[Place](), set()
        for name, new in edit.targets.items():
            old = before.targets.get(name)
            if old is None:
                continue
            if new is None:
                targets.add(name)
            kept = {unit.lun for unit in new.units} if new else set()
            gone = {(name, unit.lun) for unit in old.units if unit.lun not in kept}
            units |= gone
            if gone or new is None or _darker(old, new):
                bearers.add(name)
        return cls(frozenset(targets), frozenset(units), frozenset(bearers))

    def require_moderate(self, before: Inventory) -> None:
        """Raises Conflict when it is too much of all there is."""
        said = list(self._too_much(before))
        if said:
            raise Conflict(f"{' and '.join(said)} would go", code="too-much-removed")

    def _too_much(self, before: Inventory) -> Iterator[str]:
        every = len(before.targets)
        if len(self.targets) * FRACTION > every:
            yield f"{len(self.targets)} of {every} targets"
        if self.units:
            every = sum(len(target.units) for target in before.targets.values())
            if len(self.units) * FRACTION > every:
                yield f"{len(self.units)} of {every} LUNs"


def _darker(old: Target, new: Target) -> bool:
    """Whether it, or a LUN of it, goes offline."""
    if old.online and not new.online:
        return True
    offline = {unit.lun for unit in new.units if not unit.online}
    return any(unit.online and unit.lun in offline for unit in old.units)
