"""What a write would do, in sentences: each step, and what hosts would notice of it. Pure.

The steps are what differs between two inventories; what hosts notice comes of the changes that
tgtd would be asked for (docs/live-changes.md). How users are bound and made anew is left out: it is
how, not what. No sentence holds a secret.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from storlever.change import Change, CreateUnit, DeleteUnit, EndSessions, UpdateUnit
from storlever.inventory import DISCOVERY, Edit, Inventory
from storlever.model import Access, LogicalUnit, Place, Target
from storlever.names import EVERYONE

NONE = "none"
AT_NEXT_LOGIN = "counts at the next login"
Sessions = Callable[[str], int]
"""How many sessions a target has now."""


class Step(Struct, frozen=True):
    """What is done, and what hosts notice of it."""

    step: str
    effect: str = NONE


class Rehearsal(Struct, frozen=True):
    """What a write would do, without steps if nothing, and of what it would warn."""

    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()


def steps(
    edit: Edit, old: Inventory, new: Inventory, changes: Iterable[Change], sessions: Sessions
) -> tuple[Step, ...]:
    """`new` is what the edit makes of `old`, `changes` is the plan for it. `sessions` is asked only
    of targets whose hosts would notice anything."""
    told = _Told(tuple(changes), sessions)
    return (
        *_secrets(edit, old),
        *_discovery(edit, old),
        *(step for name in _names(edit, told) for step in _target(name, old, new, told)),
        *_tokens(edit),
    )


def adoption(name: str) -> tuple[Step, ...]:
    return (Step(f"adopt target {name} as it is"),)


def ending(target: str, sessions: int) -> tuple[Step, ...]:
    """Of sessions, though nothing else changes."""
    said = f"{_counted(sessions)} of {target}"
    return (Step(f"close {said}", f"closes {said}"),)


class _Told:
    """What the changes mean to hosts."""

    def __init__(self, changes: tuple[Change, ...], sessions: Sessions) -> None:
        self._sessions = sessions
        self._ending = {each.target for each in changes if isinstance(each, EndSessions)}
        self._units: dict[Place, list[Change]] = {}
        for each in changes:
            match each:
                case CreateUnit(target, unit) | UpdateUnit(target, unit):
                    self._units.setdefault((target, unit.lun), []).append(each)
                case DeleteUnit(target, lun):
                    self._units.setdefault((target, lun), []).append(each)

    @property
    def places(self) -> Iterable[Place]:
        return self._units.keys()

    def ending(self, target: str) -> str:
        count = self._sessions(target) if target in self._ending else 0
        return f"closes {_counted(count)} of {target}" if count else NONE

    def unit(self, place: Place) -> str:
        """Whoever has a LUN open is not known: what its target's sessions may notice."""
        effect = _noticed(self._units.get(place, ()))
        if not effect:
            return NONE
        count = self._sessions(place[0])
        return effect.format(lun=place[1], sessions=_counted(count)) if count else NONE


def _noticed(changes: Iterable[Change]) -> str:
    match tuple(changes):
        case (DeleteUnit(),):
            return "LUN {lun} is gone for {sessions}"
        case (DeleteUnit(), CreateUnit()):
            return "LUN not ready for milliseconds"
        case (UpdateUnit(_, unit, changed),):
            return _refused(unit, changed)
    return ""


def _refused(unit: LogicalUnit, changed: tuple[str, ...]) -> str:
    if "online" in changed and not unit.online:
        return "LUN without medium for {sessions} until it is online"
    if "backing_path" in changed or "online" in changed:
        return "LUN not ready for milliseconds"
    if "readonly" in changed and unit.readonly:
        return "LUN refuses writes of {sessions}"
    if "write_cache" in changed:
        return "a write in flight may fail"
    return ""


def _counted(count: int) -> str:
    return f"{count} session" if count == 1 else f"{count} sessions"


def _names(edit: Edit, told: _Told) -> list[str]:
    return sorted({*edit.targets, *(name for name, _ in told.places)})


# -- users and tokens


def _secrets(edit: Edit, old: Inventory) -> Iterator[Step]:
    for name, account in edit.accounts.items():
        known = old.accounts.get(name)
        if known and account and known != account:
            yield Step(f"change the password of user {name!r}", AT_NEXT_LOGIN)


def _discovery(edit: Edit, old: Inventory) -> Iterator[Step]:
    new = edit.discovery
    if new is None:
        return
    was = old.discovery
    if new.incoming != was.incoming:
        yield Step(
            f"let only user {new.incoming!r} discover targets"
            if new.incoming
            else "let everybody discover targets without a password",
            AT_NEXT_LOGIN,
        )
    if new.outgoing != was.outgoing:
        yield Step(_proof(DISCOVERY, new.outgoing), AT_NEXT_LOGIN)


def _proof(name: str, user: str | None) -> str:
    who = f"target {name}" if name != DISCOVERY else "discovery"
    return f"have {who} prove itself as user {user!r}" if user else f"have {who} prove nothing"


def _tokens(edit: Edit) -> Iterator[Step]:
    for name, token in edit.tokens.items():
        yield Step(f"make token {name} as {token.role}" if token else f"revoke token {name}")


# -- targets


def _target(name: str, old: Inventory, new: Inventory, told: _Told) -> Iterator[Step]:
    was, will = old.targets.get(name), new.targets.get(name)
    if will is None:
        if was is not None:
            yield Step(f"remove target {name}{_with_units(was)}", told.ending(name))
        return
    if was is None:
        yield Step(f"make target {name}")
        yield from (Step(_admission(name, entry)) for entry in sorted(will.access.entries))
        was = Target(name, access=will.access)
    yield from _online(was, will, told)
    yield from _access(name, was.access, will.access)
    yield from _users(was, will)
    yield from _units(was, will, told)


def _with_units(target: Target) -> str:
    luns = ", ".join(str(unit.lun) for unit in target.units)
    return f" and its LUNs: {luns}" if luns else ""


def _online(was: Target, will: Target, told: _Told) -> Iterator[Step]:
    if was.online and not will.online:
        yield Step(f"take target {will.name} offline", told.ending(will.name))
    if will.online and not was.online:
        yield Step(f"bring target {will.name} online")


def _access(name: str, was: Access, will: Access) -> Iterator[Step]:
    """Lists that admit the same are told of by what stands in them."""
    for entry in sorted(set(will.entries) - set(was.entries)):
        yield Step(_admission(name, entry))
    for entry in sorted(set(was.entries) - set(will.entries)):
        yield Step(f"{_admission(name, entry)} no more", AT_NEXT_LOGIN)
    if was != will and set(was.entries) == set(will.entries):
        yield Step(f"rewrite the lists of who is admitted to target {name}")


def _admission(name: str, entry: str) -> str:
    return f"admit {'everybody' if entry == EVERYONE else entry} to target {name}"


def _users(was: Target, will: Target) -> Iterator[Step]:
    for user in sorted(set(will.incoming) - set(was.incoming)):
        yield Step(f"let user {user!r} log in to target {will.name}", AT_NEXT_LOGIN)
    for user in sorted(set(was.incoming) - set(will.incoming)):
        yield Step(f"let user {user!r} log in to target {will.name} no more", AT_NEXT_LOGIN)
    if was.incoming and not will.incoming:
        yield Step(f"ask nobody for a password at target {will.name}", AT_NEXT_LOGIN)
    if set(was.incoming) == set(will.incoming) and was.incoming != will.incoming:
        yield Step(f"bind the users of target {will.name} in another order")
    if was.outgoing != will.outgoing:
        yield Step(_proof(will.name, will.outgoing), AT_NEXT_LOGIN)


def _units(was: Target, will: Target, told: _Told) -> Iterator[Step]:
    touched = {lun for name, lun in told.places if name == will.name}
    old, new = was.numbered, will.numbered
    for lun in sorted(old.keys() | new.keys() | touched):
        before, after = old.get(lun), new.get(lun)
        if before != after or lun in touched:
            step = _unit(will.name, lun, before, after)
            yield Step(step, told.unit((will.name, lun)))


def _unit(name: str, lun: int, was: LogicalUnit | None, will: LogicalUnit | None) -> str:
    if will is None:
        return f"remove LUN {lun} from {name}"
    if was is None:
        return f"add LUN {lun} ({will.backing_path}) to {name}"
    if was == will:
        return f"open {will.backing_path} anew for LUN {lun} of {name}"
    differing = (
        each for each in will.__struct_fields__ if getattr(was, each) != getattr(will, each)
    )
    words = ", ".join(each.replace("_", " ") for each in differing)
    return f"change {words} of LUN {lun} of {name}"
