"""The same requests at 1, 100, 1,000 and 10,000 targets, on services that live side by side."""

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import count, islice
from pathlib import Path

from storlever.inventory import Direction, Edit
from storlever.model import Account
from tests.bench.client import Client
from tests.bench.figure import Figure, at_most, median, p99, side_by_side, timed
from tests.bench.floor import Core, running
from tests.bench.grown import grown, path_of, target_name, targets
from tests.bench.writes import CROWD, throughput
from tests.world import StorLever, folder, image, wait_until

FOREIGN = "iqn.2026-01.bench.foreign:theirs"
SECRET = "twelve chars"

SLOW = ("PUT user", "DELETE user", "DELETE target")
"""For these tgtd takes more than a second at 10,000 targets."""

Call = Callable[[int], object]


def figures(quick: bool) -> Iterator[Figure]:
    counts = (1, 1_000, 10_000) if quick else (1, 100, 1_000, 10_000)
    calls, few = (100, 8) if quick else (300, 30)
    with folder() as root, ExitStack() as stack:
        services = {count: _started(stack, root, count) for count in counts}
        works: dict[str, Call] = {}
        for count, storlever in services.items():
            client = stack.enter_context(Client(storlever.port))
            spare = image(storlever.root / "spare.img", 1)
            for what, call in _calls(client, count, spare).items():
                slow = what in SLOW and count == counts[-1]
                works[f"{what} at {count}"] = _at_most(few, call) if slow else call
        samples = side_by_side(works, calls)
        most = counts[-1]
        for what in SLOW:
            del samples[f"{what} at {most}"][few:]
        for what in dict.fromkeys(name.rpartition(" at ")[0] for name in samples):
            alone = samples[f"{what} at 1"]
            for count in counts[1:]:
                ratio = median(samples[f"{what} at {count}"]) / median(alone)
                limit = 1.3 if count == most else None
                n = len(samples[f"{what} at {count}"])
                yield at_most(f"{what} at {count:,} targets / at 1", ratio, limit, n)
            tail = p99(samples[f"{what} at {most}"]) / p99(alone)
            yield at_most(f"{what} at {most:,} targets / at 1, p99", tail, None, n)
        yield from _crowds(services[1_000], services[most])
        yield from _memory(services[most])
        yield from _during_passes(services[most], 2 if quick else 5)
    yield from _parts(most, calls, few)


def _started(stack: ExitStack, root: Path, count: int) -> StorLever:
    storlever = grown(root / str(count), count, log_format="json")
    stack.callback(storlever.close)
    return storlever.start(patience=120)


def _at_most(times: int, call: Call) -> Call:
    return lambda number: call(number) if number < times else None


def _calls(client: Client, count: int, spare: Path) -> dict[str, Call]:
    """By turns, so each finds what the one before it left; a target's turn comes by number."""

    def place(number: int) -> str:
        return path_of(number % count)

    def user(number: int) -> str:
        return f"u{number}"

    new = "/target_list/iqn.2026-01.bench.new:{}".format
    return {
        "GET target": lambda n: client.api("GET", place(n)),
        "GET lun": lambda n: client.api("GET", f"{place(n)}/lun_list/1"),
        "GET conf": lambda _: client.api("GET", "/conf"),
        "PUT target": lambda n: client.api(
            "PUT", place(n), {"initiator_addr_list": [f"10.0.{n // 250}.{n % 250}"]}
        ),
        "PUT lun": lambda n: client.api(
            "PUT", f"{place(n)}/lun_list/1", {"readonly": n // count % 2 == 0}
        ),
        "POST user": lambda n: client.api(
            "POST", f"{place(n)}/incominguser_list", {"username": user(n), "password": SECRET}
        ),
        "GET user": lambda n: client.api("GET", f"{place(n)}/incominguser_list/{user(n)}"),
        "PUT user": lambda n: client.api(
            "PUT", f"{place(n)}/incominguser_list/{user(n)}", {"password": f"{SECRET}!"}
        ),
        "DELETE user": lambda n: client.api("DELETE", f"{place(n)}/incominguser_list/{user(n)}"),
        "POST lun": lambda n: client.api(
            "POST", f"{place(n)}/lun_list", {"lun": 2, "path": str(spare)}
        ),
        "DELETE lun": lambda n: client.api("DELETE", f"{place(n)}/lun_list/2"),
        "POST target": lambda n: client.api(
            "POST", "/target_list", {"iqn": new(n).rpartition("/")[2]}
        ),
        "DELETE target": lambda n: client.api("DELETE", new(n)),
    }


def _crowds(some: StorLever, many: StorLever) -> Iterator[Figure]:
    """Sixteen writers get as much done."""
    seconds, few, most = 1.5, 0.0, 0.0
    for _ in range(3):
        few += throughput(some, CROWD, seconds)
        most += throughput(many, CROWD, seconds)
    name = f"PUT lun, {CROWD} clients, time a write at 10,000 targets / at 1,000"
    yield at_most(name, few / most, None, round(most * seconds))


def _memory(storlever: StorLever) -> Iterator[Figure]:
    assert storlever.process is not None
    status = Path(f"/proc/{storlever.process.pid}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    yield at_most("resident memory at 10,000 targets", resident, 250, 1, "MB")


def _during_passes(storlever: StorLever, passes: int) -> Iterator[Figure]:
    """A target of somebody else's that comes or goes makes the next glance ask for a full pass.

    One with nothing to do is not logged, so each has one thing to do: to put back an access list.
    """
    spent = []
    numbers = count(9_000)  # targets that no request has touched yet
    for what, path in (("GET lun", f"{path_of(7)}/lun_list/1"), ("GET target", path_of(7))):
        idle, busy = _Reader(storlever, path), _Reader(storlever, path)
        idle.run(lambda: _look_on(storlever, 4))
        busy.run(lambda: _provoke(storlever, list(islice(numbers, 2 * passes))))
        windows = _windows(storlever, 2 * passes)
        spent += [last - first for first, last in windows]
        during = [
            took
            for started, took in busy.calls
            if any(first - took <= started <= last for first, last in windows)
        ]
        calm = [took for _, took in idle.calls]
        n = len(during)
        yield at_most(f"{what} during a full pass / idle, p99", p99(during) / p99(calm), 3, n)
        yield at_most(f"{what} during a full pass / idle", median(during) / median(calm), None, n)
    name = "full pass at 10,000 targets that puts one thing right"
    yield at_most(name, median(spent), None, len(spent), "s")


class _Reader:
    """GETs a path again and again; `calls`: when each began (Unix time), how long it took."""

    def __init__(self, storlever: StorLever, path: str) -> None:
        self._port = storlever.port
        self._path = path
        self.calls: list[tuple[float, float]] = []

    def run(self, what: Callable[[], object]) -> None:
        """While `what` goes on."""
        thread = threading.Thread(target=what)
        thread.start()
        with Client(self._port) as client:
            while thread.is_alive():
                began, started = time.time(), time.perf_counter()
                client.api("GET", self._path)
                self.calls.append((began, time.perf_counter() - started))
        thread.join()


def _look_on(storlever: StorLever, seconds: float) -> None:
    """Ask for the foreign targets as often as `_provoke` does: what that takes is in both."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _foreign(storlever)
        time.sleep(0.02)  # as wait_until does


def _provoke(storlever: StorLever, numbers: list[int]) -> None:
    for turn, number in enumerate(numbers):
        made = turn % 2 == 0
        tid = _tid(storlever, target_name(number))
        storlever.admin("unbind", "target", "--tid", tid, "-I", "ALL")
        op, name = ("new", ["-T", FOREIGN]) if made else ("delete", [])
        storlever.admin(op, "target", "--tid", "32000", *name)
        wait_until(lambda: (FOREIGN in _foreign(storlever)) is made, 30)  # noqa: B023


def _tid(storlever: StorLever, name: str) -> str:
    shown = storlever.admin("show", "lld")
    found = re.search(rf"Target (\d+): {re.escape(name)}$", shown, re.MULTILINE)
    assert found, name
    return found[1]


def _foreign(storlever: StorLever) -> list[str]:
    names: list[str] = storlever.http.get("/readyz").json()["foreign"]
    return names


def _windows(storlever: StorLever, passes: int) -> list[tuple[float, float]]:
    """First and last moment (Unix time) of the last passes that the log tells of."""
    lines = [
        json.loads(line) for line in storlever.log.read_text().splitlines() if '"pass"' in line
    ]
    found = []
    for line in lines[-passes:]:
        last = datetime.fromisoformat(line["timestamp"]).timestamp()
        found.append((last - line["seconds"], last))
    return found


def _parts(most: int, calls: int, few: int) -> Iterator[Figure]:
    """What of a write's growth is ours, and what is tgtd's, which looks for targets in lists."""
    with folder() as root, ExitStack() as stack:
        cores = {number: _core(stack, root / f"{number}", number) for number in (1, most)}
        samples: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        for turn in range(calls):
            for number, core in cores.items():
                for what, write in _writes(core, number, turn).items():
                    if what in SLOW and number == most and turn >= few:
                        continue
                    with core.recorder.recording():
                        whole = timed(write)
                    samples[what, number].append(
                        (whole - core.recorder.seconds, core.recorder.seconds)
                    )
        for what in dict.fromkeys(what for what, _ in samples):
            for part, who, limit in ((0, "our own part", 1.3), (1, "tgtd's part", None)):
                one, many = (median([each[part] for each in samples[what, n]]) for n in cores)
                n = len(samples[what, most])
                yield at_most(f"{what} at {most:,} targets / at 1, {who}", many / one, limit, n)


def _core(stack: ExitStack, root: Path, number: int) -> Core:
    root.mkdir()
    tgtd = stack.enter_context(running(root))
    core = Core(root, tgtd, Edit(targets(root, number)))
    image(root / "spare.img", 1)
    core.passes.full(core.service.inventory)
    return core


def _writes(core: Core, number: int, turn: int) -> dict[str, Callable[[], object]]:
    service, name, new = core.service, target_name(turn % number), f"iqn.2026-01.bench.new:{turn}"
    spare, user = str(core.root / "spare.img"), f"u{turn}"
    incoming = Direction.INCOMING
    address = f"10.0.{turn // 250}.{turn % 250}"
    return {
        "PUT target": lambda: service.edit_target(name, addresses=(address,)),
        "PUT lun": lambda: service.edit_unit(name, 1, {"readonly": turn // number % 2 == 0}),
        "POST user": lambda: service.add_user(name, incoming, Account(user, SECRET)),
        "PUT user": lambda: service.set_secret(name, incoming, user, f"{SECRET}!"),
        "DELETE user": lambda: service.remove_user(name, incoming, user),
        "POST lun": lambda: service.add_unit(name, 2, {"backing_path": spare}),
        "DELETE lun": lambda: service.remove_unit(name, 2),
        "POST target": lambda: service.add_target(new),
        "DELETE target": lambda: service.remove_target(new),
    }
