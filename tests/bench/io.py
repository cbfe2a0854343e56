"""What a host notices of the API's writes to other targets: its reads and writes while fifty
writes a second go on, against the same in calm, and against fifty requests a second that do
nothing.

The host works in slices of two seconds: one in calm, one with the hellos, one with the writes, and
so on. Each slice has its throughput and its 99th percentile; the medians over the slices are
compared, so that a slice that met something else counts for little. The comparison with calm has
all in it that a client of the API takes away, even by waking up; the one with hellos, what the
writes themselves do.

With one command in flight, the host notices whatever tgtd, a single loop, does between two of its
commands: against calm, these figures have limits. With eight in flight, host and tgtd use up two
processor cores, and the writes take their share of those: these figures explain, and have none.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from storlever.config import Settings
from tests.bench.client import Client
from tests.bench.figure import Figure, at_least, at_most, median, p99
from tests.bench.grown import grown, path_of
from tests.bench.queue import Host, host
from tests.work import working
from tests.world import StorLever, folder, image

TARGETS = 100
IN_USE = "iqn.2026-01.bench.host:disk"
MEGABYTES = 64
RATE = 50
"""A second."""
SLICE = 2.0
"""Seconds."""
THREADS = str(Settings().tgt_io_threads)
SECRET = "twelve chars"
DEEP = 8


class Asking(ABC):
    """A client that asks fifty times a second."""

    def __init__(self, storlever: StorLever) -> None:
        self._port = storlever.port
        self._numbers = count()
        self.asked = self.answered = 0

    def run(self, stop: threading.Event) -> None:
        """One late answer does not delay all that follow: they catch up."""
        started, made = time.monotonic(), 0
        with Client(self._port) as client:
            while not stop.wait(max(0, started + made / RATE - time.monotonic())):
                self._ask(client, next(self._numbers))
                made += 1
        self.answered += made
        self.asked += round((time.monotonic() - started) * RATE)

    @abstractmethod
    def _ask(self, client: Client, number: int) -> None: ...


class Hellos(Asking):
    """What does nothing."""

    def _ask(self, client: Client, _: int) -> None:
        client.request("GET", "/healthz")


class Writes(Asking):
    """Five kinds of write, evenly mixed: each target in turn gets all five."""

    def __init__(self, storlever: StorLever, spare: Path) -> None:
        super().__init__(storlever)
        self._spare = str(spare)

    def _ask(self, client: Client, number: int) -> None:
        turn, kind = divmod(number, 5)
        place = path_of(turn % TARGETS)
        readonly = {"readonly": turn // TARGETS % 2 == 0}
        user = {"username": f"u{turn}", "password": SECRET}
        new = {"lun": 2, "path": self._spare}
        kinds: Sequence[Callable[[], bytes]] = (
            lambda: client.api("PUT", f"{place}/lun_list/1", readonly),
            lambda: client.api("POST", f"{place}/incominguser_list", user),
            lambda: client.api("DELETE", f"{place}/incominguser_list/u{turn}"),
            lambda: client.api("POST", f"{place}/lun_list", new),
            lambda: client.api("DELETE", f"{place}/lun_list/2"),
        )
        kinds[kind]()


def figures(quick: bool) -> Iterator[Figure]:
    turns = 5 if quick else 15
    with folder() as root, ExitStack() as stack:
        storlever = grown(root / "service", TARGETS, tgt_io_threads=THREADS)
        stack.callback(storlever.close)
        storlever.start(patience=60)
        disk = root / "disk.img"
        disk.write_bytes(b"x" * (MEGABYTES << 20))
        storlever.add_lun(storlever.add_target(IN_USE), 1, disk)
        at_work = stack.enter_context(host(storlever.portal, IN_USE))
        hellos, writes = Hellos(storlever), Writes(storlever, image(root / "spare.img", 1))
        yield from _compared(at_work, hellos, writes, 1, turns)
        yield from _compared(at_work, hellos, writes, DEEP, max(2, turns // 3))
        yield at_least(
            "writes made / asked for", writes.answered / writes.asked, 0.95, writes.asked
        )


def _compared(
    at_work: Host, hellos: Hellos, writes: Writes, depth: int, turns: int
) -> Iterator[Figure]:
    at_work.begin(depth, SLICE / 4)  # to warm up
    at_work.took()
    slices = [
        [_slice(at_work, depth, beside) for beside in ([], [hellos], [writes])]
        for _ in range(turns)
    ]
    calm, greeted, busy = zip(*slices, strict=True)
    name = f"I/O, {depth} in flight, during {RATE} writes/s / without"
    yield from _ratios(name, busy, calm, (0.9, 1.5) if depth == 1 else (None, None))
    name = f"I/O, {depth} in flight, during {RATE} writes/s / {RATE} hellos/s"
    yield from _ratios(name, busy, greeted, (None, None))


def _slice(at_work: Host, depth: int, beside: Sequence[Asking]) -> list[float]:
    """How long each of the host's commands took."""
    at_work.begin(depth, SLICE)
    with working(beside):
        return at_work.took()


def _ratios(
    name: str,
    busy: Sequence[Sequence[float]],
    calm: Sequence[Sequence[float]],
    limits: tuple[float | None, float | None],
) -> Iterator[Figure]:
    def ratio(of: Callable[[Sequence[float]], float]) -> float:
        return median([of(each) for each in busy]) / median([of(each) for each in calm])

    n = sum(map(len, busy))
    yield at_least(f"{name}, throughput", ratio(len), limits[0], n)
    yield at_most(f"{name}, p99 latency", ratio(p99), limits[1], n)
    yield at_most(f"{name}, median latency", ratio(median), None, n)
