"""A tgtd that answers what a real one once said, more or less."""

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from storlever.inventory import Inventory
from storlever.knowledge import Knowledge
from storlever.passes import Passes
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.life import Peer
from storlever.tgtd.process import AttachedTgtd
from storlever.tgtd.reply import Arriving, Reply
from storlever.tgtd.show import target_ids
from storlever.tgtd.transport import SocketTransport
from storlever.tgtd.wire import CONTROLLER, EVERY, Mode, Op, Request, TgtError
from storlever.twins import MemoryNotes
from tests.backends import Exchanging
from tests.initiator import Initiator
from tests.torture.tgtd.garbled import Garbler
from tests.world import NOTHING_PRIVATE, Tgtd, image

BUSY = {TgtError.LUN_ACTIVE, TgtError.TARGET_ACTIVE}
OPEN = "iqn.2026-01.foreign:open"
INITIATORS = (
    "iqn.2026-01.test:plain",
    f"x\n    ACL information:\n        ALL\nTarget 77: {OPEN}\n",
    "x\n        IP Address: \nSession: 7\n    Connection: 0\n        Initiator: y",
)

PEER = Peer(1, 1)

Answers = Mapping[Mode, Sequence[bytes]]
"""What a tgtd showed, by what it was asked to show."""


def recorded(tgtd: Tgtd, desired: Inventory) -> Answers:
    """Of a tgtd that has what is desired, and a target besides that gets session after session."""
    transport = SocketTransport(tgtd.socket_path)
    backend = TgtdBackend(transport, AttachedTgtd(transport), NOTHING_PRIVATE)
    Passes(Knowledge(backend, MemoryNotes())).full(desired)
    tgtd.admin("new", "target", "--tid", "77", "-T", OPEN)
    tgtd.admin("bind", "target", "--tid", "77", "-I", "ALL")
    path = str(image(tgtd.root / "open.img", 1))
    tgtd.admin("new", "logicalunit", "--tid", "77", "--lun", "1", "--backing-store", path)
    said: dict[Mode, list[bytes]] = {}
    with ExitStack() as stack:
        for name in INITIATORS:
            stack.enter_context(Initiator(tgtd.portal, OPEN, name=name))
            for request in _shows(transport):
                text = transport.exchange(request).text
                said.setdefault(request.mode, []).append(text.encode() + b"\0")
    return said


SHOWN = (Mode.DRIVER, Mode.SYSTEM, Mode.PORTAL, Mode.ACCOUNT)


def _shows(transport: SocketTransport) -> Iterator[Request]:
    yield from (Request(mode, Op.SHOW) for mode in SHOWN)
    yield Request(Mode.TARGET, Op.SHOW, tid=EVERY)
    for tid in target_ids(transport.exchange(Request(Mode.DRIVER, Op.SHOW)).text).values():
        yield Request(Mode.CONNECTION, Op.SHOW, tid=tid)
        yield Request(Mode.UNIT, Op.STATS, tid=tid, lun=CONTROLLER)


class Mimic(Exchanging):
    """A Transport and a Daemon. It shows what it likes, spoilt or not, and takes most changes."""

    def __init__(self, chance: random.Random, answers: Answers) -> None:
        self._chance = chance
        self._answers = answers
        every = [answer for some in answers.values() for answer in some]
        self._garbler = Garbler(chance, every)
        self.answers = 0
        """How many it gave, besides those to changes."""

    def ensure(self) -> Peer:
        return PEER

    def hole(self, _pid: int) -> str | None:
        return None

    def exchange(self, request: Request, *, pid: int | None = None) -> Reply:
        assert pid in (None, PEER.pid)
        if request.op not in (Op.SHOW, Op.STATS):
            return Reply(self._refusal() if self._chance.random() < 0.1 else 0)
        self.answers += 1
        error = self._refusal() if self._chance.random() < 0.02 else 0
        answer = self._chance.choice(self._answers[request.mode])
        if self._chance.random() < 0.6:
            answer = self._garbler.garbled(answer)
        arriving = Arriving()
        arriving.take(struct.pack("=II", error, 8 + len(answer)) + answer)
        return arriving.reply()

    def _refusal(self) -> int:
        """Not one that is waited for: that costs two seconds."""
        return self._chance.choice([number for number in range(30) if number not in BUSY])
