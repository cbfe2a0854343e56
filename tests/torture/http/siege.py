"""What must hold while a service is under attack: others are served, memory stays bounded."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from storlever.clock import now
from storlever.home import Home
from storlever.principal import Role
from storlever.store import SqliteStore
from storlever.token import Token, digest
from storlever.web.san import PREFIX
from tests.keys import keys_in
from tests.torture.http.onthewire import TOKEN, exchange, get, post
from tests.torture.machine.proc import starved
from tests.torture.rig import Torture
from tests.world import StorLever, wait_until

SOON = 1.0
"""Seconds within which 99 of 100 requests of others are answered."""
GONE = 15.0
"""Seconds after which no connection of an attacker is left, whatever it does. Neither counts the
time for which the service was ready to run and others had the processors."""
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
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if body:
            headers["Content-Type"] = "application/json"
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

    @classmethod
    def begun(cls, root: Path) -> "Siege":
        """Of a new service that asks everybody for a token."""
        storlever = StorLever(root, auth_loopback="token")
        home = Home(storlever.state)
        home.make()
        store = SqliteStore(home.state_file, keys_in(home.folder))
        store.commit(store.load().add_token(Token("siege", Role.OPERATOR, digest(TOKEN), now())))
        store.close()
        storlever.http.headers["Authorization"] = f"Bearer {TOKEN}"
        return cls.of(storlever.start())

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
    def attack(self, torture: Torture) -> Iterator[None]:
        """Others are served meanwhile; afterwards everything is as it was."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # proc(5): the peak starts anew
        bystander, stop = Bystander(self.port, self.target), threading.Event()
        started, starved_before = time.monotonic(), starved(self.pid)
        with ThreadPoolExecutor(1) as beside:
            served = beside.submit(bystander.run, stop)
            try:
                yield
            finally:
                stop.set()
        served.result()
        had = 1 - (starved(self.pid) - starved_before) / (time.monotonic() - started)
        self._judge(torture, bystander.slowest(), had, self.memory("VmHWM") - self.at_rest)

    def wait_until_gone(self, peers: set[int]) -> float:
        """Until the service has closed its connections with these ports; the seconds it took."""
        started, starved_before = time.monotonic(), starved(self.pid)
        wait_until(lambda: not self._connected() & peers, 4 * GONE)
        took = time.monotonic() - started
        assert took - (starved(self.pid) - starved_before) < GONE
        return took

    def _judge(self, torture: Torture, slowest: float, had: float, growth: int) -> None:
        """`had`: the part of the time in which the service, if it had to, could run."""
        told = torture.figures
        told["p99"] = max(told.get("p99", 0), round(slowest, 3))
        told["grown_kib"] = max(told.get("grown_kib", 0), growth)
        assert slowest * had < SOON
        assert growth < GROWTH, f"{growth} KiB more at the worst moment"
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
