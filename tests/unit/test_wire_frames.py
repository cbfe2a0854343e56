"""Frames of the management protocol, and all the requests that cannot be said."""

import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storlever.tgtd.wire import (
    EVERY,
    MAX_BODY,
    MAX_VALUE,
    NO_UNIT,
    Device,
    Mode,
    Op,
    Request,
    TgtError,
)

# struct tgtadm_req of usr/tgtadm_error.h and usr/tgtadm.h, by hand: field -> (offset, size)
HEADER = {
    "mode": (0, 4),
    "op": (4, 4),
    "lld": (8, 64),
    "len": (72, 4),
    "tid": (76, 4),
    "sid": (80, 8),
    "lun": (88, 8),
    "cid": (96, 4),
    "host_no": (100, 4),
    "device_type": (104, 4),
    "ac_dir": (108, 4),
    "pack": (112, 4),
    "force": (116, 4),
}
SIZE = 120

MODES = {"SYSTEM": 0, "TARGET": 1, "UNIT": 2, "PORTAL": 3, "DRIVER": 4, "CONNECTION": 6}
OPS = {"NEW": 0, "DELETE": 1, "SHOW": 2, "BIND": 3, "UNBIND": 4, "UPDATE": 5, "STATS": 6}
DEVICES = {"DISK": 0, "TAPE": 1, "CD": 5, "CHANGER": 8, "PASSTHROUGH": 255}


def fields(frame: bytes) -> dict[str, int]:
    """The numbers of a frame's header; `tid` is the one that is signed."""
    return {
        name: int.from_bytes(frame[at : at + size], sys.byteorder, signed=name == "tid")
        for name, (at, size) in HEADER.items()
        if name != "lld"
    }


def test_the_table_covers_the_header_without_a_gap() -> None:
    ends = [at + size for at, size in HEADER.values()]
    assert [0, *ends] == [*(at for at, _ in HEADER.values()), SIZE]


def test_every_field_stands_where_tgtd_reads_it() -> None:
    request = Request(
        Mode.ACCOUNT, Op.BIND, tid=-1, lun=7, sid=2**40 + 3, cid=5, outgoing=True, force=True,
        device=Device.PASSTHROUGH, parameters=(("user", "alice"),),
    )  # fmt: skip
    frame = request.frame
    assert fields(frame) == {
        "mode": 7,
        "op": 3,
        "len": SIZE + 11,
        "tid": -1,
        "sid": 2**40 + 3,
        "lun": 7,
        "cid": 5,
        "host_no": 0,
        "device_type": 255,
        "ac_dir": 1,
        "pack": 0,
        "force": 1,
    }
    assert frame[8:72] == b"iscsi" + bytes(59)
    assert frame[SIZE:] == b"user=alice\0"


def test_the_numbers_are_those_of_tgtd() -> None:
    assert {mode.name: int(mode) for mode in Mode} == MODES | {"ACCOUNT": 7}
    assert {op.name: int(op) for op in Op} == OPS
    assert {device.name: int(device) for device in Device} == DEVICES
    assert [int(error) for error in TgtError] == list(range(1, 25))
    assert (EVERY, NO_UNIT) == (-1, 0xFFFFFFFFFFFFFFFF)


NONE = "ff" * 8
EXAMPLES = [
    (Request(Mode.DRIVER, Op.SHOW), f"04 02 78 0 {NONE}", b""),
    (Request(Mode.TARGET, Op.SHOW, tid=-1), f"01 02 78 -1 {NONE}", b""),
    (
        Request(Mode.TARGET, Op.NEW, tid=3, parameters=(("targetname", "iqn.2014-09.com.a:b"),)),
        f"01 00 97 3 {NONE}",
        b"targetname=iqn.2014-09.com.a:b\0",
    ),
    (
        Request(
            Mode.UNIT,
            Op.UPDATE,
            tid=3,
            lun=1,
            parameters=(("online", "0"), ("path", "/srv/a b=c.img")),
        ),
        "02 05 95 3 0100000000000000",
        b"online=0,path=/srv/a b=c.img\0",
    ),
    (
        Request(Mode.ACCOUNT, Op.NEW, parameters=(("user", "u"), ("password", "a,b=c"))),
        f"07 00 8e 0 {NONE}",
        b"user=u,password=a,b=c\0",
    ),
]


@pytest.mark.skipif(sys.byteorder == "big", reason="the examples are little-endian")
@pytest.mark.parametrize(("request_", "words", "body"), EXAMPLES)
def test_frames_to_the_byte(request_: Request, words: str, body: bytes) -> None:
    """mode, operation, length, tid, lun; all else of these headers is zero."""
    mode, op, length, tid, lun = words.split()
    frame = bytes.fromhex(mode) + bytes(3) + bytes.fromhex(op) + bytes(3)
    frame += b"iscsi" + bytes(59) + bytes.fromhex(length) + bytes(3)
    frame += struct.pack("<i", int(tid)) + bytes(8) + bytes.fromhex(lun) + bytes(24)
    assert request_.frame == frame + body


# -- what cannot be said

TEXTS = st.text(max_size=30) | st.text(max_size=3).map(lambda text: text * 800)
KNOWN = """
    user password targetname initiator-address initiator-name path bstype scsi_id scsi_sn vendor_id
    readonly online mode_page state State MaxRecvDataSegmentLength
"""
DANGEROUS = frozenset({"RedirectCallback", "debug", "bsopts", "tid", ""})
KEYS = st.sampled_from([*KNOWN.split(), *sorted(DANGEROUS)])


@given(
    st.builds(
        dict,
        mode=st.sampled_from(Mode),
        op=st.sampled_from(Op),
        tid=st.integers(-1, 9),
        lun=st.just(NO_UNIT) | st.integers(0, 300),
        device=st.sampled_from(Device),
        parameters=st.lists(st.tuples(KEYS, TEXTS), max_size=4).map(tuple),
    )
)
def test_no_request_that_can_be_sent_breaks_the_rules(said: dict[str, object]) -> None:
    """Whatever is asked: no comma, NUL or newline in a value, at most 8 KiB, known keys only, and
    nothing that tgtd is known to die of. What others bound may be unbound, whatever its name."""
    try:
        request = Request(**said)  # type: ignore[arg-type]
        frame = request.frame
    except ValueError:
        return
    given = dict(request.parameters)
    assert fields(frame)["len"] == len(frame) <= SIZE + MAX_BODY
    assert frame[SIZE:].rstrip(b"\0").count(b"\0") == 0
    assert frame.endswith(b"\0") or not given
    assert not given.keys() & DANGEROUS
    for key, value in given.items():
        assert not set(value) & set("\0\n" if key == "password" else ",\0\n")
        if request.op is not Op.UNBIND:
            assert value
            assert len(value.encode()) <= MAX_VALUE
            assert "\r" not in value
    _assert_not_lethal(request, given)


def _assert_not_lethal(request: Request, given: dict[str, str]) -> None:
    """The table of requests that crash tgtd (1.0.85), as far as one request can."""
    match request.mode, request.op:
        case Mode.TARGET, Op.NEW:
            assert "targetname" in given
        case (Mode.TARGET, Op.UPDATE | Op.BIND | Op.UNBIND) | (Mode.SYSTEM, Op.UPDATE):
            assert len(given) == 1
        case Mode.ACCOUNT, Op.NEW | Op.DELETE | Op.BIND | Op.UNBIND:
            assert "user" in given
        case Mode.PORTAL, op:
            assert op is Op.SHOW
        case Mode.UNIT, Op.NEW:
            fitting: dict[Device, set[str | None]] = {
                Device.DISK: {None, "rdwr", "aio"},
                Device.TAPE: {"ssc"},
                Device.CD: {None},
                Device.CHANGER: {None},
                Device.PASSTHROUGH: {"sg"},
            }
            assert given.get("bstype") in fitting[request.device]
            assert given.get("bstype") != "aio" or "path" in given
    if request.mode is Mode.UNIT and request.op is Op.STATS:
        assert request.lun == 0
    elif request.mode is Mode.UNIT and request.op is not Op.DELETE:
        assert 1 <= request.lun <= 255


@pytest.mark.parametrize("bad", [",", "\0", "\n", "\r", "\x1b", "\x7f"])
@pytest.mark.parametrize("where", ["{}x", "x{}", "{}"])
def test_a_character_that_tgtd_would_misread_is_refused(bad: str, where: str) -> None:
    text = where.format(bad)
    with pytest.raises(ValueError, match="path holds a"):
        Request(Mode.UNIT, Op.UPDATE, tid=1, lun=1, parameters=(("path", text),))


def test_only_a_password_may_hold_a_comma() -> None:
    """It stands last, and tgtd takes all that is left for it."""
    pair = (("user", "u"), ("password", "a,b"))
    assert Request(Mode.ACCOUNT, Op.NEW, parameters=pair).frame.endswith(b",password=a,b\0")
    with pytest.raises(ValueError, match="user holds a comma"):
        Request(Mode.ACCOUNT, Op.NEW, parameters=(("user", "a,b"), ("password", "p")))


def test_a_password_before_the_user_may_hold_none() -> None:
    """There a comma would give the account a user of the password's choice."""
    pair = (("password", "p,user=root"), ("user", "u"))
    with pytest.raises(ValueError, match="password holds a comma"):
        Request(Mode.ACCOUNT, Op.NEW, parameters=pair)


REFUSED = [
    (Mode.TARGET, Op.NEW, ()),
    (Mode.TARGET, Op.NEW, (("targetname", ""),)),
    (Mode.TARGET, Op.UPDATE, ()),
    (Mode.TARGET, Op.UPDATE, (("RedirectCallback", "/bin/sh"),)),
    (Mode.TARGET, Op.UPDATE, (("state", "ready"), ("MaxRecvDataSegmentLength", "8192"))),
    (Mode.TARGET, Op.BIND, ()),
    (Mode.TARGET, Op.BIND, (("initiator-address", "ALL"), ("initiator-name", "iqn.x"))),
    (Mode.SYSTEM, Op.UPDATE, ()),
    (Mode.SYSTEM, Op.UPDATE, (("debug", "on"),)),
    (Mode.ACCOUNT, Op.BIND, ()),
    (Mode.ACCOUNT, Op.UPDATE, (("user", "u"),)),
    (Mode.ACCOUNT, Op.NEW, (("user", "u"),)),
    (Mode.PORTAL, Op.NEW, ()),
    (Mode.PORTAL, Op.DELETE, ()),
    (Mode.CONNECTION, Op.SHOW, (("path", "/"),)),
    (Mode.UNIT, Op.SHOW, ()),
    (Mode.DRIVER, Op.DELETE, ()),
]


@pytest.mark.parametrize(("mode", "op", "parameters"), REFUSED)
def test_a_request_of_the_wrong_shape_is_refused(
    mode: Mode, op: Op, parameters: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(ValueError, match=r"wrong|no such request|is empty"):
        Request(mode, op, tid=1, parameters=parameters)


@pytest.mark.parametrize(
    ("device", "parameters"),
    [
        (Device.DISK, (("bstype", "ssc"),)),
        (Device.DISK, (("bstype", "null"),)),
        (Device.DISK, (("bstype", "aio"),)),
        (Device.TAPE, ()),
        (Device.TAPE, (("bstype", "rdwr"),)),
        (Device.CD, (("bstype", "null"),)),
        (Device.CHANGER, (("bstype", "null"),)),
        (Device.PASSTHROUGH, ()),
    ],
)
def test_a_pair_of_types_that_kills_tgtd_is_refused(
    device: Device, parameters: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(ValueError, match=r"backing type|aio unit"):
        Request(Mode.UNIT, Op.NEW, tid=1, lun=1, device=device, parameters=parameters)


@pytest.mark.parametrize("op", [Op.NEW, Op.UPDATE])
@pytest.mark.parametrize("lun", [0, 256, 16384, NO_UNIT])
def test_a_unit_has_a_number_that_initiators_can_use(op: Op, lun: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 255"):
        Request(Mode.UNIT, op, tid=1, lun=lun, parameters=(("path", "/x"),))


def test_a_unit_that_somebody_else_made_can_be_removed_whatever_its_number() -> None:
    assert fields(Request(Mode.UNIT, Op.DELETE, tid=1, lun=16384).frame)["lun"] == 16384
    for lun in (0, NO_UNIT):
        with pytest.raises(ValueError, match="number"):
            Request(Mode.UNIT, Op.DELETE, tid=1, lun=lun)


@pytest.mark.parametrize("entry", ["", "a\tb", "\x1b[2J", "é", "x" * 8000])
def test_what_somebody_else_bound_can_be_unbound_whatever_its_name(entry: str) -> None:
    for mode, key in ((Mode.TARGET, "initiator-address"), (Mode.ACCOUNT, "user")):
        frame = Request(mode, Op.UNBIND, tid=1, parameters=((key, entry),)).frame
        assert frame[SIZE:] == f"{key}={entry}\0".encode()


@pytest.mark.parametrize("entry", ["a,user=root", "a\0b", "a\nb", "\udc80", "x" * 9000])
def test_a_name_that_would_be_misread_is_not_even_unbound(entry: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be said|surrogates|8192 bytes"):
        Request(Mode.ACCOUNT, Op.UNBIND, tid=1, parameters=(("user", entry),))


NUMBERS = [
    *(("tid", 2**31), ("tid", -(2**31) - 1), ("lun", -1), ("lun", 2**64)),
    *(("sid", -1), ("sid", 2**64), ("cid", -1), ("cid", 2**32)),
]


@pytest.mark.parametrize(("name", "number"), NUMBERS)
def test_a_number_that_has_no_room_in_a_header_is_refused(name: str, number: int) -> None:
    numbers: dict[str, Any] = {name: number}
    with pytest.raises(ValueError, match="no such number"):
        Request(Mode.CONNECTION, Op.DELETE, **numbers)


def test_a_value_is_cut_nowhere() -> None:
    """tgtd cuts at 1023 bytes, counted in UTF-8, and a longer one is refused."""
    longest = "/" + "ä" * 511
    assert (
        longest.encode()
        in Request(Mode.UNIT, Op.UPDATE, tid=1, lun=1, parameters=(("path", longest),)).frame
    )
    with pytest.raises(ValueError, match="longer than 1023 bytes"):
        Request(Mode.UNIT, Op.UPDATE, tid=1, lun=1, parameters=(("path", longest + "a"),))


def test_a_body_that_tgtd_would_drop_is_refused() -> None:
    parameters = (("mode_page", "0" * MAX_VALUE),) * 9
    with pytest.raises(ValueError, match=r"8192 bytes|wrong parameters"):
        Request(Mode.UNIT, Op.UPDATE, tid=1, lun=1, parameters=parameters)


def test_a_password_is_in_no_repr() -> None:
    parameters = (("user", "alice"), ("password", "hunter2hunter2"))
    said = repr(Request(Mode.ACCOUNT, Op.NEW, parameters=parameters))
    assert "hunter2" not in said
    assert "password" in said
