"""A long life costs no more than a short one: over thousands of writes of every kind, descriptors
and threads of service and tgtd stay as many as they were, and memory does not grow.

Writers pause now and then and remove all they have, so that equal things are compared.
"""

import json
import threading
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import linear_regression, mode
from typing import Any

from storlever.events import MOST
from storlever.web.san import PREFIX
from tests.torture.clients.writers import STILL, Writer, Writers
from tests.torture.machine.proc import Sample, sample
from tests.torture.rig import Torture, runs
from tests.torture.truth.facts import NOTHING
from tests.world import StorLever, wait_until

LOOKS = 20
WRITERS = 4
LONGEST = 600.0
"""Seconds that writes may take, from one look to the next."""
MOST_THREADS = 2 + 1 + WRITERS + 1
"""The first one, the loop, the one that writes, and one for each client that reads at a time, of
which the test itself is one."""
MOST_GROWTH = 1024
"""KiB by which the service may grow over the second half of the run, in which memory has settled,
as a straight line has it; however long that half is."""
MOST_LOST = 0.12
"""KiB by which tgtd may grow with a write. It (1.0.85) loses some 50 bytes with a CHAP login,
and 500 with a LUN that it refuses."""


def ask(port: int, method: str, path: str, body: Any = None) -> int:
    """The status of the answer to a request on a connection of its own."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as http:
        headers = {"Content-Type": "application/json"} if body else {}
        http.request(method, PREFIX + path, json.dumps(body) if body else None, headers)
        answer = http.getresponse()
        answer.read()
        return answer.status


TARGET = f"/target_list/{STILL}"
LUNS, LUN = f"{TARGET}/lun_list", f"{TARGET}/lun_list/1"

RARER: tuple[tuple[str, str, Any, int], ...] = (
    ("PUT", TARGET, {"initiator_name_list": ["iqn.2026-01.test:some"]}, 200),
    ("PUT", TARGET, {"initiator_name_list": []}, 200),
    ("PUT", LUN, {"scsi_id": "one", "scsi_sn": "ONE"}, 200),
    ("PUT", LUN, {"scsi_id": "two", "scsi_sn": "TWO"}, 200),
    ("PUT", LUN, {"device_type": "cd"}, 200),
    ("PUT", LUN, {"device_type": "disk", "bs_type": "aio"}, 200),
    ("PUT", LUN, {"bs_type": "rdwr"}, 200),
    ("POST", LUNS, {"lun": 9, "path": "/none"}, 422),
    ("POST", LUNS, {"lun": 9, "path": "/sys/power/state"}, 422),
    ("POST", LUNS, {"lun": 1, "path": "/none"}, 409),
    ("POST", "/target_list", {"iqn": "not one"}, 422),
    ("POST", "/target_list", {"iqn": STILL}, 409),
    ("PUT", f"{TARGET}0", {"state": "offline"}, 404),
    ("GET", "/target_list/", None, 404),
)
"""What the writers do not ask for, with the answers: changes that lead back to where they
started, and what is refused by the API, by what is there, or by tgtd."""


class Tinkerer:
    """A client that asks for all of that again and again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked = 0
        self.odd: list[object] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(0.1):
            for method, path, body, expected in RARER:
                status = ask(self._port, method, path, body)
                self.asked += 1
                if status != expected:
                    self.odd.append((method, path, body, status))


class Watch:
    """Service and tgtd, looked at when they have nothing to do and nothing to keep."""

    def __init__(self, storlever: StorLever, torture: Torture) -> None:
        assert storlever.process is not None
        daemon = storlever.tgtd_pid()
        assert daemon is not None
        self.pids = {"service": storlever.process.pid, "tgtd": daemon}
        self.writers = Writers(storlever, torture, WRITERS)
        self.tinkerer = Tinkerer(storlever.port)
        self._port = storlever.port
        self._ports = {storlever.port, int(storlever.portal.rpartition(":")[2])}
        self._written: list[int] = []
        self._samples: dict[str, list[Sample]] = {name: [] for name in self.pids}

    def write(self, until: int) -> None:
        with self.writers.writing(self.tinkerer):
            wait_until(lambda: self.writers.answered >= until or self.writers.cut_off, LONGEST)
        assert self.tinkerer.odd == []
        assert self.writers.cut_off == 0

    def look(self) -> None:
        for client in self.writers.clients:
            self._empty(client)
        self.writers.leave()
        wait_until(lambda: not connected(self._ports))
        self._written.append(self.writers.answered)
        for name, pid in self.pids.items():
            self._samples[name].append(self._sample(pid, self._samples[name][:1]))

    @staticmethod
    def _sample(pid: int, first: list[Sample]) -> Sample:
        """Equal to the first in descriptors, but for those of a look of the service at tgtd, which
        come and go."""
        if not first:
            usual = mode(sample(pid).descriptors for _ in range(25))
        else:
            usual = first[0].descriptors
        try:
            wait_until(lambda: sample(pid).descriptors == usual, 5)
        except AssertionError:
            raise AssertionError(f"{sample(pid)} came of {first}") from None
        return sample(pid)

    def _empty(self, client: Writer) -> None:
        gone = {str(fact[1]) for fact in client.now if fact[0] == "target"}
        for name in sorted(gone):
            assert ask(self._port, "DELETE", f"/target_list/{name}?force=true") == 200
        if client.number == 0:
            nobody = {"incomingdiscoveryuser": "", "outgoingdiscoveryuser": ""}
            assert ask(self._port, "PUT", "/conf", nobody) == 200
        client.now = NOTHING

    def require_flat(self) -> None:
        threads = {name: {each.threads for each in seen} for name, seen in self._samples.items()}
        assert max(threads["service"]) <= MOST_THREADS
        assert len(threads["tgtd"]) == 1
        assert self.growth("service") <= MOST_GROWTH, self._samples["service"]
        lost = self.growth("tgtd") / (self._written[-1] - self._written[self._half])
        assert lost <= MOST_LOST, self._samples["tgtd"]

    def latest(self) -> dict[str, Sample]:
        return {name: seen[-1] for name, seen in self._samples.items()}

    def growth(self, name: str) -> float:
        """KiB over the second half of the run."""
        at = self._written[self._half :]
        had = [each.resident for each in self._samples[name][self._half :]]
        return linear_regression(at, had).slope * (at[-1] - at[0])

    @property
    def _half(self) -> int:
        return len(self._written) // 2


def fill_with_events(port: int) -> None:
    """What happened of late is kept: memory settles once that is full."""
    for number in range(MOST):
        body = {"initiator_name_list": [f"iqn.2026-01.test:{number}"]}
        assert ask(port, "PUT", TARGET, body) == 200
    assert ask(port, "PUT", TARGET, {"initiator_name_list": []}) == 200


def connected(ports: set[int]) -> bool:
    """Whether somebody still has a TCP connection that was accepted at one of these ports."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    held = ("01", "08")  # established, or ended by the other side alone
    return any(int(row[1].partition(":")[2], 16) in ports and row[3] in held for row in rows)


@runs(push=10_000, release=100_000)
def test_descriptors_threads_and_memory_stay_flat_over_writes_of_every_kind(
    storlever: StorLever, torture: Torture
) -> None:
    watch = Watch(storlever, torture)
    fill_with_events(storlever.port)
    for number in range(1, LOOKS + 1):
        watch.write(number * max(torture.runs // LOOKS, 1))
        watch.look()
        torture.note("looked", samples=watch.latest())
    watch.require_flat()
    torture.figure(
        writes=watch.writers.answered,
        others=watch.tinkerer.asked,
        **{f"{name}_grew": f"{watch.growth(name):.0f} KiB" for name in watch.pids},
        **{f"{name}_now": seen for name, seen in watch.latest().items()},
    )
