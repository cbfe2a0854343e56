"""What a request costs against what it cannot do without, at one target and one client, and what
sixteen clients get done."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storlever.inventory import Direction
from storlever.model import Account
from storlever.service import Service
from tests.bench.client import Client
from tests.bench.figure import Figure, at_least, at_most, median, side_by_side, timed
from tests.bench.floor import Core, RawStore, Traces, exchange, running
from tests.bench.grown import grown, path_of, target_name
from tests.bench.slow import SlowlySyncing
from tests.world import StorLever, folder, image

NAME = target_name(0)
SECRET = "twelve chars"
CROWD = 16


@dataclass(frozen=True)
class Kind:
    """A write and the one that undoes it, over HTTP and as the service's own calls."""

    http: tuple[str, str, Any]
    undo_http: tuple[str, str, Any]
    call: Callable[[Service], object]
    undo: Callable[[Service], object]


def _kinds(spare: Path, own: Path) -> dict[str, Kind]:
    """`spare` and `own`: images for the LUN that is made over HTTP and for the one that is not."""
    lun, users = f"{path_of(0)}/lun_list", f"{path_of(0)}/incominguser_list"
    return {
        "PUT lun": Kind(
            ("PUT", f"{lun}/1", {"readonly": True}),
            ("PUT", f"{lun}/1", {"readonly": False}),
            lambda service: service.edit_unit(NAME, 1, {"readonly": True}),
            lambda service: service.edit_unit(NAME, 1, {"readonly": False}),
        ),
        "POST user": Kind(
            ("POST", users, {"username": "joe", "password": SECRET}),
            ("DELETE", f"{users}/joe", None),
            lambda service: service.add_user(NAME, Direction.INCOMING, Account("joe", SECRET)),
            lambda service: service.remove_user(NAME, Direction.INCOMING, "joe"),
        ),
        "POST lun": Kind(
            ("POST", lun, {"lun": 2, "path": str(spare)}),
            ("DELETE", f"{lun}/2", None),
            lambda service: service.add_unit(NAME, 2, {"backing_path": str(own)}),
            lambda service: service.remove_unit(NAME, 2),
        ),
    }


def figures(quick: bool) -> Iterator[Figure]:
    calls = 200 if quick else 600
    with folder() as root:
        storlever = grown(root / "service", CROWD)
        try:
            with Client(storlever.start().port) as client:
                yield from _against_hello(client, calls)
                yield from _against_the_floor(root, client, calls)
            yield from _crowd(storlever, "", 2.0 if quick else 5.0)
        finally:
            storlever.close()
        slow = grown(root / "slow", CROWD, SlowlySyncing)
        try:
            slow.start()
            yield from _crowd(slow, ", on a disk that syncs in 5 ms", 2.0)
        finally:
            slow.close()


def _against_hello(client: Client, calls: int) -> Iterator[Figure]:
    samples = side_by_side(
        {
            "hello": lambda _: client.request("GET", "/healthz"),
            "target": lambda _: client.api("GET", path_of(0)),
            "lun": lambda _: client.api("GET", f"{path_of(0)}/lun_list/1"),
        },
        calls,
    )
    hello = median(samples.pop("hello"))
    for what, seconds in samples.items():
        yield at_most(f"GET {what} / hello", median(seconds) / hello, 1.5, calls)


def _against_the_floor(root: Path, client: Client, calls: int) -> Iterator[Figure]:
    with running(root) as tgtd:
        core = Core(root, tgtd)
        core.passes.full(core.service.inventory)
        core.service.add_target(NAME)
        core.service.add_unit(NAME, 1, {"backing_path": str(image(root / "first.img", 1))})
        store = RawStore(root / "raw.db")
        kinds = _kinds(image(root / "spare.img", 1), image(root / "own.img", 1))
        for name, kind in kinds.items():
            there, back = (
                core.traced(lambda write=write: core.write(write))  # type: ignore[misc]
                for write in (kind.call, kind.undo)
            )
            own = {
                "service": (
                    lambda kind=kind: core.write(kind.call),  # type: ignore[misc]
                    lambda kind=kind: core.write(kind.undo),  # type: ignore[misc]
                ),
                "floor": (
                    _raw(tgtd.socket_path, store, there),
                    _raw(tgtd.socket_path, store, back),
                ),
            }
            over_http = {
                "hello": (lambda: client.request("GET", "/healthz"), lambda: None),
                "http": (_http(client, kind.http), _http(client, kind.undo_http)),
                "floor": own["floor"],
            }
            spent = _medians(own, calls)
            yield at_most(f"{name}: service / floor", spent["service"] / spent["floor"], 2, calls)
            spent = _medians(over_http, calls)
            least = spent["floor"] + spent["hello"]
            yield at_most(f"{name} over HTTP / (floor + hello)", spent["http"] / least, 2, calls)
            ratio = spent["http"] / spent["floor"]
            yield at_most(f"{name} over HTTP / floor", ratio, None, calls)


def _http(client: Client, request: tuple[str, str, Any]) -> Callable[[], object]:
    return lambda: client.api(*request)


def _raw(path: str, store: RawStore, traces: Traces) -> Callable[[], object]:
    def both() -> None:
        exchange(path, traces.frames)
        store.execute(traces.statements)

    return both


def _medians(
    works: Mapping[str, tuple[Callable[[], object], Callable[[], object]]], calls: int
) -> dict[str, float]:
    """The seconds of the first of each pair, in turns; the second one undoes it, and is free."""
    samples: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(calls):
        for name, (work, undo) in works.items():
            samples[name].append(timed(work))
            undo()
    return {name: median(seconds) for name, seconds in samples.items()}


def _crowd(storlever: StorLever, where: str, seconds: float) -> Iterator[Figure]:
    """Each client writes to a target of its own, as fast as it is answered."""
    turns = 3
    alone, crowded = [], []
    for _ in range(turns):
        alone.append(throughput(storlever, 1, seconds / 2))
        crowded.append(throughput(storlever, CROWD, seconds / 2))
    gain = sum(crowded) / sum(alone)
    number = round(sum(crowded) * seconds / 2)
    yield at_least(f"PUT lun, {CROWD} clients / 1 client, throughput{where}", gain, 1.5, number)


def throughput(storlever: StorLever, clients: int, seconds: float) -> float:
    """Writes a second."""
    done = [0] * clients
    end = time.monotonic() + seconds

    def write(number: int) -> None:
        with Client(storlever.port) as client:
            while time.monotonic() < end:
                body = {"readonly": done[number] % 2 == 0}
                client.api("PUT", f"{path_of(number)}/lun_list/1", body)
                done[number] += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds
