"""Measures what changes of a LUN do to those who use it, and prints a Markdown table."""

import argparse
import random
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.live.changes import KINDS, LUN, Bench, Kind
from tests.live.load import BLOCK, SLOT_BLOCKS, SPAN, Load, Tally
from tests.world import StorLever, folder, image

TARGET = "iqn.2026-01.test:measured"
OTHER = "iqn.2026-01.test:other"
HEAD = (
    *("Change", "n", "Commands", "Failed", "Unit attentions", "Wrong data", "Sessions lost"),
    *("Slowest answer, ms", "Longest gap, ms", "Requests refused", "Slowest request, ms"),
)


@dataclass
class Row:
    kind: Kind
    rounds: int
    tally: Tally
    dropped: int
    refused: Counter[str]
    slowest_request: float

    @property
    def surprising(self) -> bool:
        met = self.tally
        noticed = bool(met.failed or met.attentions)
        return bool(met.wrong or met.lost or self.dropped or (self.kind.quiet and noticed))

    def cells(self) -> tuple[str, ...]:
        met = self.tally
        numbers = [str(self.rounds), str(met.commands), _counts(met.failed)]
        numbers += [_counts(met.attentions), str(len(met.wrong)), str(self.dropped)]
        numbers += [f"{met.slowest * 1e3:.0f}", f"{met.gap * 1e3:.0f}", _counts(self.refused)]
        return (self.kind.title, *numbers, f"{self.slowest_request * 1e3:.0f}")


def main() -> int:
    options = _options()
    kinds = [kind for kind in KINDS if options.only in kind.title]
    print(_circumstances(options), flush=True)
    print(_line(HEAD), _line(["---", *["--:"] * (len(HEAD) - 1)]), sep="\n", flush=True)
    surprises = []
    for kind in kinds:
        row = _measured(kind, options)
        print(_line(row.cells()), flush=True)
        if row.surprising:
            details = "; ".join(row.tally.lost + row.tally.wrong)
            surprises.append(f"{kind.title}: {details or 'see the table'}")
    for surprise in surprises:
        print(f"surprise: {surprise}", file=sys.stderr)
    return bool(surprises)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/measure-live-changes", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=50, metavar="N", help="rounds of each change (%(default)s)")
    add("--connections", type=int, default=16, metavar="N", help="initiators (%(default)s)")
    add("--io-threads", type=int, default=16, metavar="N", help="of tgtd, a LUN (%(default)s)")
    add("--seconds", type=float, default=60, metavar="S", help="most for a row (%(default)s)")
    add("--only", default="", metavar="TEXT", help="rows whose title has this text")
    add("--seed", type=int, default=secrets.randbelow(10**6), metavar="N")
    return parser.parse_args()


def _circumstances(options: argparse.Namespace) -> str:
    version = subprocess.run(["tgtd", "-V"], capture_output=True, text=True, check=True).stdout
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, tgtd {version.strip()} with {options.io_threads} I/O "
        f"threads a LUN, {options.connections} connections with one command of "
        f"{SLOT_BLOCKS * BLOCK >> 10} KiB each, half of them writes; seed {options.seed}\n"
    )


def _measured(kind: Kind, options: argparse.Namespace) -> Row:
    """One row, in a world of its own."""
    with folder() as root:
        service = StorLever(root, tgt_io_threads=str(options.io_threads))
        try:
            return _row(kind, _bench(service.start(), root, options), options)
        finally:
            service.close()


def _bench(service: StorLever, root: Path, options: argparse.Namespace) -> Bench:
    megabytes = (options.connections * SPAN * BLOCK >> 20) + 1
    bench = Bench(
        service,
        service.add_target(TARGET),
        service.add_target(OTHER),
        root,
        megabytes,
        random.Random(options.seed),  # noqa: S311  not for secrets
    )
    image(bench.second, megabytes)
    service.add_lun(bench.target, LUN, image(bench.disk, megabytes))
    return bench


def _row(kind: Kind, bench: Bench, options: argparse.Namespace) -> Row:
    load = Load(bench.service.portal, TARGET, options.connections, options.seed, exact=kind.exact)
    try:
        load.start()
        there = bench.sids()
        rounds = _rounds(kind, bench, options.runs, time.monotonic() + options.seconds)
        dropped = len(there - bench.sids()) + options.connections - len(there)
        load.pause()
        refused, slowest = bench.refused, bench.slowest_request
        bench.restore()
    finally:
        tally = load.finish()
    return Row(kind, rounds, tally, dropped, refused, slowest)


def _rounds(kind: Kind, bench: Bench, most: int, deadline: float) -> int:
    for number in range(most):
        if time.monotonic() > deadline:
            return number
        kind.round(bench, number)
        bench.hold()
    return most


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{what}: {count}" for what, count in sorted(found.items())) or "0"


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
