"""The file with the key to the secrets at rest: 64 hexadecimal digits and a newline.

It is made once, before anything is sealed with it, and never written again.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from storlever.durable import sync
from storlever.errors import ConfigError, StateUnusable
from storlever.seal import KEY_BYTES, Seal

log = structlog.get_logger(__name__)

CREDENTIAL = "storlever.key"
"""What systemd is to call it (systemd.exec(5), LoadCredential=)."""
NAME = "secret.key"
"""Of the one in the state folder."""
_FORM = re.compile(rb"[0-9a-fA-F]{64}\n?")


def default(state_dir: Path, environment: Mapping[str, str]) -> Path:
    """The credential that systemd hands over, if it does, else the file in the state folder."""
    if folder := environment.get("CREDENTIALS_DIRECTORY"):
        credential = Path(folder) / CREDENTIAL
        if credential.exists():
            return credential
    return state_dir / NAME


class KeyFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Seal | None:
        """None where no file is. Raises StateUnusable; ConfigError where others may read it."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("cannot be read", error) from None
        try:
            self._require_private(os.fstat(file))
            content = os.read(file, 4096)
        except OSError as error:
            raise self._unusable("cannot be read", error) from None
        finally:
            os.close(file)
        if not _FORM.fullmatch(content):
            raise StateUnusable(
                f"the key file {self.path} is damaged: it must be {2 * KEY_BYTES} hexadecimal "
                "digits and a newline. Put it back from a backup"
            )
        return Seal(bytes.fromhex(content.decode()))

    def first(self) -> Seal:
        """The one there is, or a new one; on stable storage, as something is to be sealed with it.

        Raises as `read` does; then none is there, or a whole one.
        """
        seal = self.read()
        try:
            if seal is None:
                seal = self._made()
            with suppress(PermissionError):  # then it was not us who made the file in there
                sync(self.path.parent)
        except OSError as error:
            raise self._unusable("cannot be made", error) from None
        return seal

    def _made(self) -> Seal:
        key = secrets.token_bytes(KEY_BYTES)
        draft = self.path.with_name(self.path.name + ".new")
        draft.unlink(missing_ok=True)
        _write(draft, f"{key.hex()}\n".encode())
        draft.rename(self.path)
        log.info("made the key to the secrets: back it up", file=str(self.path))
        return Seal(key)

    def _require_private(self, status: os.stat_result) -> None:
        """A file of root's may be readable to a group: so systemd hands credentials to a service
        that is not root's, and a list of who may read (an ACL) shows as the group's rights."""
        if not stat.S_ISREG(status.st_mode):
            raise StateUnusable(f"the key file {self.path} is no regular file")
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigError(
                f"key_file: {self.path} must belong to root or to the user that StorLever runs as"
            )
        if mode & (0o077 if status.st_uid == os.geteuid() else 0o037):
            raise ConfigError(
                f"key_file: {self.path} must be its owner's alone to read, and its mode is "
                f"{mode:04o}. Whoever could read it may have done so"
            )

    def _unusable(self, what: str, error: OSError) -> StateUnusable:
        return StateUnusable(f"the key file {self.path} {what}: {error.strerror}")


def _write(draft: Path, content: bytes) -> None:
    """On stable storage, and nobody else's to read at any moment."""
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.write(file, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    finally:
        os.close(file)
