"""A logical unit in tgtd's words: how it is made, and how it is changed while it lives.

tgtd handles the parameters of one request one after another with no command of an initiator in
between, and answers with the verdict on the last of `path`, `online` and `mode_page` (1.0.85):
so all that belongs together goes into one request, and what can fail stands last.

A unit that is offline must answer NOT READY to READ and WRITE too. tgtd does that only for a
removable medium that is out: a disk turns removable for as long as it is offline, and a cd has
its disc taken out.
"""

from collections.abc import Iterator

from storlever.model import DeviceType, LogicalUnit
from storlever.tgtd.wire import Device

Parameters = tuple[tuple[str, str], ...]

DEVICES = {
    DeviceType.DISK: Device.DISK,
    DeviceType.TAPE: Device.TAPE,
    DeviceType.CD: Device.CD,
    DeviceType.CHANGER: Device.CHANGER,
    DeviceType.PASSTHROUGH: Device.PASSTHROUGH,
}

# The caching mode page (SBC-3, 6.5.5), as tgtd wants it: code, subpage, length, then 18 bytes.
# Setting it also takes from initiators the right to change it.
_CACHING_PAGE = "8:0:18:0x{:02x}:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0"
_WRITE_CACHE, _NO_WRITE_CACHE = 0x14, 0x10

# A path that nothing can be at: opening it is how the disc of a cd is taken out.
_NO_DISC = "/dev/null/none"


def creation(unit: LogicalUnit) -> Parameters:
    """Parameters of the request that makes the unit: with its path only where it must be.

    That is for sg, and for aio: deleting an aio unit that never had a path closes a descriptor
    of tgtd's that is not the unit's. The backing type of a cd or a changer is tgtd's own choice;
    it dies of some.
    """
    if unit.device_type in (DeviceType.CD, DeviceType.CHANGER):
        return ()
    store = (("bstype", str(unit.backing_type)),)
    return (*store, ("path", unit.backing_path)) if not unit.reopenable else store


def completion(unit: LogicalUnit) -> Parameters:
    """Parameters of the request after that, which brings all else, and the path at the end."""
    return tuple(_completion(unit))


def attributes(unit: LogicalUnit, fields: tuple[str, ...]) -> Parameters:
    """Parameters of the request that brings these fields of a live unit into force."""
    return (*_plain(unit, fields), *_medium(unit, fields))


def ejection(unit: LogicalUnit, fields: tuple[str, ...]) -> Parameters:
    """Parameters of the request that must follow `attributes`: a cd that went offline still
    reads (1.0.85), so its disc is taken out, and tgtd made to look whether there is one."""
    if unit.device_type is DeviceType.CD and "online" in fields and not unit.online:
        return (("path", _NO_DISC), ("online", "1"))
    return ()


def _completion(unit: LogicalUnit) -> Iterator[tuple[str, str]]:
    if unit.device_type is not DeviceType.PASSTHROUGH:
        yield from _plain(unit, ("scsi_id", "serial_number", "product", "readonly", "write_cache"))
    if not unit.reopenable:
        yield from () if unit.online else _medium(unit, ("online",))
    else:
        yield from _removable(unit)
        yield from ((("path", unit.backing_path),) if unit.online else ())


def _plain(unit: LogicalUnit, fields: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if "scsi_id" in fields:
        yield "scsi_id", unit.scsi_id
    if "serial_number" in fields:
        yield "scsi_sn", unit.serial_number
    if "product" in fields and unit.product:
        # A device may have none of them; tgtd pads with blanks, and refuses an empty value.
        yield "vendor_id", unit.product.vendor or " "
        yield "product_id", unit.product.product or " "
        yield "product_rev", unit.product.revision or " "
    if "readonly" in fields:
        yield "readonly", str(int(unit.readonly))
    if "write_cache" in fields and unit.device_type is DeviceType.DISK:
        level = _WRITE_CACHE if unit.write_cache else _NO_WRITE_CACHE
        yield "mode_page", _CACHING_PAGE.format(level)


def _medium(unit: LogicalUnit, fields: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The medium in, out, or another one; tgtd opens a path only on a unit that is offline."""
    if "backing_path" in fields:
        yield "online", "0"
        yield from _removable(unit)
        yield "path", unit.backing_path
    elif "online" in fields and unit.online:
        yield from _removable(unit)
        yield "online", "1"
    elif "online" in fields:
        yield from _removable(unit)
        yield "online", "0"


def removable(device: DeviceType | None, online: bool | None) -> bool | None:
    """Whether the medium of a unit must be removable; None for a passed-through device, which says
    it itself. tapes, cds and changers are as tgtd makes them, unless somebody changed it."""
    match device:
        case DeviceType.PASSTHROUGH:
            return None
        case DeviceType.DISK:
            return not online
    return True


def _removable(unit: LogicalUnit) -> Iterator[tuple[str, str]]:
    wanted = removable(unit.device_type, unit.online)
    if wanted is not None:
        yield "removable", str(int(wanted))
