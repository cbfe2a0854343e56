"""From what is desired and what is seen to the ordered changes between. Pure.

The order keeps one promise: after each change, whoever is admitted to a target is admitted by the
old or by the new state as well. It rests on four rules.

- Create closed, open last; close first when removing. A new target has an empty ACL.
- A guard account with a secret that nobody knows sits in the first slot of every target with
  incoming users, so a target that asks for CHAP asks for it throughout: tgtd opens a target
  whose last incoming account goes.
- Unbind from the last slot, so that the slots never have a hole.
- When only the ACL changes, new entries come before old ones go; when anything else of the
  target changes too, old entries go first, so that nobody meets a mix of the two states.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum, auto
from itertools import chain, takewhile
from operator import itemgetter

from msgspec import Struct

from storlever.change import (
    Admit,
    BindIncoming,
    BindOutgoing,
    Change,
    CreateAccount,
    CreateTarget,
    CreateUnit,
    DeleteAccount,
    DeleteTarget,
    DeleteUnit,
    Deny,
    EndSessions,
    SetReady,
    UnbindIncoming,
    UnbindOutgoing,
    UpdateUnit,
)
from storlever.inventory import DISCOVERY, Edit, Inventory
from storlever.model import (
    Account,
    Bindings,
    DeviceType,
    LogicalUnit,
    ObservedTarget,
    ObservedUnit,
    Place,
    Target,
)
from storlever.names import GUARD
from storlever.observed import Observed

_IDENTITY = ("scsi_id", "serial_number", "product", "readonly")
IN_PLACE = {
    DeviceType.DISK: (*_IDENTITY, "write_cache", "online"),
    DeviceType.TAPE: (*_IDENTITY, "online"),
    DeviceType.CD: (*_IDENTITY, "online"),
    DeviceType.CHANGER: (*_IDENTITY, "online"),
    DeviceType.PASSTHROUGH: ("online",),
}
"""What tgtd changes on a live unit, besides its path; a passed-through device has its own."""


class Phase(IntEnum):
    """The order of a plan. What gives something up comes before CREATE_ACCOUNTS, for all targets;
    what builds up comes after it. All targets are created before any is filled or opened."""

    CLOSE = auto()
    END_SESSIONS = auto()
    GO_OFFLINE = auto()
    UNBIND = auto()
    DELETE_UNITS = auto()
    DELETE_TARGETS = auto()
    DELETE_ACCOUNTS = auto()
    CREATE_ACCOUNTS = auto()
    CREATE_TARGETS = auto()
    BIND = auto()
    CHANGE_UNITS = auto()
    OPEN = auto()
    NARROW = auto()
    GO_READY = auto()


class Scope(Struct, frozen=True):
    """What a plan may touch.

    `targets`: by name; one that is not desired is removed, so foreign targets are never in it.
    `accounts`: those to look at besides the ones the targets use.
    `parked`: (target, LUN) that could not be served before and are no part of this plan.
    `reopen`: (target, LUN) that must open their path anew, for what is there now.
    `force`: targets of which sessions in the way are closed.
    """

    targets: frozenset[str]
    accounts: frozenset[str] = frozenset()
    discovery: bool = False
    parked: frozenset[Place] = frozenset()
    reopen: frozenset[Place] = frozenset()
    force: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        edit: Edit,
        before: Inventory,
        after: Inventory,
        *,
        parked: frozenset[Place] = frozenset(),
        reopen: frozenset[Place] = frozenset(),
        force: frozenset[str] = frozenset(),
    ) -> "Scope":
        """What an edit touches, with every user of an account whose secret it changes."""
        users: set[str] = set()
        for name in edit.accounts:
            users |= before.used_by.get(name, frozenset()) | after.used_by.get(name, frozenset())
        return cls(
            targets=frozenset(edit.targets) | (users - {DISCOVERY}),
            accounts=frozenset(edit.accounts),
            discovery=edit.discovery is not None or DISCOVERY in users,
            parked=parked,
            reopen=reopen,
            force=force,
        )


Lane = tuple[Change, ...]
"""Changes that keep their order."""


class Plan(Struct, frozen=True):
    """Stages come one after another. A stage has lanes, which do not depend on each other."""

    stages: tuple[tuple[Lane, ...], ...] = ()

    @classmethod
    def of(cls, *stages: Iterable[Iterable[Change]]) -> "Plan":
        """Without what is empty."""
        filled = (tuple(filter(None, map(tuple, lanes))) for lanes in stages)
        return cls(tuple(filter(None, filled)))

    def __iter__(self) -> Iterator[Change]:
        """As if there were one lane."""
        return (change for lanes in self.stages for lane in lanes for change in lane)

    def __len__(self) -> int:
        return sum(1 for _ in self)


Phased = list[tuple[Phase, Change]]
"""Changes in any order, each with its place in it."""


def plan(desired: Inventory, observed: Observed, scope: Scope, guard: Account) -> Plan:
    """The changes that bring what is in scope from `observed` to `desired`, in a safe order."""
    stale = _stale(desired, observed, scope)
    changes: Phased = []
    if scope.discovery:
        auth = desired.discovery
        changes += _bindings(None, auth.slots, auth.outgoing, observed.discovery, stale)
    touched: dict[str, Phased] = {}  # few: to sort ten thousand names would hold up all threads
    for name in scope.targets:
        want, have = desired.targets.get(name), observed.targets.get(name)
        if of_target := _of_target(want, have, scope, stale):
            touched[name] = of_target
    for name in sorted(touched):
        changes += touched[name]
    needed = {each.name for _, each in changes if isinstance(each, BindIncoming | BindOutgoing)}
    changes += _accounts(desired, observed, scope, stale, needed, guard)
    return _ordered(changes)


def _of_target(
    want: Target | None, have: ObservedTarget | None, scope: Scope, stale: frozenset[str]
) -> Phased:
    if want is None:
        return _removal(have, have.name in scope.force) if have else []
    if have is not None:
        return _rest(want, have, scope, stale)
    new = ObservedTarget(want.name, ready=want.online)
    return [*_creation(want), *_rest(want, new, scope, stale)]


CREATING_LANES = 2
"""tgtd looks for a target by walking through them all, which is slow where their memory is strewn
about: so they are created first, and by few at a time (docs/decisions/0035)."""


def _ordered(changes: Phased) -> Plan:
    giving: list[Change] = []
    creating: dict[str, list[Change]] = {}
    filling: dict[str, list[Change]] = {}
    for phase, change in sorted(changes, key=itemgetter(0)):
        if phase <= Phase.CREATE_ACCOUNTS:
            giving.append(change)
        else:
            targets = creating if phase is Phase.CREATE_TARGETS else filling
            targets.setdefault(getattr(change, "target", None) or DISCOVERY, []).append(change)
    new = [creating[name] for name in sorted(creating)]
    return Plan.of(
        [giving],
        [chain(*new[at::CREATING_LANES]) for at in range(CREATING_LANES)],
        [filling[name] for name in sorted(filling)],
    )


def _stale(desired: Inventory, observed: Observed, scope: Scope) -> frozenset[str]:
    """Accounts whose secret in tgtd is another one, or unknown, and all of whose users are in
    scope: they are to be unbound everywhere, deleted, and made again."""
    names = set(scope.accounts)
    for target in scope.targets:
        names |= desired.targets[target].accounts if target in desired.targets else set()
    if scope.discovery:
        names |= desired.discovery.accounts
    reach = scope.targets | ({DISCOVERY} if scope.discovery else set())
    return frozenset(
        name
        for name in names
        if name in desired.accounts
        and observed.wrong(desired.accounts[name])
        and desired.used_by.get(name, frozenset()) <= reach
    )


def _accounts(
    desired: Inventory,
    observed: Observed,
    scope: Scope,
    stale: frozenset[str],
    needed: set[str],
    guard: Account,
) -> Phased:
    unwanted = {name for name in scope.accounts if name not in desired.accounts}
    going = (stale | (unwanted & observed.accounts.keys())) - observed.pinned
    coming = {name for name in needed if name in stale or name not in observed.accounts}
    made = (guard if name == GUARD else desired.accounts[name] for name in sorted(coming))
    return [
        *((Phase.DELETE_ACCOUNTS, DeleteAccount(name)) for name in sorted(going)),
        *((Phase.CREATE_ACCOUNTS, CreateAccount(each)) for each in made),
    ]


def _bindings(
    target: str | None,
    slots: tuple[str, ...],
    outgoing: str | None,
    have: Bindings,
    stale: frozenset[str],
) -> Phased:
    if not stale and (slots, outgoing) == (have.incoming, have.outgoing):
        return []  # as most are
    kept = _kept(slots, have, stale)
    changes: Phased = [
        (Phase.UNBIND, UnbindIncoming(target, name))
        for name in reversed(have.incoming[len(kept) :])
    ]
    changes += [(Phase.BIND, BindIncoming(target, name)) for name in slots if name not in kept]
    if have.outgoing is not None and (have.outgoing != outgoing or outgoing in stale):
        changes.append((Phase.UNBIND, UnbindOutgoing(target, have.outgoing)))
    if outgoing is not None and (have.outgoing != outgoing or outgoing in stale):
        changes.append((Phase.BIND, BindOutgoing(target, outgoing)))
    return changes


def _kept(slots: tuple[str, ...], have: Bindings, stale: frozenset[str]) -> tuple[str, ...]:
    """The leading slots that may stay as they are; without the guard before them none may."""
    wanted = frozenset(slots) - stale
    kept = tuple(takewhile(wanted.__contains__, have.incoming))
    return kept if kept[:1] == (GUARD,) else ()


def _removal(have: ObservedTarget, force: bool) -> Phased:
    return [
        *((Phase.CLOSE, Deny(have.name, entry)) for entry in have.acl),
        (Phase.END_SESSIONS, EndSessions(have.name, force)),
        (Phase.DELETE_TARGETS, DeleteTarget(have.name)),
    ]


def _creation(want: Target) -> Phased:
    changes: Phased = [(Phase.CREATE_TARGETS, CreateTarget(want.name))]
    if not want.online:
        changes.append((Phase.CREATE_TARGETS, SetReady(want.name, False)))
    return changes


def _rest(want: Target, have: ObservedTarget, scope: Scope, stale: frozenset[str]) -> Phased:
    """Everything of a target but its coming and going."""
    name = want.name
    bindings = _bindings(name, want.slots, want.outgoing, have.bindings, stale)
    units = _units(want, have, scope)
    leaving = have.ready and not want.online
    unguarded = bool(
        want.slots and have.bindings.incoming and not _kept(want.slots, have.bindings, stale)
    )
    changes = bindings + units
    changes += _acl(want, have, whole=leaving or unguarded, first=bool(changes))
    if leaving:
        # tgtd swallows the commands of sessions that are there when a target goes offline.
        changes.append((Phase.END_SESSIONS, EndSessions(name, name in scope.force)))
        changes.append((Phase.GO_OFFLINE, SetReady(name, False)))
    if want.online and not have.ready:
        changes.append((Phase.GO_READY, SetReady(name, True)))
    return changes


def _acl(want: Target, have: ObservedTarget, *, whole: bool, first: bool) -> Phased:
    """`whole`: nobody may log in in between. `first`: old entries go before new ones come."""
    entries = want.access.entries
    if entries == have.acl and not whole:
        return []  # as most are
    going = [entry for entry in have.acl if whole or entry not in entries]
    coming = [entry for entry in entries if whole or entry not in have.acl]
    close = Phase.CLOSE if whole or first else Phase.NARROW
    return [
        *((close, Deny(want.name, entry)) for entry in going),
        *((Phase.OPEN, Admit(want.name, entry)) for entry in coming),
    ]


def _units(want: Target, have: ObservedTarget, scope: Scope) -> Phased:
    changes: Phased = []
    wished, seen = want.numbered, have.numbered
    for lun in sorted(wished.keys() | seen.keys()):
        place = want.name, lun
        if place not in scope.parked:
            changes += _unit(place, wished.get(lun), seen.get(lun), place in scope.reopen)
    return changes


def _unit(
    place: Place, unit: LogicalUnit | None, seen: ObservedUnit | None, reopen: bool
) -> Phased:
    if unit is not None and seen == ObservedUnit.of(unit) and not reopen:
        return []  # as most are
    gone = seen is not None and (unit is None or _must_be_new(unit, seen, reopen))
    changes: Phased = [(Phase.DELETE_UNITS, DeleteUnit(*place))] if gone else []
    if unit is None:
        return changes
    if seen is None or gone:
        changes.append((Phase.CHANGE_UNITS, CreateUnit(place[0], unit)))
    elif fields := _differing(unit, seen, reopen):
        changes.append((Phase.CHANGE_UNITS, UpdateUnit(place[0], unit, fields)))
    return changes


def _must_be_new(unit: LogicalUnit, seen: ObservedUnit, reopen: bool) -> bool:
    """Whether only a new unit can become what is wished: what tgtd cannot change in place.

    One that tgtd cannot reopen is new when it comes online, for another file may be there now.
    """
    if unit.device_type is not seen.device_type:
        return True
    if unit.device_type is DeviceType.DISK and unit.backing_type is not seen.backing_type:
        return True
    if unit.product is None and seen.product is not None:
        return True
    if unit.reopenable:
        return False
    moved = reopen or unit.backing_path != seen.backing_path
    return moved or (unit.online and seen.online is False)


def _differing(unit: LogicalUnit, seen: ObservedUnit, reopen: bool) -> tuple[str, ...]:
    """The fields to change in place. The path of a unit that is offline is opened later."""
    fields = [
        name for name in IN_PLACE[unit.device_type] if getattr(unit, name) != getattr(seen, name)
    ]
    if unit.online and unit.reopenable and (reopen or unit.backing_path != seen.backing_path):
        fields.append("backing_path")
    return tuple(fields)
