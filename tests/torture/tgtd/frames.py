"""What a frame to tgtd says, read from nothing but its bytes, and what none may ever say.

The table and the numbers stand here a second time on purpose: what builds the frames must not be
what judges them.
"""

import struct
from dataclasses import dataclass

SYSTEM, TARGET, UNIT, PORTAL, DRIVER, CONNECTION, ACCOUNT = 0, 1, 2, 3, 4, 6, 7
NEW, DELETE, SHOW, BIND, UNBIND, UPDATE, STATS = range(7)
DISK, TAPE, CD, CHANGER, PASSTHROUGH = 0, 1, 5, 8, 255

HEADER = struct.Struct("=ii64sIiQQIIIIII")
MOST_BODY, MOST_VALUE = 8192, 1023
NO_LUN = 2**64 - 1

ENTRY = {"initiator-address", "initiator-name"}
WORDS: dict[tuple[int, int], set[str]] = {
    (SYSTEM, SHOW): set(),
    (SYSTEM, DELETE): set(),
    (SYSTEM, UPDATE): {"State"},
    (SYSTEM, STATS): set(),
    (TARGET, NEW): {"targetname"},
    (TARGET, DELETE): set(),
    (TARGET, SHOW): set(),
    (TARGET, BIND): ENTRY,
    (TARGET, UNBIND): ENTRY,
    (TARGET, UPDATE): {"state", "MaxRecvDataSegmentLength"},
    (UNIT, NEW): {"path", "bstype"},
    (UNIT, DELETE): set(),
    (UNIT, UPDATE): {
        *("scsi_id", "scsi_sn", "vendor_id", "product_id", "product_rev"),
        *("removable", "readonly", "online", "mode_page", "path"),
    },
    (UNIT, STATS): set(),
    (PORTAL, SHOW): set(),
    (DRIVER, SHOW): set(),
    (CONNECTION, DELETE): set(),
    (CONNECTION, SHOW): set(),
    (ACCOUNT, NEW): {"user", "password"},
    (ACCOUNT, DELETE): {"user"},
    (ACCOUNT, SHOW): set(),
    (ACCOUNT, BIND): {"user"},
    (ACCOUNT, UNBIND): {"user"},
}
"""All that may be asked, and the parameters that may go with it."""

SPEECHLESS_DEATHS = {
    *((TARGET, op) for op in (NEW, BIND, UNBIND, UPDATE)),
    *((ACCOUNT, op) for op in (NEW, DELETE, BIND, UNBIND)),
    *((SYSTEM, UPDATE), (UNIT, UPDATE)),
}
"""Requests of which tgtd (1.0.85) dies, or that ask for nothing, when they come without a body."""

ONE_AT_A_TIME = {(TARGET, op) for op in (BIND, UNBIND, UPDATE)}
"""Requests of which tgtd (1.0.85) misreads the first parameter when there is a second one."""

STORES: dict[int, set[str | None]] = {
    DISK: {None, "rdwr", "aio"},
    TAPE: {"ssc"},
    CD: {None},
    CHANGER: {None},
    PASSTHROUGH: {"sg"},
}
"""Device type -> backing types; tgtd (1.0.85) dies of, or corrupts its memory with, some others."""


@dataclass(frozen=True)
class Frame:
    mode: int
    op: int
    tid: int
    lun: int
    device: int
    said: dict[str, str]


def read(frame: bytes) -> Frame:
    """As tgtd reads it: the body ends at its first NUL, and a value at the next comma."""
    mode, op, driver, length, tid, _, lun, _, _, device, direction, _, force = HEADER.unpack(
        frame[: HEADER.size]
    )
    body = frame[HEADER.size :]
    assert driver == b"iscsi".ljust(64, b"\0")
    assert length == len(frame)
    assert len(body) <= MOST_BODY
    assert direction in (0, 1)
    assert force in (0, 1)
    assert not body or (body.endswith(b"\0") and body.count(b"\0") == 1)
    return Frame(mode, op, tid, lun, device, _pairs(mode, op, body.rstrip(b"\0").decode()))


def _pairs(mode: int, op: int, body: str) -> dict[str, str]:
    """A password stands last and may hold commas."""
    secret = ""
    if (mode, op) == (ACCOUNT, NEW):
        body, _, secret = body.partition(",password=")
    pairs = [piece.partition("=") for piece in body.split(",")] if body else []
    assert all(equals for _, equals, _ in pairs)
    said = {key: value for key, _, value in pairs}
    assert len(said) == len(pairs)
    return said | {"password": secret} if secret else said


def require_harmless(frame: bytes) -> None:
    """Nothing of what one request alone can do to tgtd (1.0.85): kill it, damage it, make it
    misread a value, run a program, log secrets."""
    asked = read(frame)
    shape = (asked.mode, asked.op)
    assert shape in WORDS
    assert asked.said.keys() <= WORDS[shape]
    assert asked.said or shape not in SPEECHLESS_DEATHS
    assert shape != (ACCOUNT, NEW) or asked.said.keys() == {"user", "password"}
    assert shape not in ONE_AT_A_TIME or len(asked.said) == 1
    for value in asked.said.values():
        _require_sane(value, theirs=asked.op == UNBIND)
    if asked.mode == UNIT:
        _require_sane_unit(asked)


def _require_sane(value: str, *, theirs: bool) -> None:
    """Others may have bound the oddest things, which must be called by their names to go."""
    assert not set(value) & set("\0\n")
    if not theirs:
        assert value
        assert len(value.encode()) <= MOST_VALUE
        assert not any(ord(char) < 0x20 or ord(char) == 0x7F for char in value)


def _require_sane_unit(asked: Frame) -> None:
    """Others may have made any LUN, which must go as well; ours have numbers that hosts can use."""
    assert (asked.lun == 0) == (asked.op == STATS)
    assert asked.lun != NO_LUN
    assert asked.op == DELETE or asked.lun <= 255
    if asked.op == NEW:
        store = asked.said.get("bstype")
        assert store in STORES[asked.device]
        assert store != "aio" or "path" in asked.said
