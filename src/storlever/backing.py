"""What stands behind a path on this machine: is it there, what is it, does somebody use it."""

import contextlib
import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path

from msgspec import Struct

from storlever.model import ScsiProduct
from storlever.territory import Territory, is_fixed


class Kind(StrEnum):
    FILE = "regular file"
    BLOCK = "block device"
    CHARACTER = "character device"


class BackingStore(Struct, frozen=True):
    """`identity` is the same for every path that leads to the same store.

    `holder` says what uses it besides StorLever: a mount, swap, another device; None if nothing.
    `size` is in bytes, 0 for a character device. `tape`: a file that tgtimg made as a tape.
    """

    kind: Kind
    identity: str
    size: int
    holder: str | None = None
    tape: bool = False


class ScsiIdentity(Struct, frozen=True):
    """What a SCSI device says of itself."""

    product: ScsiProduct
    scsi_id: str
    serial_number: str


Use = tuple[str | None, bool]
"""The holder, and whether it is a tape."""

# A tape block's header, big-endian: checksum, two sizes, type, number, previous, current.
_TAPE_HEADER = struct.Struct(">12xI8x8xQ")
_BEGIN_OF_TAPE = 0x10

AIO_EVENTS = 128
_SCSI_GENERIC = 21
"""The major number of /dev/sg* (Documentation/admin-guide/devices.txt of Linux)."""


class Unusable(ValueError):
    """The path leads to nothing that can be served; the message is a rule."""

    code = "backing-store-missing"


class OffLimits(Unusable):
    """What is there must not be served."""

    code = "backing-store-forbidden"


def inspect(path: str, territory: Territory) -> BackingStore:
    """Raises Unusable."""
    return _found(path, territory, _examined)


def look(path: str, territory: Territory) -> BackingStore:
    """The same, without asking who else uses it, and whether it is a tape; a file is not opened."""
    return _found(path, territory, _measured)


def identity_of(path: str) -> str | None:
    """The identity that `inspect` gives, without opening anything; None when nothing is there."""
    try:
        return _identity(os.stat(path))  # noqa: PTH116
    except OSError:
        return None


def stores_open(pid: int) -> Counter[str] | None:
    """How often a process has each file, disk and sg device open, by identity; None where there is
    no such process. Raises PermissionError where it may not be looked into."""
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)  # noqa: PTH208  names are all we need
    except (FileNotFoundError, ProcessLookupError):
        return None
    found: Counter[str] = Counter()
    for each in descriptors:
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            status = os.stat(f"{folder}/{each}")  # noqa: PTH116
            if _kind(status):
                found[_identity(status)] += 1
    return found


def _found(
    path: str, territory: Territory, of: Callable[[str, Kind, os.stat_result], BackingStore]
) -> BackingStore:
    """Looked at before it is opened, which may do things to what is no file or disk; and opened
    by what was looked at, for the path may lead elsewhere by then."""
    try:
        way = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            status = os.fstat(way)
            if rule := territory.forbids(way, status):
                raise OffLimits(rule)
            kind = _kind(status)
            if kind is None:
                raise Unusable("must be a regular file, a disk or an sg device")
            if kind is Kind.CHARACTER:
                return BackingStore(kind, _identity(status), 0)
            return of(f"/proc/self/fd/{way}", kind, status)
        finally:
            os.close(way)
    except OSError as error:
        if territory.is_private(path):
            raise OffLimits("belongs to StorLever itself") from None
        if isinstance(error, FileNotFoundError):
            raise Unusable("does not exist") from None
        raise Unusable(f"cannot be opened: {error.strerror}") from None


def _kind(status: os.stat_result) -> Kind | None:
    """None for what no LUN can stand on."""
    if stat.S_ISREG(status.st_mode):
        return Kind.FILE
    if stat.S_ISBLK(status.st_mode):
        return Kind.BLOCK
    if stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _SCSI_GENERIC:
        return Kind.CHARACTER
    return None


def _identity(status: os.stat_result) -> str:
    if stat.S_ISBLK(status.st_mode):
        return f"block {_device(status)}"
    if stat.S_ISCHR(status.st_mode):
        return f"character {_device(status)}"
    return f"file {status.st_dev}:{status.st_ino}"


def _device(status: os.stat_result) -> str:
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _measured(path: str, kind: Kind, status: os.stat_result) -> BackingStore:
    """Raises OSError."""
    if kind is Kind.FILE:
        return BackingStore(kind, _identity(status), status.st_size)
    descriptor = _opened(path)
    try:
        return BackingStore(kind, _identity(status), os.lseek(descriptor, 0, os.SEEK_END))
    finally:
        os.close(descriptor)


def _examined(path: str, kind: Kind, status: os.stat_result) -> BackingStore:
    """Raises OSError."""
    descriptor = _opened(path)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        return BackingStore(kind, _identity(status), size, *_use(descriptor, status))
    finally:
        os.close(descriptor)


def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _use(descriptor: int, status: os.stat_result) -> Use:
    if stat.S_ISBLK(status.st_mode):
        return _block_holder(descriptor, status), False
    header = os.pread(descriptor, _TAPE_HEADER.size, 0)
    return _swap(_identity(status)), _is_tape(header)


def _is_tape(header: bytes) -> bool:
    """Whether a file starts as tgtimg makes a tape: with a block of type 'begin of tape' at 0.

    tgtd itself takes a file of zeros for a tape, and writes into it.
    """
    if len(header) < _TAPE_HEADER.size:
        return False
    kind, position = _TAPE_HEADER.unpack(header)
    return (kind, position) == (_BEGIN_OF_TAPE, 0)


def _block_holder(descriptor: int, status: os.stat_result) -> str | None:
    """The kernel's word is an exclusive open; /sys and /proc tell the reason."""
    device = _device(status)
    node = Path("/sys/dev/block") / device
    family = {device, *(part.read_text().strip() for part in node.glob("*/dev"))}
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for fields in mounts:
        if fields[2] in family:
            return f"the file system mounted on {fields[4]}"
    if swap := _swap(_identity(status)):
        return swap
    holders = sorted(holder.name for holder in node.glob("holders/*"))
    if holders:
        return f"the device {holders[0]}"
    try:
        alone = os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(f"/proc/self/fd/{descriptor}", alone))
    except OSError:
        return "another program or device"
    return None


def _swap(identity: str) -> str | None:
    """By whatever name it was given to the kernel."""
    return "swap" if any(identity_of(path) == identity for path in _swaps()) else None


def _swaps() -> list[str]:
    lines = b"".join(_pages(_swaps_file())).splitlines()[1:]
    return [os.fsdecode(_unescaped(line.split()[0])) for line in lines]


def _pages(file: int) -> Iterator[bytes]:
    """/proc gives no more than a page at once, however much is asked for."""
    at = 0
    while page := os.pread(file, 1 << 16, at):
        yield page
        at += len(page)


@cache
def _swaps_file() -> int:
    """It stays open: to open it takes ten times as long as to read it, at every new LUN."""
    return os.open("/proc/swaps", os.O_RDONLY | os.O_CLOEXEC)


def _unescaped(name: bytes) -> bytes:
    """A name as /proc writes it, with blanks and the like in octal (proc(5))."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), name)


def scsi_identity(path: str, *, sys: Path = Path("/sys")) -> ScsiIdentity:
    """What direct mapping passes on, from the kernel's copy of INQUIRY and VPD 80h and 83h.

    Raises Unusable when the path is no SCSI device.
    """
    status = Path(path).stat()
    device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    kind = "block" if stat.S_ISBLK(status.st_mode) else "char"
    node = sys / "dev" / kind / device / "device"
    try:
        product = ScsiProduct(
            *(_printable((node / name).read_bytes()) for name in ("vendor", "model", "rev"))
        )
        serial = _printable((node / "vpd_pg80").read_bytes()[4:])
        designators = (node / "vpd_pg83").read_bytes()[4:]
    except OSError:
        raise Unusable("direct_map needs a SCSI device") from None
    return ScsiIdentity(product, _designator(designators) or serial, serial)


def _designator(page: bytes) -> str:
    """The first NAA designator of a logical unit (SPC-4, 7.8.6.6), as hexadecimal digits."""
    while len(page) >= 4:
        length = page[3]
        association, kind = page[1] >> 4 & 3, page[1] & 15
        if association == 0 and kind == 3 and length in (8, 16):
            return page[4 : 4 + length].hex()
        page = page[4 + length :]
    return ""


def _printable(text: bytes) -> str:
    """What of it tgtd can be told: no comma, nothing unprintable, at most 36 characters."""
    plain = "".join(char for char in text.decode("ascii", "ignore") if char.isprintable())
    return plain.replace(",", " ").strip()[:36].rstrip()


class Machine:
    """This machine: a Host to the service, Files to tgtd's backend. What of it may be served is its
    territory."""

    def __init__(self, territory: Territory) -> None:
        self._territory = territory

    def identity(self, path: str) -> str | None:
        return identity_of(path)

    def inspect(self, path: str) -> BackingStore:
        """Raises Unusable."""
        return inspect(path, self._territory)

    def look(self, path: str) -> BackingStore:
        """Raises Unusable."""
        return look(path, self._territory)

    def fixed(self, path: str) -> bool:
        """Whether only the superuser (or we) can change what the path leads to."""
        try:
            return is_fixed(path)
        except OSError:  # nothing is there now
            return False

    def stores_open(self, pid: int) -> Counter[str] | None:
        """What the process has open: it takes a look at each descriptor. None where there is no
        such process. Raises Unusable where that may not be looked into."""
        try:
            return stores_open(pid)
        except PermissionError:
            raise OffLimits(
                "others can make lead elsewhere, and what tgtd then opens may not be looked at"
            ) from None

    def room_for_aio(self) -> bool:
        """tgtd takes 128 of the machine's events for each unit (usr/bs_aio.c)."""
        used, most = (
            int(Path("/proc/sys/fs", name).read_text()) for name in ("aio-nr", "aio-max-nr")
        )
        return most - used >= AIO_EVENTS

    def scsi_identity(self, path: str) -> ScsiIdentity:
        """Raises Unusable, also for a path that is not there."""
        try:
            return scsi_identity(path)
        except OSError:
            raise Unusable("direct_map needs a SCSI device") from None
