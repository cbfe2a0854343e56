"""What the next life of the service must know, in small files that are never fsynced.

A power cut may take or garble them: then tgtd has forgotten everything too, and nothing in them
is needed. They live in the runtime folder, outside the store's promises.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from storlever.errors import StateFailed
from storlever.model import Pending

log = structlog.get_logger(__name__)


class FileNotes:
    """Notes in `folder`, which must exist."""

    def __init__(self, folder: Path) -> None:
        self._peer = _Line(folder / "settled")
        self._names = _Line(folder / "pending")

    def settled(self) -> str | None:
        said = self._peer.read()
        return said if isinstance(said, str) else None

    def settle(self, peer: str) -> None:
        if self.settled() != peer:
            with _not_needed():
                self._peer.write(peer)

    def pending(self) -> Pending:
        said = self._names.read()
        if not isinstance(said, dict):
            return Pending()
        names = _names(said.get("targets")), _names(said.get("accounts"))
        return Pending(*names, str(said.get("peer", "")))

    def begin(self, pending: Pending) -> None:
        """Raises StateFailed."""
        note = {
            "targets": sorted(pending.targets),
            "accounts": sorted(pending.accounts),
            "peer": pending.peer,
        }
        try:
            self._names.write(note)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StateFailed(
                f"cannot note the change: {error.strerror}",
                code="state-full" if full else None,
            ) from error

    def finish(self) -> None:
        with _not_needed():
            self._names.write(None)

    def close(self) -> None:
        self._peer.close()
        self._names.close()


class MemoryNotes:
    """The same, for a life without files."""

    def __init__(self) -> None:
        self._peer: str | None = None
        self._pending = Pending()

    def settled(self) -> str | None:
        return self._peer

    def settle(self, peer: str) -> None:
        self._peer = peer

    def pending(self) -> Pending:
        return self._pending

    def begin(self, pending: Pending) -> None:
        self._pending = pending

    def finish(self) -> None:
        self._pending = Pending()


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
    """One JSON value on the first line of a file; what stands after it does not count."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> object:
        text = os.pread(self._file, os.fstat(self._file).st_size, 0)
        try:
            value: object = json.loads(text.partition(b"\n")[0])
        except ValueError:
            return None
        return value

    def write(self, value: object) -> None:
        """The new line first, then the cut: a kill between the two leaves a whole line.

        Raises OSError, also where only a part of it found room.
        """
        line = json.dumps(value).encode() + b"\n"
        if os.pwrite(self._file, line, 0) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(self._file, len(line))

    def close(self) -> None:
        os.close(self._file)
