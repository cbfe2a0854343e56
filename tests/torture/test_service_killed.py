"""kill -9 of the service in the middle of eight writing clients, again and again.

An answered write is there, in the state file, in the API and in tgtd; one that was not answered is
there whole or not at all. Somebody else's target, and a session with one of ours, notice nothing.
"""

import time
from pathlib import Path

from tests.system.furnished import service, tgtds_of
from tests.torture.clients.writers import CLIENTS, Guests, Writers
from tests.torture.machine.proc import starved
from tests.torture.rig import Torture, runs
from tests.world import StorLever

READY_AGAIN, CONVERGED = 3.0, 5.0
"""Seconds from its start that are promised, of a machine that has a processor for the service:
time in which it only waits for one does not count."""


def killed(storlever: StorLever, writers: Writers, seconds: float) -> None:
    """After this time."""
    with writers.writing():
        time.sleep(seconds)
        storlever.kill()


def restarted(storlever: StorLever) -> float:
    """How long it took until it was ready."""
    started = time.monotonic()
    storlever.start()
    assert storlever.process is not None
    return time.monotonic() - started - starved(storlever.process.pid)


@runs(push=30, release=1000)
def test_no_answered_write_is_lost_and_none_is_there_half_when_the_service_is_killed(
    root: Path, torture: Torture
) -> None:
    slowest = 0.0
    with service(root) as storlever:
        daemon = storlever.start().tgtd_pid()
        writers = Writers(storlever, torture)
        with Guests(storlever) as guests:
            for number in range(torture.runs):
                killed(storlever, writers, torture.chance.uniform(0.05, 1.2))
                ready = restarted(storlever)
                torture.note("restarted", number=number, ready=ready)
                assert ready <= READY_AGAIN
                slowest = max(slowest, ready)
                truth = writers.settle()
                writers.require_told(truth, CONVERGED - ready)
                writers.require_passwords(truth)
                guests.require_undisturbed()
            assert tgtds_of(storlever) == [daemon]
        writers.require_writes(CONVERGED)
        writers.leave()
    assert writers.refusals == []
    assert writers.answered > torture.runs * CLIENTS
    torture.figure(
        answered=writers.answered,
        cut_off=writers.cut_off,
        of_them_done=writers.done_unanswered,
        lost=0,
        half=0,
        slowest_restart=f"{slowest:.2f} s",
    )
