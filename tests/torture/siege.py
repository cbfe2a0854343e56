"""What must hold while a service is under attack: others are served, memory stays bounded."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from storlever.web.san import PREFIX
from tests.torture.onthewire import get, exchange, post
from tests.torture.rig import Torture
from tests.world import StorLever, wait_until

SOON = 1.0
"""Seconds within which 99 of 100 requests of others are answered."""
GONE = 15.0
"""Seconds after which no connection of an attacker is left, whatever it does."""
GROWTH = 50 << 10
"""KiB by which the service may grow, at any moment of an attack and over all of them."""
MANY = 50
"""Requests of others, at least, that an attack is judged by."""


class Bystander:
    """A client that behaves: reads on a connection that it keeps, writes on one of its own each."""

    def __init__(self, port: int, target: str) -> None:
        self._port = port
        self._path = f"{PREFIX}{target}"
        self._kept = HTTPConnection("127.0.0.1", port, timeout=30)
        self.took: dict[str, list[float]] = {"GET": [], "PUT": []}

    def run(self, stop: threading.Event) -> None:
        count = 0
        while not stop.wait(0.01) or count < MANY:
            count += 1
            self._timed("GET", self._kept, None)
            alone = HTTPConnection("127.0.0.1", self._port, timeout=30)
            self._timed("PUT", alone, {"initiator_addr_list": [f"10.0.0.{count % 250 + 1}"]})
            alone.close()
        self._kept.close()

    def _timed(self, method: str, http: HTTPConnection, body: object) -> None:
        headers = {"Content-Type": "application/json"} if body else {}
        started = time.monotonic()
        http.request(method, self._path, json.dumps(body) if body else None, headers)
        answer = http.getresponse()
        answer.read()
        self.took[method].append(time.monotonic() - started)
        assert answer.status == 200

    def slowest(self) -> float:
        """The 99th of 100, of reads or of writes."""
        return max(sorted(took)[int(0.99 * (len(took) - 1))] for took in self.took.values())


@dataclass
class Siege:
    """One service, attacked again and again; `at_rest` is its resident memory before, in KiB."""

    storlever: StorLever
    target: str
    daemon: int
    at_rest: int = 0
    slowest: float = 0
    growth: int = 0
    errors: list[BaseException] = field(default_factory=list)

    @classmethod
    def of(cls, storlever: StorLever) -> "Siege":
        daemon = storlever.tgtd_pid()
        assert daemon is not None
        made = cls(storlever, storlever.add_target("iqn.2026-01.test:besieged"), daemon)
        made._warm_up()
        made.at_rest = made.memory("VmRSS")
        return made

    @property
    def port(self) -> int:
        return self.storlever.port

    @property
    def pid(self) -> int:
        assert self.storlever.process is not None
        return self.storlever.process.pid

    def memory(self, which: str) -> int:
        """VmRSS, or VmHWM: the most since the last attack began; in KiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(which))

    @contextmanager
    def attack(self) -> Iterator[None]:
        """Others are served meanwhile; afterwards everything is as it was."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # proc(5): the peak starts anew
        bystander, stop = Bystander(self.port, self.target), threading.Event()
        thread = threading.Thread(target=self._noting, args=(bystander.run, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert self.errors == []
        self.slowest = bystander.slowest()
        self.growth = self.memory("VmHWM") - self.at_rest
        self._require_unharmed()

    def report(self, torture: Torture, **more: object) -> None:
        torture.figure(p99=f"{self.slowest:.3f} s", grown=f"{self.growth >> 10} MiB", **more)

    def wait_until_gone(self, peers: set[int]) -> float:
        """Until the service has closed its connections with these ports; the seconds it took."""
        started = time.monotonic()
        wait_until(lambda: not self._connected() & peers, GONE)
        return time.monotonic() - started

    def _noting(self, run: Callable[[threading.Event], None], stop: threading.Event) -> None:
        try:
            run(stop)
        except BaseException as error:  # noqa: BLE001  it is raised where it is read
            self.errors.append(error)

    def _require_unharmed(self) -> None:
        assert self.slowest < SOON
        assert self.growth < GROWTH, f"{self.growth} KiB more at the worst moment"
        assert self.storlever.tgtd_pid() == self.daemon
        assert self.storlever.http.get("/readyz").status_code == 200
        log = self.storlever.log.read_text()
        assert "Traceback" not in log, log[log.index("Traceback") - 200 :][:4000]

    def _warm_up(self) -> None:
        """What is made once and kept, such as the OpenAPI document, is no growth."""
        for path in (b"/openapi.json", b"/docs/assets/swagger-ui.css", b"/none"):
            exchange(self.port, get(path))
        exchange(self.port, post(b'{"iqn": 1}'.ljust(1 << 20)))
        bystander, stop = Bystander(self.port, self.target), threading.Event()
        stop.set()
        bystander.run(stop)

    def _connected(self) -> set[int]:
        """The ports of those whose connections are not closed here (proc(5): the local address
        is column 1, the other's 2, the state 3)."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {
            int(row[2].partition(":")[2], 16)
            for row in rows
            if int(row[1].partition(":")[2], 16) == self.port and row[3] in ("01", "08")
        }
