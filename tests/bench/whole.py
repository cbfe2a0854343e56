"""A whole configuration in one request, beside the same requests to tgtd sent raw."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from storlever.web.config import ConfigUpdate, Found
from tests.bench.client import Client
from tests.bench.figure import Figure, at_most, median, timed
from tests.bench.floor import Core, exchange, running
from tests.bench.grown import target_name
from tests.world import StorLever, folder, image

COUNT = 1000
CONFIG = "/storlever/api/v1/config"


def figures(quick: bool) -> Iterator[Figure]:
    """Each round on daemons of its own, which hold nothing before."""
    rounds = 3 if quick else 5
    ratios = [_round(COUNT) for _ in range(rounds)]
    for name, limit in (("PUT", 1.5), ("PUT with users", 1.5), ("PUT, nothing new", None)):
        ratio = median([each[name] for each in ratios])
        yield at_most(f"{name} of {COUNT:,} targets / its raw requests", ratio, limit, rounds)


def _round(count: int) -> dict[str, float]:
    with folder() as root:
        open_ones, closed = (document(root, count, users=users) for users in (False, True))
        plain, again = _seconds(root / "plain", open_ones)
        guarded, _ = _seconds(root / "guarded", closed)
        raw = {users: _raw(root / f"raw {users}", d) for users, d in ((0, open_ones), (1, closed))}
        return {
            "PUT": plain / raw[0],
            "PUT with users": guarded / raw[1],
            "PUT, nothing new": again / raw[0],
        }


def document(root: Path, count: int, *, users: bool) -> dict[str, object]:
    """`count` targets with a LUN each, and a user each where there are `users`."""
    images = root / "images"
    images.mkdir(exist_ok=True)
    targets = [
        {
            "iqn": target_name(number),
            "incominguser_list": [f"u{number}"] if users else [],
            "lun_list": [{"lun": 1, "path": str(image(images / f"{number}.img", 1))}],
        }
        for number in range(count)
    ]
    listed = [
        {"username": f"u{n}", "password": "twelve chars"} for n in range(count if users else 0)
    ]
    return {"target_list": targets, "user_list": listed}


def _seconds(root: Path, wanted: dict[str, object]) -> tuple[float, float]:
    """Of the first request, and of the same again."""
    root.mkdir()
    storlever = StorLever(root).start()
    try:
        with Client(storlever.port) as client:
            took = [timed(lambda: client.request("PUT", CONFIG, wanted)) for _ in range(2)]
    finally:
        storlever.close()
    return took[0], took[1]


def _raw(root: Path, wanted: dict[str, object]) -> float:
    """What the core sends for it, on a daemon of its own; then the same frames to another one."""
    root.mkdir()
    (root / "a").mkdir()
    (root / "b").mkdir()
    with running(root / "a") as one, running(root / "b") as other:
        core = Core(root / "a", one)
        core.passes.full(core.service.inventory)
        told = ConfigUpdate.model_validate_json(json.dumps(wanted), context=Found())
        document = told.document()
        frames = core.traced(lambda: core.write(lambda service: service.apply(document))).frames
        started = time.perf_counter()
        exchange(str(other.socket_path), frames)
        return time.perf_counter() - started
