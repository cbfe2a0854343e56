"""Which part of this machine may be served: below the roots; nothing of StorLever's, nothing of
the kernel's own. And who besides the superuser can change what a path leads to."""

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

ANYWHERE = (Path("/"),)
SETTLED, TICK = 1_000_000_000, 50_000_000
"""Nanoseconds after which a folder's time tells whether it has changed since: what happens within
one tick of the file system's clock leaves the same time. Where times have fractions of a second,
that is one of the kernel's (10 ms at most)."""
_MOST_LINKS = 40  # as Linux (path_resolution(7))

Inode = tuple[int, int]
"""With its device."""
Stamp = tuple[Inode, int]
"""A folder, and when it last changed."""
GONE: Stamp = ((0, 0), 0)


class Territory:
    """`private` are StorLever's own folders and files; all else is served that lies below one of
    the roots."""

    def __init__(self, *private: Path, roots: Iterable[Path] = ANYWHERE) -> None:
        own = {each.resolve() for each in private}
        self._private = tuple(_Private(str(each)) for each in own if own.isdisjoint(each.parents))
        self._roots = tuple(sorted({str(root.resolve()) for root in roots}))
        self._below = () if "/" in self._roots else tuple(f"{root}/" for root in self._roots)

    def forbids(self, descriptor: int, status: os.stat_result) -> str | None:
        """The rule that what was opened (with O_PATH will do) breaks; None where it may be served.

        It is asked of the descriptor: by the time a path is looked up again it may lead elsewhere.
        """
        if any(each.has(status) for each in self._private):
            return "belongs to StorLever itself"
        if stat.S_ISREG(status.st_mode) and _is_the_kernels(descriptor, status):
            return "is not on a disk: the kernel makes it up"
        if self._below and not _place(descriptor).startswith(self._below):
            return f"must lie below {' or '.join(self._roots)}, links resolved"
        return None

    def is_private(self, path: str) -> bool:
        """By its name alone, for a path where nothing is."""
        real = os.path.realpath(path)  # Path.resolve() dies of loops
        return any(each.contains(real) for each in self._private)


class _Private:
    """A folder or a file, and the inodes of all in it: they have other names where there are hard
    links."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._stamps: dict[str, Stamp] = {}
        self._inodes: frozenset[Inode] = frozenset()

    def has(self, status: os.stat_result) -> bool:
        if not self._stamps or any(_stamp(each) != at for each, at in self._stamps.items()):
            self._look()
        return (status.st_dev, status.st_ino) in self._inodes

    def contains(self, real: str) -> bool:
        return f"{real}/".startswith(f"{self._folder}/")

    def _look(self) -> None:
        """What is found is kept only where a later change is sure to be seen."""
        now = time.time_ns()
        stamps: dict[str, Stamp] = {}
        self._inodes = frozenset(_inodes(self._folder, stamps))
        calm = all(_tells(changed, now) for _, changed in stamps.values())
        self._stamps = stamps if calm else {}


def _tells(changed: int, now: int) -> bool:
    """Whether what happens from now on leaves another time."""
    return changed < now - (TICK if changed % SETTLED else SETTLED)


def _stamp(folder: str) -> Stamp:
    try:
        status = os.stat(folder)  # noqa: PTH116  at every new LUN
    except OSError:
        return GONE
    return (status.st_dev, status.st_ino), status.st_mtime_ns


def _inodes(folder: str, stamps: dict[str, Stamp]) -> Iterator[Inode]:
    """Of the folder and everything in it, at any depth; what goes meanwhile is left out. The
    stamps are taken first, so that a change during the look is seen after it."""
    stamps[folder] = here, _ = _stamp(folder)
    yield here
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield here[0], entry.inode()
                if entry.is_dir(follow_symlinks=False):
                    yield from _inodes(entry.path, stamps)
    except (FileNotFoundError, NotADirectoryError):
        return


def _is_the_kernels(descriptor: int, status: os.stat_result) -> bool:
    """Whether a file's content is made up as it is read: /proc/kcore is all memory.

    Wherever they are mounted, such file systems have no blocks (statfs(2)): procfs, sysfs, debugfs,
    cgroup and kin. Some below /sys count variables as blocks; none of them is on a device.
    """
    if os.major(status.st_dev):
        return False
    return not os.fstatvfs(descriptor).f_blocks or _place(descriptor).startswith(
        ("/proc/", "/sys/")
    )


def _place(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115


def is_fixed(path: str) -> bool:
    """Whether only the superuser (or we) can make the path lead elsewhere. Raises OSError.

    Looked at is every folder and every link on the way. A link in /proc is none: it leads where
    the process that it is of has gone.
    """
    trusted, sticky = {0, os.geteuid()}, set()
    for entry, status in _on_the_way(path):
        theirs = status.st_uid not in trusted
        if entry == "/proc" or (theirs and os.path.dirname(entry) in sticky):  # noqa: PTH120
            return False
        if stat.S_ISDIR(status.st_mode):
            writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if theirs or (writable and not status.st_mode & stat.S_ISVTX):
                return False
            if writable:
                sticky.add(entry)
    return True


def _on_the_way(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """What the kernel looks at to get there (path_resolution(7)). Raises OSError."""
    yield "/", os.lstat("/")
    at, todo, links = "/", path.split("/")[::-1], 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":  # nothing in `at` is a link
            at = os.path.dirname(at)  # noqa: PTH120
            continue
        here = f"{at.rstrip('/')}/{part}"
        status = os.lstat(here)
        yield here, status
        if not stat.S_ISLNK(status.st_mode):
            at = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink(here)  # noqa: PTH115
        at = "/" if target.startswith("/") else at
        todo += target.split("/")[::-1]
