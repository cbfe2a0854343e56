"""What may stand behind a LUN: which paths, whose they are, and when they are busy."""

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.initiator import GOOD, Initiator, Result
from tests.scsi import NOT_READY
from tests.world import WIKI_TARGET, StorLever, image, wait_until

OTHER_TARGET = "iqn.2014-09.com.example:other"
BLOCK = bytes(range(256)) * 2
NOBODY = 65534


@pytest.fixture
def storlever(emptied: StorLever) -> StorLever:
    return emptied


@pytest.fixture
def target(storlever: StorLever) -> str:
    return storlever.add_target()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return image(tmp_path / "disk.img")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def loop(file: Path) -> Iterator[Path]:
    """A block device. Tests name it before `storlever`, so that it is taken down after that."""
    device = Path(run("losetup", "--find", "--show", file))
    yield device
    run("losetup", "--detach", device)
    wait_until(lambda: not (Path("/sys/block") / device.name / "loop").exists())


def post(storlever: StorLever, target: str, path: Path | str, **fields: Any) -> Any:
    """Ask for LUN 2 and expect a refusal; the problem it is answered with."""
    force = "?force=true" if fields.pop("force", False) else ""
    body = {"lun": 2, "path": str(path), **fields}
    response = storlever.api("POST", f"{target}/lun_list{force}", body)
    assert response.status_code in (409, 422), response.text
    storlever.api("GET", f"{target}/lun_list/2", expect=404)
    assert "LUN: 2" not in storlever.show()
    return response.json()


# -- paths that are no backing store


@pytest.mark.parametrize(
    "path",
    [
        *("missing", ".", "short", "pipe", "comma,x", "new\nline", "../up", "dangling", "loop"),
        *("/dev/zero", "/dev/tty", "relative/path", ""),
    ],
    ids=repr,
)
def test_path_that_cannot_be_served_is_422_and_names_the_field(
    storlever: StorLever, target: str, tmp_path: Path, path: str
) -> None:
    (tmp_path / "short").write_bytes(bytes(511))
    os.mkfifo(tmp_path / "pipe")
    for name in ("comma,x", "comma", "new\nline"):
        image(tmp_path / name, 1)
    (tmp_path / "dangling").symlink_to(tmp_path / "missing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    image(tmp_path.with_name(tmp_path.name + "-up"), 1)
    given = path if path in ("", "relative/path") or path.startswith("/") else f"{tmp_path}/{path}"
    problem = post(storlever, target, given.replace("../up", f"../{tmp_path.name}-up"))
    assert (problem["status"], problem["code"]) == (422, "invalid")
    assert [fault["field"] for fault in problem["errors"]] == ["path"]


def test_path_that_cannot_be_served_leaves_a_live_lun_as_it_is(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    before = storlever.get(unit)
    with Initiator(storlever.portal, WIKI_TARGET) as disk:
        disk.ready()
        assert disk.write(0, BLOCK).status == GOOD
        for path in (tmp_path, tmp_path / "missing", tmp_path / "a,b", "/dev/zero"):
            edit = {"path": str(path), "readonly": True}
            storlever.api("PUT", unit, edit, expect=422)
            assert disk.read(0, 1).data == BLOCK
            assert disk.write(0, BLOCK).status == GOOD
    assert storlever.get(unit) == before


def test_path_with_blanks_and_letters_of_any_alphabet_is_served(
    storlever: StorLever, target: str, tmp_path: Path
) -> None:
    path = image(tmp_path / "a b=c é 磁盘 ;$(x)'\".img", 1)
    unit = storlever.add_lun(target, 1, path)
    with Initiator(storlever.portal, WIKI_TARGET) as disk:
        disk.ready()
        assert disk.write(0, BLOCK).status == GOOD
    assert path.read_bytes()[:512] == BLOCK
    assert storlever.get(unit)["path"] == str(path)


def test_own_state_is_never_served(storlever: StorLever, target: str) -> None:
    for path in storlever.state.iterdir():
        assert post(storlever, target, path)["status"] == 422


def test_own_state_is_never_served_by_another_name(
    storlever: StorLever, target: str, tmp_path: Path
) -> None:
    state = storlever.state / "state.db"
    (tmp_path / "symlink").symlink_to(state)
    hard = storlever.root / "hard link"
    hard.hardlink_to(state)
    with bound(storlever.state, tmp_path / "folder"), bound(state, tmp_path / "file"):
        names = (tmp_path / "symlink", hard, tmp_path / "folder/state.db", tmp_path / "file")
        for name in names:
            problem = post(storlever, target, name, force=True)
            assert problem["status"] == 422
            assert "StorLever itself" in problem["detail"]
    hard.unlink()
    storlever.add_target(OTHER_TARGET)  # and SQLite's lock on it is still there
    other = sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=0)
    with contextlib.closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT 1 FROM target")


def test_what_the_kernel_makes_up_is_never_served(
    storlever: StorLever, target: str, tmp_path: Path
) -> None:
    """By its own name, through a link, and where it is mounted elsewhere."""
    (tmp_path / "link").symlink_to("/proc/version")
    with bound(Path("/proc"), tmp_path / "proc"), bound(Path("/sys"), tmp_path / "sys"):
        for name in (
            *("/proc/version", "/proc/self/mem", "/sys/kernel/uevent_seqnum", tmp_path / "link"),
            *(tmp_path / "proc/version", tmp_path / "sys/kernel/uevent_seqnum"),
        ):
            problem = post(storlever, target, name, force=True)
            assert problem["status"] == 422
            assert "the kernel makes it up" in problem["detail"]


@contextlib.contextmanager
def bound(what: Path, where: Path) -> Iterator[None]:
    """It can be had there too."""
    if what.is_dir():
        where.mkdir()
    else:
        where.touch()
    run("mount", "--bind", what, where)
    try:
        yield
    finally:
        run("umount", where)


def test_only_what_lies_below_the_roots_is_served(root: Path) -> None:
    """At every request that makes a LUN stand on a path, and after tgtd has started anew."""
    for name in ("one", "two", "out"):
        (root / name).mkdir()
    inside, other = image(root / "one/a.img", 1), image(root / "two/b.img", 1)
    outside, link = image(root / "out/c.img", 1), root / "one/link"
    service = StorLever(root, backing_root=f"{root}/one {root}/two")
    try:
        service.start()
        target = service.add_target()
        service.add_lun(target, 1, inside)
        unit = service.add_lun(target, 3, other)
        link.symlink_to(outside)
        (root / "two/folder").symlink_to(root / "out")
        for path in (outside, link, root / "two/folder/c.img", "/dev/zero", "/etc/passwd"):
            problem = post(service, target, path, force=True)
            assert [fault["field"] for fault in problem["errors"]] == ["path"]
            rule = f"must lie below {root}/one or {root}/two, links resolved"
            assert problem["errors"][0]["message"] == rule
            problem = service.api("PUT", unit, {"path": str(path)}, expect=422).json()
            assert problem["errors"][0]["message"] == rule
        assert service.get(unit)["state"] == "ready"
        other.unlink()
        other.symlink_to(outside)
        pid = service.tgtd_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "must lie below" in str(service.get(unit)["reason"]))
        assert opened(service, outside) == 0
        wait_until(lambda: service.get(f"{target}/lun_list/1")["state"] == "ready")
        service.api("PUT", unit, {"online": False}, expect=200)
        problem = service.api("PUT", unit, {"online": True}, expect=409).json()
        assert problem["code"] == "backing-store-forbidden"
        other.unlink()
        service.api("PUT", unit, {"path": str(image(other, 1)), "online": True}, expect=200)
        assert service.get(unit)["state"] == "ready"
    finally:
        service.close()


# -- one backing store, several LUNs


@pytest.mark.parametrize("name", ["same", "symlink", "hard link", "through a folder's symlink"])
def test_backing_store_of_another_lun_is_409(
    storlever: StorLever, target: str, file: Path, tmp_path: Path, name: str
) -> None:
    storlever.add_lun(target, 1, file)
    other = {
        "same": file,
        "symlink": tmp_path / "symlink",
        "hard link": tmp_path / "hardlink",
        "through a folder's symlink": tmp_path / "folder" / file.name,
    }[name]
    if name == "symlink":
        other.symlink_to(file)
    elif name == "hard link":
        other.hardlink_to(file)
    elif name != "same":
        other.parent.symlink_to(tmp_path)
    second = storlever.add_target(OTHER_TARGET)
    for place in (target, second):
        problem = post(storlever, place, other, force=True)
        assert (problem["status"], problem["code"]) == (409, "backing-store-in-use")
        assert WIKI_TARGET in problem["detail"]
        assert post(storlever, place, other, readonly=True)["status"] == 409


def test_both_readonly_may_share(storlever: StorLever, target: str, file: Path) -> None:
    units = [storlever.add_lun(target, lun, file, readonly=True) for lun in (1, 2)]
    storlever.api("PUT", units[0], {"readonly": False}, expect=409)
    assert storlever.get(units[0])["readonly"] is True
    storlever.api("DELETE", units[1], expect=200)
    storlever.api("PUT", units[0], {"readonly": False}, expect=200)


def test_shared_luns_serve_the_same_data(storlever: StorLever, target: str, file: Path) -> None:
    storlever.add_lun(target, 1, file)
    second = storlever.add_target(OTHER_TARGET)
    identity = {key: storlever.get(f"{target}/lun_list/1")[key] for key in ("scsi_id", "scsi_sn")}
    unit = storlever.add_lun(second, 1, file, shared=True, **identity)
    with (
        Initiator(storlever.portal, WIKI_TARGET) as one,
        Initiator(storlever.portal, OTHER_TARGET) as two,
    ):
        one.ready()
        two.ready()
        assert one.write(5, BLOCK).status == GOOD
        assert two.read(5, 1).data == BLOCK
        assert one.inquiry(0x80) == two.inquiry(0x80)
    storlever.api("PUT", unit, {"shared": False}, expect=409)
    assert storlever.get(unit)["shared"] is True


def test_path_of_another_lun_cannot_be_moved_to(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    storlever.add_lun(target, 1, file)
    unit = storlever.add_lun(target, 2, image(tmp_path / "two.img", 1))
    before = storlever.get(unit)
    problem = storlever.api("PUT", unit, {"path": str(file)}, expect=409).json()
    assert problem["code"] == "backing-store-in-use"
    assert storlever.get(unit) == before
    storlever.api("PUT", unit, {"path": str(file), "shared": True}, expect=200)


def test_backing_store_is_free_again_once_its_lun_has_left_it(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    unit = storlever.add_lun(target, 1, file)
    storlever.api("PUT", unit, {"path": str(image(tmp_path / "new.img", 1))}, expect=200)
    other = storlever.add_lun(target, 2, file)
    storlever.api("DELETE", other, expect=200)
    storlever.add_lun(target, 3, file)
    storlever.api("DELETE", f"{target}?force=true", expect=200)
    storlever.add_lun(storlever.add_target(OTHER_TARGET), 1, file)


def test_offline_lun_keeps_its_backing_store_to_itself(
    storlever: StorLever, target: str, file: Path
) -> None:
    storlever.add_lun(target, 1, file, online=False)
    assert post(storlever, target, file)["code"] == "backing-store-in-use"


def test_link_to_another_luns_file_put_in_place_while_offline_is_409(
    storlever: StorLever, target: str, file: Path, tmp_path: Path
) -> None:
    other = image(tmp_path / "other.img", 1)
    storlever.add_lun(target, 2, other)
    unit = storlever.add_lun(target, 1, file, online=False)
    file.unlink()
    file.hardlink_to(other)
    problem = storlever.api("PUT", unit, {"online": True}, expect=409).json()
    assert problem["code"] == "backing-store-in-use"
    with Initiator(storlever.portal, WIKI_TARGET) as disk:
        assert disk.ready().sense == NOT_READY


# -- block devices


def test_block_device_is_served(loop: Path, storlever: StorLever, file: Path) -> None:
    unit = storlever.add_lun(storlever.add_target(), 1, loop)
    with Initiator(storlever.portal, WIKI_TARGET) as disk:
        disk.ready()
        assert disk.capacity() == (32768, 512)
        assert disk.write(9, BLOCK).status == GOOD
        flushed = disk.command(b"\x35" + bytes(9))
        assert flushed.status == GOOD
    assert storlever.get(unit)["size"] == 16 << 20
    run("sync", file)
    assert file.read_bytes()[9 * 512 :][:512] == BLOCK


def test_block_device_that_grows_is_served_with_its_new_size(
    loop: Path, storlever: StorLever, file: Path
) -> None:
    unit = storlever.add_lun(storlever.add_target(), 1, loop)
    with Initiator(storlever.portal, WIKI_TARGET) as disk:
        disk.ready()
        os.truncate(file, 24 << 20)
        run("losetup", "--set-capacity", loop)
        storlever.api("PUT", unit, {"path": str(loop)}, expect=200)
        assert disk.capacity() == (49152, 512)
    assert storlever.get(unit)["size"] == 24 << 20


def test_two_nodes_of_one_block_device_are_one_backing_store(
    loop: Path, storlever: StorLever, tmp_path: Path
) -> None:
    target = storlever.add_target()
    storlever.add_lun(target, 1, loop)
    (tmp_path / "link").symlink_to(loop)
    for node in (node_of(loop, tmp_path / "node"), tmp_path / "link"):
        assert post(storlever, target, node, force=True)["code"] == "backing-store-in-use"


@contextlib.contextmanager
def mounted(device: Path, where: Path) -> Iterator[Path]:
    where.mkdir()
    run("mount", device, where)
    try:
        yield where
    finally:  # a tgtd that was killed a moment ago may not have let go of it yet
        wait_until(lambda: subprocess.run(["umount", where], check=False).returncode == 0)


@contextlib.contextmanager
def held(device: Path) -> Iterator[None]:
    """As a RAID or a volume group holds its parts: opened exclusively."""
    descriptor = os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    try:
        yield
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("how", ["mounted", "held"])
def test_block_device_in_use_is_409_unless_forced(
    loop: Path, storlever: StorLever, tmp_path: Path, how: str
) -> None:
    target = storlever.add_target()
    run("mkfs.ext4", "-q", loop)
    with mounted(loop, tmp_path / "mnt") if how == "mounted" else held(loop):
        problem = post(storlever, target, loop)
        assert (problem["status"], problem["code"]) == (409, "backing-store-held")
        assert how == "held" or str(tmp_path / "mnt") in problem["detail"]
        body = {"lun": 1, "path": str(loop)}
        storlever.api("POST", f"{target}/lun_list?force=true", body, expect=201)
        with Initiator(storlever.portal, WIKI_TARGET) as disk:
            assert disk.ready().status == GOOD
        storlever.api("DELETE", f"{target}/lun_list/1", expect=200)
    storlever.add_lun(target, 1, loop)


@contextlib.contextmanager
def swapping(where: Path) -> Iterator[None]:
    run("mkswap", "--quiet", where)
    done = subprocess.run(["swapon", where], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine takes no swap: {done.stderr}")
    try:
        yield
    finally:
        run("swapoff", where)


def test_swap_is_409(loop: Path, storlever: StorLever, tmp_path: Path) -> None:
    """A device and a file, by whatever name; it is free again when it is swap no more."""
    target = storlever.add_target()
    file = tmp_path / "swap file"
    file.write_bytes(bytes(8 << 20))  # a sparse one cannot be swap
    file.chmod(0o600)
    (tmp_path / "hard link").hardlink_to(file)
    (tmp_path / "symlink").symlink_to(file)
    for where, names in (
        (loop, (loop, node_of(loop, tmp_path / "node"))),
        (file, (file, tmp_path / "hard link", tmp_path / "symlink")),
    ):
        with swapping(where):
            for name in names:
                problem = post(storlever, target, name)
                assert (problem["status"], problem["code"]) == (409, "backing-store-held")
                assert "swap" in problem["detail"]
        unit = storlever.add_lun(target, 1, where)
        storlever.api("DELETE", unit, expect=200)


def test_swap_is_409_however_much_of_it_there_is(storlever: StorLever, tmp_path: Path) -> None:
    """/proc tells of it a page at a time, and the kernel takes some thirty, of long names."""
    target = storlever.add_target()
    files = [tmp_path / f"{number:02}{'x' * 240}" for number in range(20)]
    with contextlib.ExitStack() as stack:
        for file in files:
            file.write_bytes(bytes(1 << 20))
            file.chmod(0o600)
            stack.enter_context(swapping(file))
        for file in files:
            assert post(storlever, target, file)["code"] == "backing-store-held"


def test_mounted_device_is_409_by_any_of_its_nodes(
    loop: Path, storlever: StorLever, tmp_path: Path
) -> None:
    target = storlever.add_target()
    unit = storlever.add_lun(target, 1, image(tmp_path / "a.img", 1))
    run("mkfs.ext4", "-q", loop)
    (tmp_path / "link").symlink_to(loop)
    with mounted(loop, tmp_path / "mnt"):
        for name in (node_of(loop, tmp_path / "node"), tmp_path / "link"):
            problem = post(storlever, target, name)
            assert problem["code"] == "backing-store-held"
            assert str(tmp_path / "mnt") in problem["detail"]
            problem = storlever.api("PUT", unit, {"path": str(name)}, expect=409).json()
            assert problem["code"] == "backing-store-held"


def node_of(device: Path, node: Path) -> Path:
    """Another node of the device."""
    os.mknod(node, stat.S_IFBLK | 0o600, device.stat().st_rdev)
    return node


def test_block_device_mounted_while_its_lun_was_offline_is_409_unless_forced(
    loop: Path, storlever: StorLever, tmp_path: Path
) -> None:
    unit = storlever.add_lun(storlever.add_target(), 1, loop)
    storlever.api("PUT", unit, {"online": False}, expect=200)
    run("mkfs.ext4", "-q", loop)
    with mounted(loop, tmp_path / "mnt"), Initiator(storlever.portal, WIKI_TARGET) as disk:
        problem = storlever.api("PUT", unit, {"online": True}, expect=409).json()
        assert problem["code"] == "backing-store-held"
        assert disk.ready().sense == NOT_READY
        storlever.api("PUT", f"{unit}?force=true", {"online": True}, expect=200)
        assert disk.ready().status == GOOD
        storlever.api("PUT", unit, {"path": str(loop), "readonly": True}, expect=200)


# -- commands in flight


class Stuck:
    """A file on a file system that can be frozen, so that a WRITE to it does not end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = image(folder / "disk.img", 8)
        self._frozen = False
        self._lock = threading.Lock()

    def freeze(self) -> None:
        run("fsfreeze", "--freeze", self.folder)
        self._frozen = True

    def thaw(self) -> None:
        with self._lock:
            if self._frozen:
                run("fsfreeze", "--unfreeze", self.folder)
            self._frozen = False


@pytest.fixture
def stuck(loop: Path, tmp_path: Path) -> Iterator[Stuck]:
    run("mkfs.ext4", "-q", loop)
    with mounted(loop, tmp_path / "mnt") as folder:
        disk = Stuck(folder)
        try:
            yield disk
        finally:
            disk.thaw()


class Write(threading.Thread):
    """One WRITE in flight: alive until it is answered."""

    def __init__(self, session: Initiator) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._result: Result | None = None

    def run(self) -> None:
        self._result = self._session.write(0, BLOCK)

    def answer(self) -> Result:
        self.join(10)
        assert self._result is not None
        return self._result


def in_flight(storlever: StorLever) -> bool:
    """Whether tgtd has taken more bytes to write than it has written."""
    lines = [line.split() for line in storlever.admin("stat", "target", "--tid", "1").splitlines()]
    return any(line[1] == "1" and line[7] != line[9] for line in lines[1:] if len(line) > 9)


def test_lun_with_a_command_in_flight_is_not_deleted(root: Path, stuck: Stuck) -> None:
    service = StorLever(root)
    try:
        service.start()
        unit = service.add_lun(service.add_target(), 1, stuck.file)
        with Initiator(service.portal, WIKI_TARGET) as disk:
            disk.ready()
            stuck.freeze()
            write = Write(disk)
            write.start()
            wait_until(lambda: in_flight(service))
            problem = service.api("DELETE", unit, expect=409).json()
            assert problem["code"] == "lun-busy"
            assert service.get(unit)["state"] == "ready"
            assert write.is_alive()
            stuck.thaw()
            assert write.answer().status == GOOD
            assert disk.read(0, 1).data == BLOCK
            service.api("DELETE", unit, expect=200)
    finally:
        stuck.thaw()
        service.close()


def test_deletion_waits_for_a_command_in_flight(root: Path, stuck: Stuck) -> None:
    service = StorLever(root)
    try:
        service.start()
        unit = service.add_lun(service.add_target(), 1, stuck.file)
        with Initiator(service.portal, WIKI_TARGET) as disk:
            disk.ready()
            stuck.freeze()
            write = Write(disk)
            write.start()
            wait_until(lambda: in_flight(service))
            thaw = threading.Timer(0.3, stuck.thaw)
            thaw.start()
            started = time.monotonic()
            service.api("DELETE", unit, expect=200)
            assert time.monotonic() - started >= 0.2
            thaw.join(10)
            assert write.answer().status == GOOD
    finally:
        stuck.thaw()
        service.close()
    assert stuck.file.read_bytes()[:512] == BLOCK


def test_symlink_that_flips_never_serves_another_luns_file(
    storlever: StorLever, target: str, tmp_path: Path
) -> None:
    """tgtd opens by path; whatever somebody made it lead to by then, an answered LUN is the file
    asked for."""
    mine, taken, link = tmp_path / "mine", image(tmp_path / "taken", 1), tmp_path / "link"
    image(mine, 1)
    os.chown(tmp_path, NOBODY, NOBODY)
    storlever.add_lun(target, 9, taken)
    link.symlink_to(mine)
    stop, served = threading.Event(), 0
    flipper = threading.Thread(target=flip, args=(link, (taken, mine), stop))
    flipper.start()
    try:
        for _ in range(60):
            body = {"lun": 1, "path": str(link)}
            if storlever.api("POST", f"{target}/lun_list", body).status_code == 201:
                served += 1
                assert opened(storlever, taken) == 1
                storlever.api("DELETE", f"{target}/lun_list/1", expect=200)
    finally:
        stop.set()
        flipper.join()
    print(f"{served} of 60 were served")


def flip(link: Path, ways: tuple[Path, ...], stop: threading.Event) -> None:
    draft = link.with_name("draft")
    while not stop.is_set():
        for way in ways:
            draft.symlink_to(way)
            draft.rename(link)
            time.sleep(0.001)


def opened(storlever: StorLever, file: Path) -> int:
    """How many descriptors of tgtd lead to the file."""
    folder = Path(f"/proc/{storlever.tgtd_pid()}/fd")
    return sum(each.samefile(file) for each in folder.iterdir() if each.exists())
