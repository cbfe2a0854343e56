"""A state file that is not as it was written ends the start, and tgtd serves on untouched.

Also where SQLite itself sees nothing: in the log that a killed service leaves, it takes damage for
the log's end, and would go on without the commits that follow.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from storlever.errors import StateUnusable
from storlever.inventory import Direction, Edit, Inventory
from storlever.keyfile import KeyFile
from storlever.model import Account, LogicalUnit
from storlever.notes import FileNotes
from storlever.store import SqliteStore
from tests.initiator import Initiator
from tests.keys import keys_in
from tests.sql import execute
from tests.system.furnished import (
    OFF,
    RICH,
    assert_furnished,
    furnish,
    joe,
    refusal,
    seen_in_tgtd,
    service,
)
from tests.torture.machine.disks import in_memory
from tests.torture.rig import Torture, runs
from tests.world import StorLever, folder

DB, LOG, NOTE, KEY = "state.db", "state.db-wal", "committed", "secret.key"
HEADER, FRAME_HEADER, PAGE = 32, 24, 4096
"""Bytes in the log: of its header, and of each frame."""
SAMPLE = 1000
BITS = 8
STEP = 512
NAME = "iqn.2014-09.com.example:one"

WISHES: tuple[Callable[[Inventory], Edit], ...] = (
    lambda old: old.add_target(NAME),
    lambda old: old.add_user(NAME, Direction.INCOMING, Account("alice", "alice's secret")),
    lambda old: old.add_unit(NAME, LogicalUnit(1, "/srv/a.img", "0123", "SN1")),
    lambda old: old.set_discovery({Direction.INCOMING: Account("bob", "bob's secret")}),
)

Files = Mapping[str, bytes]


def written(place: Path, *, killed: bool) -> tuple[Files, Inventory]:
    """The files of a small state, after a kill or a clean end, and what stands in them."""
    with ExitStack() as stack:
        notes = stack.enter_context(closing(FileNotes(place)))
        store = stack.enter_context(closing(SqliteStore(place / DB, keys_in(place), notes)))
        inventory = store.load()
        for wish in WISHES:
            edit = wish(inventory)
            store.commit(edit)
            inventory = inventory.after(edit)
        if killed:
            return read(place), inventory
    return read(place), inventory


def read(place: Path) -> Files:
    return {file.name: file.read_bytes() for file in place.iterdir()}


class Patient:
    """Files that are damaged again and again."""

    def __init__(self, place: Path, files: Files, inventory: Inventory) -> None:
        self.files = files
        self._place, self._inventory = place, inventory
        self.refused = self.unharmed = 0

    def damage(self, name: str, content: bytes) -> None:
        """The file has this content: it is refused and left so, or everything is there."""
        damaged = {**self.files, name: content}
        self._put(damaged)
        try:
            found = self._loaded()
        except StateUnusable:
            self.refused += 1
            if name == LOG:
                left = read(self._place)
                assert (left.get(LOG, b""), left[NOTE]) == (content, damaged[NOTE])
                with pytest.raises(StateUnusable):
                    self._loaded()
        else:
            assert found == self._inventory
            self.unharmed += 1

    def _put(self, wanted: Files) -> None:
        there = read(self._place)
        for name in there.keys() - wanted.keys():
            (self._place / name).unlink()
        for name, content in wanted.items():
            if there.get(name) != content:
                (self._place / name).touch(mode=0o600)
                (self._place / name).write_bytes(content)

    @property
    def total(self) -> int:
        return self.refused + self.unharmed

    def _loaded(self) -> Inventory:
        with ExitStack() as stack:
            notes = stack.enter_context(closing(FileNotes(self._place)))
            store = SqliteStore(self._place / DB, keys_in(self._place), notes)
            stack.enter_context(closing(store))
            return store.load()

    def flip(self, name: str, at: int, mask: int) -> None:
        content = bytearray(self.files[name])
        content[at] ^= mask
        self.damage(name, bytes(content))

    def cut(self, name: str, length: int) -> None:
        self.damage(name, self.files[name][:length])


@pytest.fixture(params=["ended", "killed"])
def patient(request: pytest.FixtureRequest) -> Iterator[Patient]:
    """What a service left, at its end or when it was killed."""
    with in_memory() as place:
        (place / "good").mkdir()
        files, inventory = written(place / "good", killed=request.param == "killed")
        assert (LOG in files) == (request.param == "killed")
        (place / "bad").mkdir()
        yield Patient(place / "bad", files, inventory)


def vital(name: str, content: bytes) -> set[int]:
    """Where something stands: what a page is made of, headers, and all that is not zero in the
    state file; of the log, which has checksums, the headers."""
    if name == DB:
        written = {at for at, byte in enumerate(content) if byte}
        return written.union(*(range(page, page + 128) for page in range(0, len(content), PAGE)))
    frames = range(HEADER, len(content), FRAME_HEADER + PAGE)
    return set(range(HEADER)).union(*(range(each, each + FRAME_HEADER) for each in frames))


@runs(push=1, release=BITS)
def test_no_flipped_bit_changes_what_is_served(patient: Patient, torture: Torture) -> None:
    """n: the bits of each byte. With less than all, of bytes that matter little a sample."""
    for name in sorted(patient.files.keys() & {DB, LOG}):
        content = patient.files[name]
        places = set(range(len(content)))
        if torture.runs < BITS:
            sample = torture.chance.sample(sorted(places), SAMPLE)
            places = vital(name, content).union(sample)
        for at in sorted(places):
            for bit in torture.chance.sample(range(BITS), torture.runs):
                patient.flip(name, at, 1 << bit)
    torture.figure(damages=patient.total, refused=patient.refused, wrong=0)
    assert patient.refused


@runs(push=STEP, release=1)
def test_no_cut_changes_what_is_served(patient: Patient, torture: Torture) -> None:
    """n: the bytes from one length to the next."""
    for name in patient.files.keys() & {DB, LOG}:
        for length in range(0, len(patient.files[name]), torture.runs):
            patient.cut(name, length)
    torture.figure(damages=patient.total, refused=patient.refused, wrong=0)
    assert patient.refused


# -- the service


class Killed:
    """A service that was killed, while its tgtd serves on; `session` is logged in.

    The state lies as it was left, or `tidy`, with all of it in one file.
    """

    def __init__(self, storlever: StorLever, session: Initiator) -> None:
        self.storlever, self.session = storlever, session
        session.ready()
        storlever.kill()
        self.daemon, self.seen = storlever.tgtd_pid(), seen_in_tgtd(storlever)
        self._left = self._kept()
        execute(storlever.state / DB, "PRAGMA wal_checkpoint(TRUNCATE)")
        self._tidy = self._kept()
        self._key = (storlever.state / KEY).read_bytes()
        assert (LOG in self._left, LOG in self._tidy) == (True, False)

    def mend(self, *, tidy: bool) -> None:
        for file in self.storlever.state.glob(f"{DB}*"):
            file.rmdir() if file.is_dir() else file.unlink()
        for name, content in (self._tidy if tidy else self._left).items():
            (self.storlever.state / name).write_bytes(content)
        mend_key(self.storlever.state / KEY, self._key)

    def _kept(self) -> Files:
        files = self.storlever.state.glob(f"{DB}*")
        return {file.name: file.read_bytes() for file in files if file.is_file()}

    def require_refusal(self, message: str) -> None:
        """What there was of a log stays, and tgtd is left alone."""
        log = self._kept().get(LOG, b"")
        said = refusal(self.storlever)
        assert said.startswith("storlever: ")
        assert re.search("(state|key)[ _]file", said)
        assert re.search(message, said), said
        assert self._kept().get(LOG, b"") == log
        self.require_served()

    def require_served(self) -> None:
        assert self.storlever.tgtd_pid() == self.daemon
        assert seen_in_tgtd(self.storlever) == self.seen
        assert self.session.read(0, 1).status == 0


@pytest.fixture(scope="module")
def killed() -> Iterator[Killed]:
    with folder() as root, service(root) as made:
        furnish(made.start())
        with joe(made) as session:
            yield Killed(made, session)


def foreign(file: Path) -> None:
    file.unlink()
    execute(file, "CREATE TABLE target (name TEXT)")


def newer(file: Path) -> None:
    execute(file, "PRAGMA user_version = 99")


def edited(file: Path) -> None:
    """A row changed by hand: its digest does not fit any more."""
    execute(file, "UPDATE target SET document = replace(document, 'test:off', 'test:on')")


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def flipped(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def halved(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def mend_key(key: Path, content: bytes) -> None:
    if key.is_dir():
        key.rmdir()
    key.unlink(missing_ok=True)
    key.touch(mode=0o600)
    key.write_bytes(content)


def another(key: Path) -> None:
    key.unlink()
    KeyFile(key).first()


Damage = tuple[Callable[[Path], object], str]

OF_THE_FILE: dict[str, Damage] = {
    "garbage": (lambda file: file.write_bytes(os.urandom(file.stat().st_size)), "not a database"),
    "text": (lambda file: file.write_text('{"targets": []}'), "not a database"),
    "zero length": (lambda file: os.truncate(file, 0), "not StorLever's"),
    "one page": (lambda file: os.truncate(file, 4096), "malformed|damaged"),
    "half": (halved, "malformed|damaged"),
    "half a header": (lambda file: os.truncate(file, 50), "not a database|not StorLever's"),
    "foreign": (foreign, "not StorLever's"),
    "newer": (newer, "schema 99.*start the newer one"),
    "edited": (edited, "damaged"),
    "a folder": (a_folder, "cannot read"),
    "gone": (Path.unlink, "is gone, and revision .* was committed"),
}
OF_THE_LOG: dict[str, Damage] = {
    "flipped in the header": (lambda log: flipped(log, 20), "has lost changes"),
    "flipped in the first frame": (lambda log: flipped(log, HEADER + 100), "has lost changes"),
    "flipped in the last frame": (
        lambda log: flipped(log, log.stat().st_size - 100),
        "has lost changes",
    ),
    "half": (halved, "has lost changes"),
    "zero length": (lambda log: os.truncate(log, 0), "has lost changes"),
    "gone": (Path.unlink, "has lost changes"),
    "without its file": (lambda log: (log.with_name(DB)).unlink(), "is gone, and its log is there"),
}
OF_THE_KEY: dict[str, Damage] = {
    "gone": (Path.unlink, "key file .* is not there, and the state file .* was sealed with key"),
    "another": (another, "is not the one that the state file .* was sealed with"),
    "a digit flipped": (lambda key: flipped(key, 10), "is not the one|is damaged"),
    "zero length": (lambda key: os.truncate(key, 0), "is damaged"),
    "half": (halved, "is damaged"),
    "garbage": (lambda key: key.write_bytes(os.urandom(65)), "is damaged"),
    "a folder": (a_folder, "is no regular file"),
    "readable by others": (lambda key: key.chmod(0o644), "key_file: .* alone to read"),
}


@pytest.mark.parametrize("damage", OF_THE_FILE)
def test_a_state_file_that_cannot_be_read_ends_the_start_and_tgtd_serves_on(
    killed: Killed, damage: str
) -> None:
    spoil, message = OF_THE_FILE[damage]
    killed.mend(tidy=True)
    spoil(killed.storlever.state / DB)
    killed.require_refusal(message)


@pytest.mark.parametrize("damage", OF_THE_LOG)
def test_a_log_that_was_damaged_after_a_kill_ends_the_start_and_tgtd_serves_on(
    killed: Killed, damage: str
) -> None:
    spoil, message = OF_THE_LOG[damage]
    killed.mend(tidy=False)
    spoil(killed.storlever.state / LOG)
    killed.require_refusal(message)
    killed.require_refusal(message)


@pytest.mark.parametrize("damage", OF_THE_KEY)
def test_a_key_that_does_not_fit_ends_the_start_and_tgtd_serves_on(
    killed: Killed, damage: str
) -> None:
    spoil, message = OF_THE_KEY[damage]
    killed.mend(tidy=True)
    spoil(killed.storlever.state / KEY)
    killed.require_refusal(message)
    killed.require_refusal(message)


@pytest.mark.parametrize("tidy", [False, True])
def test_once_it_is_mended_the_service_takes_over_what_is_served(root: Path, tidy: bool) -> None:
    with service(root) as made:
        furnish(made.start())
        with joe(made) as session:
            killed = Killed(made, session)
            killed.mend(tidy=tidy)
            spoilt = made.state / (DB if tidy else LOG)
            spoilt.write_text("garbage")
            refusal(made)
            killed.mend(tidy=tidy)
            made.start()
            killed.require_served()
        assert_furnished(made)


def test_once_the_key_is_back_the_service_takes_over_what_is_served(root: Path) -> None:
    with service(root) as made:
        furnish(made.start())
        with joe(made) as session:
            killed = Killed(made, session)
            killed.mend(tidy=False)
            key = made.state / KEY
            key.rename(root / KEY)
            assert f"the key file {key} is not there" in refusal(made)
            (root / KEY).rename(key)
            made.start()
            killed.require_served()
        assert_furnished(made)


def test_a_backup_put_there_on_purpose_starts_once_the_note_is_removed(root: Path) -> None:
    with service(root) as made:
        furnish(made.start())
        assert made.stop() == 0
        backup = (made.state / DB).read_bytes()
        made.start()
        made.add_target()
        made.kill()
        (made.state / LOG).unlink()
        (made.state / DB).write_bytes(backup)
        said = refusal(made)
        note = said.rpartition("remove ")[2]
        assert note == str(made.state / "run" / NOTE)
        Path(note).unlink()
        made.start()
        assert made.get("/target_list") == [OFF, RICH]


def test_after_a_clean_end_any_backup_starts(root: Path) -> None:
    with service(root) as made:
        made.start().stop()
        backup = (made.state / DB).read_bytes()
        made.start().add_target()
        assert made.stop() == 0
        (made.state / DB).write_bytes(backup)
        assert made.start().get("/target_list") == []
