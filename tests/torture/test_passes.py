"""A full pass directly after a full pass changes nothing, whatever was desired and whatever
somebody else did to tgtd before.

On a real tgtd; what counts is not what a pass says of itself, but what reaches the daemon.
"""

import logging
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from storlever.enforcer import Enforcer
from storlever.errors import Conflict
from storlever.inventory import Edit, Inventory
from storlever.knowledge import Knowledge
from storlever.model import DiscoveryAuth
from storlever.passes import Passes
from storlever.plan import Scope
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.process import AttachedTgtd
from storlever.tgtd.transport import Awaited, SocketTransport, Transport
from storlever.tgtd.wire import Op, Request
from storlever.twins import MemoryNotes
from tests.torture.machine.drawn import Draw, missing
from tests.torture.rig import Torture, runs
from tests.torture.tgtd.meddler import Meddler
from tests.world import NOTHING_PRIVATE, Tgtd

ROADS = ("write", "meddling", "meddling", "new service", "new tgtd")


class Recorder(Transport):
    """A transport that counts what was asked for besides looks."""

    def __init__(self, transport: SocketTransport) -> None:
        self._transport = transport
        self.asked: list[Request] = []

    def send(self, request: Request, *, pid: int | None = None) -> Awaited:
        if request.op is not Op.SHOW:
            self.asked.append(request)
        return self._transport.send(request, pid=pid)


class House:
    """Passes on a real tgtd, in which somebody else has a target too."""

    def __init__(self, tgtd: Tgtd, torture: Torture) -> None:
        self._tgtd = tgtd
        self._chance = torture.chance
        self._note = torture.note
        self._draw = Draw(torture.chance, tgtd.root)
        self._meddler = Meddler(tgtd, torture.chance, tgtd.root)
        self._meddler.settle_in()
        self._notes = MemoryNotes()
        self.desired = Inventory()
        self.taken: Counter[str] = Counter()
        self.changes = 0
        self._move_in()

    def _move_in(self) -> None:
        transport = SocketTransport(self._tgtd.socket_path)
        self._recorder = Recorder(transport)
        self.backend = TgtdBackend(self._recorder, AttachedTgtd(transport), NOTHING_PRIVATE)
        self._passes = Passes(Knowledge(self.backend, self._notes))
        self._enforcer = Enforcer(self._passes)
        self._passes.full(self.desired)

    # -- how it comes that a pass has something to do

    def go_on(self) -> None:
        road = self._chance.choice(ROADS)
        self._note("road", road=road)
        match road:
            case "write":
                self._write(self._draw.inventory(whole=True))
            case "meddling":
                for _ in range(self._chance.randint(1, 4)):
                    words = self._meddler.meddle(self.backend.observe())
                    self._note("meddles", words=words)
            case "new service":
                self._move_in()
            case "new tgtd":
                self.desired = self._draw.inventory(whole=False)
                self._tgtd.kill()
                self._tgtd.start()
                self._meddler.settle_in()
        self.taken[road] += 1

    def _write(self, new: Inventory) -> None:
        """From one inventory to the other as one edit; one of a user that is theirs as well by
        now is refused."""
        old = self.desired
        edit = Edit(
            dict.fromkeys(old.targets) | dict(new.targets),
            dict.fromkeys(old.accounts) | dict(new.accounts),
            new.discovery,
        )
        scope = Scope.of(edit, old, new)
        try:
            self._enforcer.enforce(old, new, scope)
        except Conflict as conflict:
            if conflict.code != "user-foreign":
                raise
            self.taken["refused"] += 1
            return
        self._enforcer.finish()
        self.desired = new

    # -- and what must be true of it

    def require_right(self) -> None:
        theirs = self._meddler.own_block()
        self.changes += self._asked_by_a_pass()
        self._require_as_desired()
        assert self._asked_by_a_pass() == 0, self._recorder.asked
        assert self._meddler.own_block() == theirs
        assert self._tgtd.alive

    def _asked_by_a_pass(self) -> int:
        self._recorder.asked.clear()
        changes = self._passes.full(self.desired)
        asked = len(self._recorder.asked)
        self._note(
            "pass", changes=changes, asked=asked, failures=list(self._passes.known.failures.items())
        )
        assert len(self._passes.known.failures) == missing(self.desired)
        assert bool(asked) == (changes > missing(self.desired))
        return asked

    def _require_as_desired(self) -> None:
        """Seen with no plan's eyes."""
        seen = self.backend.observe()
        for name, target in self.desired.targets.items():
            found = seen.targets[name]
            assert found.ready is target.online
            assert set(found.acl) == set(target.access.entries)
            assert set(found.bindings.incoming) == set(target.slots)
            assert found.bindings.outgoing == target.outgoing
            there = {unit.lun for unit in target.units}
            assert {unit.lun for unit in found.units} <= there
        assert set(self.desired.accounts) <= seen.accounts.keys()
        if self.desired.discovery != DiscoveryAuth():
            assert seen.discovery.incoming == self.desired.discovery.slots


@pytest.fixture
def quiet() -> Iterator[None]:
    """What fails is for the history to tell, not for a log in between."""
    level = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=level)
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("quiet")
@runs(push=300, release=5000)
def test_a_full_pass_after_a_full_pass_asks_tgtd_for_nothing(tgtd: Tgtd, torture: Torture) -> None:
    house = House(tgtd, torture)
    for _ in range(torture.runs):
        house.go_on()
        house.require_right()
    assert house.changes > 0
    torture.figure(**house.taken, requests_of_first_passes=house.changes, of_second_ones=0)
