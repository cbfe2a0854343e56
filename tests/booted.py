"""A systemd of a test's own: PID 1 of a namespace, with the units of one folder and no others.

It has its own processes, mounts and control groups, an empty /run, /srv and /var/lib, and shares
the network, /tmp and everything else. The machine's own systemd, if it has one, is left alone.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.mounts import LET_GO_OF_OTHERS
from tests.world import wait_until

_BOOT = f"""
set -e
{LET_GO_OF_OTHERS}
for place in /run /srv /var/lib; do mount -t tmpfs none $place; done
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount --make-rshared / # as a machine has it at its boot
exec /lib/systemd/systemd --unit=test.target --show-status=no systemd.unified_cgroup_hierarchy=1
"""
_TARGETS = ("test", "sysinit", "basic", "shutdown", "umount", "network-online", "remote-fs")
"""Empty ones: those that services need by default, and the one to boot into."""


@dataclass(frozen=True)
class Systemd:
    pid: int
    units: Path

    def run(self, *command: str | Path, check: bool = True) -> str:
        """What a command prints that runs in its world."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-p", "-C", "-i", "-u", *command],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.run("systemctl", "--no-pager", *arguments, check=check)

    def show(self, unit: str, name: str) -> str:
        return self.systemctl("show", unit, "--value", "-p", name).strip()

    def processes(self, unit: str) -> list[int]:
        """As this test's own /proc numbers them; in the order of their start."""
        group = _mine(self.pid) / "system.slice" / unit / "cgroup.procs"
        try:
            return sorted(int(line) for line in group.read_text().split())
        except FileNotFoundError:
            return []

    @property
    def booted(self) -> bool:
        return self.systemctl("is-active", "test.target", check=False).strip() == "active"


@contextmanager
def systemd(units: Path) -> Iterator[Systemd]:
    """`units` holds what it may start; the targets that services need are added."""
    for name in _TARGETS:
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    group = _unified() / f"storlever-test-{os.getpid()}"
    group.mkdir()
    process = subprocess.Popen(
        [
            *("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"),
            *("unshare", "-m", "-p", "-C", "-i", "-u", "--fork", "--mount-proc"),
            *("sh", "-c", _BOOT),
        ],
        env={"PATH": os.environ["PATH"], "container": "other", "SYSTEMD_UNIT_PATH": str(units)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        made = Systemd(int(wait_until(children.read_text)), units)
        wait_until(lambda: made.booted)
        yield made
    finally:
        for pid in children.read_text().split():  # all that it has started goes with it
            os.kill(int(pid), signal.SIGKILL)
        process.wait(30)
        wait_until(lambda: _removed(group))


def _unified() -> Path:
    """Where the second version of control groups is mounted (cgroups(7))."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next(Path(fields[1]) for fields in mounts if fields[2] == "cgroup2")


def _mine(pid: int) -> Path:
    """The group that systemd took for the root of all: it sits in init.scope of it."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    path = next(line[3:] for line in lines if line.startswith("0::"))
    return _unified() / path.strip("/").removesuffix("/init.scope")


def _removed(group: Path) -> bool:
    """Control groups go when they are empty, the innermost first."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()
