"""Calls of a program that fail on order: see faults.c, which is preloaded into it."""

import mmap
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_ORDER = struct.Struct("iii")
_ALL_IS_WELL = _ORDER.pack(0, 0, 0)
_FAILED = slice(_ORDER.size, 128)


def preload(root: Path, folder: Path) -> dict[str, str]:
    """The environment of a program of which calls on files in `folder` are to fail; `root` is
    where the library is built and the orders are kept."""
    library, control = root / "faults.so", root / "faults"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    control.write_bytes(bytes(mmap.PAGESIZE))
    return {
        "LD_PRELOAD": str(library),
        "FAULTS_CONTROL": str(control),
        "FAULTS_FOLDER": str(folder),
    }


class Faults:
    """Orders to whoever was started with that environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        with Path(environment["FAULTS_CONTROL"]).open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def fail(self, number: int, error: int, *, lasting: bool) -> None:
        """The call of this number from now on fails with errno `error`, and so do all that come
        after it if it is `lasting`."""
        self._memory[_FAILED] = bytes(_FAILED.stop - _FAILED.start)
        self._memory[: _ORDER.size] = _ORDER.pack(number, error, lasting)

    def mend(self) -> None:
        """From now on all is well."""
        self._memory[: _ORDER.size] = _ALL_IS_WELL

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing fails, or counts, meanwhile."""
        order = self._memory[: _ORDER.size]
        self.mend()
        try:
            yield
        finally:
            self._memory[: _ORDER.size] = order

    @property
    def failed(self) -> str:
        """What failed first since the last order: function and file, or nothing."""
        return self._memory[_FAILED].rstrip(b"\0").decode()
