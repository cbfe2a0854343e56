"""The backing stores that LUNs stand on: may this one be served, and is it still the same."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from storlever.backing import BackingStore, Kind, ScsiIdentity, Unusable
from storlever.claims import Claims
from storlever.errors import Conflict, Fault, Invalid
from storlever.model import (
    BLOCK,
    BackingType,
    DeviceType,
    LogicalUnit,
    ObservedTarget,
    Place,
)


class Host(Protocol):
    """The machine's files and devices."""

    def identity(self, path: str) -> str | None:
        """What tells this store from others, whatever path leads to it; None where none is."""

    def inspect(self, path: str) -> BackingStore:
        """Raises Unusable."""

    def scsi_identity(self, path: str) -> ScsiIdentity:
        """Raises Unusable."""


class Stand(Struct, frozen=True):
    """A LUN that is to stand on its store anew. `old`: as it is now, if it is there. `given`: its
    path was, so that what is wrong with it is wrong with what was asked for. `at`: before the
    field in faults."""

    place: Place
    unit: LogicalUnit
    old: LogicalUnit | None
    given: bool
    at: str

    @property
    def moves(self) -> bool:
        """Whether it was elsewhere, or nowhere."""
        return self.old is None or self.old.backing_path != self.unit.backing_path

    @property
    def going_on(self) -> bool:
        """Whether it is served, and need not be forced again if its store is still the same."""
        return self.old is not None and self.old.online and not self.moves


UnitsAt = Callable[[Place], Iterable[LogicalUnit]]
"""The units that may be at a place once the edit is made, one for each inventory that may last."""


class Shelf:
    """Knows who stands on what, for `writer` and `standing`. Needs the caller's lock."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._claims = Claims()
        self._foreign: Sequence[ObservedTarget] = ()
        self._foreign_claims = Claims()

    def claim(self, place: Place, units: Iterable[LogicalUnit], opened: str | None = None) -> None:
        """The place stands on what is behind these units' paths now; none lets go.

        What tgtd `opened` counts more, for a path can be made to lead elsewhere: a single unit
        that is open stands on that alone, and one that is not open on none of it.
        """
        wanted = list(units)
        paths = {unit.backing_path for unit in wanted}
        open_ones = [unit for unit in wanted if unit.opened]
        sure = opened is not None and open_ones == wanted and len(paths) == 1
        stores = () if sure else map(self._host.identity, paths)
        self._claims.put(place, filter(None, (*paths, *stores, opened if open_ones else None)))

    def mapped(self, unit: LogicalUnit, given: Mapping[str, Any]) -> LogicalUnit:
        """With what the device says of itself, where it is mapped directly. Raises Invalid."""
        if not unit.direct_map:
            return unit
        try:
            found = self._host.scsi_identity(unit.backing_path)
        except Unusable as error:
            raise Invalid(Fault("direct_map", str(error))) from None
        return replace(
            unit,
            product=found.product,
            scsi_id=given.get("scsi_id") or found.scsi_id or unit.scsi_id,
            serial_number=given.get("serial_number") or found.serial_number or unit.serial_number,
        )

    def usable(
        self, stands: Sequence[Stand], units_at: UnitsAt, *, force: bool
    ) -> dict[Place, BackingStore]:
        """What stands behind the path of each. Raises Invalid, or Conflict where a store is in use
        by what will be at another place, or where a path that was not `given` now has nothing to
        serve."""
        found: dict[Place, BackingStore] = {}
        faults: list[Fault] = []
        for stand in stands:
            try:
                found[stand.place] = self._fitting(stand)
            except Invalid as error:
                faults += [Fault(stand.at + each.field, each.message) for each in error.faults]
        if faults:
            raise Invalid(*faults)
        self._require_unclaimed(stands, found, units_at)
        for stand in stands:
            self._require_unheld(stand, found[stand.place], force=force)
        return found

    def require_not_foreign(
        self,
        stands: Iterable[Stand],
        stores: Mapping[Place, BackingStore],
        foreign: Sequence[ObservedTarget],
    ) -> None:
        """Raises Conflict where a foreign target serves one of these stores, unless that LUN of
        ours is wished to share it."""
        self._see(foreign)
        for stand in stands:
            path = stand.unit.backing_path
            keys = (stores[stand.place].identity, path)
            for name, lun in self._foreign_claims.others(stand.place, keys):
                if not stand.unit.shared:
                    raise Conflict(
                        f"{path} is LUN {lun} of the foreign target {name}",
                        code="backing-store-in-use",
                    )

    def _see(self, foreign: Sequence[ObservedTarget]) -> None:
        """Where their paths lead is asked when they are first seen: what tgtd has open stays."""
        if foreign == self._foreign:
            return
        self._foreign, self._foreign_claims = foreign, Claims()
        for target in foreign:
            for unit in target.units:
                if path := unit.backing_path:
                    keys = filter(None, (path, self._host.identity(path)))
                    self._foreign_claims.put((target.name, unit.lun), keys)

    def _fitting(self, stand: Stand) -> BackingStore:
        unit = stand.unit
        try:
            store = self._host.inspect(unit.backing_path)
        except Unusable as error:
            if not stand.given:
                raise Conflict(
                    f"cannot serve {unit.backing_path}, which {error}", code=error.code
                ) from None
            raise Invalid(Fault("backing_path", str(error))) from None
        if fault := _misfit(unit, store):
            raise Invalid(fault)
        return store

    def _require_unheld(self, stand: Stand, store: BackingStore, *, force: bool) -> None:
        known = stand.going_on and self._claims.hold(stand.place, store.identity)
        if store.holder and not (force or known):
            raise Conflict(
                f"{stand.unit.backing_path} is in use by {store.holder}", code="backing-store-held"
            )

    def moved(self, place: Place, unit: LogicalUnit, store: BackingStore, size: int | None) -> bool:
        """Whether tgtd may hold another file than is at the path now, or serves another size.

        A tape grows by being written, so its size says nothing.
        """
        grown = store.size != size and unit.device_type is not DeviceType.TAPE
        return grown or not self._claims.hold(place, store.identity)

    def require_same(self, unit: LogicalUnit, store: BackingStore, opened: str | None) -> None:
        """What tgtd `opened` must be what was looked at; where it opened nothing, or it is not
        known what, the path must still lead there. Raises Conflict."""
        found = opened if unit.opened and opened else self._host.identity(unit.backing_path)
        if found != store.identity:
            raise Conflict(
                f"{unit.backing_path} was replaced while it was being opened",
                code="backing-store-changed",
            )

    def _require_unclaimed(
        self,
        stands: Sequence[Stand],
        stores: Mapping[Place, BackingStore],
        units_at: UnitsAt,
    ) -> None:
        """Those that move are where they move to, whatever they stand on now."""
        moving = {stand.place for stand in stands if stand.moves}
        coming: dict[str, list[Place]] = {}
        for stand in stands:
            keys = (stores[stand.place].identity, stand.unit.backing_path)
            staying = set(self._claims.others(stand.place, keys)) - moving
            users = (*sorted(staying), *(place for key in keys for place in coming.get(key, ())))
            _require_shareable(stand, users, units_at)
            for key in keys if stand.moves else ():
                coming.setdefault(key, []).append(stand.place)


def _require_shareable(stand: Stand, users: Iterable[Place], units_at: UnitsAt) -> None:
    unit = stand.unit
    for name, lun in users:
        for other in units_at((name, lun)):
            if not (unit.shared or other.shared or (unit.readonly and other.readonly)):
                raise Conflict(
                    f"{unit.backing_path} is LUN {lun} of target {name}",
                    code="backing-store-in-use",
                )


def _misfit(unit: LogicalUnit, store: BackingStore) -> Fault | None:
    """Why tgtd cannot, or must not, serve this store as such a unit."""
    if (store.kind is Kind.CHARACTER) != (unit.backing_type is BackingType.SG):
        needed = "an sg device" if unit.backing_type is BackingType.SG else "a file or disk"
        return Fault("backing_path", f"is a {store.kind}, a {unit.device_type} needs {needed}")
    if unit.device_type is DeviceType.DISK and store.size < BLOCK:
        return Fault("backing_path", f"is smaller than a block of {BLOCK} bytes")
    if unit.device_type is DeviceType.TAPE and not store.tape:
        return Fault("backing_path", "is no tape: make one with tgtimg")
    if unit.device_type is DeviceType.CD and unit.readonly and not store.size:
        return Fault("readonly", "tgtd lets initiators write a blank disc")
    return None
