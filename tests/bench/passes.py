"""The core without HTTP, at 1,000 and 10,000 targets: the replay after tgtd's death, and a full
pass that finds nothing to do."""

import time
from collections.abc import Iterator

from storlever.inventory import Edit
from tests.bench.figure import Figure, at_most, median, timed
from tests.bench.floor import Core, exchange, running
from tests.bench.grown import targets
from tests.world import folder


def figures(quick: bool) -> Iterator[Figure]:
    yield from _at(1_000, 3)
    yield from _at(10_000, 1 if quick else 3)


def _at(count: int, turns: int) -> Iterator[Figure]:
    with folder() as root, running(root) as tgtd:
        core = Core(root, tgtd, Edit(targets(root, count)))
        inventory = core.service.inventory
        ours, raw, idle = [], [], []
        for _ in range(turns):
            with core.recorder.recording():
                ours.append(timed(lambda: core.passes.full(inventory)))
            frames = list(core.recorder.frames)
            for _ in range(3):
                started = time.perf_counter()
                assert core.passes.full(inventory) == 0
                idle.append(time.perf_counter() - started)
            tgtd.kill()
            tgtd.start()
            raw.append(timed(lambda: exchange(tgtd.socket_path, frames)))  # noqa: B023
            tgtd.kill()
            tgtd.start()
        name = f"replay of {count:,} targets / the same frames raw"
        yield at_most(name, median(ours) / median(raw), 1.5, turns)
        name = f"full pass at {count:,} targets that finds nothing to do"
        yield at_most(name, median(idle), 2 if count == 10_000 else None, len(idle), "s")
