"""What the settings of tgtd are worth: a Markdown table of ratios against tgtd's own defaults.

qemu's initiator (libiscsi) reads and writes one file over loopback, in slices of a fraction of a
second. Before and after each slice of a setup comes one of tgtd's own defaults; the ratio is taken
to their mean, so that a mood of the machine meets both. "The same again" is tgtd's own defaults
once more: how far it is from 1 is the noise.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tests.bench.figure import median
from tests.bench.slow import built
from tests.torture.clients.host import Login
from tests.world import Tgtd, folder

MEGABYTES = 256
SLICE = 0.15
"""Seconds, about."""
STRIDE = 160 << 20
"""Bytes, about, from one command of less than 1 MiB to the next: all over the file."""
THREADS = 16


@dataclass(frozen=True)
class Pattern:
    """`cold`: the file is not in the page cache. `slow`: it is, but on storage as of slow.c."""

    size: int
    verb: Literal["read", "write"]
    depth: int
    cold: bool = False
    slow: bool = False

    @property
    def title(self) -> str:
        more = ", not cached" if self.cold else ", 2 ms each" if self.slow else ""
        size = f"{self.size >> 20} MiB" if self.size >= 1 << 20 else f"{self.size >> 10} KiB"
        return f"{size} {self.verb}, {self.depth}{more}"

    def arguments(self, count: int) -> list[str]:
        """Of qemu-img. With an odd stride, no block comes again before all were there."""
        step = self.size if self.size >= 1 << 20 else (STRIDE // self.size | 1) * self.size
        numbers = {"-s": self.size, "-S": step, "-d": self.depth, "-c": count}
        pairs = [str(each) for pair in numbers.items() for each in pair]
        return ["-w", *pairs] if self.verb == "write" else pairs


PATTERNS = (
    *(Pattern(4 << 10, "read", depth) for depth in (1, 32)),
    *(Pattern(4 << 10, "write", depth) for depth in (1, 32)),
    *(Pattern(64 << 10, "write", depth) for depth in (1, 32)),
    *(Pattern(1 << 20, "read", depth) for depth in (1, 32)),
    *(Pattern(1 << 20, "write", depth) for depth in (1, 32)),
    Pattern(4 << 10, "read", 32, cold=True),
    Pattern(4 << 10, "read", 32, slow=True),
)


@dataclass(frozen=True)
class Setup:
    """`parameters` of the target, set before anybody logs in."""

    title: str
    threads: int = THREADS
    parameters: tuple[tuple[str, str], ...] = ()


def _target(**parameters: object) -> Setup:
    """tgtd's own, but for these parameters."""
    pairs = tuple((key, str(value)) for key, value in parameters.items())
    title = ", ".join(f"`{key}` {value}" for key, value in pairs)
    return Setup(title, parameters=pairs)


SEGMENT, BURST = 256 << 10, 256 << 10
OWN = Setup("tgtd's own")
SETUPS = (
    Setup("the same again"),
    *(Setup(f"threads: {number}", number) for number in (1, 4, 8, 32)),
    *(_target(MaxRecvDataSegmentLength=kib << 10) for kib in (64, 256, 1024)),
    _target(MaxRecvDataSegmentLength=SEGMENT, FirstBurstLength=BURST),
    _target(MaxRecvDataSegmentLength=SEGMENT, InitialR2T="No"),
    _target(MaxRecvDataSegmentLength=SEGMENT, InitialR2T="No", FirstBurstLength=BURST),
    _target(InitialR2T="No"),
    _target(MaxBurstLength=1 << 20),
    _target(ImmediateData="No"),
    _target(MaxQueueCmd=32),
    _target(MaxQueueCmd=512),
)


@dataclass
class _Tgtd(Tgtd):
    """With slow.c in it."""

    library: Path = Path()

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "LD_PRELOAD": str(self.library)}


class Farm:
    """A tgtd for each number of threads, a target for each setup, one file under all of them:
    LUN 2 has it by another name, under which it is slow."""

    def __init__(self, root: Path, setups: Iterable[Setup], stack: ExitStack, pause: float) -> None:
        self._root = root
        self._pause = pause
        self._stack = stack
        self.file = root / "disk.img"
        self.file.write_bytes(os.urandom(1 << 20) * MEGABYTES)
        self.slow_file = root / "disk.slow"
        self.slow_file.hardlink_to(self.file)
        self._library = built(root)
        self._daemons: dict[int, Tgtd] = {}
        self._places = {setup: self._made(setup, tid) for tid, setup in enumerate(setups, 1)}

    def _daemon(self, threads: int) -> Tgtd:
        if threads not in self._daemons:
            home = self._root / str(threads)
            home.mkdir()
            daemon = self._daemons[threads] = _Tgtd(home, threads, library=self._library)
            self._stack.callback(daemon.kill)
            daemon.start()
        return self._daemons[threads]

    def _made(self, setup: Setup, tid: int) -> tuple[str, str]:
        """The portal, and the target's name."""
        daemon, name, place = self._daemon(setup.threads), f"iqn.2026-01.bench:{tid}", str(tid)
        daemon.admin("new", "target", "--tid", place, "-T", name)
        for key, value in setup.parameters:
            daemon.admin("update", "target", "--tid", place, "-n", key, "-v", value)
        for lun, file in (("1", self.file), ("2", self.slow_file)):
            daemon.admin("new", "logicalunit", "--tid", place, "--lun", lun, "-b", str(file))
        daemon.admin("bind", "target", "--tid", place, "-I", "ALL")
        return daemon.portal, name

    def seconds(self, setup: Setup, pattern: Pattern, count: int) -> float:
        """What `count` commands take; the login is not among them."""
        time.sleep(self._pause)
        if pattern.cold:
            self._forget()
        lun = 2 if pattern.slow else 1
        login = Login(*self._places[setup], lun, "iqn.2026-01.bench:host")
        done = subprocess.run(
            [
                *("qemu-img", "bench", "-t", "none"),
                *pattern.arguments(count),
                *login.arguments(),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        found = re.search(r"completed in ([\d.]+) seconds", done.stdout)
        assert found, done.stdout
        return float(found[1])

    def _forget(self) -> None:
        with self.file.open("r+b") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def count(self, pattern: Pattern) -> int:
        """How many commands fill a slice."""
        number = max(2 * pattern.depth, 32)
        while (spent := self.seconds(OWN, pattern, number)) < SLICE / 4:
            number *= 4
        return round(number * SLICE / spent)


Ratios = dict[tuple[Setup, Pattern], list[float]]
"""Throughput of the setup / of tgtd's own, for each round."""


def measured(farm: Farm, setups: Sequence[Setup], rounds: int, chance: random.Random) -> Ratios:
    ratios: Ratios = defaultdict(list)
    counts = {pattern: farm.count(pattern) for pattern in PATTERNS}
    for number in range(rounds):
        for pattern, count in counts.items():
            before = farm.seconds(OWN, pattern, count)
            for setup in chance.sample(setups, len(setups)):
                spent = farm.seconds(setup, pattern, count)
                after = farm.seconds(OWN, pattern, count)
                ratios[setup, pattern].append((before + after) / 2 / spent)
                before = after
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return ratios


def _cell(ratios: Sequence[float]) -> str:
    """The median, and half the distance of the quartiles."""
    ranked = sorted(ratios)
    low, high = ranked[len(ranked) // 4], ranked[len(ranked) * 3 // 4]
    return f"{median(ranked):.2f} ±{(high - low) / 2:.2f}"


def table(ratios: Ratios, setups: Iterable[Setup]) -> Iterator[str]:
    yield _line(["", *(pattern.title for pattern in PATTERNS)])
    yield _line(["---", *["--:"] * len(PATTERNS)])
    for setup in setups:
        yield _line([setup.title, *(_cell(ratios[setup, pattern]) for pattern in PATTERNS)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    options = _options()
    setups = [setup for setup in SETUPS if options.only in setup.title]
    with folder() as root, ExitStack() as stack:
        print(_circumstances(root, options), flush=True)
        farm = Farm(root, [OWN, *setups], stack, options.pause)
        chance = random.Random(options.seed)  # noqa: S311  not for secrets
        print(*table(measured(farm, setups, options.rounds, chance), setups), sep="\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/measure-tgtd-defaults", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=9, metavar="N", help="slices of each setup (%(default)s)")
    add("--pause", type=float, default=0, metavar="S", help="rest before a slice (%(default)s)")
    add("--only", default="", metavar="TEXT", help="setups whose title has this text")
    add("--seed", type=int, default=2026, metavar="N", help="of the setups' order (%(default)s)")
    return parser.parse_args()


def _circumstances(root: Path, options: argparse.Namespace) -> str:
    version = subprocess.run(["tgtd", "-V"], capture_output=True, text=True, check=True).stdout
    system = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE", "-T", root], capture_output=True, text=True, check=True
    ).stdout
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, tgtd {version.strip()}, {os.cpu_count()} cores, a file of "
        f"{MEGABYTES} MiB on {system.strip()}; {options.rounds} rounds, seed {options.seed}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
