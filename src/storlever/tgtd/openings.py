"""What the paths of units are opened with: what was looked at before, and what tgtd has open then.

Stands on the machine's files, and asks tgtd nothing.
"""

import contextlib
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Protocol

from msgspec import Struct

from storlever.backing import BackingStore, Unusable
from storlever.errors import Unfit
from storlever.model import BLOCK, DeviceType, LogicalUnit, Place
from storlever.tgtd.conversation import ALONE
from storlever.tgtd.show import Seen
from storlever.tgtd.wire import Request


class Files(Protocol):
    """The machine's files."""

    def look(self, path: str) -> BackingStore:
        """What is there. Raises Unusable."""

    def identity(self, path: str) -> str | None:
        """What tells this store from others; None where nothing is."""

    def fixed(self, path: str) -> bool:
        """Whether nobody else can change what the path leads to."""

    def stores_open(self, pid: int) -> Counter[str] | None:
        """How often a process has each store open, by identity; None where there is no such
        process. Raises Unusable."""

    def room_for_aio(self) -> bool:
        """Whether another aio unit can be made: where not, tgtd (1.0.85) closes a descriptor
        that is not the unit's, and somebody's session with it."""


class Opening(Struct, frozen=True):
    """What a path led to before tgtd was asked to open it; and what tgtd had open, where others can
    change what the path leads to."""

    store: BackingStore
    before: Counter[str] | None


class Openings:
    """What tgtd has open for each unit, as far as it is known."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.sizes: dict[Place, int | None] = {}
        """The bytes that initiators see."""
        self.identities: dict[Place, str] = {}
        """Of what this tgtd opened for a unit, when we made it do so."""

    def require_fit(self, unit: LogicalUnit) -> BackingStore:
        """What tgtd is about to open. Raises Unfit: tgtd is not bothered."""
        store = self._looked_at(unit)
        if unit.aio and not self._files.room_for_aio():
            raise Unfit(
                f"cannot serve {unit.backing_path} by aio: the machine has no room for another "
                "context (fs.aio-max-nr)",
                code="no-room-for-aio",
            )
        return store

    def _looked_at(self, unit: LogicalUnit) -> BackingStore:
        """An empty disk is one of 2**64 blocks to initiators, as tgtd counts. Raises Unfit."""
        try:
            store = self._files.look(unit.backing_path)
        except Unusable as error:
            raise _unfit(unit, error) from None
        if unit.device_type is DeviceType.DISK and store.size < BLOCK:
            raise Unfit(
                f"cannot serve {unit.backing_path}: it is smaller than a block",
                code="backing-store-too-small",
            )
        return store

    def begin(self, unit: LogicalUnit, pid: int | None) -> Generator[Request | None, str, Opening]:
        """Nothing else is opened between a look at what tgtd has open and the next one, nor between
        the question whether there is room and its use. Raises Unfit."""
        fixed = self._files.fixed(unit.backing_path)
        if unit.aio or not fixed:
            yield ALONE
        store = self.require_fit(unit)
        try:
            return Opening(store, None if fixed else self._stores_open(pid))
        except Unusable as error:
            raise _unfit(unit, error) from None

    def end(self, target: str, unit: LogicalUnit, opening: Opening, pid: int | None) -> bool:
        """Whether tgtd opened what was looked at, which is noted then."""
        place, wanted = (target, unit.lun), opening.store.identity
        if opening.before is None:
            right = self._files.identity(unit.backing_path) == wanted
        else:
            new = (self._stores_open(pid) or Counter()) - opening.before
            # It may have closed the same store to open it again.
            right = new == {wanted: 1} or (not new and self.identities.get(place) == wanted)
        if right:
            self.sizes[place], self.identities[place] = opening.store.size, wanted
        return right

    def _stores_open(self, pid: int | None) -> Counter[str] | None:
        return None if pid is None else self._files.stores_open(pid)

    def let_go(self, place: Place) -> None:
        for known in (self.sizes, self.identities):
            known.pop(place, None)

    def measure(self, found: Mapping[str, Seen]) -> None:
        """The sizes of all units that there are."""
        self.sizes = {
            (name, unit.lun): self._size((name, unit.lun), unit.backing_path, megabytes[unit.lun])
            for name, (target, megabytes) in found.items()
            for unit in target.units
        }

    def _size(self, place: Place, path: str | None, megabytes: int) -> int | None:
        """tgtd tells megabytes only: what we knew, or the file's size, if they agree with it."""
        known = self.sizes.get(place)
        if known is None and path is not None:
            with contextlib.suppress(Unusable):
                known = self._files.look(path).size
        agrees = known is not None and abs(known / 1e6 - megabytes) < 2
        return known if agrees else None


def _unfit(unit: LogicalUnit, error: Unusable) -> Unfit:
    return Unfit(f"cannot serve {unit.backing_path}, which {error}", code=error.code)
