"""File systems of a test's own: small ones, fast ones, and such as lose what was not synced."""

import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.world import StorLever, folder, image, pid_alive, wait_until

GOINGDOWN = 0x8004587D
"""The ioctl that ends a file system, of ext4 and of xfs alike."""
NO_LOG_FLUSH = (2).to_bytes(4, "little")
SMALLEST = {"tmpfs": 8, "ext4": 8, "xfs": 304}
"""Megabytes."""


@dataclass(frozen=True)
class Disk:
    """A file system at `place`, which stands in a file beside it, if it stands anywhere."""

    kind: str
    place: Path
    megabytes: int

    @property
    def image(self) -> Path:
        return self.place.with_suffix(".img")

    def make(self) -> None:
        self.place.mkdir()
        if self.kind == "tmpfs":
            return
        image(self.image, self.megabytes)
        options = ("-m", "0") if self.kind == "ext4" else ()
        subprocess.run([f"mkfs.{self.kind}", "-q", *options, self.image], check=True)

    def mount(self) -> None:
        how: tuple[str | Path, ...] = ("-o", "loop", self.image)
        if self.kind == "tmpfs":
            how = ("-t", "tmpfs", "-o", f"size={self.megabytes}m", "none")
        elif self.kind == "ext4":
            how = ("-o", "loop,errors=remount-ro", self.image)
        subprocess.run(["mount", *how, self.place], check=True)

    def unmount(self) -> None:
        """Once nobody uses it: a process that was killed may still be letting go. And until it is
        let go of in every mount namespace, or the next mount would find it as it is now."""
        wait_until(lambda: not run_quietly("umount", self.place))
        wait_until(lambda: not self._has_a_device())

    def _has_a_device(self) -> bool:
        if self.kind == "tmpfs":
            return False
        losetup = ["losetup", "--associated", str(self.image)]
        return bool(subprocess.run(losetup, capture_output=True, check=True).stdout)

    def check(self) -> None:
        """Repair an ext4 that is not mounted."""
        assert run_quietly("fsck.ext4", "-p", self.image) in (0, 1)

    # -- mishaps

    def cut_power(self) -> None:
        """From now on nothing reaches the disk: each write fails, and what was written and not
        synced is gone once it is mounted again."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, GOINGDOWN, NO_LOG_FLUSH)
        finally:
            os.close(descriptor)

    def fill(self) -> Path:
        """Leave no byte there; the file to remove for room."""
        filler = self.place / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 10, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)
                        os.fsync(file.fileno())
        return filler

    def turn_read_only(self) -> None:
        """As ext4 does by itself when it finds that it is damaged, whoever is writing there."""
        device = self.place.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")


def run_quietly(*command: str | Path) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode


@contextmanager
def mounted(root: Path, kind: str, megabytes: int = 0) -> Iterator[Disk]:
    """A new one, of that size or as small as can be; whoever uses it, nothing of it is left.

    Skips the test where it cannot be mounted.
    """
    disk = Disk(kind, root / kind, max(megabytes, SMALLEST[kind]))
    disk.make()
    try:
        disk.mount()
    except subprocess.CalledProcessError:
        pytest.skip(f"cannot mount {kind}")
    try:
        yield disk
    finally:
        run_quietly("umount", "--lazy", disk.place)


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder where syncing costs nothing, if there is such a place."""
    memory = Path("/dev/shm")  # noqa: S108  a folder of its own is made there
    if not os.access(memory, os.W_OK):
        with folder() as path:
            yield path
        return
    with tempfile.TemporaryDirectory(prefix="sl-", dir=memory) as name:
        yield Path(name)


def unplug(storlever: StorLever) -> None:
    """What the end of power does to the service and its tgtd: nothing uses its disks any more."""
    daemon = storlever.tgtd_pid()
    assert daemon is not None
    storlever.kill()
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not pid_alive(daemon))
