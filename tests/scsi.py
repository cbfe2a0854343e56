"""SCSI commands and answers that the tests of LUNs speak of, by their names in the standards."""

import struct
from typing import NamedTuple

from tests.initiator import GOOD, Initiator, Result

Sense = tuple[int, int, int]

END_OF_FILEMARK: Sense = (0x0, 0x00, 0x01)
NOT_READY: Sense = (0x2, 0x3A, 0x00)  # medium not present
INVALID_FIELD_IN_PARAMETERS: Sense = (0x5, 0x26, 0x00)
NO_SUCH_LUN: Sense = (0x5, 0x25, 0x00)
WRITE_PROTECTED: Sense = (0x7, 0x27, 0x00)
LUNS_CHANGED: Sense = (0x6, 0x3F, 0x0E)

CACHING = 0x08
DISC_BLOCK = 2048


class Standard(NamedTuple):
    """Standard INQUIRY data, the part that LUN flags show up in."""

    device_type: int
    removable: bool


def standard(session: Initiator) -> Standard:
    data = session.inquiry()
    return Standard(data[0] & 0x1F, bool(data[1] & 0x80))


def serial_number(session: Initiator) -> str:
    """VPD page 80h."""
    page = session.inquiry(0x80)
    return page[4 : 4 + page[3]].decode().strip()


def designators(session: Initiator) -> dict[int, list[bytes]]:
    """VPD page 83h: by designator type (1: T10 vendor, 3: NAA)."""
    page, found = session.inquiry(0x83)[4:], dict[int, list[bytes]]()
    while page:
        length = 4 + page[3]
        found.setdefault(page[1] & 0xF, []).append(page[4:length])
        page = page[length:]
    return found


def naa6(session: Initiator) -> str:
    """The designator that Linux names a disk after."""
    (found,) = [each for each in designators(session)[3] if each[0] >> 4 == 6]
    return found.hex()


def write_protected(session: Initiator) -> bool:
    """The WP bit of any MODE SENSE."""
    return bool(session.mode_sense(CACHING)[2] & 0x80)


def caching_page(session: Initiator, *, changeable: bool = False) -> bytes:
    answer = session.mode_sense(CACHING, changeable=changeable)
    return answer[4 + answer[3] :]


def write_cache(session: Initiator) -> bool:
    """The WCE bit."""
    return bool(caching_page(session)[2] & 0x04)


def mode_select(session: Initiator, page: bytes) -> Result:
    data = bytes(4) + page
    return session.command(bytes([0x15, 0x10, 0, 0, len(data), 0]), write=data)


def prevent_removal(session: Initiator, prevent: bool) -> None:
    result = session.command(bytes([0x1E, 0, 0, 0, prevent, 0]))
    assert result.status == GOOD, result


class Tape:
    """A session's sequential LUN, in variable block mode."""

    def __init__(self, session: Initiator) -> None:
        self._session = session

    def write(self, block: bytes) -> Result:
        return self._session.command(b"\x0a\0" + len(block).to_bytes(3, "big") + b"\0", write=block)

    def read(self, length: int) -> Result:
        return self._session.command(b"\x08\0" + length.to_bytes(3, "big") + b"\0", read=length)

    def write_filemark(self) -> Result:
        return self._session.command(b"\x10\0\0\0\x01\0")

    def rewind(self) -> Result:
        return self._session.command(b"\x01\0\0\0\0\0")


class Disc:
    """A session's cd LUN."""

    def __init__(self, session: Initiator) -> None:
        self._session = session

    def read(self, block: int) -> Result:
        cdb = struct.pack(">BBLBHB", 0x28, 0, block, 0, 1, 0)
        return self._session.command(cdb, read=DISC_BLOCK)

    def write(self, block: int, data: bytes) -> Result:
        cdb = struct.pack(">BBLBHB", 0x2A, 0, block, 0, len(data) // DISC_BLOCK, 0)
        return self._session.command(cdb, write=data)

    def blocks(self) -> int:
        """READ CAPACITY(10)."""
        result = self._session.command(b"\x25" + bytes(9), read=8)
        assert result.status == GOOD, result
        return int.from_bytes(result.data[:4], "big") + 1

    def blank(self) -> bool:
        """READ DISC INFORMATION: whether the disc status is 'empty'."""
        result = self._session.command(b"\x51" + bytes(6) + b"\0\x22\0", read=34)
        assert result.status == GOOD, result
        return result.data[2] & 3 == 0
