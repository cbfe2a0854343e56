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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.figure import median
from tests.torture.host import Login
from tests.world import Tgtd, folder

MEGABYTES = 256
SLICE = 0.15
"""Seconds, about."""
STRIDE = 40503 * 4096
"""From one block of 4 KiB to the next: all over the file, and around it before one comes again."""
THREADS = 16


@dataclass(frozen=True)
class Pattern:
    """`cold`: the file is not in the page cache."""

    title: str
    size: int
    step: int
    write: bool
    depth: int
    cold: bool = False

    def arguments(self, count: int) -> list[str]:
        numbers = {"-s": self.size, "-S": self.step, "-d": self.depth, "-c": count}
        return ["-w"] * self.write + [str(each) for pair in numbers.items() for each in pair]


def _patterns() -> Iterator[Pattern]:
    for what, size, step in (("4 KiB", 4096, STRIDE), ("1 MiB", 1 << 20, 1 << 20)):
        for verb in ("read", "write"):
            for depth in (1, 32):
                title = f"{what} {verb}, {depth}"
                yield Pattern(title, size, step, verb == "write", depth)
    yield Pattern("4 KiB read, 32, not cached", 4096, STRIDE, write=False, depth=32, cold=True)


PATTERNS = tuple(_patterns())


@dataclass(frozen=True)
class Setup:
    """`parameters` of the target, set before anybody logs in."""

    title: str
    threads: int = THREADS
    parameters: tuple[tuple[str, str], ...] = ()


SEGMENT, BURST = "MaxRecvDataSegmentLength", "FirstBurstLength"
UNASKED = ("InitialR2T", "No")

OWN = Setup("tgtd's own")
SETUPS = (
    Setup("the same again"),
    *(Setup(f"{number} threads", number) for number in (1, 2, 4, 8, 32)),
    *(Setup(f"`{SEGMENT}` {kib}K", parameters=((SEGMENT, str(kib << 10)),)) for kib in (64, 256)),
    Setup("`InitialR2T` No", parameters=(UNASKED,)),
    Setup(f"`InitialR2T` No, `{BURST}` 256K", parameters=(UNASKED, (BURST, "262144"))),
    Setup("`ImmediateData` No", parameters=(("ImmediateData", "No"),)),
    Setup("`MaxQueueCmd` 32", parameters=(("MaxQueueCmd", "32"),)),
    Setup("`MaxQueueCmd` 512", parameters=(("MaxQueueCmd", "512"),)),
    Setup("`MaxBurstLength` 1M", parameters=(("MaxBurstLength", "1048576"),)),
    Setup(
        f"`{SEGMENT}` 256K, `InitialR2T` No",
        parameters=((SEGMENT, "262144"), UNASKED),
    ),
    Setup(
        f"`{SEGMENT}` 256K, `InitialR2T` No, `{BURST}` 256K",
        parameters=((SEGMENT, "262144"), UNASKED, (BURST, "262144")),
    ),
)


class Farm:
    """A tgtd for each number of threads, a target for each setup, one file under all of them."""

    def __init__(self, root: Path, setups: Iterable[Setup], stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self.file = root / "disk.img"
        self.file.write_bytes(os.urandom(1 << 20) * MEGABYTES)
        self._daemons: dict[int, Tgtd] = {}
        self._logins = {setup: self._made(setup, tid) for tid, setup in enumerate(setups, 1)}

    def _daemon(self, threads: int) -> Tgtd:
        if threads not in self._daemons:
            home = self._root / str(threads)
            home.mkdir()
            daemon = self._daemons[threads] = Tgtd(home, threads)
            self._stack.callback(daemon.kill)
            daemon.start()
        return self._daemons[threads]

    def _made(self, setup: Setup, tid: int) -> Login:
        daemon, name, place = self._daemon(setup.threads), f"iqn.2026-01.bench:{tid}", str(tid)
        daemon.admin("new", "target", "--tid", place, "-T", name)
        for key, value in setup.parameters:
            daemon.admin("update", "target", "--tid", place, "-n", key, "-v", value)
        daemon.admin("new", "logicalunit", "--tid", place, "--lun", "1", "-b", str(self.file))
        daemon.admin("bind", "target", "--tid", place, "-I", "ALL")
        return Login(daemon.portal, name, 1, "iqn.2026-01.bench:host")

    def seconds(self, setup: Setup, pattern: Pattern, count: int) -> float:
        """What `count` commands take; the login is not among them."""
        if pattern.cold:
            self._forget()
        done = subprocess.run(
            [
                *("qemu-img", "bench", "-t", "none"),
                *pattern.arguments(count),
                *self._logins[setup].arguments(),
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
    """The median, and the quartiles around it."""
    ranked = sorted(ratios)
    low, high = ranked[len(ranked) // 4], ranked[len(ranked) * 3 // 4]
    return f"{median(ranked):.2f} ({low:.2f}-{high:.2f})"


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
        farm = Farm(root, [OWN, *setups], stack)
        chance = random.Random(options.seed)  # noqa: S311  not for secrets
        print(*table(measured(farm, setups, options.rounds, chance), setups), sep="\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/measure-tgtd-defaults", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=15, metavar="N", help="slices of each setup (%(default)s)")
    add("--only", default="", metavar="TEXT", help="setups whose title has this text")
    add("--seed", type=int, default=2026, metavar="N", help="of the setups' order (%(default)s)")
    return parser.parse_args()


def _circumstances(root: Path, options: argparse.Namespace) -> str:
    version = subprocess.run(["tgtd", "-V"], capture_output=True, text=True, check=True).stdout
    system = subprocess.run(
        ["stat", "-f", "-c", "%T", str(root)], capture_output=True, text=True, check=True
    ).stdout
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, tgtd {version.strip()}, {os.cpu_count()} cores, a file of "
        f"{MEGABYTES} MiB on {system.strip()}; {options.rounds} rounds, seed {options.seed}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
