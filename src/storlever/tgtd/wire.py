"""The management protocol of tgtd (1.0.30 to 1.0.97): typed requests to frames.

A request is a 120-byte header in host byte order and a body of `key=value` pairs, joined by
commas with no escaping and ended by a NUL. A `Request` that can be built cannot kill the daemon by
its own content: the pairs of mode and operation, their parameters and the types of a logical unit
are those of `_ALLOWED` and `_check_unit`, and nothing else is expressible (above all not
RedirectCallback, which runs a program, and `debug`, which logs secrets).
"""

import re
import struct
from enum import IntEnum
from functools import cache

from msgspec import Struct
from msgspec.structs import asdict


class Mode(IntEnum):
    SYSTEM = 0
    TARGET = 1
    UNIT = 2
    PORTAL = 3
    DRIVER = 4
    CONNECTION = 6
    ACCOUNT = 7


class Op(IntEnum):
    NEW = 0
    DELETE = 1
    SHOW = 2
    BIND = 3
    UNBIND = 4
    UPDATE = 5
    STATS = 6


class Device(IntEnum):
    """SCSI peripheral device types (SPC-4, 6.4.2) that tgtd emulates; pt is tgtd's own."""

    DISK = 0x00
    TAPE = 0x01
    CD = 0x05
    CHANGER = 0x08
    PASSTHROUGH = 0xFF


class TgtError(IntEnum):
    """tgtd's error numbers (usr/tgtadm_error.h)."""

    UNKNOWN = 1
    NO_MEMORY = 2
    NO_DRIVER = 3
    NO_TARGET = 4
    NO_LUN = 5
    NO_SESSION = 6
    NO_CONNECTION = 7
    NO_BINDING = 8
    TARGET_EXISTS = 9
    LUN_EXISTS = 10
    BINDING_EXISTS = 11
    ACL_EXISTS = 12
    NO_ACL = 13
    USER_EXISTS = 14
    NO_USER = 15
    TOO_MANY_USERS = 16
    INVALID_REQUEST = 17
    OUTGOING_EXISTS = 18
    TARGET_ACTIVE = 19
    LUN_ACTIVE = 20
    DRIVER_ACTIVE = 21
    UNSUPPORTED = 22
    UNKNOWN_PARAMETER = 23
    REMOVAL_PREVENTED = 24


EVERY = -1
"""The tid that stands for all targets in a show and for discovery in a binding."""

SEGMENT_LENGTH = "MaxRecvDataSegmentLength"  # RFC 7143, 13.12

NO_UNIT = 2**64 - 1
CONTROLLER = 0
"""The LUN that every target has."""
MAX_TID, MAX_SID, MAX_CID = 2**31 - 1, 2**64 - 1, 2**32 - 1
MAX_BODY = 8192
MAX_VALUE = 1023

_HEADER = struct.Struct("=ii64sIiQQIIIIII")

_UNIT_ATTRIBUTES = frozenset(
    {
        "scsi_id",
        "scsi_sn",
        "vendor_id",
        "product_id",
        "product_rev",
        "removable",
        "readonly",
        "online",
        "mode_page",
        "path",
    }
)
_USER = frozenset({"user"})
_NONE: frozenset[str] = frozenset()

# (mode, operation) -> (parameters that must be there, parameters that may be there)
_ALLOWED: dict[tuple[Mode, Op], tuple[frozenset[str], frozenset[str]]] = {
    (Mode.SYSTEM, Op.SHOW): (_NONE, _NONE),
    (Mode.SYSTEM, Op.DELETE): (_NONE, _NONE),
    (Mode.SYSTEM, Op.UPDATE): (frozenset({"State"}), _NONE),
    (Mode.SYSTEM, Op.STATS): (_NONE, _NONE),
    (Mode.DRIVER, Op.SHOW): (_NONE, _NONE),
    (Mode.PORTAL, Op.SHOW): (_NONE, _NONE),
    (Mode.TARGET, Op.NEW): (frozenset({"targetname"}), _NONE),
    (Mode.TARGET, Op.DELETE): (_NONE, _NONE),
    (Mode.TARGET, Op.SHOW): (_NONE, _NONE),
    (Mode.TARGET, Op.UPDATE): (_NONE, frozenset({"state", SEGMENT_LENGTH})),
    (Mode.TARGET, Op.BIND): (_NONE, frozenset({"initiator-address", "initiator-name"})),
    (Mode.TARGET, Op.UNBIND): (_NONE, frozenset({"initiator-address", "initiator-name"})),
    (Mode.UNIT, Op.NEW): (_NONE, frozenset({"path", "bstype"})),
    (Mode.UNIT, Op.DELETE): (_NONE, _NONE),
    (Mode.UNIT, Op.UPDATE): (_NONE, _UNIT_ATTRIBUTES),
    (Mode.UNIT, Op.STATS): (_NONE, _NONE),
    (Mode.CONNECTION, Op.SHOW): (_NONE, _NONE),
    (Mode.CONNECTION, Op.DELETE): (_NONE, _NONE),
    (Mode.ACCOUNT, Op.NEW): (frozenset({"user", "password"}), _NONE),
    (Mode.ACCOUNT, Op.DELETE): (_USER, _NONE),
    (Mode.ACCOUNT, Op.SHOW): (_NONE, _NONE),
    (Mode.ACCOUNT, Op.BIND): (_USER, _NONE),
    (Mode.ACCOUNT, Op.UNBIND): (_USER, _NONE),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BREAKING = re.compile(r"[\x00\n,]")
_EXACTLY_ONE = {(Mode.TARGET, Op.BIND), (Mode.TARGET, Op.UNBIND), (Mode.TARGET, Op.UPDATE)}
_NEEDS_ONE = {*_EXACTLY_ONE, (Mode.UNIT, Op.UPDATE)}

# device type -> the backing types that may be sent with it; None: none is sent.
_STORES: dict[Device, frozenset[str | None]] = {
    Device.DISK: frozenset({None, "rdwr", "aio"}),
    Device.TAPE: frozenset({"ssc"}),
    Device.CD: frozenset({None}),
    Device.CHANGER: frozenset({None}),
    Device.PASSTHROUGH: frozenset({"sg"}),
}


class Request(Struct, frozen=True):
    """One management request. Raises ValueError when tgtd would misread it or die of it."""

    mode: Mode
    op: Op
    tid: int = 0
    lun: int = NO_UNIT
    sid: int = 0
    cid: int = 0
    device: Device = Device.DISK
    outgoing: bool = False
    force: bool = False
    parameters: tuple[tuple[str, str], ...] = ()
    patience: float = 0.0
    """Seconds that the answer may take longer than that to others. Not sent."""
    hurry: bool = False
    """Whether only an answer that comes at once is of use. Not sent."""

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_parameters(self)
        if self.mode is Mode.UNIT:
            _check_unit(self)

    def __repr__(self) -> str:
        """Without the values of parameters, which may be secrets."""
        said = asdict(self) | {"parameters": [key for key, _ in self.parameters]}
        return f"Request({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    @property
    def frame(self) -> bytes:
        """What is sent."""
        body = self.body
        header = _HEADER.pack(
            self.mode,
            self.op,
            b"iscsi",
            _HEADER.size + len(body),
            self.tid,
            self.sid,
            self.lun,
            self.cid,
            0,
            self.device,
            self.outgoing,
            0,
            self.force,
        )
        return header + body

    @property
    def body(self) -> bytes:
        text = ",".join([f"{key}={value}" for key, value in self.parameters])
        return text.encode() + b"\0" if text else b""


def _check_numbers(request: Request) -> None:
    """struct.pack would raise its own error, with the connection to tgtd made already."""
    if not (
        -MAX_TID - 1 <= request.tid <= MAX_TID
        and 0 <= request.lun <= NO_UNIT
        and 0 <= request.sid <= MAX_SID
        and 0 <= request.cid <= MAX_CID
    ):
        raise ValueError("tgtd has no such number")


def _check_parameters(request: Request) -> None:
    keys = tuple([key for key, _ in request.parameters])
    _check_keys(request.mode, request.op, keys)
    if _all_plain([value for _, value in request.parameters]):
        return  # and the body is short
    for at, (key, value) in enumerate(request.parameters, 1):
        if request.op is Op.UNBIND:
            _check_theirs(key, value)
        else:
            _check_value(key, value, last=at == len(keys))
    if len(request.body) > MAX_BODY:
        raise ValueError(f"a request body has at most {MAX_BODY} bytes")


@cache
def _check_keys(mode: Mode, op: Op, keys: tuple[str, ...]) -> None:
    """Only those that are right are remembered, and they are few."""
    shape = (mode, op)
    if shape not in _ALLOWED:
        raise ValueError(f"no such request: {mode.name} {op.name}")
    required, optional = _ALLOWED[shape]
    given = frozenset(keys)
    if len(given) != len(keys) or not required <= given <= required | optional:
        raise ValueError(f"wrong parameters for {mode.name} {op.name}: {[*keys]}")
    if (shape in _NEEDS_ONE and not keys) or (shape in _EXACTLY_ONE and len(keys) != 1):
        raise ValueError(f"wrong number of parameters for {mode.name} {op.name}")


def _all_plain(values: list[str]) -> bool:
    """What nearly all are, and no rule is against."""
    text = "".join(values)
    return (
        len(text) <= MAX_VALUE
        and text.isascii()
        and text.isprintable()
        and "," not in text
        and "" not in values
    )


def _check_theirs(key: str, value: str) -> None:
    """Others bind the oddest things, which are unbound by their names all the same."""
    if _BREAKING.search(value):
        raise ValueError(f"{key} cannot be said to tgtd")


def _check_value(key: str, value: str, *, last: bool) -> None:
    """A comma ends a value everywhere but in a password that stands last, which runs to the end."""
    if not value:
        raise ValueError(f"{key} is empty")
    if _CONTROL.search(value):
        raise ValueError(f"{key} holds a control character")
    if "," in value and not (last and key == "password"):
        raise ValueError(f"{key} holds a comma")
    if len(value.encode()) > MAX_VALUE:
        raise ValueError(f"{key} is longer than {MAX_VALUE} bytes")


def _check_unit(request: Request) -> None:
    if request.op is Op.STATS:
        if request.lun != CONTROLLER:
            raise ValueError("only the statistics of the controller are of use")
        return
    theirs = request.op is Op.DELETE  # somebody else may have made any but that of the controller
    if not 1 <= request.lun <= (NO_UNIT - 1 if theirs else 255):
        raise ValueError("a logical unit has a number from 1 to 255")
    if request.op is not Op.NEW:
        return
    parameters = dict(request.parameters)
    store = parameters.get("bstype")
    if store not in _STORES[request.device]:
        raise ValueError(f"{request.device.name} does not take the backing type {store}")
    if store == "aio" and "path" not in parameters:
        # Deleting an aio unit that never had a path closes tgtd's descriptor 0.
        raise ValueError("an aio unit needs its path from the start")
