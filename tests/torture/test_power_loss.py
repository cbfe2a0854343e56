"""The power of the state's disk is cut in the middle of writes: no answered one is lost.

The file system is told to end at once, without another write, which takes away all that was not
synced. Two controls beside show that: a file that is synced after each record loses none, and one
that is not loses some.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Protocol

import pytest

from storlever.errors import StateFailed
from storlever.inventory import Direction, Edit, Inventory
from storlever.model import Account
from storlever.notes import FileNotes
from storlever.store import SqliteStore
from tests.keys import keys_in
from tests.system.furnished import service
from tests.torture.clients.tenant import Move
from tests.torture.clients.writers import CLIENTS, Writer, Writers
from tests.torture.machine.disks import Disk, mounted, unplug
from tests.torture.rig import Torture, runs
from tests.torture.truth import facts
from tests.torture.truth.facts import Facts
from tests.work import Worker, working
from tests.world import StorLever

CONVERGED = 5.0
ENOUGH = 64
"""Megabytes that a disk has, so that it is not full before the power is cut as often as asked."""
"""Seconds that are promised."""
RECORD = 8
"""Bytes."""


class Marking(Worker, Protocol):
    """What writes until the power is gone, and longer."""

    def mark(self) -> None:
        """What was answered by now must not be lost."""


class Appender:
    """Appends numbers to a new file; each is answered once it is written, or `synced`."""

    def __init__(self, path: Path, *, synced: bool) -> None:
        self._path, self._synced = path, synced
        self._answered = self._counted = 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if synced:
            folder = os.open(path.parent, os.O_RDONLY)
            for made in (self._file, folder):
                os.fsync(made)
            os.close(folder)

    def run(self, stop: threading.Event) -> None:
        with suppress(OSError):
            while not stop.wait(0.001):
                os.write(self._file, record(self._answered))
                if self._synced:
                    os.fsync(self._file)
                self._answered += 1
        os.close(self._file)

    def mark(self) -> None:
        self._counted = self._answered

    def lost(self) -> int:
        """How many of the records that count are not there."""
        content = self._path.read_bytes() if self._path.exists() else b""
        there = (content[at : at + RECORD] for at in range(0, len(content), RECORD))
        numbers = range(self._counted)
        return self._counted - sum(
            found == record(number) for found, number in zip(there, numbers, strict=False)
        )


def record(number: int) -> bytes:
    return number.to_bytes(RECORD, "big")


class Outlet:
    """Where a disk gets its power from."""

    def __init__(self, disk: Disk, torture: Torture) -> None:
        self._disk, self._torture = disk, torture
        self._cuts = self._control_lost = self._unsynced_lost = 0

    def cut(self, workers: Sequence[Marking], end: Callable[[], None] = lambda: None) -> None:
        """At a random moment of their work; `end` is what it does to everything but the disk.

        What is answered after the cut does not count: ext4 may say that it has synced, and has not.
        """
        synced, unsynced = (
            Appender(self._disk.place / name, synced=name == "synced")
            for name in ("synced", "unsynced")
        )
        everybody = [*workers, synced, unsynced]
        with working(everybody):
            time.sleep(self._torture.chance.uniform(0.03, 0.5))  # the random moment
            for worker in everybody:
                worker.mark()
            self._disk.cut_power()
            end()
        self._disk.unmount()
        self._disk.mount()
        self._cuts += 1
        self._control_lost += synced.lost()
        self._unsynced_lost += unsynced.lost() > 0
        self._torture.note("cut", number=self._cuts, control_lost=synced.lost())

    def require_trust(self) -> None:
        """It takes what was not synced, and nothing else."""
        self._torture.figure(
            cuts=self._cuts,
            control_lost=self._control_lost,
            cuts_that_lost_unsynced=self._unsynced_lost,
        )
        assert self._control_lost == 0
        assert self._unsynced_lost > 0


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, root: Path) -> Iterator[Disk]:
    with mounted(root, request.param, ENOUGH) as disk:
        yield disk


# -- the store alone


class Committer:
    """Commits to a store, which has all that was answered whenever it begins."""

    def __init__(self, folder: Path, torture: Torture) -> None:
        self._folder, self._chance = folder, torture.chance
        self._known = Inventory()
        self._possible = [self._known]
        self.answered = 0

    def begin(self) -> None:
        with ExitStack() as stack:
            notes = stack.enter_context(closing(FileNotes(self._folder)))
            keys = keys_in(self._folder)
            store = SqliteStore(self._folder / "state.db", keys, notes)
            self._store = stack.enter_context(closing(store))
            self._known = self._store.load()
            assert self._known in self._possible
            self._life = stack.pop_all()

    def end(self) -> None:
        self._life.close()

    def run(self, stop: threading.Event) -> None:
        with self._life, suppress(StateFailed):
            while not stop.is_set():
                self._commit(self._wish(self._known))

    def mark(self) -> None:
        self._possible = [self._known]

    def _wish(self, old: Inventory) -> Edit:
        name = f"iqn.2026-01.test:{self._chance.randrange(10)}"
        if name not in old.targets:
            return old.add_target(name)
        if old.targets[name].incoming:
            return old.remove_target(name)
        account = Account(name, f"{self._chance.getrandbits(200):050x}")
        return old.add_user(name, Direction.INCOMING, account)

    def _commit(self, edit: Edit) -> None:
        after = self._known.after(edit)
        try:
            self._store.commit(edit)
        except StateFailed as error:
            if error.code == "state-doubtful":
                self._possible.append(after)
            raise
        self._known = after
        self._possible.append(after)
        self.answered += 1


@runs(push=50, release=5000)
def test_no_commit_is_lost_in_a_power_cut(disk: Disk, torture: Torture) -> None:
    """n: cuts."""
    outlet = Outlet(disk, torture)
    committer = Committer(disk.place, torture)
    committer.begin()
    for _ in range(torture.runs):
        outlet.cut([committer])
        committer.begin()
    committer.end()
    outlet.require_trust()
    torture.figure(answered=committer.answered, lost=0, half=0)


# -- the service


class Client(Writer):
    """One that does not count on what was answered after the cut."""

    def __init__(self, number: int, storlever: StorLever, torture: Torture) -> None:
        super().__init__(number, storlever, torture, sociable=False)
        self._possible = [self.now]

    def write(self) -> int | None:
        status = super().write()
        self._possible += [self.now] if self.unsure is None else [self.now, self.unsure]
        return status

    def _request(self, move: Move) -> int | None:
        status = super()._request(move)
        return None if status == 503 and "state-doubtful" in self.errors[-1] else status

    def mark(self) -> None:
        self._possible = [self.now]

    def learn(self, stored: Facts) -> None:
        """What became of its last writes, which must be something that may be."""
        found = frozenset(filter(self.owns, stored))
        assert found in self._possible, [sorted(found ^ each) for each in self._possible]
        self.now, self.unsure = found, None


@runs(push=25, release=1500)
def test_no_answered_write_is_lost_in_a_power_cut(root: Path, disk: Disk, torture: Torture) -> None:
    """n: cuts. What was not answered is there whole or not at all."""
    outlet = Outlet(disk, torture)
    with service(root, state_dir=str(disk.place / "state")) as storlever:
        storlever.start()
        writers = Writers(storlever, torture)
        clients = [Client(number, storlever, torture) for number in range(CLIENTS)]
        writers.clients = list(clients)
        for _ in range(torture.runs):
            outlet.cut(clients, lambda: unplug(storlever))
            storlever.start()
            stored = facts.in_the_store(storlever.state)
            for client in clients:
                client.learn(stored)
            truth = writers.settle()
            writers.require_told(truth, CONVERGED)
        writers.require_passwords(truth)
        writers.leave()
    outlet.require_trust()
    assert writers.answered > torture.runs
    torture.figure(answered=writers.answered, cut_off=writers.cut_off, lost=0, half=0)
