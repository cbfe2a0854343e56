"""Every call of the store's that can fail does, one by one: a program of its own, into which
faults.c is preloaded.

It plays the same lives of a store again and again, each time with the next call failing, and asks
after every write what a start would find if the service were killed now.
"""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from storlever import logs
from storlever.errors import StateFailed, StateUnusable
from storlever.inventory import Direction, Edit, Inventory
from storlever.model import Account, Pending
from storlever.notes import FileNotes
from storlever.store import SqliteStore
from tests.keys import keys_in
from tests.sql import bring_back
from tests.torture.machine.faults import Faults

FRAME = 24 + 4096
"""Bytes that a page takes in SQLite's log, which begins with 32 more."""
CHECKPOINT = 1000
"""Pages in the log after which SQLite moves them into the file."""
PATIENCE = 3
"""Writes that are tried before a lasting fault is mended."""

ALICE, BOB, CAROL = (Account(name, f"the secret of {name}") for name in ("alice", "bob", "carol"))
Wish = Callable[[Inventory], Edit]


def iqn(number: int) -> str:
    return f"iqn.2026-01.test:{number}"


WISHES: tuple[Wish, ...] = (
    lambda old: old.add_target(iqn(1)),
    lambda old: old.add_user(iqn(1), Direction.INCOMING, ALICE),
    lambda old: old.set_discovery({Direction.OUTGOING: BOB}),
    lambda old: old.remove_target(iqn(1)),
    lambda old: old.set_discovery({Direction.OUTGOING: None}),
)


@dataclass
class Folder:
    """A state folder, what must be in it, and what may be there instead until a write succeeds."""

    path: Path
    known: Inventory = field(default_factory=Inventory)
    doubtful: list[tuple[Inventory, Pending]] = field(default_factory=list)

    @contextmanager
    def opened(self) -> Iterator["Folder"]:
        """Raises StateUnusable."""
        with ExitStack() as stack:
            self.notes = stack.enter_context(closing(FileNotes(self.path)))
            store = SqliteStore(self.path / "state.db", keys_in(self.path), self.notes)
            self.store = stack.enter_context(closing(store))
            assert self.store.load() == self.known
            assert (self.path / "state.db-wal").exists(), "it goes on without a log"
            yield self

    def write(self, wish: Wish) -> str:
        """As the service does it; the code of the error, or nothing."""
        edit = wish(self.known)
        pending = Pending(frozenset(edit.targets), frozenset(edit.accounts), "this life of tgtd")
        try:
            self.notes.begin(pending)
            self.store.commit(edit)
        except StateFailed as error:
            if error.code == "state-doubtful":
                self.doubtful.append((self.known.after(edit), pending))
            return error.code
        else:
            self.known, self.doubtful = self.known.after(edit), []
            return ""
        finally:
            self.notes.finish()

    def copied(self, place: Path) -> "Folder":
        """As a kill would leave it now."""
        copy = Path(shutil.copytree(self.path, place))
        return Folder(copy, self.known, list(self.doubtful))

    def telling(self) -> list[str]:
        """The files with a plain secret in them."""
        files = self.path.iterdir()
        return [file.name for file in files if b"the secret of" in file.read_bytes()]

    def found(self) -> bool:
        """Whether what is there is what must be, rather than what may be."""
        with closing(FileNotes(self.path)) as notes:
            pending = notes.pending()
            keys = keys_in(self.path)
            with closing(SqliteStore(self.path / "state.db", keys, notes)) as store:
                there = store.load()
        if there == self.known:
            return True
        names = next(names for inventory, names in self.doubtful if inventory == there)
        assert pending.targets >= names.targets
        assert pending.accounts >= names.accounts
        return False


class Theatre:
    """Where lives are played, below `root`."""

    def __init__(self, root: Path, faults: Faults) -> None:
        self.stage, self.spare, self._root = root / "stage", root / "spare", root
        self.faults = faults
        self.tally: Counter[str] = Counter()

    def play(self, scene: Folder, number: int, error: int, *, lasting: bool) -> bool:
        """A life that starts as `scene` says, with a fault; whether it got to happen."""
        folder = scene.copied(self.stage)
        self.faults.fail(number, error, lasting=lasting)
        try:
            with folder.opened():
                log = self._log(folder)
                for wish in WISHES:
                    self._write(folder, wish)
                self.tally["logs begun anew"] += self._log(folder) != log
        except StateUnusable:
            assert self.faults.failed, "nothing failed, and it does not start"
            self.tally["refused starts"] += 1
        self._kill(folder)
        self.faults.mend()
        with folder.opened():
            for wish in WISHES:
                if wish(folder.known):
                    assert not folder.write(wish)
        assert folder.found()
        assert not folder.telling()
        shutil.rmtree(self.stage)
        return bool(self.faults.failed)

    def _write(self, folder: Folder, wish: Wish) -> None:
        for _ in range(PATIENCE):
            code = folder.write(wish)
            if self.faults.failed:
                self._kill(folder)
            if not code:
                return
            assert self.faults.failed, code
            self.tally[code] += 1
        self.faults.mend()
        assert not folder.write(wish), "it does not heal"

    def _kill(self, folder: Folder) -> None:
        """What the next start would find."""
        with self.faults.held():
            copy = folder.copied(self.spare)
            self.tally["kills"] += 1
            if not copy.found():
                self.tally["found all the same"] += 1
            assert not copy.telling()
            shutil.rmtree(self.spare)

    def _log(self, folder: Folder) -> bytes:
        """What tells a log from the one before it in the same file."""
        with self.faults.held(), (folder.path / "state.db-wal").open("rb") as file:
            return file.read(32)

    # -- how a life can start

    def scenes(self) -> dict[str, Folder]:
        (self._root / "nothing").mkdir()
        return {
            "nothing": Folder(self._root / "nothing"),
            "of schema 1": self._old(1),
            "of schema 2": self._old(2),
            "a full log": self._full_log(),
        }

    def _old(self, schema: int) -> Folder:
        """With a plain secret in it, and no key."""
        folder = self._written(f"of schema {schema}")
        with folder.opened():
            folder.write(lambda old: old.add_user(iqn(0), Direction.INCOMING, CAROL))
        bring_back(folder.path / "state.db", schema)
        keys_in(folder.path).path.unlink()
        assert folder.telling() == ["state.db"]
        return folder

    def _full_log(self) -> Folder:
        """After a kill, a few pages before the checkpoint."""
        folder = self._written("before the kill")
        with folder.opened():
            while pages(folder) < CHECKPOINT - 8:
                folder.write(turned)
            return folder.copied(self._root / "a full log")

    def _written(self, name: str) -> Folder:
        (self._root / name).mkdir()
        folder = Folder(self._root / name)
        with folder.opened():
            folder.write(lambda old: old.add_target(iqn(0)))
        return folder


def turned(old: Inventory) -> Edit:
    return old.edit_target(iqn(0), online=not old.target(iqn(0)).online)


def pages(folder: Folder) -> int:
    """In the log, which is there while the store is open."""
    return ((folder.path / "state.db-wal").stat().st_size - 32) // FRAME


def main(root: Path, *errors: int) -> None:
    logs.configure("json")  # to standard error
    theatre = Theatre(root, Faults(os.environ))
    for name, scene in theatre.scenes().items():
        for error in errors:
            for lasting in (False, True):
                number = 1
                while theatre.play(scene, number, error, lasting=lasting):
                    fault = {"life": name, "lasting": lasting, "error": error, "call": number}
                    print(json.dumps(fault | {"failed": theatre.faults.failed}))
                    number += 1
    print(json.dumps(theatre.tally))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
