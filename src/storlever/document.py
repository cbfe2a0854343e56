"""A document: the inventory, or parts of it, as one value; and the edit that leads there. Pure.

A part that is absent is None, and leaves alone what is there. What lists of things (targets, units,
users of a target) do not name stays, or goes when the edit prunes; access lists are values.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from storlever.errors import Conflict, Fault, Invalid
from storlever.inventory import Direction, Edit, Inventory
from storlever.model import Access, Account, DiscoveryAuth, LogicalUnit, Place, Target


class UnitPart(Struct, frozen=True):
    """`given`: fields of LogicalUnit by name."""

    lun: int
    given: Mapping[str, Any] = {}


class TargetPart(Struct, frozen=True):
    """`outgoing` has one name at most."""

    name: str
    online: bool | None = None
    names: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    incoming: tuple[str, ...] | None = None
    outgoing: tuple[str, ...] | None = None
    units: tuple[UnitPart, ...] | None = None


class UserPart(Struct, frozen=True):
    """Without a secret it is one that is known."""

    name: str
    secret: str | None = None

    def __repr__(self) -> str:
        return f"UserPart(name={self.name!r})"


class Document(Struct, frozen=True):
    """`discovery` has the directions that are given."""

    targets: tuple[TargetPart, ...] | None = None
    users: tuple[UserPart, ...] = ()
    discovery: Mapping[Direction, str | None] = {}

    def places(self, at: str = "targets.{}.") -> dict[Place, str]:
        """Of each LUN, where the document names it."""
        return {
            (part.name, unit.lun): f"{at.format(number)}units.{index}."
            for number, part in enumerate(self.targets or ())
            for index, unit in enumerate(part.units or ())
        }


Make = Callable[[LogicalUnit | None, int, Mapping[str, Any]], LogicalUnit]
"""A unit of what was there, its number, and what is given. Raises Invalid."""


def toward(
    document: Document, inventory: Inventory, make: Make, *, prune: bool, at: str = "targets.{}."
) -> Edit:
    """What the inventory lacks of the document. Raises Invalid, which names each fault by its place
    in the document, and Conflict. `at`: how the place of a target is called, by its number."""
    return _Draft(document, inventory, make, prune, at).edit()


@dataclass(slots=True)
class _Draft:
    document: Document
    inventory: Inventory
    make: Make
    prune: bool
    at: str
    faults: list[Fault] = field(default_factory=list)
    listed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.listed = frozenset(user.name for user in self.document.users)

    def edit(self) -> Edit:
        parts = self.document.targets or ()
        self._distinct(f"{self.at}name", (part.name for part in parts))
        self._distinct("users.{}.name", (user.name for user in self.document.users))
        targets = self._targets(parts)
        discovery = self._discovery()
        accounts = self._accounts()
        if self.faults:
            raise Invalid(*self.faults)
        edit = self.inventory.tidied(targets, accounts, discovery)
        self._require_used(edit)
        return edit

    def _targets(self, parts: Iterable[TargetPart]) -> dict[str, Target | None]:
        targets: dict[str, Target | None] = {}
        for number, part in enumerate(parts):
            old = self.inventory.targets.get(part.name)
            new = self._target(old or Target(part.name), part, self.at.format(number))
            if new != old:
                targets[part.name] = new
        if self.prune and self.document.targets is not None:
            named = {part.name for part in self.document.targets}
            targets |= dict.fromkeys(name for name in self.inventory.targets if name not in named)
        return targets

    def _target(self, old: Target, part: TargetPart, at: str) -> Target:
        return replace(
            old,
            online=old.online if part.online is None else part.online,
            access=Access(
                _value(old.access.names, part.names),
                _value(old.access.addresses, part.addresses),
            ),
            incoming=self._incoming(old, part, at),
            outgoing=self._outgoing(old, part, at),
            units=self._units(old, part, at),
        )

    def _incoming(self, old: Target, part: TargetPart, at: str) -> tuple[str, ...]:
        if part.incoming is None:
            return old.incoming
        self._named(part.incoming, f"{at}incoming")
        wanted = frozenset(part.incoming)
        kept = (name for name in old.incoming if name in wanted or not self.prune)
        return tuple(dict.fromkeys((*kept, *part.incoming)))

    def _outgoing(self, old: Target, part: TargetPart, at: str) -> str | None:
        if part.outgoing is None:
            return old.outgoing
        self._named(part.outgoing, f"{at}outgoing")
        new = part.outgoing[0] if part.outgoing else None
        if self.prune or old.outgoing is None:
            return new
        if new not in (None, old.outgoing):
            raise Conflict(
                f"target {old.name} has the outgoing user {old.outgoing!r}, and room for one",
                code="outgoing-user-exists",
            )
        return old.outgoing

    def _units(self, old: Target, part: TargetPart, at: str) -> tuple[LogicalUnit, ...]:
        if part.units is None:
            return old.units
        self._distinct(f"{at}units.{{}}.lun", (unit.lun for unit in part.units))
        known = old.numbered
        found = {} if self.prune else dict(known)
        for index, unit in enumerate(part.units):
            try:
                found[unit.lun] = self.make(known.get(unit.lun), unit.lun, unit.given)
            except Invalid as error:
                self.faults += placed(error, f"{at}units.{index}.")
        return tuple(found[lun] for lun in sorted(found))

    def _discovery(self) -> DiscoveryAuth:
        old, given = self.inventory.discovery, self.document.discovery
        for direction, name in given.items():
            self._known(name, f"discovery.{direction}")
        return DiscoveryAuth(
            given.get(Direction.INCOMING, old.incoming), given.get(Direction.OUTGOING, old.outgoing)
        )

    def _accounts(self) -> dict[str, Account]:
        """Those whose secret is given."""
        accounts = {}
        for number, user in enumerate(self.document.users):
            if user.secret is not None:
                accounts[user.name] = Account(user.name, user.secret)
            elif user.name not in self.inventory.accounts:
                self.faults.append(Fault(f"users.{number}.secret", "is required for a new user"))
        return accounts

    def _require_used(self, edit: Edit) -> None:
        """Raises Invalid for users that the document lists for nothing."""
        used = self.inventory.after(edit).used_by
        unused = [
            Fault(f"users.{number}.name", "names a user that nothing uses")
            for number, user in enumerate(self.document.users)
            if user.name not in used
        ]
        if unused:
            raise Invalid(*unused)

    def _named(self, users: tuple[str, ...], at: str) -> None:
        self._distinct(f"{at}.{{}}", users)
        for index, name in enumerate(users):
            self._known(name, f"{at}.{index}")

    def _known(self, user: str | None, at: str) -> None:
        if user is not None and user not in self.inventory.accounts and user not in self.listed:
            self.faults.append(Fault(at, "names a user that is not known, nor among the users"))

    def _distinct(self, at: str, keys: Iterable[object]) -> None:
        self.faults += [Fault(at.format(number), "is there twice") for number in _again(keys)]


def _value(old: tuple[str, ...], new: tuple[str, ...] | None) -> tuple[str, ...]:
    """Their order says nothing."""
    return old if new is None or sorted(new) == sorted(old) else new


def placed(error: Invalid, at: str) -> list[Fault]:
    """Its faults, each with the place of what they were found in before its field."""
    return [Fault(at + fault.field, fault.message) for fault in error.faults]


def _again(keys: Iterable[object]) -> Iterator[int]:
    """The numbers of those that were there before."""
    seen: set[object] = set()
    for number, key in enumerate(keys):
        if key in seen:
            yield number
        seen.add(key)
