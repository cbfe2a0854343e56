"""A logical unit in tgtd's words: whatever the unit, requests that can be sent and do no harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storlever.model import BackingType, DeviceType, LogicalUnit, ObservedUnit, ScsiProduct
from storlever.plan import IN_PLACE
from storlever.tgtd.wire import Mode, Op, Request
from storlever.tgtd.words import DEVICES, Parameters, attributes, completion, creation, ejection
from tests.unit import strategies as some

DISK = LogicalUnit(1, "/srv/a.img", "0123456789abcdef", "SN1")
CACHE = "8:0:18:0x14:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0"
NO_CACHE = CACHE.replace("0x14", "0x10", 1)


def of(device: DeviceType, backing: BackingType, **changes: object) -> LogicalUnit:
    return replace(DISK, device_type=device, backing_type=backing, **changes)


CD = of(DeviceType.CD, BackingType.RDWR)
TAPE = of(DeviceType.TAPE, BackingType.SSC)
CHANGER = of(DeviceType.CHANGER, BackingType.AIO)
SG = of(DeviceType.PASSTHROUGH, BackingType.SG)
AIO = of(DeviceType.DISK, BackingType.AIO)

IDENTITY = (("scsi_id", "0123456789abcdef"), ("scsi_sn", "SN1"))
PLAIN = (*IDENTITY, ("readonly", "0"))
PATH = ("path", "/srv/a.img")
REMOVABLE = ("removable", "1")

CREATION: list[tuple[LogicalUnit, Parameters, Parameters]] = [
    (DISK, (("bstype", "rdwr"),), (*PLAIN, ("mode_page", CACHE), ("removable", "0"), PATH)),
    (
        replace(DISK, online=False, write_cache=False, readonly=True),
        (("bstype", "rdwr"),),
        (*IDENTITY, ("readonly", "1"), ("mode_page", NO_CACHE), ("removable", "1")),
    ),
    (AIO, (("bstype", "aio"), PATH), (*PLAIN, ("mode_page", CACHE))),
    (
        replace(AIO, online=False),
        (("bstype", "aio"), PATH),
        (*PLAIN, ("mode_page", CACHE), ("removable", "1"), ("online", "0")),
    ),
    (CD, (), (*PLAIN, REMOVABLE, PATH)),
    (replace(CD, online=False), (), (*PLAIN, REMOVABLE)),
    (CHANGER, (), (*PLAIN, REMOVABLE, PATH)),
    (TAPE, (("bstype", "ssc"),), (*PLAIN, REMOVABLE, PATH)),
    (SG, (("bstype", "sg"), PATH), ()),
    (replace(SG, online=False), (("bstype", "sg"), PATH), (("online", "0"),)),
]


@pytest.mark.parametrize(("unit", "first", "then"), CREATION)
def test_a_unit_is_made_in_two_requests(
    unit: LogicalUnit, first: Parameters, then: Parameters
) -> None:
    assert creation(unit) == first
    assert completion(unit) == then


def test_what_a_mapped_device_says_of_itself_is_passed_on() -> None:
    """Blank where it says nothing, as tgtd would have it: an empty value it refuses."""
    unit = replace(DISK, product=ScsiProduct("ACME", "Disk", ""))
    said = dict(completion(unit))
    assert (said["vendor_id"], said["product_id"], said["product_rev"]) == ("ACME", "Disk", " ")
    assert "vendor_id" not in dict(completion(DISK))


CHANGES: list[tuple[LogicalUnit, tuple[str, ...], Parameters]] = [
    (DISK, ("readonly",), (("readonly", "0"),)),
    (DISK, ("write_cache",), (("mode_page", CACHE),)),
    (DISK, ("scsi_id", "serial_number"), IDENTITY),
    (DISK, ("backing_path",), (("online", "0"), ("removable", "0"), PATH)),
    (DISK, ("online", "backing_path"), (("online", "0"), ("removable", "0"), PATH)),
    (AIO, ("online",), (("removable", "0"), ("online", "1"))),
    (replace(AIO, online=False), ("online",), (("removable", "1"), ("online", "0"))),
    (replace(DISK, online=False), ("online",), (("removable", "1"), ("online", "0"))),
    (TAPE, ("backing_path",), (("online", "0"), REMOVABLE, PATH)),
    (replace(TAPE, online=False), ("online",), (REMOVABLE, ("online", "0"))),
    (CD, ("backing_path",), (("online", "0"), REMOVABLE, PATH)),
    (replace(CD, online=False), ("online",), (REMOVABLE, ("online", "0"))),
]


@pytest.mark.parametrize(("unit", "fields", "words"), CHANGES)
def test_a_change_says_what_changes_and_no_more(
    unit: LogicalUnit, fields: tuple[str, ...], words: Parameters
) -> None:
    assert attributes(unit, fields) == words


def test_a_cd_that_goes_offline_has_its_disc_taken_out() -> None:
    words = (("path", "/dev/null/none"), ("online", "1"))
    assert ejection(replace(CD, online=False), ("online",)) == words
    assert ejection(CD, ("online",)) == ()
    assert ejection(replace(CD, online=False), ("scsi_id",)) == ()
    assert ejection(replace(DISK, online=False), ("online",)) == ()


# -- any unit


@given(some.units())
def test_every_unit_can_be_made(unit: LogicalUnit) -> None:
    """Both requests can be built, so neither is one that tgtd dies of."""
    device = DEVICES[unit.device_type]
    parameters = creation(unit)
    Request(Mode.UNIT, Op.NEW, tid=1, lun=unit.lun, device=device, parameters=parameters)
    if rest := completion(unit):
        Request(Mode.UNIT, Op.UPDATE, tid=1, lun=unit.lun, parameters=rest)


@given(some.units(), st.data())
def test_every_change_in_place_can_be_sent(unit: LogicalUnit, data: st.DataObject) -> None:
    could = [*IN_PLACE[unit.device_type]]
    if unit.product is None and "product" in could:
        could.remove("product")  # such a unit is made anew
    if unit.online and unit.reopenable:
        could.append("backing_path")
    fields = data.draw(st.lists(st.sampled_from(could), min_size=1, unique=True).map(tuple))
    words = attributes(unit, fields)
    Request(Mode.UNIT, Op.UPDATE, tid=1, lun=unit.lun, parameters=words)


@given(some.units())
def test_the_path_is_said_once_and_last(unit: LogicalUnit) -> None:
    """What can fail stands last, so that nobody meets a unit that is not as wished."""
    for words in (creation(unit), completion(unit), attributes(unit, ("backing_path", "readonly"))):
        keys = [key for key, _ in words]
        assert "path" not in keys[:-1]


@given(some.units())
def test_a_unit_has_its_path_unless_it_is_offline(unit: LogicalUnit) -> None:
    """That is what ObservedUnit.of expects to see afterwards."""
    paths = [value for key, value in (*creation(unit), *completion(unit)) if key == "path"]
    expected = ObservedUnit.of(unit).backing_path
    assert paths == ([] if expected is None else [expected])


@given(some.units())
def test_a_disk_is_removable_just_while_it_is_offline(unit: LogicalUnit) -> None:
    """Only then does tgtd refuse READ and WRITE. Other media always are; what is passed through
    says it itself."""
    said = dict(completion(unit)) | dict(attributes(unit, ("online",)))
    if unit.device_type is DeviceType.PASSTHROUGH:
        assert "removable" not in said
        return
    fixed = unit.device_type is DeviceType.DISK and unit.online
    assert said["removable"] == ("0" if fixed else "1")


@given(some.units())
def test_a_passed_through_device_is_told_nothing_of_its_own(unit: LogicalUnit) -> None:
    said = dict(completion(unit)).keys()
    if unit.device_type is DeviceType.PASSTHROUGH:
        assert said <= {"online"}
    else:
        assert {"scsi_id", "scsi_sn", "readonly"} <= said
