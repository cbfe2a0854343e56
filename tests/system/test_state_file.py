"""A state that cannot be read is never taken for an empty one; a write that fails is undone."""

import fcntl
import os
import re
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.initiator import Initiator
from tests.system.furnished import (
    OFF,
    RICH,
    assert_furnished,
    furnish,
    joe,
    seen_in_tgtd,
    service,
    tgtds_of,
)
from tests.world import STORLEVER, WIKI_TARGET, StorLever, folder, image, wait_until


@pytest.fixture
def furnished(root: Path) -> Iterator[StorLever]:
    with service(root) as made:
        yield furnish(made.start())


def refusal(storlever: StorLever) -> str:
    """Start the program, which must end by itself with status 2; what it says."""
    done = subprocess.run(
        [STORLEVER, "serve"],
        env=storlever.environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def checkpointed(storlever: StorLever) -> Path:
    """The state file of a killed service, with all of it in the one file."""
    file = storlever.state / "state.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not file.with_name("state.db-wal").exists()
    return file


def foreign_database(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE target (name TEXT)")
        connection.commit()


def newer_schema(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()


def lost_target(file: Path) -> None:
    """A row changed by hand: its digest does not fit any more."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE target SET document = replace(document, 'test:off', 'test:on')")
        connection.commit()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (lambda file: file.write_bytes(os.urandom(file.stat().st_size)), "not a database"),
    "text": (lambda file: file.write_text('{"targets": []}'), "not a database"),
    "zero length": (lambda file: os.truncate(file, 0), "not StorLever's"),
    "one page": (lambda file: os.truncate(file, 4096), "malformed|damaged"),
    "half": (lambda file: os.truncate(file, file.stat().st_size // 2), "malformed|damaged"),
    "half a header": (lambda file: os.truncate(file, 50), "not a database|not StorLever's"),
    "foreign": (foreign_database, "not StorLever's"),
    "newer": (newer_schema, "schema 99.*start the newer one"),
    "edited": (lost_target, "damaged"),
    "a folder": (a_folder, "cannot read"),
}


class Killed:
    """A service that was killed, while its tgtd serves on; `session` is logged in."""

    def __init__(self, storlever: StorLever, session: Initiator) -> None:
        self.storlever, self.session = storlever, session
        session.ready()
        storlever.kill()
        self.daemon, self.seen = storlever.tgtd_pid(), seen_in_tgtd(storlever)
        self.file = checkpointed(storlever)
        self._good = self.file.read_bytes()

    def assert_served(self) -> None:
        assert self.storlever.tgtd_pid() == self.daemon
        assert seen_in_tgtd(self.storlever) == self.seen
        assert self.session.read(0, 1).status == 0

    def content(self) -> bytes | None:
        return self.file.read_bytes() if self.file.is_file() else None

    def mend(self) -> None:
        if self.file.is_dir():
            self.file.rmdir()
        self.file.write_bytes(self._good)


@pytest.fixture(scope="module")
def killed() -> Iterator[Killed]:
    with folder() as root, service(root) as made:
        furnish(made.start())
        with joe(made) as session:
            yield Killed(made, session)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_file_that_cannot_be_read_ends_the_start_and_tgtd_serves_on(
    killed: Killed, damage: str
) -> None:
    spoil, message = DAMAGES[damage]
    spoil(killed.file)
    try:
        spoilt = killed.content()
        said = refusal(killed.storlever)
        assert said.startswith("storlever: ")
        assert "state file" in said
        assert re.search(message, said), said
        assert killed.content() == spoilt
        killed.assert_served()
    finally:
        killed.mend()


def test_once_the_state_file_is_mended_the_service_takes_over_what_is_served(root: Path) -> None:
    with service(root) as made:
        furnish(made.start())
        with joe(made) as session:
            killed = Killed(made, session)
            killed.file.write_text("garbage")
            refusal(made)
            killed.mend()
            made.start()
            killed.assert_served()
        assert_furnished(made)


def test_a_state_file_in_use_ends_the_second_start_and_the_first_serves_on(
    furnished: StorLever,
) -> None:
    with service(furnished.root) as second:
        second.settings["tgt_control_port"] = "8"
        said = refusal(second)
        assert f"the state folder {furnished.state} is in use by another StorLever" in said
        assert second.tgtd_pid() is None
    assert_furnished(furnished)


def test_a_state_folder_that_cannot_be_made_ends_the_start(root: Path) -> None:
    with service(root) as storlever:
        (root / "state").write_text("a file")
        assert f"cannot use the state folder {root}/state" in refusal(storlever)
        assert tgtds_of(storlever) == []


def test_what_the_service_keeps_is_for_its_owner_alone(furnished: StorLever) -> None:
    assert stat.S_IMODE(furnished.state.stat().st_mode) == 0o700
    kept = list(furnished.state.rglob("*"))
    assert len(kept) >= 4
    for path in kept:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_loose_umask_opens_nothing(root: Path) -> None:
    before = os.umask(0)
    try:
        with service(root) as storlever:
            furnish(storlever.start())
            test_what_the_service_keeps_is_for_its_owner_alone(storlever)
    finally:
        os.umask(before)


# -- a state that cannot be written


@contextmanager
def small_file_system(root: Path) -> Iterator[Path]:
    """A mounted ext4 of a few megabytes; skips the test where that is not possible."""
    disk, place = image(root / "small.img", 8), root / "small"
    place.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
    if subprocess.run(["mount", "-o", "loop", disk, place], check=False).returncode:
        pytest.skip("needs a loop device")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill(place: Path) -> Path:
    """Leave no byte there."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(b"\0" * size)
                    os.fsync(file.fileno())
            except OSError:
                continue
    return filler


def until_refused(storlever: StorLever) -> tuple[list[str], int, str]:
    """Add targets until one is refused: those there are now, the status, the refused name."""
    for number in range(3000):
        name = f"iqn.2026-01.test:{number:04}"
        answer = storlever.api("POST", "/target_list", {"iqn": name})
        if answer.status_code != 201:
            assert answer.json()["code"] in ("state-full", "state-unwritable")
            return storlever.get("/target_list"), answer.status_code, name
    pytest.fail("the state never got full")


def test_when_the_state_is_full_writes_are_507_undone_and_heal_by_themselves(root: Path) -> None:
    with small_file_system(root) as place, service(root, state_dir=str(place / "state")) as made:
        storlever = furnish(made.start())
        filler = fill(place)
        names, status, refused = until_refused(storlever)
        assert status == 507
        assert refused not in names
        assert refused not in storlever.show()
        before = seen_in_tgtd(storlever)
        for method, path, body in [
            ("PUT", f"/target_list/{RICH}/incominguser_list/joe", {"password": "x" * 250}),
            ("PUT", f"/target_list/{RICH}/lun_list/2", {"readonly": False}),
            ("PUT", f"/target_list/{OFF}", {"initiator_addr_list": ["10.0.0.1"]}),
            ("DELETE", f"/target_list/{OFF}", None),
            ("PUT", "/conf", {"incomingdiscoveryuser": ""}),
        ]:
            assert storlever.api(method, path, body).status_code == 507, path
        assert storlever.get("/target_list") == names
        assert seen_in_tgtd(storlever) == before
        assert_furnished(storlever)
        storlever.kill()
        storlever.start()
        assert storlever.get("/target_list") == names
        assert_furnished(storlever)
        filler.unlink()
        storlever.api("POST", "/target_list", {"iqn": refused}, expect=201)
        assert refused in storlever.show()
        storlever.kill()
        storlever.start()
        assert storlever.get("/target_list") == sorted([*names, refused])
        assert storlever.stop() == 0


def shut_down(place: Path) -> None:
    """What a dying disk does: from now on every write fails with EIO (ext4's own ioctl)."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, 0x8004587D, (2).to_bytes(4, "little"))  # GOINGDOWN, no log flush
    finally:
        os.close(descriptor)


def test_when_the_state_cannot_be_written_writes_are_503_and_undone(root: Path) -> None:
    with small_file_system(root) as place, service(root, state_dir=str(place / "state")) as made:
        storlever = furnish(made.start())
        before = seen_in_tgtd(storlever)
        shut_down(place)
        for method, path, body in [
            ("POST", "/target_list", {"iqn": WIKI_TARGET}),
            ("PUT", f"/target_list/{RICH}/lun_list/2", {"readonly": False}),
            ("DELETE", f"/target_list/{OFF}", None),
        ]:
            refused = storlever.api(method, path, body, expect=503)
            assert refused.json()["code"] == "state-unwritable"
        assert storlever.get("/target_list") == [OFF, RICH]
        wait_until(lambda: seen_in_tgtd(storlever) == before, 5)
        assert_furnished(storlever)
        assert storlever.stop() == 0
