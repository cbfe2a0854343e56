"""A LUN of the fields that are given: new, changed, or as it would be made.

Fields are those of LogicalUnit, by name. An identity that is given empty asks for a generated one,
or leaves what is there.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from storlever.errors import Fault, Invalid
from storlever.model import FITTING, DeviceType, LogicalUnit

IDENTITY = ("scsi_id", "serial_number")


def new_unit(lun: int, given: Mapping[str, Any]) -> LogicalUnit:
    """With an identity of its own where none is given. Raises Invalid."""
    if "backing_path" not in given:
        raise Invalid(Fault("backing_path", "is required for a new LUN"))
    kind = given.get("device_type", DeviceType.DISK)
    defaults = {
        "backing_type": FITTING[kind][0],
        "scsi_id": secrets.token_hex(16)[:31],  # as many digits as an NAA-6 designator
        "serial_number": secrets.token_hex(8).upper(),
    }
    return LogicalUnit(lun=lun, **(defaults | _said(given)))


def changed_unit(old: LogicalUnit, given: Mapping[str, Any]) -> LogicalUnit:
    """A new device type brings a backing type that fits. Raises Invalid."""
    changes = _said(given)
    fitting = FITTING[changes.get("device_type", old.device_type)]
    if old.backing_type not in fitting:
        changes.setdefault("backing_type", fitting[0])
    return replace(old, **changes)


def as_new(unit: LogicalUnit, given: Mapping[str, Any]) -> bool:
    """Whether it is what `new_unit` would make of this, but for what that would generate."""
    own = {field: getattr(unit, field) for field in IDENTITY if not given.get(field)}
    return replace(new_unit(unit.lun, given), product=unit.product, **own) == unit


def asks_more(old: LogicalUnit, new: LogicalUnit) -> bool:
    """Whether it stands on its store in a way that was not looked at before."""
    return (
        old.backing_type is not new.backing_type
        or old.device_type is not new.device_type
        or old.backing_path != new.backing_path
        or (old.readonly and not new.readonly)
        or (new.readonly and not old.readonly and new.device_type is DeviceType.CD)  # a blank one?
        or (old.shared and not new.shared)
        or (new.online and not old.online)
    )


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in given.items() if value or field not in IDENTITY}
