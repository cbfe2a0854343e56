"""The inventory: all that is desired, and the edits that lead from one inventory to the next.

An edit is computed purely, raises Conflict or NotFound, and holds whole new values of just what
changes. That makes it the unit of planning, of committing to the store, and of putting back.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from storlever.errors import Conflict, Fault, Invalid, NotFound
from storlever.model import Access, Account, DiscoveryAuth, LogicalUnit, Target
from storlever.token import Token

Value = TypeVar("Value")

DISCOVERY = ""
"""Stands for discovery where otherwise a target is named."""


class Direction(StrEnum):
    """Who proves what: incoming users log in to the target, the outgoing one is the target's."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class Edit(Struct, frozen=True):
    """New values by name; None removes. `discovery` None leaves it as it is."""

    targets: Mapping[str, Target | None] = {}
    accounts: Mapping[str, Account | None] = {}
    discovery: DiscoveryAuth | None = None
    tokens: Mapping[str, Token | None] = {}

    def __bool__(self) -> bool:
        return self.for_tgtd or bool(self.tokens)

    @property
    def for_tgtd(self) -> bool:
        """Whether it changes anything that tgtd has."""
        return bool(self.targets or self.accounts or self.discovery is not None)

    def joined(self, later: "Edit") -> "Edit":
        """Both in one, where the later one was made of what this one left."""
        return Edit(
            {**self.targets, **later.targets},
            {**self.accounts, **later.accounts},
            self.discovery if later.discovery is None else later.discovery,
            {**self.tokens, **later.tokens},
        )


class Inventory(Struct, frozen=True):
    """Targets, accounts and tokens by name, in maps that share what an edit leaves alone: it costs
    what it touches (docs/decisions/0016). They have no order."""

    targets: Map[str, Target] = Map()
    accounts: Map[str, Account] = Map()
    discovery: DiscoveryAuth = DiscoveryAuth()
    tokens: Map[str, Token] = Map()
    used_by: Map[str, frozenset[str]] = Map()
    """Account name -> the targets (or DISCOVERY) that use it."""

    @classmethod
    def of(
        cls,
        targets: Iterable[Target],
        accounts: Iterable[Account],
        discovery: DiscoveryAuth,
        tokens: Iterable[Token] = (),
    ) -> "Inventory":
        """From its parts. Raises Invalid when an account is used but not there."""
        by_name = {target.name: target for target in targets}
        used_by: dict[str, set[str]] = {}
        for user, names in [
            (DISCOVERY, discovery.accounts),
            *((target.name, target.accounts) for target in by_name.values()),
        ]:
            for name in names:
                used_by.setdefault(name, set()).add(user)
        known = {account.name: account for account in accounts}
        if missing := used_by.keys() - known.keys():
            raise Invalid(Fault("accounts", f"used but not defined: {', '.join(missing)}"))
        frozen = {name: frozenset(users) for name, users in used_by.items()}
        named = Map({token.name: token for token in tokens})
        return cls(Map(by_name), Map(known), discovery, named, Map(frozen))

    # -- looking things up

    def target(self, name: str) -> Target:
        try:
            return self.targets[name]
        except KeyError:
            raise NotFound(f"no target {name!r}", code="target-not-found") from None

    def unit(self, name: str, lun: int) -> LogicalUnit:
        unit = self.target(name).unit(lun)
        if unit is None:
            raise NotFound(f"target {name} has no LUN {lun}", code="lun-not-found")
        return unit

    def units(self, name: str) -> tuple[LogicalUnit, ...]:
        """() where there is no such target."""
        target = self.targets.get(name)
        return target.units if target else ()

    def find(self, name: str, lun: int) -> LogicalUnit | None:
        target = self.targets.get(name)
        return target.unit(lun) if target else None

    def uses(self, account: str) -> Iterator[tuple[str, Direction]]:
        """Every use of an account: (target name or DISCOVERY, direction)."""
        for user in sorted(self.used_by.get(account, ())):
            incoming: tuple[str | None, ...]
            if user == DISCOVERY:
                incoming, outgoing = (self.discovery.incoming,), self.discovery.outgoing
            else:
                incoming, outgoing = self.targets[user].incoming, self.targets[user].outgoing
            if account in incoming:
                yield user, Direction.INCOMING
            if account == outgoing:
                yield user, Direction.OUTGOING

    # -- edits

    def add_target(self, name: str) -> Edit:
        if name in self.targets:
            raise Conflict(f"target {name} exists already", code="target-exists")
        return Edit(targets={name: Target(name)})

    def add_whole(self, target: Target, accounts: Iterable[Account]) -> Edit:
        """A target with its users. Raises Invalid where they are not the accounts, or lack one that
        is not known."""
        given = {account.name: account for account in accounts}
        missing = sorted(
            name for name in target.accounts - given.keys() if name not in self.accounts
        )
        faults = [
            Fault("users", f"lacks the password of {name!r}, a user of the target")
            for name in missing
        ]
        faults += [
            Fault("users", f"names {name!r}, which the target does not have")
            for name in given
            if name not in target.accounts
        ]
        if faults:
            raise Invalid(*faults)
        return self.tidied({target.name: target}, given)

    def edit_target(
        self,
        name: str,
        *,
        online: bool | None = None,
        names: tuple[str, ...] | None = None,
        addresses: tuple[str, ...] | None = None,
    ) -> Edit:
        old = self.target(name)
        access = Access(
            old.access.names if names is None else names,
            old.access.addresses if addresses is None else addresses,
        )
        return self._with(
            replace(old, online=old.online if online is None else online, access=access)
        )

    def remove_target(self, name: str) -> Edit:
        self.target(name)
        return self.tidied({name: None})

    def add_user(self, name: str, direction: Direction, account: Account) -> Edit:
        """Raises Conflict when the name is there already, or elsewhere with another secret."""
        old = self.target(name)
        if account.name in users_of(old, direction):
            raise Conflict(
                f"target {name} has an {direction} user {account.name!r} already",
                code="user-exists",
            )
        if direction is Direction.OUTGOING and old.outgoing:
            raise Conflict(
                f"target {name} has the outgoing user {old.outgoing!r}, and room for one",
                code="outgoing-user-exists",
            )
        self.require_same_secret(account)
        new = (
            replace(old, incoming=(*old.incoming, account.name))
            if direction is Direction.INCOMING
            else replace(old, outgoing=account.name)
        )
        return self.tidied({name: new}, {account.name: account})

    def set_secret(
        self, name: str, direction: Direction, account: Account, *, everywhere: bool = False
    ) -> Edit:
        """Raises Conflict when other places share the user and `everywhere` is not said."""
        self.require_user(name, direction, account.name)
        if not everywhere:
            here = (name, direction)
            self._same_secret(
                account,
                (place for place in self.uses(account.name) if place != here),
                "password-shared",
            )
        return self.tidied({}, {account.name: account})

    def remove_user(self, name: str, direction: Direction, user: str) -> Edit:
        old = self.require_user(name, direction, user)
        if direction is Direction.INCOMING:
            left = tuple(other for other in old.incoming if other != user)
            return self.tidied({name: replace(old, incoming=left)})
        return self.tidied({name: replace(old, outgoing=None)})

    def set_discovery(self, given: Mapping[Direction, Account | None]) -> Edit:
        """Sets the directions given; None means no authentication in that direction."""
        names = {
            direction: account.name if account else None for direction, account in given.items()
        }
        new = DiscoveryAuth(
            names.get(Direction.INCOMING, self.discovery.incoming),
            names.get(Direction.OUTGOING, self.discovery.outgoing),
        )
        accounts: dict[str, Account] = {}
        for account in filter(None, given.values()):
            kept = (
                place
                for place in self.uses(account.name)
                if place[0] != DISCOVERY or place[1] not in given
            )
            self._same_secret(account, kept)
            if accounts.setdefault(account.name, account) != account:
                raise Conflict(
                    f"user {account.name!r} cannot have two passwords", code="password-differs"
                )
        return self.tidied({}, accounts, new)

    def add_unit(self, name: str, unit: LogicalUnit) -> Edit:
        old = self.target(name)
        if old.unit(unit.lun):
            raise Conflict(f"target {name} has a LUN {unit.lun} already", code="lun-exists")
        return self._with(replace(old, units=_by_number((*old.units, unit))))

    def edit_unit(self, name: str, unit: LogicalUnit) -> Edit:
        self.unit(name, unit.lun)
        old = self.target(name)
        others = (other for other in old.units if other.lun != unit.lun)
        return self._with(replace(old, units=_by_number((*others, unit))))

    def remove_unit(self, name: str, lun: int) -> Edit:
        gone = self.unit(name, lun)
        old = self.target(name)
        return self._with(replace(old, units=tuple(u for u in old.units if u is not gone)))

    def token(self, name: str) -> Token:
        try:
            return self.tokens[name]
        except KeyError:
            raise NotFound(f"no token {name!r}", code="token-not-found") from None

    def add_token(self, token: Token) -> Edit:
        if token.name in self.tokens:
            raise Conflict(f"token {token.name} exists already", code="token-exists")
        return Edit(tokens={token.name: token})

    def with_uses(self, used: Mapping[str, datetime]) -> Edit:
        """`used`: when tokens were used last, by name; those that are gone are left out."""
        known = self.tokens
        return Edit(
            tokens={
                name: replace(known[name], last_used=when)
                for name, when in used.items()
                if name in known
            }
        )

    def remove_token(self, name: str) -> Edit:
        return Edit(tokens={self.token(name).name: None})

    # -- from one inventory to the next

    def after(self, edit: Edit) -> "Inventory":
        """This inventory with the edit made."""
        used_by = self.used_by
        for name, target in edit.targets.items():
            old = self.targets.get(name)
            before, after = (each.accounts if each else frozenset() for each in (old, target))
            used_by = _moved(used_by, name, before, after)
        if edit.discovery is not None:
            used_by = _moved(used_by, DISCOVERY, self.discovery.accounts, edit.discovery.accounts)
        return Inventory(
            _patched(self.targets, edit.targets),
            _patched(self.accounts, edit.accounts),
            self.discovery if edit.discovery is None else edit.discovery,
            _patched(self.tokens, edit.tokens),
            used_by,
        )

    def narrowed(self, edit: Edit) -> Edit:
        """The edit without what is so already."""
        return Edit(
            {name: new for name, new in edit.targets.items() if self.targets.get(name) != new},
            {name: new for name, new in edit.accounts.items() if self.accounts.get(name) != new},
            None if edit.discovery == self.discovery else edit.discovery,
        )

    def as_before(self, edit: Edit) -> Edit:
        """What stands here where the edit changes something of tgtd's."""
        return Edit(
            {name: self.targets.get(name) for name in edit.targets},
            {name: self.accounts.get(name) for name in edit.accounts},
            None if edit.discovery is None else self.discovery,
        )

    def _with(self, target: Target) -> Edit:
        return Edit() if target == self.targets[target.name] else Edit({target.name: target})

    def tidied(
        self,
        targets: Mapping[str, Target | None],
        accounts: Mapping[str, Account] | None = None,
        discovery: DiscoveryAuth | None = None,
    ) -> Edit:
        """The edit, with accounts that nothing uses any more removed and no-ops left out."""
        changed = {
            name: account
            for name, account in (accounts or {}).items()
            if self.accounts.get(name) != account
        }
        if discovery == self.discovery:
            discovery = None
        let_go = set(self.discovery.accounts) if discovery is not None else set()
        for name in targets:
            old = self.targets.get(name)
            let_go |= old.accounts if old else frozenset()
        used = self.after(Edit(targets, changed, discovery)).used_by if let_go else Map()
        unused = dict.fromkeys(name for name in let_go if name not in used)
        return Edit(targets, changed | unused, discovery)

    def require_user(self, name: str, direction: Direction, user: str) -> Target:
        """The target, which has the user. Raises NotFound."""
        target = self.target(name)
        if user not in users_of(target, direction):
            raise NotFound(f"target {name} has no {direction} user {user!r}", code="user-not-found")
        return target

    def require_same_secret(self, account: Account) -> None:
        """Raises Conflict where somebody uses it with another one."""
        self._same_secret(account, self.uses(account.name))

    def _same_secret(
        self,
        account: Account,
        places: Iterable[tuple[str, Direction]],
        code: str = "password-differs",
    ) -> None:
        """tgtd has one secret a name: raises Conflict where `places` rely on another one."""
        known = self.accounts.get(account.name)
        if known is None or known == account:
            return
        some = [_spoken(place) for place in islice(places, 4)]
        if some:
            where = ", ".join(some[:3]) + (", and others" if len(some) > 3 else "")
            relation = "has another password as" if code == "password-differs" else "is also"
            raise Conflict(f"user {account.name!r} {relation} {where}", code=code)


def users_of(target: Target, direction: Direction) -> tuple[str, ...]:
    """Incoming ones in the order of binding; of outgoing ones there is one at most."""
    if direction is Direction.INCOMING:
        return target.incoming
    return (target.outgoing,) if target.outgoing else ()


def _spoken(place: tuple[str, Direction]) -> str:
    name, direction = place
    return f"{direction} user of {'discovery' if name == DISCOVERY else name}"


def _by_number(units: Iterable[LogicalUnit]) -> tuple[LogicalUnit, ...]:
    return tuple(sorted(units, key=lambda unit: unit.lun))


def _patched(old: Map[str, Value], changes: Mapping[str, Value | None]) -> Map[str, Value]:
    for name, value in changes.items():
        if value is not None:
            old = old.set(name, value)
        elif name in old:
            old = old.delete(name)
    return old


def _moved(
    used_by: Map[str, frozenset[str]], user: str, old: frozenset[str], new: frozenset[str]
) -> Map[str, frozenset[str]]:
    for name in old - new:
        left = used_by[name] - {user}
        used_by = used_by.set(name, left) if left else used_by.delete(name)
    for name in new - old:
        used_by = used_by.set(name, used_by.get(name, frozenset()) | {user})
    return used_by
