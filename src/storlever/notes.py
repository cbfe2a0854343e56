"""What the next life of the service must know, in small files that are never fsynced.

A power cut may take or garble them: then tgtd has forgotten everything too, and nothing in them
is needed. They live in the runtime folder, outside the store's promises.

- `settled.0` and `.1`: the life of tgtd that has what is stored, but for what is pending
- `pending.0` and `.1`: the names that unfinished writes were changing, or passes could not settle
- `committed`: the revision that the store committed last, until a clean end
"""

import errno
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from storlever.encoding import encoded
from storlever.errors import StateFailed, StateUnusable
from storlever.model import NOTHING_PENDING, Pending

log = structlog.get_logger(__name__)


class FileNotes:
    """Notes in `folder`, which must exist. Raises StateUnusable.

    It reads the files once, as the last life left them; what it says later is what it was told.
    """

    def __init__(self, folder: Path) -> None:
        self.committed_file = folder / "committed"
        try:
            self._peer = _Line(folder, "settled")
            self._names = _Line(folder, "pending")
            self._number = _Number(self.committed_file)
            said = self._peer.read()
            self._settled = said if isinstance(said, str) else None
            self._pending = _pending(self._names.read())
            self._committed = self._number.read()
        except OSError as error:
            raise StateUnusable(f"cannot use the notes in {folder}: {error.strerror}") from error
        self._doubtful = NOTHING_PENDING
        """Names of commits that failed and may be found in the state file all the same."""

    # -- of what may not be done

    def settled(self) -> str | None:
        return self._settled

    def settle(self, peer: str) -> None:
        if self._doubtful:  # its names are ours in this life of tgtd as well
            self._doubtful = replace(self._doubtful, peer=peer)
            with _not_needed():
                self._names.write(_said(self._doubtful))
        elif self._settled != peer:
            self._settle(peer)

    def _settle(self, peer: str) -> None:
        with _not_needed():
            self._peer.write(peer)
            self._settled = peer

    def pending(self) -> Pending:
        return self._pending

    def begin(self, pending: Pending) -> None:
        """Raises StateFailed."""
        try:
            self._names.write(_said(pending.joined(self._doubtful)))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StateFailed(
                f"cannot note the change: {error.strerror}",
                code="state-full" if full else None,
            ) from error
        self._pending = pending

    def finish(self) -> None:
        self._pending = NOTHING_PENDING
        with _not_needed():
            self._names.write(_said(self._doubtful))

    # -- of the store

    def committed(self) -> int:
        return self._committed

    def commit(self, revision: int) -> None:
        self._doubtful = NOTHING_PENDING
        self._note_committed(revision)

    def doubt(self) -> None:
        """What the next life finds stored may be other than what tgtd was brought to."""
        self._settle("")
        self._doubtful = self._pending.joined(self._doubtful)

    def forget(self) -> None:
        self._note_committed(0)

    def _note_committed(self, revision: int) -> None:
        with _not_needed():
            self._number.write(revision)
        self._committed = revision

    def close(self) -> None:
        for file in (self._peer, self._names, self._number):
            file.close()


def _said(pending: Pending) -> dict[str, Any] | None:
    if not pending:
        return None
    return {
        "targets": sorted(pending.targets),
        "accounts": sorted(pending.accounts),
        "peer": pending.peer,
        "secrets": sorted(pending.secrets),
        "discovery": pending.discovery,
    }


def _pending(said: object) -> Pending:
    if not isinstance(said, dict):
        return NOTHING_PENDING
    return Pending(
        targets=_names(said.get("targets")),
        accounts=_names(said.get("accounts")),
        peer=str(said.get("peer", "")),
        secrets=_names(said.get("secrets")),
        discovery=bool(said.get("discovery")),
    )


def _names(said: object) -> frozenset[str]:
    return frozenset(map(str, said)) if isinstance(said, list) else frozenset()


@contextmanager
def _not_needed() -> Iterator[None]:
    """A note that stays too long makes the next start check more than it had to, no worse."""
    try:
        yield
    except OSError as error:
        log.warning("cannot write a note", reason=error.strerror)


class _Line:
    """One JSON value in two files that are written in turn, so that a kill in the midst of a write
    leaves the one before: of lines that are whole, the one with the higher number counts."""

    def __init__(self, folder: Path, name: str) -> None:
        self._files = tuple(_opened(folder / f"{name}.{number}") for number in range(2))
        self._number = 0

    def read(self) -> object:
        """None where nothing is whole."""
        found = [_whole(os.pread(file, os.fstat(file).st_size, 0)) for file in self._files]
        self._number, value = max(found, key=lambda each: each[0])
        return value

    def write(self, value: object) -> None:
        """Over the line that is there, whose rest may stay behind it: to cut it off would cost
        every write more than all else in here.

        Raises OSError, also where only a part of it found room.
        """
        number = self._number + 1
        line = _summed(b"%d %s" % (number, encoded(value).encode()))
        if os.pwrite(self._files[number % 2], line, 0) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._number = number

    def close(self) -> None:
        for file in self._files:
            os.close(file)


def _whole(text: bytes) -> tuple[int, object]:
    """The number and the value of a line; 0 where it is not whole."""
    line, end, _ = text.partition(b"\n")
    content = line.rpartition(b" ")[0]
    if not content or line + end != _summed(content):
        return 0, None
    number, _, value = content.partition(b" ")
    return int(number), json.loads(value)


def _summed(content: bytes) -> bytes:
    return b"%s %08x\n" % (content, zlib.crc32(content))


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class _Number:
    """A number and its checksum in one short line, which is written over in place, in one piece."""

    def __init__(self, path: Path) -> None:
        self._file = _opened(path)

    def read(self) -> int:
        """0 where the line is not whole."""
        text = os.pread(self._file, 64, 0)
        try:
            number = int(text.partition(b" ")[0])
        except ValueError:
            return 0
        return number if text == self._line(number) else 0

    def write(self, number: int) -> None:
        """Raises OSError."""
        os.pwrite(self._file, self._line(number), 0)

    def close(self) -> None:
        os.close(self._file)

    @staticmethod
    def _line(number: int) -> bytes:
        return _summed(b"%020d" % number)
