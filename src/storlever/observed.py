"""What tgtd has, as far as that is known: targets, accounts, bindings.

A value without a daemon: `knowledge` replaces it by each full look, and between two looks has
`apply` keep it true. The per-target step, `after`, is pure.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from storlever.change import (
    Admit,
    BindIncoming,
    BindingChange,
    BindOutgoing,
    Change,
    CreateAccount,
    CreateTarget,
    CreateUnit,
    DeleteAccount,
    DeleteTarget,
    DeleteUnit,
    Deny,
    SetReady,
    TargetChange,
    UnbindIncoming,
    UnbindOutgoing,
    UpdateUnit,
)
from storlever.errors import Refused
from storlever.model import (
    NOTHING_PENDING,
    Account,
    Bindings,
    LogicalUnit,
    ObservedTarget,
    ObservedUnit,
    Pending,
    Target,
)

ANY = ""
"""The outgoing account of discovery where it may be any, or none: tgtd does not show one that
stands alone."""
DISCOVERY_SLOTS = 16
"""tgtd (1.0.85) dies of one more."""


@dataclass(slots=True)
class Observed:
    """`accounts`: name -> secret, None when only its existence is known.

    `pinned`: accounts bound to foreign targets; deleting one would leave a hole in the slots of
    a target that is not ours, and tgtd dies of holes.
    """

    targets: dict[str, ObservedTarget] = field(default_factory=dict)
    accounts: dict[str, str | None] = field(default_factory=dict)
    discovery: Bindings = Bindings()
    pinned: frozenset[str] = frozenset()
    _bound: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)
    """Account -> in how many places it is bound, so that a write need not look at them all."""

    def __post_init__(self) -> None:
        for target in self.targets.values():
            self._bound.update(target.bindings.accounts)
        self._bound.update(self.discovery.accounts)

    def apply(self, change: Change) -> None:
        """Record that the change is in force."""
        match change:
            case CreateAccount(account):
                self.accounts[account.name] = account.secret
            case DeleteAccount(name):
                self.accounts.pop(name, None)
            case CreateTarget(target):
                self.targets[target] = ObservedTarget(target)
            case DeleteTarget(target):
                if gone := self.targets.pop(target, None):
                    self._bound.subtract(gone.bindings.accounts)
            case BindIncoming() | UnbindIncoming() | BindOutgoing() | UnbindOutgoing():
                self._rebind(change)
            case _:
                self.targets[change.target] = after(self.targets[change.target], change)

    def check(self, change: Change) -> None:
        """Raise Refused for a change that would kill tgtd, or of a target that is not there, before
        it is sent."""
        name = getattr(change, "target", None)
        there = name is None or name in self.targets
        if not there and not isinstance(change, CreateTarget | DeleteTarget):
            raise Refused(f"cannot change target {name}: tgtd does not have it", drift=True)
        if isinstance(change, UnbindIncoming):
            rebound(self.bindings(change.target), change)
        full = len(self.discovery.incoming) >= DISCOVERY_SLOTS
        if full and isinstance(change, BindIncoming) and change.target is None:
            raise Refused(f"cannot add user {change.name!r}: discovery has no room for it")
        if isinstance(change, DeleteAccount) and self._bound[change.name] > 0:
            raise Refused(f"cannot delete user {change.name!r}: it is in use", drift=True)

    def wrong(self, account: Account) -> bool:
        """Whether tgtd has it with another secret, or one that we do not know."""
        return self.accounts.get(account.name, account.secret) != account.secret

    def bindings(self, target: str | None) -> Bindings:
        return self.discovery if target is None else self.targets[target].bindings

    def _rebind(self, change: BindingChange) -> None:
        old = self.bindings(change.target)
        bindings = rebound(old, change)
        self._bound.subtract(old.accounts)
        self._bound.update(bindings.accounts)
        if change.target is None:
            self.discovery = bindings
        else:
            self.targets[change.target] = replace(self.targets[change.target], bindings=bindings)

    def doubt(self, change: Change) -> ObservedUnit | None:
        """Record that an update is about to be asked for, which tgtd may take in part.

        Returns the unit as it was known, when the change is an update of one.
        """
        if not isinstance(change, UpdateUnit):
            return None
        target = self.targets[change.target]
        unit = target.unit(change.unit.lun)
        if unit is not None:
            unknown: dict[str, Any] = dict.fromkeys(change.fields)
            self.targets[change.target] = _with_unit(target, replace(unit, **unknown))
        return unit

    def keep_medium(self, name: str, before: ObservedUnit) -> None:
        """Record that the medium could not be moved: the path is the one it was before."""
        target = self.targets[name]
        unit = target.unit(before.lun)
        if unit is not None:
            same = replace(unit, backing_path=before.backing_path)
            self.targets[name] = _with_unit(target, same)

    def trust(self, target: Target) -> None:
        """Take what tgtd does not tell of its LUNs for what is wished."""
        seen = self.targets[target.name]
        wished = target.numbered
        units = tuple(_trusted(unit, wished.get(unit.lun)) for unit in seen.units)
        self.targets[target.name] = replace(seen, units=units)

    def learn(self, known: "Observed", in_doubt: Pending = NOTHING_PENDING) -> None:
        """Fill what tgtd does not tell from earlier knowledge: secrets, write cache, product,
        and an outgoing account of discovery that stands alone. What is in doubt stays unknown.
        """
        alone = ANY if in_doubt.discovery else known.discovery.outgoing
        if not self.discovery.incoming and (alone == ANY or alone in self.accounts):
            self._rebind(BindOutgoing(None, alone))
        for name in self.accounts.keys() - in_doubt.secrets:
            if self.accounts[name] is None:
                self.accounts[name] = known.accounts.get(name)
        for name, target in self.targets.items():
            before = known.targets.get(name)
            if before is not None and name not in in_doubt.targets:
                known_units = before.numbered
                units = tuple(_learned(unit, known_units.get(unit.lun)) for unit in target.units)
                self.targets[name] = replace(target, units=units)


def _trusted(seen: ObservedUnit, unit: LogicalUnit | None) -> ObservedUnit:
    if unit is None:
        return seen
    return replace(seen, write_cache=unit.write_cache, product=unit.product)


def after(target: ObservedTarget, change: TargetChange) -> ObservedTarget:
    """The target once a change of it is in force. Pure."""
    match change:
        case Admit(_, entry):
            return replace(target, acl=(*target.acl, entry))
        case Deny(_, entry):
            return replace(target, acl=tuple(other for other in target.acl if other != entry))
        case SetReady(_, ready):
            return replace(target, ready=ready)
        case CreateUnit(_, unit) | UpdateUnit(_, unit):
            return _with_unit(target, ObservedUnit.of(unit))
        case DeleteUnit(_, lun):
            return replace(target, units=tuple(u for u in target.units if u.lun != lun))
        case _:
            return target


def rebound(bindings: Bindings, change: BindingChange) -> Bindings:
    """The bindings once a change of them is in force. Pure.

    Raises Refused for an unbinding that is not of the last slot: tgtd (1.0.85) dies of the hole
    at its next `show`, so no such request is ever sent.
    """
    match change:
        case BindIncoming(_, name):
            return replace(bindings, incoming=(*bindings.incoming, name))
        case UnbindIncoming(_, name):
            if bindings.incoming[-1:] != (name,):
                raise Refused(f"cannot unbind {name!r}: it is not in the last slot", drift=True)
            return replace(bindings, incoming=bindings.incoming[:-1])
        case BindOutgoing(_, name):
            return replace(bindings, outgoing=name)
        case UnbindOutgoing():
            return replace(bindings, outgoing=None)


def _with_unit(target: ObservedTarget, unit: ObservedUnit) -> ObservedTarget:
    others = (other for other in target.units if other.lun != unit.lun)
    return replace(target, units=tuple(sorted((*others, unit), key=lambda each: each.lun)))


def _learned(unit: ObservedUnit, known: ObservedUnit | None) -> ObservedUnit:
    """With what tgtd keeps to itself, unless it is another unit, that somebody put there."""
    if known is None or unit.scsi_id != known.scsi_id:
        return unit
    return replace(unit, write_cache=known.write_cache, product=known.product)
