"""From a foreign target, as tgtd shows it, to the same target as a wish of ours. Pure.

Only what can be said exactly is adopted: afterwards tgtd must admit the same hosts to the same
stores as before, in its next life too.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from storlever import names
from storlever.errors import Conflict, Invalid
from storlever.model import Access, LogicalUnit, ObservedTarget, ObservedUnit, Target

Value = TypeVar("Value")


def wished(seen: ObservedTarget) -> Target:
    """The target, with the users that it names. What tgtd does not tell, a write cache, is taken
    for what it is unless somebody changed it: on. Raises Conflict, which names all that cannot be
    said."""
    why = [*_named(names.target_name, seen.name), *_access_faults(seen), *_user_faults(seen)]
    units = []
    for unit in seen.units:
        faults = list(_unit_faults(unit))
        why += (f"LUN {unit.lun} {fault}" for fault in faults)
        if not faults:
            try:
                units.append(_unit(unit))
            except Invalid as error:
                why += (f"LUN {unit.lun}: {fault.message}" for fault in error.faults)
    if why:
        raise Conflict(f"cannot adopt {seen.name}: {'; '.join(why)}", code="not-adoptable")
    return Target(
        seen.name,
        online=seen.ready,
        access=_access(seen.acl),
        incoming=users(seen),
        outgoing=seen.bindings.outgoing,
        units=tuple(units),
    )


def users(seen: ObservedTarget) -> tuple[str, ...]:
    """The incoming ones; without the guard that a StorLever of before left in the first slot."""
    incoming = seen.bindings.incoming
    return incoming[1:] if incoming[:1] == (names.GUARD,) else incoming


def _access(acl: tuple[str, ...]) -> Access:
    if acl == (names.EVERYONE,):
        return Access()
    return Access(
        tuple(entry for entry in acl if _is_name(entry)),
        tuple(entry for entry in acl if not _is_name(entry)),
    )


def _access_faults(seen: ObservedTarget) -> Iterator[str]:
    """tgtd shows addresses before names, and not which is which."""
    if not seen.acl:
        yield "its access list is empty, which admits nobody; give it an entry first"
    if len(set(seen.acl)) != len(seen.acl):
        yield "an entry of its access list is there twice"
    first_name = next((at for at, entry in enumerate(seen.acl) if _is_name(entry)), len(seen.acl))
    for at, entry in enumerate(seen.acl):
        if _is_name(entry):
            yield from _named(names.initiator_name, entry)
        elif at > first_name:
            yield f"{names.printable(entry)!r} of its access list is bound as a name"
        else:
            yield from _named(names.initiator_address, entry)


def _user_faults(seen: ObservedTarget) -> Iterator[str]:
    outgoing = (seen.bindings.outgoing,) if seen.bindings.outgoing else ()
    for user in (*users(seen), *outgoing):
        yield from _named(names.chap_name, user)


def _unit_faults(unit: ObservedUnit) -> Iterator[str]:
    if not names.LUN_MIN <= unit.lun <= names.LUN_MAX:
        yield f"has a number that is not from {names.LUN_MIN} to {names.LUN_MAX}"
    if unit.device_type is None:
        yield "is of a device type that is not offered"
    if unit.backing_type is None:
        yield "is of a backing type that is not offered"
    if unit.readonly is None or unit.online is None:
        yield "is offline in a way that lets hosts read on; bring it online first"
    if unit.backing_path is None:
        yield "has no path"
        return
    yield from _named(names.backing_path, unit.backing_path)
    yield from _named(names.scsi_id, unit.scsi_id or "")
    yield from _named(names.serial_number, unit.serial_number or "")


def _unit(unit: ObservedUnit) -> LogicalUnit:
    """Of one without faults. Raises Invalid."""
    return LogicalUnit(
        lun=unit.lun,
        backing_path=_known(unit.backing_path),
        scsi_id=unit.scsi_id or "",
        serial_number=unit.serial_number or "",
        device_type=_known(unit.device_type),
        backing_type=_known(unit.backing_type),
        readonly=_known(unit.readonly),
        online=_known(unit.online),
    )


def _known(value: Value | None) -> Value:
    assert value is not None
    return value


def _is_name(entry: str) -> bool:
    return entry.startswith(("iqn.", "eui.", "naa."))


def _named(grammar: Callable[[str], str], text: str) -> Iterator[str]:
    """Why it cannot be said as it is."""
    try:
        said = grammar(text)
    except ValueError as error:
        yield f"{names.printable(text)!r} {error}"
        return
    if said != text:
        yield f"{text!r} is never matched by tgtd as it is; it would be {said!r}"
