"""Edits whose LUNs are to stand on backing stores: those are looked at before, and compared with
what tgtd opened after."""

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any

from msgspec.structs import replace

from storlever.backing import BackingStore
from storlever.errors import Conflict
from storlever.inventory import Edit
from storlever.model import DeviceType, LogicalUnit, Place
from storlever.shelf import Stand
from storlever.unit import asks_more, changed_unit, new_unit
from storlever.writer import Writer


class Standing(Writer):
    """What Service is made of, with Writer: in a call, `_enact_standing` is `_enact` for such an
    edit."""

    def _made(self, old: LogicalUnit | None, lun: int, given: Mapping[str, Any]) -> LogicalUnit:
        """A new unit, or the old one with what is given; with what its device says of itself, where
        it is mapped directly. Raises Invalid."""
        if old is None:
            return self._shelf.mapped(new_unit(lun, given), given)
        made = changed_unit(old, given)
        if (made.direct_map, made.backing_path) != (old.direct_map, old.backing_path):
            made = self._shelf.mapped(replace(made, product=None), given)
        return made

    def _enact_standing(
        self,
        edit: Edit,
        *,
        force: bool = False,
        overrule: bool = False,
        again: Set[Place] = frozenset(),
        given: bool = True,
        at: Mapping[Place, str] | None = None,
    ) -> None:
        """Bring an edit into force whose LUNs stand on stores that were looked at: those that are
        new, or ask more of their store than before, or open it `again`. `overrule`: although the
        machine uses one; `given`: their paths were asked for; `at`: their places in faults."""
        stands = self._stands(edit, again, given=given, at=at or {})
        stores = self._usable(stands, edit, overrule=overrule)
        self._require_not_foreign(stands, stores)
        reopen = frozenset(
            stand.place for stand in stands if stand.old and self._moved(stand, stores[stand.place])
        )
        if reopen and not edit:  # nothing is wished anew, and there is something to do
            edit = Edit({name: self._latest.target(name) for name, _ in reopen})
        self._enact(
            edit, force=force, reopen=reopen, verify=lambda: self._require_same(stands, stores)
        )

    def _stands(
        self, edit: Edit, again: Set[Place], *, given: bool, at: Mapping[Place, str]
    ) -> list[Stand]:
        """`again` may name what the edit does not change."""
        names = (*edit.targets, *(name for name, _ in again if name not in edit.targets))
        after = ((name, edit.targets.get(name, self._latest.targets.get(name))) for name in names)
        found = []
        for name, target in after:
            before = self._latest.targets.get(name)
            known = before.numbered if before else {}
            for unit in target.units if target else ():
                place, old = (name, unit.lun), known.get(unit.lun)
                if place in again or old is None or (old is not unit and asks_more(old, unit)):
                    found.append(Stand(place, unit, old, given, at.get(place, "")))
        return found

    def _usable(
        self, stands: Sequence[Stand], edit: Edit, *, overrule: bool
    ) -> dict[Place, BackingStore]:
        """What stands behind each, whichever of the writes in force become durable. Raises Invalid
        and Conflict."""
        return self._shelf.usable(stands, partial(self._units_at, edit), force=overrule)

    def _units_at(self, edit: Edit, place: Place) -> Iterator[LogicalUnit]:
        """Whichever of the writes in force become durable; mostly twice the same."""
        name, lun = place
        for inventory in (self._latest, self.inventory):
            target = edit.targets.get(name, inventory.targets.get(name))
            if unit := target and target.unit(lun):
                yield unit

    def _require_not_foreign(
        self, stands: Sequence[Stand], stores: Mapping[Place, BackingStore]
    ) -> None:
        """Raises Conflict, if tgtd still has it so, and Unavailable."""
        try:
            self._shelf.require_not_foreign(stands, stores, self._known.foreign)
        except Conflict:
            self._known.refresh(self._latest)
            self._shelf.require_not_foreign(stands, stores, self._known.foreign)

    def _moved(self, stand: Stand, store: BackingStore) -> bool:
        size = self._known.backend.unit_size(*stand.place)
        return self._shelf.moved(stand.place, stand.unit, store, size)

    def _require_same(self, stands: Sequence[Stand], stores: Mapping[Place, BackingStore]) -> None:
        for stand in stands:
            opened = self._known.backend.unit_identity(*stand.place)
            self._shelf.require_same(stand.unit, stores[stand.place], opened)

    def _require_served(
        self, stands: Sequence[Stand], stores: Mapping[Place, BackingStore]
    ) -> None:
        """Raises Conflict where tgtd seems to have opened something else than is at a path now."""
        for stand in stands:
            unit, size = stand.unit, self._known.backend.unit_size(*stand.place)
            if unit.device_type is DeviceType.DISK and size != stores[stand.place].size:
                raise Conflict(
                    f"what tgtd serves as LUN {unit.lun} has not the size of {unit.backing_path}",
                    code="backing-store-changed",
                )
