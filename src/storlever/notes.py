"""What the next life of the service must know, in small files that are never fsynced.

A power cut may take or garble them: then tgtd has forgotten everything too, and nothing in them
is needed. They live in the runtime folder, outside the store's promises.
"""

import json
import os
from pathlib import Path


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
            self._peer.write(peer)

    def pending(self) -> frozenset[str]:
        said = self._names.read()
        return frozenset(map(str, said)) if isinstance(said, list) else frozenset()

    def begin(self, names: frozenset[str]) -> None:
        self._names.write(sorted(names))

    def finish(self) -> None:
        self._names.write(None)

    def close(self) -> None:
        self._peer.close()
        self._names.close()


class MemoryNotes:
    """The same, for a life without files."""

    def __init__(self) -> None:
        self._peer: str | None = None
        self._names: frozenset[str] = frozenset()

    def settled(self) -> str | None:
        return self._peer

    def settle(self, peer: str) -> None:
        self._peer = peer

    def pending(self) -> frozenset[str]:
        return self._names

    def begin(self, names: frozenset[str]) -> None:
        self._names = names

    def finish(self) -> None:
        self._names = frozenset()


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
        """The new line first, then the cut: a kill between the two leaves a whole line."""
        line = json.dumps(value).encode() + b"\n"
        os.pwrite(self._file, line, 0)
        os.ftruncate(self._file, len(line))

    def close(self) -> None:
        os.close(self._file)
