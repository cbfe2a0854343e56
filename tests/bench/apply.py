"""A whole document in one PUT, against the frames that it takes, sent raw."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storlever.inventory import Edit
from storlever.web.table import API
from tests.bench.client import Client
from tests.bench.figure import Figure, at_most, median, timed
from tests.bench.floor import Core, exchange, running
from tests.bench.grown import targets
from tests.world import StorLever, Tgtd, folder

COUNT = 1_000


def figures(quick: bool) -> Iterator[Figure]:
    turns = 3 if quick else 7
    with folder() as root, running(root) as tgtd:
        core = Core(root, tgtd, Edit(targets(root, COUNT)))
        core.reconciler.full_pass(core.service.inventory)
        frames = list(core.recorder.frames)
        document = _document(core)
        ours, raw, again = [], [], []
        for turn in range(turns):
            raw.append(_raw(tgtd, frames))
            seconds = _applied(root / str(turn), document)
            ours.append(seconds[0])
            again.append(seconds[1])
    name = f"PUT config of {COUNT:,} new targets / the same frames raw"
    yield at_most(name, median(ours) / median(raw), 1.5, turns)
    name = f"PUT config of {COUNT:,} targets that are there already"
    yield at_most(name, median(again), None, turns, "s")


def _document(core: Core) -> dict[str, Any]:
    listed = [
        {"iqn": name, "lun_list": [{"lun": unit.lun, "path": unit.backing_path} for unit in units]}
        for name, units in (
            (target.name, target.units) for target in core.service.inventory.targets.values()
        )
    ]
    return {"version": 1, "target_list": listed}


def _raw(tgtd: Tgtd, frames: list[bytes]) -> float:
    tgtd.kill()
    tgtd.start()
    return timed(lambda: exchange(tgtd.socket_path, frames))


def _applied(root: Path, document: dict[str, Any]) -> tuple[float, float]:
    """Seconds, on a service that has nothing; and once more."""
    root.mkdir()
    storlever = StorLever(root, log_format="json")
    try:
        storlever.start()
        with Client(storlever.port) as client:
            put = lambda: client.request("PUT", f"{API}/config", document)  # noqa: E731
            return timed(put), timed(put)
    finally:
        storlever.close()
