"""Runs the groups of figures, prints them as they come, and writes them down as JSON."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import io, passes, sizes, tools, whole, writes
from tests.bench.figure import Figure

Group = Callable[[bool], Iterator[Figure]]
"""Takes whether to be quick."""

GROUPS: dict[str, Group] = {
    "writes": writes.figures,
    "tools": tools.figures,
    "io": io.figures,
    "passes": passes.figures,
    "whole": whole.figures,
    "sizes": sizes.figures,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench")
    parser.add_argument("group", nargs="*", choices=[[], *GROUPS], help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="end within five minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args()
    figures = []
    for name in given.group or GROUPS:
        started = time.monotonic()
        for figure in GROUPS[name](given.quick):
            print(figure.line(), flush=True)
            figures.append(figure)
        print(f"-- {name}: {time.monotonic() - started:.0f} s", flush=True)
    if given.json:
        documents = [figure.document() for figure in figures]
        given.json.write_text(json.dumps(documents, indent=1) + "\n")
    missed = [figure.name for figure in figures if not figure.ok]
    print(f"{len(figures)} figures, {len(missed)} missed their limit")
    return 1 if missed else 0


sys.exit(main())
