"""Hosts read and write on four targets while everything around them changes, and notice nothing.

Target A is left alone. B, C and D get users, other access lists and other LUNs beside the one that
is in use. All the others come and go, are forced, and are full of users. The service is restarted
or killed every few seconds.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.system.furnished import service, tgtds_of
from tests.torture.clients.host import Host, Login
from tests.torture.clients.tenant import LUNS, Move
from tests.torture.clients.writers import Writer, Writers
from tests.torture.rig import Torture, runs
from tests.torture.truth import facts
from tests.world import StorLever, Tgtd

A = "iqn.2026-01.test:a"
NEIGHBOUR = 9
NEIGHBOURS = tuple(f"iqn.2026-01.test:{NEIGHBOUR}.{at}" for at in range(3))
CLIENTS = 6
"""Of three targets each."""
LUN = max(LUNS) + 1
CONVERGED = 5.0
"""Seconds that are promised."""


class Neighbour(Writer):
    """Changes nothing that a host with a session on LUN 3 of its targets could notice.

    Every LUN that comes or goes is a unit attention for the host, and qemu fails a command that
    meets more than seven in a row; so each change waits until the host has asked something since.
    """

    def __init__(self, storlever: StorLever, torture: Torture, hosts: dict[str, Host]) -> None:
        super().__init__(NEIGHBOUR, storlever, torture)
        self.now = frozenset(filter(self.owns, facts.in_the_store(storlever.state)))
        self.before = lambda name: hosts[name].require_work()

    def _moves(self, name: str) -> list[Move]:
        return [move for move in super()._moves(name) if move.closes is None]


class Street:
    """A service with four targets in use, and all who change something."""

    def __init__(self, storlever: StorLever, torture: Torture, stack: ExitStack) -> None:
        self.storlever = storlever
        self._torture = torture
        hosts = {A: self._host(0, A)}
        self.writers = Writers(storlever, torture, CLIENTS)
        hosts |= {name: self._host(at, name) for at, name in enumerate(NEIGHBOURS, 1)}
        self.writers.clients.append(Neighbour(storlever, torture, hosts))
        self.hosts = [stack.enter_context(host) for host in hosts.values()]
        self._sessions = self._shown()

    def _host(self, number: int, name: str) -> Host:
        storlever = self.storlever
        login = Login(storlever.portal, name, LUN, f"iqn.2026-01.test:host{number}")
        file = storlever.root / f"host{number}.img"
        host = Host(number, login, file, self._torture.chance)
        storlever.add_lun(storlever.add_target(name), LUN, file)
        return host

    def _shown(self) -> dict[str, Any]:
        names = (A, *NEIGHBOURS)
        return {name: self.storlever.get(f"/target_list/{name}")["session_list"] for name in names}

    def require_undisturbed(self) -> None:
        """The very sessions that were there at first, one of each host."""
        shown = self._shown()
        assert shown == self._sessions
        assert all(len(sessions) == 1 for sessions in shown.values())
        for host in self.hosts:
            host.require_work()


@contextmanager
def own(root: Path) -> Iterator[StorLever]:
    with service(root) as storlever:
        yield storlever


@contextmanager
def attached(root: Path) -> Iterator[StorLever]:
    daemon = Tgtd(root)
    try:
        daemon.start()
        with service(root, tgtd="attach", portal=daemon.portal) as storlever:
            yield storlever
    finally:
        daemon.kill()


def end(storlever: StorLever, *, gently: bool) -> str:
    """Kill it, or stop it where that leaves tgtd alone."""
    if gently and storlever.settings["tgtd"] == "attach":
        assert storlever.stop() == 0
        return "stopped"
    storlever.kill()
    return "killed"


@runs(push=30, release=3600)
@pytest.mark.parametrize("home", [own, attached])
def test_no_host_notices_what_is_done_around_it(
    root: Path, torture: Torture, home: Callable[[Path], AbstractContextManager[StorLever]]
) -> None:
    ended: Counter[str] = Counter()
    with home(root) as storlever:
        daemon = storlever.start().tgtd_pid()
        with ExitStack() as stack:
            street = Street(storlever, torture, stack)
            writers = street.writers
            over = time.monotonic() + torture.runs
            while time.monotonic() < over:
                with writers.writing():
                    time.sleep(torture.chance.uniform(0.5, 4))
                    how = end(storlever, gently=ended.total() % 2 == 0)
                ended[how] += 1
                torture.note(how, answered=writers.answered)
                storlever.start()
                truth = writers.settle()
                street.require_undisturbed()
            writers.require_told(truth, CONVERGED)
            writers.leave()
            assert tgtds_of(storlever) == [daemon]
    commands = sum(host.tally.commands for host in street.hosts)
    assert commands > 100 * torture.runs
    assert writers.answered > 10 * torture.runs
    torture.figure(
        commands=commands,
        megabytes=sum(host.tally.moved for host in street.hosts) >> 20,
        writes=writers.answered,
        refused=len([text for client in writers.clients for text in client.errors]),
        **ended,
        io_errors=0,
        wrong=0,
        sessions_lost=0,
        longest_gap=f"{max(host.gap() for host in street.hosts):.2f} s",
    )
