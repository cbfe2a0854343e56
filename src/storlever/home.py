"""The state folder: what is where in it, and who may use it."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from storlever.errors import ConfigError, InUse

log = structlog.get_logger(__name__)

PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Home:
    folder: Path

    @property
    def state_file(self) -> Path:
        return self.folder / "state.db"

    @property
    def runtime(self) -> Path:
        """What a power cut may take."""
        return self.folder / "run"

    @property
    def api_socket(self) -> Path:
        """Where the service answers the programs of whoever runs it, and of root."""
        return self.runtime / "api.sock"

    def has_state(self) -> bool:
        """Raises ConfigError."""
        try:
            return self.state_file.exists()
        except OSError as error:
            raise self._unusable(error) from None

    def make(self) -> None:
        """The folders, nobody else's to read. Raises ConfigError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.runtime.mkdir(mode=0o700, exist_ok=True)
            mode = stat.S_IMODE(self.folder.stat().st_mode)
        except OSError as error:
            raise self._unusable(error) from None
        if mode & 0o077:
            log.warning("others may read the state folder", folder=str(self.folder), mode=oct(mode))

    @contextlib.contextmanager
    def alone(self, patience: float = 0.0) -> Iterator[None]:
        """One program a folder: SQLite's lock comes too late for two that make the file. Raises
        InUse when another has it for longer than `patience` (in seconds), or
        ConfigError."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            if not _locked(descriptor, 0.0):
                if patience:
                    log.info("waiting for another StorLever", folder=str(self.folder))
                if not _locked(descriptor, patience):
                    raise InUse(f"the state folder {self.folder} is in use by another StorLever")
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(f"cannot use the state folder {self.folder}: {error.strerror}")


def _locked(descriptor: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(PAUSE)
        else:
            return True
