"""What stands behind a path: files of every kind, and a made-up /sys for SCSI devices."""

import os
import socket
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from storlever import names
from storlever.backing import (
    BackingStore,
    Kind,
    Machine,
    OffLimits,
    Unusable,
    identity_of,
    scsi_identity,
    stores_open,
)
from storlever.model import LogicalUnit, ScsiProduct
from storlever.territory import Territory
from storlever.tgtd.wire import Mode, Op, Request
from storlever.tgtd.words import completion

NOWHERE = Territory(Path("/nowhere"))


def inspect(path: str) -> BackingStore:
    return Machine(NOWHERE).inspect(path)


def made(path: Path, content: bytes = b"\0" * 1024) -> Path:
    path.write_bytes(content)
    return path


# -- what can be served


def test_a_file_is_told_with_its_size(tmp_path: Path) -> None:
    path = made(tmp_path / "a.img")
    status = path.stat()
    identity = f"file {status.st_dev}:{status.st_ino}"
    assert inspect(str(path)) == BackingStore(Kind.FILE, identity, 1024, None, tape=False)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_every_path_to_a_file_has_its_identity(tmp_path: Path, link: object) -> None:
    """So that one store is not handed out twice unawares."""
    path, other = made(tmp_path / "a.img"), tmp_path / "b.img"
    assert callable(link)
    link(other, path)
    assert inspect(str(other)) == inspect(str(path))
    (tmp_path / "deep").mkdir()
    assert inspect(f"{tmp_path}/deep/./../deep//../a.img") == inspect(str(path))


def test_an_identity_can_be_had_without_opening(tmp_path: Path) -> None:
    """The one that `inspect` gives; None where nothing is."""
    path = made(tmp_path / "a.img")
    (tmp_path / "link").symlink_to(path)
    assert (
        identity_of(str(path)) == identity_of(str(tmp_path / "link")) == inspect(str(path)).identity
    )
    assert identity_of(str(tmp_path / "gone")) is None


def test_a_look_tells_what_is_there_and_not_who_uses_it(tmp_path: Path) -> None:
    machine = Machine(NOWHERE)
    path = str(made(tmp_path / "tape", _tape_header(0x10, 0)))
    assert machine.inspect(path).tape
    assert machine.look(path) == replace(machine.inspect(path), tape=False)
    with pytest.raises(Unusable, match="does not exist"):
        machine.look(str(tmp_path / "gone"))


def test_a_copy_is_another_store(tmp_path: Path) -> None:
    one, two = made(tmp_path / "a.img"), made(tmp_path / "b.img")
    assert inspect(str(one)).identity != inspect(str(two)).identity


def test_a_file_that_replaces_another_is_another_store(tmp_path: Path) -> None:
    path = made(tmp_path / "a.img")
    before = inspect(str(path)).identity
    made(tmp_path / "b.img").rename(path)
    assert inspect(str(path)).identity != before


def test_a_file_keeps_its_identity_while_it_grows(tmp_path: Path) -> None:
    path = made(tmp_path / "a.img")
    before = inspect(str(path))
    os.truncate(path, 4096)
    after = inspect(str(path))
    assert (after.identity, after.size) == (before.identity, 4096)


def test_looking_at_a_file_changes_no_more_than_when_it_was_read(tmp_path: Path) -> None:
    path = made(tmp_path / "a.img")

    def known() -> tuple[object, ...]:
        status = path.stat()
        return status.st_mtime_ns, status.st_ctime_ns, status.st_mode, path.read_bytes()

    before = known()
    inspect(str(path))
    assert known() == before


# -- what cannot


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="does not exist"):
        inspect(str(tmp_path / "gone"))
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    with pytest.raises(Unusable, match="does not exist"):
        inspect(str(tmp_path / "dangling"))


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot be opened"):
        inspect(str(made(tmp_path / "a.img") / "b.img"))


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(Unusable, match="cannot be opened"):
        inspect(str(tmp_path / "loop"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="must be"):
        inspect(str(tmp_path))


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Unusable, match="must be"):
        inspect(str(tmp_path / "fifo"))


def test_a_socket_is_refused(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        with pytest.raises(Unusable, match="must be"):
            inspect(str(root / "socket"))


def test_a_character_device_that_is_no_sg_device_is_refused() -> None:
    """Unopened: to open a watchdog is to start it."""
    with pytest.raises(Unusable, match="sg device"):
        inspect(os.devnull)


def test_what_belongs_to_storlever_is_not_handed_out(tmp_path: Path) -> None:
    private = tmp_path / "state"
    private.mkdir()
    made(private / "state.db")
    (tmp_path / "way in").symlink_to(private)
    (tmp_path / "hard link").hardlink_to(private / "state.db")
    machine = Machine(Territory(private))
    inside = [private / "state.db", private, private / "gone", tmp_path / "way in/state.db"]
    for path in (*inside, tmp_path / "hard link"):
        for look in (machine.inspect, machine.look):
            with pytest.raises(OffLimits, match="StorLever itself"):
                look(str(path))
    beside = made(tmp_path / "state of others")
    assert machine.inspect(str(beside)) == inspect(str(beside))


def test_a_key_file_outside_of_the_state_folder_is_not_handed_out_either(tmp_path: Path) -> None:
    key = made(tmp_path / "secret.key")
    (tmp_path / "hard").hardlink_to(key)
    (tmp_path / "soft").symlink_to(key)
    beside = made(tmp_path / "beside")
    machine = Machine(Territory(tmp_path / "state", key))
    for name in ("secret.key", "hard", "soft"):
        with pytest.raises(Unusable, match="StorLever itself"):
            machine.inspect(str(tmp_path / name))
    assert machine.inspect(str(beside)) == inspect(str(beside))


# -- tapes: the header that tgtimg writes (struct blk_header, ssc.h of tgt)


def _tape_header(kind: int, number: int) -> bytes:
    checksum, on_disk, size, previous, current = 0x12345678, 0, 0, 0, 0
    return struct.pack(">IIIIQQQ", checksum, on_disk, size, kind, number, previous, current)


@pytest.mark.parametrize(
    ("content", "tape"),
    [
        (_tape_header(0x10, 0) + bytes(1160), True),
        (_tape_header(0x10, 0), True),
        (_tape_header(0x10, 0)[:-1], False),
        (_tape_header(0x11, 0) + bytes(1160), False),
        (bytes(1200), False),
        (b"", False),
    ],
    ids=["a tape", "its header alone", "a cut header", "another block", "zeros", "nothing"],
)
def test_a_tape_is_told_by_its_header(tmp_path: Path, content: bytes, tape: bool) -> None:
    assert inspect(str(made(tmp_path / "tape", content))).tape is tape


# -- SCSI devices: a regular file has the device number 0:0, so that is where /sys has its device

NAA = bytes.fromhex("01 03 00 08 5000c500a1b2c3d4")
T10 = bytes.fromhex("02 01 00 08") + b"ACME    "
OF_A_PORT = bytes.fromhex("01 13 00 08 5000c500a1b2c3d5")


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The folder of the device behind the file `disk`."""
    made(tmp_path / "disk")
    folder = tmp_path / "sys" / "dev" / "char" / "0:0" / "device"
    folder.mkdir(parents=True)
    (folder / "vendor").write_bytes(b"ACME    \n")
    (folder / "model").write_bytes(b"Disk 3000       \n")
    (folder / "rev").write_bytes(b"1.0 \n")
    (folder / "vpd_pg80").write_bytes(b"\0\x80\0\x08  SN 42 \0")
    (folder / "vpd_pg83").write_bytes(b"\0\x83\0\0" + T10 + OF_A_PORT + NAA)
    return folder


def test_a_device_is_described_as_the_kernel_knows_it(tmp_path: Path, device: Path) -> None:
    """The designator of the unit, not that of the port; the serial number without its blanks."""
    assert device.is_dir()
    found = scsi_identity(str(tmp_path / "disk"), sys=tmp_path / "sys")
    assert found.product == ScsiProduct("ACME", "Disk 3000", "1.0")
    assert found.scsi_id == "5000c500a1b2c3d4"
    assert found.serial_number == "SN 42"


def test_without_a_designator_the_serial_number_stands_for_it(tmp_path: Path, device: Path) -> None:
    (device / "vpd_pg83").write_bytes(b"\0\x83\0\0" + T10 + OF_A_PORT)
    found = scsi_identity(str(tmp_path / "disk"), sys=tmp_path / "sys")
    assert found.scsi_id == found.serial_number == "SN 42"


@pytest.mark.parametrize("missing", ["vendor", "model", "rev", "vpd_pg80", "vpd_pg83"])
def test_a_device_that_tells_too_little_cannot_be_mapped(
    tmp_path: Path, device: Path, missing: str
) -> None:
    (device / missing).unlink()
    with pytest.raises(Unusable, match="needs a SCSI device"):
        scsi_identity(str(tmp_path / "disk"), sys=tmp_path / "sys")


def test_a_file_cannot_be_mapped_nor_can_nothing(tmp_path: Path) -> None:
    machine = Machine(NOWHERE)
    for path in (made(tmp_path / "a.img"), tmp_path / "gone"):
        with pytest.raises(Unusable, match="needs a SCSI device"):
            machine.scsi_identity(str(path))


@example(texts=(b"", b",", b"\xff\n"), serial=b"a,b\n", page=b"\1\3\0\x28" + bytes(40))
@given(
    texts=st.tuples(*[st.binary(max_size=16)] * 3),
    serial=st.binary(max_size=64),
    page=st.binary(max_size=64),
)
@settings(max_examples=50)
def test_whatever_a_device_says_tgtd_can_be_told(
    tmp_path_factory: pytest.TempPathFactory,
    texts: tuple[bytes, bytes, bytes],
    serial: bytes,
    page: bytes,
) -> None:
    """Blank fields, commas, bytes that are no text: a request can be made of all of them."""
    root = tmp_path_factory.mktemp("sys")
    folder = root / "dev" / "char" / "0:0" / "device"
    folder.mkdir(parents=True)
    for name, content in zip(("vendor", "model", "rev"), texts, strict=True):
        (folder / name).write_bytes(content)
    (folder / "vpd_pg80").write_bytes(b"\0\x80\0\0" + serial)
    (folder / "vpd_pg83").write_bytes(b"\0\x83\0\0" + page)
    found = scsi_identity(str(made(root / "disk")), sys=root)
    assert names.scsi_id(found.scsi_id) == found.scsi_id
    assert names.serial_number(found.serial_number) == found.serial_number
    unit = LogicalUnit(1, "/dev/sdx", "an id", "a serial number", product=found.product)
    Request(Mode.UNIT, Op.UPDATE, tid=1, lun=1, parameters=completion(unit))


# -- what a process has open


def test_what_a_process_has_open_is_told_by_identity(tmp_path: Path) -> None:
    """Each as often as it is open; what no LUN can stand on is left out."""
    held, other = made(tmp_path / "held"), made(tmp_path / "other")
    before = stores_open(os.getpid()) or Counter()
    with held.open(), held.open(), other.open(), Path(os.devnull).open(), socket.socket():
        new = (stores_open(os.getpid()) or Counter()) - before
    assert new == {identity_of(str(held)): 2, identity_of(str(other)): 1}


def test_a_process_that_is_gone_has_nothing_to_tell() -> None:
    assert Machine(NOWHERE).stores_open(-1) is None


def test_a_path_that_leads_nowhere_is_not_settled(tmp_path: Path) -> None:
    assert Machine(NOWHERE).fixed(str(made(tmp_path / "file")))
    assert not Machine(NOWHERE).fixed(str(tmp_path / "none"))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user")
def test_where_a_process_may_not_be_looked_into_only_settled_paths_are_served(
    tmp_path: Path,
) -> None:
    """Nobody could tell what tgtd opened."""
    script = f"""
import os
from pathlib import Path
from storlever.backing import OffLimits, Machine
from storlever.territory import Territory
os.setgroups([]); os.setgid(65534); os.setuid(65534)
machine = Machine(Territory(Path("/nowhere")))
assert machine.fixed("/etc/hostname")
assert not machine.fixed("/tmp/whose")
try:
    machine.stores_open({os.getpid()})
except OffLimits as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "may not be looked at" in done.stdout
