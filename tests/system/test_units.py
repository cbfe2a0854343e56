"""Every field of a LUN as an initiator sees it, and how it changes while a session looks on."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.initiator import GOOD, CommandError, Initiator
from tests.scsi import (
    DISC_BLOCK,
    END_OF_FILEMARK,
    INVALID_FIELD_IN_PARAMETERS,
    LUNS_CHANGED,
    NO_SUCH_LUN,
    NOT_READY,
    WRITE_PROTECTED,
    Disc,
    Tape,
    caching_page,
    designators,
    mode_select,
    naa6,
    prevent_removal,
    serial_number,
    standard,
    write_cache,
    write_protected,
)
from tests.world import WIKI_TARGET, StorLever, image, wait_until

OTHER_TARGET = "iqn.2014-09.com.example:other"
BLOCK = bytes(range(256)) * 2
FLAGS = [
    {"readonly": True},
    {"readonly": False},
    {"write_cache": False},
    {"write_cache": True},
    {"scsi_id": "0123456789abcdef", "scsi_sn": "SN-1"},
]


@pytest.fixture
def storlever(emptied: StorLever) -> StorLever:
    return emptied


@pytest.fixture
def target(storlever: StorLever) -> str:
    return storlever.add_target()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return image(tmp_path / "disk.img")


def session(storlever: StorLever, lun: int = 1, target: str = WIKI_TARGET) -> Initiator:
    return Initiator(storlever.portal, target, lun=lun)


def put(storlever: StorLever, unit: str, **fields: Any) -> None:
    storlever.api("PUT", unit, fields, expect=200)


def identity(storlever: StorLever, lun: int = 1, target: str = WIKI_TARGET) -> tuple[str, str]:
    """What an initiator that logs in anew is told: serial number and NAA designator."""
    with session(storlever, lun, target) as disk:
        return serial_number(disk), naa6(disk)


# -- identity


def test_given_identity_is_in_the_vital_product_data(
    storlever: StorLever, target: str, file: Path
) -> None:
    storlever.add_lun(target, 1, file, scsi_id="0123456789abcdef0123456789abcde", scsi_sn="SN 1/a")
    with session(storlever) as disk:
        assert serial_number(disk) == "SN 1/a"
        assert designators(disk)[1][0].rstrip(b"\0") == b"0123456789abcdef0123456789abcde"
        assert naa6(disk) == "60123456789abcdef0123456789abcde"


def test_identity_changes_while_a_session_is_there(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    with session(storlever) as disk:
        before = disk.inquiry(0x80), disk.inquiry(0x83)
        put(storlever, unit, scsi_sn="NEW", scsi_id="feedfacecafebeeffeedfacecafebee")
        assert serial_number(disk) == "NEW"
        assert naa6(disk) == "6feedfacecafebeeffeedfacecafebee"
        assert before[0] != disk.inquiry(0x80)


def test_identity_of_36_characters_is_not_cut(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.add_lun(target, 1, file, scsi_id="i" * 35 + "1", scsi_sn="s" * 35 + "2")
    with session(storlever) as disk:
        assert serial_number(disk) == "s" * 35 + "2"
        assert designators(disk)[1][0] == b"i" * 35 + b"1"
    assert storlever.get(unit)["scsi_id"] == "i" * 35 + "1"


def test_generated_identity_is_the_one_that_get_shows(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.get(storlever.add_lun(target, 1, file, scsi_id="", scsi_sn=""))
    with session(storlever) as disk:
        assert serial_number(disk) == unit["scsi_sn"]
        assert designators(disk)[1][0].rstrip(b"\0").decode() == unit["scsi_id"]
        assert naa6(disk) == "6" + unit["scsi_id"]


def test_generated_identities_are_unique_where_tgtds_own_collide(
    storlever: StorLever, tmp_path: Path
) -> None:
    """tgtd's default serial number is "beaf" and both numbers: 1, 11 and 11, 1 give the same."""
    names = [WIKI_TARGET, *(f"{OTHER_TARGET}{number}" for number in range(10))]
    for name in names:
        storlever.add_target(name)
    places = [(name, lun) for name in names for lun in (1, 11)]
    for at, (name, lun) in enumerate(places):
        storlever.add_lun(f"/target_list/{name}", lun, image(tmp_path / str(at), 1))
    found = [identity(storlever, lun, name) for name, lun in places]
    assert len({serial for serial, _ in found}) == len(places)
    assert len({naa for _, naa in found}) == len(places)


def test_generated_identity_outlives_every_edit(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    before = identity(storlever)
    for edit in (
        {"readonly": True},
        {"path": str(image(tmp_path / "other.img")), "readonly": False},
        {"online": False},
        {"online": True, "write_cache": False},
        {"scsi_id": "", "scsi_sn": ""},
        {"bs_type": "aio"},
        {"bs_type": "rdwr"},
    ):
        put(storlever, unit, **edit)
        assert identity(storlever) == before, edit


@pytest.mark.parametrize("how", ["tgtd is killed", "service is killed", "both are restarted"])
def test_everything_of_a_lun_outlives_a_restart(root: Path, how: str) -> None:
    service = StorLever(root)
    try:
        service.start()
        unit = service.add_lun(
            service.add_target(), 1, image(root / "disk.img"), readonly=True, write_cache=False
        )
        shown = service.get(unit)
        before = identity(service)
        restart(service, how)
        assert service.get(unit) == shown
        assert identity(service) == before
        with session(service) as disk:
            assert write_protected(disk)
            assert not write_cache(disk)
            assert not standard(disk).removable
    finally:
        service.close()


def restart(service: StorLever, how: str) -> None:
    daemon = service.tgtd_pid()
    assert daemon is not None
    if how == "tgtd is killed":
        os.kill(daemon, signal.SIGKILL)
        wait_until(lambda: service.tgtd_pid() not in (None, daemon))
        wait_until(lambda: service.answers(ready=True))
    else:
        if how == "service is killed":
            service.kill()
        else:
            assert service.stop() == 0
        service.start()
    assert (service.tgtd_pid() == daemon) == (how == "service is killed")


# -- write protection and write cache


def test_readonly_shows_in_mode_sense_and_refuses_writes(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.add_lun(target, 1, file, readonly=True)
    with session(storlever) as disk:
        assert write_protected(disk)
        assert disk.write(0, BLOCK).sense == WRITE_PROTECTED
        assert disk.read(0, 1).data == bytes(512)
        put(storlever, unit, readonly=False)
        assert not write_protected(disk)
        assert disk.write(0, BLOCK).status == GOOD
        put(storlever, unit, readonly=True)
        assert disk.write(0, bytes(512)).sense == WRITE_PROTECTED
        assert disk.read(0, 1).data == BLOCK


@pytest.mark.parametrize("cached", [True, False])
def test_write_cache_shows_in_the_caching_page_and_is_not_the_initiators_to_change(
    storlever: StorLever, target: str, file: Path, cached: bool
) -> None:
    unit = storlever.add_lun(target, 1, file, write_cache=cached)
    with session(storlever) as disk:
        assert write_cache(disk) == cached
        assert not any(caching_page(disk, changeable=True)[2:])
        flipped = bytearray(caching_page(disk))
        flipped[2] ^= 0x04
        assert mode_select(disk, bytes(flipped)).sense == INVALID_FIELD_IN_PARAMETERS
        assert write_cache(disk) == cached
        put(storlever, unit, write_cache=not cached)
        assert write_cache(disk) != cached
        assert mode_select(disk, bytes(flipped)).status == GOOD, "what is in force may be said"
        assert write_cache(disk) != cached


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_flags_stay_when_a_live_lun_gets_another_file(
    storlever: StorLever, target: str, file: Path, tmp_path: Path, flags: dict[str, Any]
) -> None:
    unit = storlever.add_lun(target, 1, file, **flags)

    def seen(disk: Initiator) -> tuple[object, ...]:
        flags = write_protected(disk), write_cache(disk), standard(disk).removable
        return (*flags, serial_number(disk), naa6(disk))

    with session(storlever) as disk:
        before = seen(disk)
        assert before[:2] == (flags.get("readonly", False), flags.get("write_cache", True))
        put(storlever, unit, path=str(image(tmp_path / "other.img", 8)))
        assert seen(disk) == before
        put(storlever, unit, online=False)
        put(storlever, unit, online=True)
        assert seen(disk) == before


# -- offline


def refusals(disk: Initiator) -> set[object]:
    """The senses of TEST UNIT READY, READ and WRITE."""
    return {disk.ready().sense, disk.read(0, 1).sense, disk.write(0, bytes(512)).sense}


@pytest.mark.parametrize("store", ["rdwr", "aio"])
def test_offline_disk_is_not_ready_for_anything_and_keeps_its_data(
    storlever: StorLever, target: str, file: Path, store: str
) -> None:
    unit = storlever.add_lun(target, 1, file, bs_type=store)
    with session(storlever) as disk:
        assert disk.ready().status == GOOD
        assert disk.write(7, BLOCK).status == GOOD
        put(storlever, unit, online=False)
        assert refusals(disk) == {NOT_READY}
        assert storlever.get(unit)["state"] == "offline"
        assert not storlever.get(unit)["online"]
        put(storlever, unit, online=True)
        assert storlever.get(unit)["state"] == "ready"
        assert disk.ready().status == GOOD
        assert disk.read(7, 1).data == BLOCK
        assert disk.read(0, 1).data == bytes(512)
        assert not standard(disk).removable


@pytest.mark.parametrize("store", ["rdwr", "aio"])
def test_disk_can_be_born_offline(
    storlever: StorLever, target: str, file: Path, store: str
) -> None:
    unit = storlever.add_lun(target, 1, file, bs_type=store, online=False, readonly=True)
    with session(storlever) as disk:
        assert refusals(disk) == {NOT_READY}
        assert storlever.get(unit)["state"] == "offline"
        put(storlever, unit, online=True)
        assert disk.ready().status == GOOD
        assert disk.capacity() == (32768, 512)
        assert disk.write(0, BLOCK).sense == WRITE_PROTECTED


def test_tape_and_changer_are_not_ready_while_offline(
    storlever: StorLever, target: str, tmp_path: Path
) -> None:
    units = [
        storlever.add_lun(target, 1, new_tape(tmp_path / "tape"), device_type="tape"),
        storlever.add_lun(target, 2, image(tmp_path / "changer", 1), device_type="changer"),
    ]
    with session(storlever, 1) as tape, session(storlever, 2) as changer:
        assert Tape(tape).write(b"x").sense is not None, "a unit attention"
        tape.ready()
        assert Tape(tape).write(b"before").status == GOOD
        for unit in units:
            put(storlever, unit, online=False)
        assert {tape.ready().sense, changer.ready().sense} == {NOT_READY}
        assert {Tape(tape).write(b"x").sense, Tape(tape).read(9).sense} == {NOT_READY}
        for unit in units:
            put(storlever, unit, online=True)
        assert tape.ready().status == changer.ready().status == GOOD
        assert Tape(tape).rewind().status == GOOD
        assert Tape(tape).read(6).data == b"before"


def test_cd_that_is_offline_has_no_disc(storlever: StorLever, target: str, iso: Path) -> None:
    unit = storlever.add_lun(target, 1, iso, device_type="cd")
    with session(storlever) as drive:
        drive.ready()
        put(storlever, unit, online=False)
        assert drive.ready().sense == NOT_READY
        assert Disc(drive).read(3).sense == NOT_READY
        put(storlever, unit, online=True)
        assert drive.ready().status == GOOD
        assert Disc(drive).read(3).data == iso.read_bytes()[3 * DISC_BLOCK : 4 * DISC_BLOCK]


def test_disk_grown_while_offline_comes_back_with_its_new_size(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    with session(storlever) as disk:
        disk.ready()
        assert disk.write(0, BLOCK).status == GOOD
        put(storlever, unit, online=False)
        os.truncate(file, 32 << 20)
        put(storlever, unit, online=True)
        assert disk.capacity() == (65536, 512)
        assert disk.read(0, 1).data == BLOCK
        assert disk.write(65535, BLOCK).status == GOOD
    assert storlever.get(unit)["size"] == 32 << 20


@pytest.mark.parametrize("store", ["rdwr", "aio"])
def test_disk_replaced_while_offline_comes_back_as_the_new_file(
    storlever: StorLever, target: str, file: Path, tmp_path: Path, store: str
) -> None:
    unit = storlever.add_lun(target, 1, file, bs_type=store)
    with session(storlever) as disk:
        disk.ready()
        assert disk.write(0, BLOCK).status == GOOD
        put(storlever, unit, online=False)
        new = image(tmp_path / "new.img", 8)
        with new.open("r+b") as content:
            content.write(b"new!")
        new.replace(file)
        put(storlever, unit, online=True)
        assert disk.ready().status == GOOD
        assert disk.capacity() == (16384, 512)
        assert disk.read(0, 1).data[:4] == b"new!"
        assert disk.write(0, BLOCK).status == GOOD
    assert file.read_bytes()[:512] == BLOCK
    assert storlever.get(unit)["size"] == 8 << 20


def test_disk_that_is_gone_stays_offline(storlever: StorLever, target: str, file: Path) -> None:
    unit = storlever.add_lun(target, 1, file)
    with session(storlever) as disk:
        disk.ready()
        put(storlever, unit, online=False)
        file.unlink()
        problem = storlever.api("PUT", unit, {"online": True}, expect=409).json()
        assert problem["code"] == "backing-store-missing"
        assert refusals(disk) == {NOT_READY}
        assert storlever.get(unit)["state"] == "offline"


def test_disk_emptied_while_offline_is_not_served_as_an_endless_one(
    storlever: StorLever, target: str, file: Path
) -> None:
    """tgtd takes an empty file for a disk of 2**64 blocks."""
    unit = storlever.add_lun(target, 1, file)
    with session(storlever) as disk:
        disk.ready()
        put(storlever, unit, online=False)
        os.truncate(file, 100)
        storlever.api("PUT", unit, {"online": True}, expect=422)
        assert refusals(disk) == {NOT_READY}
        os.truncate(file, 1 << 20)
        put(storlever, unit, online=True)
        assert disk.capacity() == (2048, 512)


def test_disk_emptied_while_tgtd_was_away_is_an_error_until_it_is_mended(root: Path) -> None:
    service = StorLever(root)
    try:
        service.start()
        file = image(root / "disk.img")
        unit = service.add_lun(service.add_target(), 1, file)
        assert service.stop() == 0
        os.truncate(file, 0)
        service.start(ready=False)
        wait_until(lambda: service.get(unit)["state"] == "error")
        assert "smaller than a block" in service.get(unit)["reason"]
        with session(service) as disk:
            assert disk.ready().sense == NO_SUCH_LUN
            os.truncate(file, 1 << 20)
            put(service, unit, path=str(file))
            assert service.get(unit)["state"] == "ready"
            assert disk.capacity() == (2048, 512)
    finally:
        service.close()


def test_prevented_removal_is_409_and_changes_nothing(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, file, scsi_sn="OLD")
    other = str(image(tmp_path / "other.img", 8))
    with session(storlever) as disk:
        disk.ready()
        prevent_removal(disk, True)
        before = storlever.get(unit)
        for change in ({"online": False}, {"path": other}):
            edit = {**change, "scsi_sn": "NEW", "readonly": True, "write_cache": False}
            problem = storlever.api("PUT", unit, edit, expect=409).json()
            assert problem["code"] == "removal-prevented"
            wait_until(lambda: storlever.get(unit) == before)  # tgtd may have taken a part of it
            assert serial_number(disk) == "OLD"
            assert not write_protected(disk)
            assert write_cache(disk)
            assert not standard(disk).removable
            assert disk.capacity() == (32768, 512)
            assert disk.write(0, BLOCK).status == GOOD
        prevent_removal(disk, False)
        put(storlever, unit, online=False, scsi_sn="NEW")
        assert refusals(disk) == {NOT_READY}
        assert serial_number(disk) == "NEW"


# -- the file behind


def test_path_changes_while_a_session_is_there(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    other = image(tmp_path / "other.img", 8)
    with session(storlever) as disk:
        disk.ready()
        assert disk.write(0, BLOCK).status == GOOD
        put(storlever, unit, path=str(other))
        assert disk.ready().status == GOOD
        assert disk.capacity() == (16384, 512)
        assert disk.read(0, 1).data == bytes(512)
        assert disk.write(0, BLOCK[::-1]).status == GOOD
    assert (file.read_bytes()[:512], other.read_bytes()[:512]) == (BLOCK, BLOCK[::-1])
    assert (storlever.get(unit)["path"], storlever.get(unit)["size"]) == (str(other), 8 << 20)


@pytest.mark.parametrize("store", ["rdwr", "aio"])
def test_path_of_an_offline_disk_changes_and_is_opened_once_it_is_online(
    storlever: StorLever, target: str, file: Path, tmp_path: Path, store: str
) -> None:
    unit = storlever.add_lun(target, 1, file, bs_type=store, online=False)
    with session(storlever) as disk:
        put(storlever, unit, path=str(image(tmp_path / "other.img", 8)))
        assert refusals(disk) == {NOT_READY}
        put(storlever, unit, online=True)
        assert disk.ready().status == GOOD
        assert disk.capacity() == (16384, 512)


def test_same_path_given_again_serves_what_the_file_has_grown_to(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    with session(storlever) as disk:
        disk.ready()
        assert disk.write(0, BLOCK).status == GOOD
        os.truncate(file, (16 << 20) + 5 * 512 + 100)
        assert disk.capacity() == (32768, 512)
        put(storlever, unit, path=str(file))
        assert disk.capacity() == (32773, 512)
        assert disk.read(0, 1).data == BLOCK
        assert disk.write(32772, BLOCK).status == GOOD


def test_same_path_given_again_serves_the_file_that_is_there_now(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    with session(storlever) as disk:
        disk.ready()
        assert disk.write(0, BLOCK).status == GOOD
        image(tmp_path / "new.img").replace(file)
        put(storlever, unit, write_cache=False)
        assert disk.read(0, 1).data == BLOCK
        put(storlever, unit, path=str(file))
        assert disk.read(0, 1).data == bytes(512)
        assert disk.write(0, BLOCK[::-1]).status == GOOD
    assert file.read_bytes()[:512] == BLOCK[::-1]


def test_size_is_shown_in_bytes(storlever: StorLever, target: str, file: Path) -> None:
    unit = storlever.add_lun(target, 1, file)
    assert storlever.get(unit)["size"] == 16 << 20
    os.truncate(file, 17 << 20)
    put(storlever, unit, path=str(file))
    assert storlever.get(unit)["size"] == 17 << 20


def test_qemu_sees_the_size_and_reads_what_it_wrote(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    user = {"username": "joe", "password": "secret-number-1"}
    storlever.api("POST", f"{target}/incominguser_list", user, expect=201)
    url = f"iscsi://joe%secret-number-1@{storlever.portal}/{WIKI_TARGET}/1"
    qemu("qemu-io", "-f", "raw", url, "-c", "write -P 0x5a 1M 64k", "-c", "flush")
    os.truncate(file, 24 << 20)
    put(storlever, unit, path=str(file))
    qemu("qemu-io", "-f", "raw", url, "-c", "read -P 0x5a 1M 64k", "-c", "read -P 0 23M 1M")
    shown = json.loads(qemu("qemu-img", "info", "-f", "raw", "--output=json", url))
    assert shown["virtual-size"] == 24 << 20
    assert file.read_bytes()[1 << 20 :][: 64 << 10] == b"\x5a" * (64 << 10)


def qemu(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    return done.stdout


# -- kinds of devices


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    path = tmp_path / "disc.iso"
    path.write_bytes(os.urandom(100 * DISC_BLOCK))
    return path


def new_tape(path: Path) -> Path:
    subprocess.run(
        [
            *("tgtimg", "--op", "new", "--device-type", "tape", "--type", "data"),
            *("--barcode", "T1", "--size", "10", "--file", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    return path


def test_device_type_shows_in_inquiry(
    storlever: StorLever, target: str, file: Path, iso: Path, tmp_path: Path
) -> None:
    tape, changer = new_tape(tmp_path / "tape"), image(tmp_path / "changer", 1)
    storlever.add_lun(target, 1, file, device_type="disk")
    storlever.add_lun(target, 2, tape, device_type="tape")
    storlever.add_lun(target, 3, iso, device_type="cd")
    storlever.add_lun(target, 4, changer, device_type="changer")
    storlever.add_lun(target, 5, new_tape(tmp_path / "tape2"), device_type="ssc", bs_type="ssc")
    found = []
    for lun in range(1, 6):
        with session(storlever, lun) as unit:
            found.append((*standard(unit), unit.ready().status))
    assert found == [(0, False, 0), (1, True, 0), (5, True, 0), (8, True, 0), (1, True, 0)]
    shown = [(unit["device_type"], unit["bs_type"]) for unit in storlever.get(f"{target}/lun_list")]
    assert shown == [
        *(("disk", "rdwr"), ("tape", "ssc"), ("cd", "rdwr"), ("changer", "rdwr")),
        ("tape", "ssc"),
    ]


def test_identity_is_that_of_any_device_type(
    storlever: StorLever, target: str, iso: Path, tmp_path: Path
) -> None:
    files = {
        "tape": new_tape(tmp_path / "tape"),
        "cd": iso,
        "changer": image(tmp_path / "changer", 1),
    }
    for lun, (kind, path) in enumerate(files.items(), 1):
        given = {"scsi_id": f"{lun}" * 31, "scsi_sn": f"SN{lun}"}
        storlever.add_lun(target, lun, path, device_type=kind, **given)
        with session(storlever, lun) as unit:
            assert serial_number(unit) == f"SN{lun}"
            assert naa6(unit) == "6" + f"{lun}" * 31


def test_tape_writes_filemarks_and_reads_back(
    storlever: StorLever, target: str, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, new_tape(tmp_path / "tape"), device_type="tape")
    with session(storlever) as drive:
        drive.ready()
        tape = Tape(drive)
        for done in (tape.write(b"a" * 1024), tape.write_filemark(), tape.write(b"b" * 100)):
            assert done.status == GOOD
        assert tape.rewind().status == GOOD
        assert tape.read(1024).data == b"a" * 1024
        assert tape.read(100).sense == END_OF_FILEMARK
        assert tape.read(100).data == b"b" * 100
        put(storlever, unit, readonly=True)
        assert tape.rewind().status == GOOD
        assert tape.write(b"c").sense == WRITE_PROTECTED
        assert tape.read(1024).data == b"a" * 1024


def test_file_of_zeros_is_no_tape(storlever: StorLever, target: str, file: Path) -> None:
    body = {"lun": 1, "path": str(file), "device_type": "tape"}
    problem = storlever.api("POST", f"{target}/lun_list", body, expect=422).json()
    assert [fault["field"] for fault in problem["errors"]] == ["path"]
    assert file.read_bytes() == bytes(16 << 20)
    assert storlever.get(f"{target}/lun_list") == []


def test_disc_with_content_is_read_and_not_written(
    storlever: StorLever, target: str, iso: Path
) -> None:
    unit = storlever.add_lun(target, 1, iso, device_type="cd")
    content = iso.read_bytes()
    with session(storlever) as drive:
        drive.ready()
        assert Disc(drive).blocks() == 100
        assert not Disc(drive).blank()
        assert Disc(drive).read(99).data == content[-DISC_BLOCK:]
        assert Disc(drive).write(0, bytes(DISC_BLOCK)).sense is not None
    assert iso.read_bytes() == content
    assert storlever.get(unit)["size"] == 100 * DISC_BLOCK


def test_disc_is_changed_for_another(
    storlever: StorLever, target: str, iso: Path, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, iso, device_type="cd")
    other = tmp_path / "other.iso"
    other.write_bytes(b"o" * DISC_BLOCK * 50)
    with session(storlever) as drive:
        drive.ready()
        put(storlever, unit, path=str(other))
        drive.ready()
        assert Disc(drive).blocks() == 50
        assert Disc(drive).read(49).data == b"o" * DISC_BLOCK


def test_empty_file_is_a_blank_disc_that_can_be_written(
    storlever: StorLever, target: str, tmp_path: Path
) -> None:
    blank = tmp_path / "blank"
    blank.touch()
    storlever.add_lun(target, 1, blank, device_type="cd")
    with session(storlever) as drive:
        drive.ready()
        assert Disc(drive).blank()
        assert Disc(drive).write(0, b"w" * DISC_BLOCK).status == GOOD
    assert blank.read_bytes() == b"w" * DISC_BLOCK


def test_blank_disc_cannot_be_readonly(storlever: StorLever, target: str, tmp_path: Path) -> None:
    """tgtd would let initiators write it all the same."""
    blank = tmp_path / "blank"
    blank.touch()
    body = {"lun": 1, "path": str(blank), "device_type": "cd", "readonly": True}
    storlever.api("POST", f"{target}/lun_list", body, expect=422)
    assert storlever.get(f"{target}/lun_list") == []


@pytest.mark.parametrize("path", ["file", "/dev/null", "/dev/sg99"])
def test_passthrough_of_what_is_no_sg_device_is_refused(
    storlever: StorLever, target: str, file: Path, path: str
) -> None:
    body = {"lun": 1, "path": str(file) if path == "file" else path, "device_type": "pt"}
    problem = storlever.api("POST", f"{target}/lun_list", body, expect=422).json()
    assert [fault["field"] for fault in problem["errors"]] == ["path"]
    unit = storlever.add_lun(target, 1, file)
    storlever.api("PUT", unit, body, expect=422)
    with session(storlever) as disk:
        assert disk.ready().status == GOOD
        assert standard(disk).device_type == 0


def test_aio_reads_and_writes_and_is_warned_of(
    storlever: StorLever, target: str, file: Path
) -> None:
    body = {"lun": 1, "path": str(file), "bs_type": "aio"}
    created = storlever.api("POST", f"{target}/lun_list", body, expect=201)
    assert created.headers["Warning"].startswith('299 storlever "tgtd')
    assert "SYNCHRONIZE CACHE" in created.headers["Warning"]
    with session(storlever) as disk:
        disk.ready()
        assert disk.write(3, BLOCK).status == GOOD
        assert disk.read(3, 1).data == BLOCK
    assert file.read_bytes()[3 * 512 :][:512] == BLOCK
    other = storlever.api("PUT", f"{target}/lun_list/1", {"readonly": True}, expect=200)
    assert "Warning" not in other.headers


def test_backing_type_changes_while_a_session_is_there(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.add_lun(target, 1, file, readonly=True, write_cache=False)
    with session(storlever) as disk:
        for number, store in enumerate(["aio", "rdwr", "aio"]):
            answer = storlever.api("PUT", unit, {"bs_type": store}, expect=200)
            assert ("Warning" in answer.headers) == (store == "aio")
            assert f"Backing store type: {store}" in storlever.show()
            assert disk.ready().status == GOOD
            assert disk.write(number, BLOCK).sense == WRITE_PROTECTED
            assert not write_cache(disk)
        put(storlever, unit, readonly=False)
        assert disk.write(0, BLOCK).status == GOOD
        put(storlever, unit, bs_type="rdwr")
        assert disk.ready().status == GOOD
        assert disk.read(0, 1).data == BLOCK


def test_device_type_changes_while_a_session_is_there(
    storlever: StorLever, target: str, iso: Path
) -> None:
    unit = storlever.add_lun(target, 1, iso)
    naa = identity(storlever)[1]
    with session(storlever) as device:
        for kind, number in (("cd", 5), ("disk", 0), ("changer", 8), ("disk", 0)):
            put(storlever, unit, device_type=kind)
            assert standard(device).device_type == number
            assert device.ready().status == GOOD
            assert naa6(device) == naa
        assert device.read(0, 1).data == iso.read_bytes()[:512]


def test_device_type_brings_the_backing_type_that_fits(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    tape = new_tape(tmp_path / "tape")
    put(storlever, unit, device_type="tape", path=str(tape))
    assert (storlever.get(unit)["device_type"], storlever.get(unit)["bs_type"]) == ("tape", "ssc")
    put(storlever, unit, device_type="disk", path=str(file))
    assert (storlever.get(unit)["device_type"], storlever.get(unit)["bs_type"]) == ("disk", "rdwr")


@pytest.mark.parametrize(
    ("kind", "store"),
    [
        *(("disk", "ssc"), ("disk", "sg"), ("tape", "rdwr"), ("tape", "aio"), ("ssc", "sg")),
        *(("cd", "ssc"), ("cd", "sg"), ("changer", "ssc"), ("changer", "sg")),
        *(("pt", "rdwr"), ("pt", "aio"), ("pt", "ssc")),
    ],
)
def test_pair_of_types_that_does_not_fit_is_422(
    storlever: StorLever, target: str, file: Path, kind: str, store: str
) -> None:
    body = {"lun": 1, "path": str(file), "device_type": kind, "bs_type": store}
    problem = storlever.api("POST", f"{target}/lun_list", body, expect=422).json()
    assert "bs_type" in [fault["field"] for fault in problem["errors"]]
    unit = storlever.add_lun(target, 1, file)
    storlever.api("PUT", unit, body, expect=422)
    with session(storlever) as disk:
        assert (standard(disk).device_type, disk.ready().status) == (0, GOOD)


@pytest.mark.parametrize("kind", ["tape", "cd", "changer"])
def test_write_cache_of_what_has_none_cannot_be_switched_off(
    storlever: StorLever, target: str, file: Path, kind: str
) -> None:
    body = {"lun": 1, "path": str(file), "device_type": kind, "write_cache": False}
    problem = storlever.api("POST", f"{target}/lun_list", body, expect=422).json()
    assert "write_cache" in [fault["field"] for fault in problem["errors"]]


def test_direct_map_of_a_plain_file_is_422(storlever: StorLever, target: str, file: Path) -> None:
    body = {"lun": 1, "path": str(file), "direct_map": True}
    problem = storlever.api("POST", f"{target}/lun_list", body, expect=422).json()
    assert [fault["field"] for fault in problem["errors"]] == ["direct_map"]
    unit = storlever.add_lun(target, 1, file)
    storlever.api("PUT", unit, {"direct_map": True}, expect=422)
    assert storlever.get(unit)["direct_map"] is False


# -- LUNs that come and go under a session


def test_lun_that_comes_or_goes_is_reported_to_sessions(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    storlever.add_lun(target, 1, file)
    with session(storlever) as disk:
        disk.ready()
        for change in ("come", "go"):
            if change == "come":
                unit = storlever.add_lun(target, 5, image(tmp_path / "five.img", 1))
            else:
                storlever.api("DELETE", unit, expect=200)
            assert disk.read(0, 1).sense == LUNS_CHANGED
            assert disk.read(0, 1).status == GOOD
            assert disk.report_luns() == ([0, 1, 5] if change == "come" else [0, 1])


def test_deleted_lun_is_gone_for_a_session_that_used_it(
    storlever: StorLever, target: str, file: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    with session(storlever) as disk:
        disk.ready()
        assert disk.write(0, BLOCK).status == GOOD
        storlever.api("DELETE", unit, expect=200)
        storlever.api("GET", unit, expect=404)
        with pytest.raises(CommandError):
            disk.capacity()
        assert disk.read(0, 1).sense == NO_SUCH_LUN
        assert disk.alive
        storlever.add_lun(target, 1, file)
        assert disk.ready().status == GOOD
        assert disk.read(0, 1).data == BLOCK


def test_highest_and_lowest_lun_serve(storlever: StorLever, target: str, tmp_path: Path) -> None:
    for lun in (1, 255):
        storlever.add_lun(target, lun, image(tmp_path / str(lun), lun))
    for lun in (1, 255):
        with session(storlever, lun) as disk:
            assert disk.ready().status == GOOD
            assert disk.capacity() == (lun << 11, 512)
            assert disk.report_luns() == [0, 1, 255]
