"""tgtd is killed, or stands still, under the load of clients that read and write.

Every request is answered in time, and says the truth: done, or not now. Afterwards all that was
answered is in force again, nothing is there half, and no thread of the service is stuck.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from storlever.web.san import PREFIX
from tests.system.furnished import service, tgtds_of
from tests.torture.clients.writers import CLIENTS, STILL, Guests, Tally, Writers
from tests.torture.machine.proc import sample
from tests.torture.rig import Torture, runs
from tests.world import StorLever, Tgtd, wait_until

ANSWERED, CONVERGED = 5.0, 5.0
"""Seconds that are promised: for an answer, and for all to be in force again."""
GIVEN_UP = 3.5
"""Seconds after which the service knows that tgtd hangs."""
READERS = 3
MOST_THREADS = 2 + CLIENTS + 1
"""The first one, the loop, one for each client, and one for the test itself."""

READS = (
    PREFIX + "/conf",
    PREFIX + "/target_list",
    PREFIX + f"/target_list/{STILL}",
    PREFIX + f"/target_list/{STILL}/lun_list",
    "/readyz",
)


@dataclass
class Reader:
    """A client that reads what is always there, one connection a round."""

    port: int
    tally: Tally = field(default_factory=Tally)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            http = HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                for path in READS:
                    self._read(http, path)
            finally:
                http.close()

    def _read(self, http: HTTPConnection, path: str) -> None:
        started = time.monotonic()
        status = None
        try:
            http.request("GET", path)
            answer = http.getresponse()
            answer.read()
            status = answer.status
        except (OSError, HTTPException):
            http.close()
        self.tally.add(status, time.monotonic() - started)


class Siege:
    """A service whose tgtd has a hard life, and the clients that stay with it."""

    def __init__(self, storlever: StorLever, torture: Torture) -> None:
        self.storlever = storlever
        self.torture = torture
        # Nobody logs in: an initiator would stand still with tgtd, and not write.
        self.writers = Writers(storlever, torture, CLIENTS - READERS, sociable=False)
        self.readers = [Reader(storlever.port) for _ in range(READERS)]
        self.slowest = 0.0

    @contextmanager
    def load(self) -> Iterator[None]:
        """Not ended before tgtd serves again, which must be soon."""
        with self.writers.writing(*self.readers):
            self.pause(0.05, 0.6)  # the random moment
            yield
            self.pause(0, 0.3)

    def pause(self, least: float, most: float) -> None:
        time.sleep(self.torture.chance.uniform(least, most))

    def tgtd_pid(self) -> int:
        pid: int = wait_until(self.storlever.tgtd_pid, CONVERGED)
        return pid

    def require_ready(self, since: float) -> None:
        left = since + CONVERGED - time.monotonic()
        wait_until(lambda: self.storlever.answers(ready=True), left)

    def require_well(self, since: float) -> None:
        """All is in force again within 5 s `since` then, and all was answered on the way."""
        truth = self.writers.settle()
        self.writers.require_told(truth, since + CONVERGED - time.monotonic())
        self.slowest = max(self.slowest, time.monotonic() - since)
        self.require_answers()
        self.writers.require_passwords(truth)
        self.writers.require_writes(1.0)
        assert self.storlever.process is not None
        assert sample(self.storlever.process.pid).threads <= MOST_THREADS

    @property
    def refusals(self) -> int:
        """Writes that were told to come again."""
        return sum(client.tally.statuses[503] for client in self.writers.clients)

    @property
    def slowest_answer(self) -> float:
        tallies = [client.tally for client in self.writers.clients]
        tallies += [reader.tally for reader in self.readers]
        return max(tally.slowest for tally in tallies)

    def require_answers(self) -> None:
        assert self.slowest_answer <= ANSWERED
        for writer in self.writers.clients:
            assert writer.tally.statuses.keys() <= {200, 201, 409, 503}, writer.tally
        for reader in self.readers:
            assert reader.tally.statuses.keys() <= {200, 503}, reader.tally

    def figure(self) -> None:
        self.writers.leave()
        assert self.writers.answered > self.torture.runs
        self.torture.figure(
            writes=self.writers.answered,
            reads=sum(reader.tally.done for reader in self.readers),
            refused=self.refusals,
            conflicts=sum(client.tally.statuses[409] for client in self.writers.clients),
            slowest_answer=f"{self.slowest_answer:.2f} s",
            slowest_recovery=f"{self.slowest:.2f} s",
            lost=0,
            half=0,
        )


def another_one(siege: Siege, killed: int) -> Callable[[], bool]:
    return lambda: siege.storlever.tgtd_pid() not in (None, killed)


@runs(push=10, release=150)
def test_all_is_in_force_again_within_5_seconds_when_tgtd_is_killed(
    root: Path, torture: Torture
) -> None:
    with service(root) as storlever:
        siege = Siege(storlever.start(), torture)
        for number in range(torture.runs):
            with siege.load():
                for _ in range(torture.chance.choice((1, 1, 2))):  # also in its first moments
                    pid = siege.tgtd_pid()
                    if torture.chance.random() < 0.25:  # also one that hangs
                        os.kill(pid, signal.SIGSTOP)
                        siege.pause(0, 4)
                    os.kill(pid, signal.SIGKILL)
                    died = time.monotonic()
                    torture.note("killed", number=number, pid=pid)
                    wait_until(another_one(siege, pid), CONVERGED)
                siege.require_ready(died)
            siege.require_well(died)
            assert tgtds_of(storlever) == [storlever.tgtd_pid()]
        siege.figure()


@runs(push=10, release=150)
def test_nothing_hangs_while_tgtd_stands_still_and_all_is_in_force_when_it_goes_on(
    root: Path, torture: Torture
) -> None:
    with service(root) as storlever:
        siege = Siege(storlever.start(), torture)
        pid = siege.tgtd_pid()
        with Guests(storlever) as guests:
            for number in range(torture.runs):
                seconds = torture.chance.uniform(*torture.chance.choice(((0.2, 3), (4, 7))))
                refused = siege.refusals
                with siege.load():
                    torture.note("stopped", number=number, seconds=seconds)
                    os.kill(pid, signal.SIGSTOP)
                    try:
                        time.sleep(seconds)
                    finally:
                        os.kill(pid, signal.SIGCONT)
                    went_on = time.monotonic()
                    siege.require_ready(went_on)
                siege.require_well(went_on)
                assert seconds < GIVEN_UP or siege.refusals > refused
                guests.require_undisturbed()
            assert tgtds_of(storlever) == [pid]
        siege.figure()


@runs(push=5, release=50)
def test_all_is_in_force_again_within_5_seconds_when_somebody_restarts_an_attached_tgtd(
    tgtd: Tgtd, torture: Torture
) -> None:
    with service(tgtd.root, tgtd="attach", portal=tgtd.portal) as storlever:
        siege = Siege(storlever.start(), torture)
        for number in range(torture.runs):
            with siege.load():
                tgtd.kill()
                torture.note("killed", number=number)
                siege.pause(0, 2)
                tgtd.start()
                answers = time.monotonic()
                siege.require_ready(answers)
            siege.require_well(answers)
        siege.figure()
