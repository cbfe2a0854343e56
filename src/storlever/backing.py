"""What stands behind a path on this machine: is it there, what is it, does somebody use it."""

import contextlib
import errno
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from storlever.model import ScsiProduct


class Kind(StrEnum):
    FILE = "regular file"
    BLOCK = "block device"
    CHARACTER = "character device"


@dataclass(frozen=True, slots=True)
class BackingStore:
    """`identity` is the same for every path that leads to the same store.

    `holder` says what uses it besides StorLever: a mount, swap, another device; None if nothing.
    `size` is in bytes, 0 for a character device. `tape`: a file that tgtimg made as a tape.
    """

    kind: Kind
    identity: str
    size: int
    holder: str | None = None
    tape: bool = False


@dataclass(frozen=True, slots=True)
class ScsiIdentity:
    """What a SCSI device says of itself."""

    product: ScsiProduct
    scsi_id: str
    serial_number: str


# A tape block's header, big-endian: checksum, two sizes, type, number, previous, current.
_TAPE_HEADER = struct.Struct(">12xI8x8xQ")
_BEGIN_OF_TAPE = 0x10

AIO_EVENTS = 128
_SCSI_GENERIC = 21
"""The major number of /dev/sg* (Documentation/admin-guide/devices.txt of Linux)."""


class Unusable(ValueError):
    """The path leads to nothing that can be served; the message is a rule."""


def inspect(path: str) -> BackingStore:
    """Raises Unusable. What is no file or disk is not opened: that alone may do things to it."""
    try:
        status = os.stat(path)  # noqa: PTH116  a Path costs as much as the call
        if stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode):
            return _opened(path)
    except FileNotFoundError:
        raise Unusable("does not exist") from None
    except OSError as error:
        raise Unusable(f"cannot be opened: {error.strerror}") from None
    if stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _SCSI_GENERIC:
        return BackingStore(Kind.CHARACTER, _identity(status), 0)
    raise Unusable("must be a regular file, a disk or an sg device")


def identity_of(path: str) -> str | None:
    """The identity that `inspect` gives, without opening anything; None when nothing is there."""
    try:
        return _identity(os.stat(path))  # noqa: PTH116
    except OSError:
        return None


def size(path: str) -> int:
    """In bytes; 0 for a character device. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            return 0
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def _identity(status: os.stat_result) -> str:
    if stat.S_ISBLK(status.st_mode):
        return f"block {_device(status)}"
    if stat.S_ISCHR(status.st_mode):
        return f"character {_device(status)}"
    return f"file {status.st_dev}:{status.st_ino}"


def _device(status: os.stat_result) -> str:
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _opened(path: str) -> BackingStore:
    """Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if stat.S_ISREG(status.st_mode):
            tape = _is_tape(os.pread(descriptor, _TAPE_HEADER.size, 0))
            return BackingStore(Kind.FILE, _identity(status), size, _file_holder(path), tape)
        holder = _block_holder(path, _device(status))
        return BackingStore(Kind.BLOCK, _identity(status), size, holder)
    finally:
        os.close(descriptor)


def _is_tape(header: bytes) -> bool:
    """Whether a file starts as tgtimg makes a tape: with a block of type 'begin of tape' at 0.

    tgtd itself takes a file of zeros for a tape, and writes into it.
    """
    if len(header) < _TAPE_HEADER.size:
        return False
    kind, position = _TAPE_HEADER.unpack(header)
    return (kind, position) == (_BEGIN_OF_TAPE, 0)


def _file_holder(path: str) -> str | None:
    swaps = _swaps()
    return "swap" if swaps and os.path.realpath(path) in swaps else None


def _block_holder(path: str, device: str) -> str | None:
    """The kernel's word is an exclusive open; /sys and /proc tell the reason."""
    node = Path("/sys/dev/block") / device
    family = {device, *(part.read_text().strip() for part in node.glob("*/dev"))}
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for fields in mounts:
        if fields[2] in family:
            return f"the file system mounted on {fields[4]}"
    if os.path.realpath(path) in _swaps():
        return "swap"
    holders = sorted(holder.name for holder in node.glob("holders/*"))
    if holders:
        return f"the device {holders[0]}"
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError:
        return "another program or device"
    return None


def _swaps() -> frozenset[str]:
    with open("/proc/swaps", "rb", buffering=0) as file:  # noqa: PTH123  at every new LUN
        lines = file.read().splitlines()[1:]
    return frozenset(os.fsdecode(_unescaped(line.split()[0])) for line in lines)


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


def _is_settled(path: str) -> bool:
    """Whether only the superuser (or we) can make the path lead elsewhere. Raises OSError."""
    trusted, below = {0, os.geteuid()}, 0
    for entry in _upwards(path):
        status = os.lstat(entry)
        if stat.S_ISLNK(status.st_mode):
            return False
        if stat.S_ISDIR(status.st_mode):
            writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            sticky = status.st_mode & stat.S_ISVTX
            if status.st_uid not in trusted or (writable and not sticky):
                return False
            if sticky and below not in trusted:
                return False
        below = status.st_uid
    return True


def _upwards(path: str) -> Iterator[str]:
    """The path, and every folder above it. Paths of pathlib cost as much as looking at them."""
    yield path
    while (above := os.path.dirname(path)) != path:  # noqa: PTH120
        yield (path := above)


def _inodes(folder: str) -> Iterator[int]:
    """Of everything in the folder, at any depth. Raises nothing for a file, nor for what goes
    meanwhile."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.inode()
            if entry.is_dir(follow_symlinks=False):
                yield from _inodes(entry.path)


def _is_within(path: str, private: str) -> bool:
    try:
        found, home = os.stat(path), os.stat(private)  # noqa: PTH116  in every replay
    except OSError:
        pass
    else:
        if found.st_dev == home.st_dev:
            return found.st_ino in (home.st_ino, *_inodes(private))
    real = os.path.realpath(path)  # Path.resolve() dies of loops
    return f"{real}/".startswith(f"{private}/")


class Machine:
    """This machine, for the service; `private` are folders and files that nobody may be handed."""

    def __init__(self, *private: Path) -> None:
        places = {each.resolve() for each in private}
        self._private = tuple(str(each) for each in places if places.isdisjoint(each.parents))

    def identity(self, path: str) -> str | None:
        return identity_of(path)

    def inspect(self, path: str) -> BackingStore:
        """Raises Unusable."""
        if self._is_private(path):
            raise Unusable("belongs to StorLever itself")
        return inspect(path)

    def size(self, path: str) -> int:
        """Raises OSError."""
        if self._is_private(path):
            raise PermissionError(errno.EACCES, "it belongs to StorLever itself")
        return size(path)

    def room_for_aio(self) -> bool:
        """tgtd takes 128 of the machine's events for each unit (usr/bs_aio.c)."""
        used, most = (
            int(Path("/proc/sys/fs", name).read_text()) for name in ("aio-nr", "aio-max-nr")
        )
        return most - used >= AIO_EVENTS

    def holds(self, pid: int, path: str, identity: str) -> bool:
        """Whether the process has this store open, as it must if it opened the path.

        Not looked at, for it takes a look at all it has open, where nobody but the superuser
        can change what the path leads to; nor where we may not look.
        """
        try:
            if _is_settled(path):
                return True
            descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208  names are all we need
        except OSError:
            return True
        return any(identity_of(f"/proc/{pid}/fd/{each}") == identity for each in descriptors)

    def _is_private(self, path: str) -> bool:
        """By whatever name; opening and closing the state file would free SQLite's lock on it."""
        return any(_is_within(path, each) for each in self._private)

    def scsi_identity(self, path: str) -> ScsiIdentity:
        """Raises Unusable, also for a path that is not there."""
        try:
            return scsi_identity(path)
        except OSError:
            raise Unusable("direct_map needs a SCSI device") from None
