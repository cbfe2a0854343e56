"""What StorLever says to tgtd cannot harm it, whatever StorLever is told to say; and no answer of
tgtd, however wrong, does more to StorLever than to be of no use."""

import os
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from storlever.backing import BackingStore, Kind, Machine
from storlever.change import AccountChange, Change, EndSessions, TargetChange
from storlever.errors import Conflict, Refused, StorLeverError, Unavailable
from storlever.knowledge import Knowledge
from storlever.model import BLOCK
from storlever.observed import Observed
from storlever.passes import Passes
from storlever.territory import Territory
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.life import Peer
from storlever.tgtd.process import AttachedTgtd
from storlever.tgtd.reply import Reply
from storlever.tgtd.transport import SocketTransport
from storlever.tgtd.wire import Device, Mode, Op, Request
from storlever.twins import MemoryNotes
from tests.backends import Exchanging, apply
from tests.torture.machine.drawn import Draw
from tests.torture.machine.proc import sample
from tests.torture.rig import Torture, runs
from tests.torture.tgtd.frames import WORDS, require_harmless
from tests.torture.tgtd.garbled import Garbler
from tests.torture.tgtd.liar import liar, lie
from tests.torture.tgtd.mimic import Mimic, recorded
from tests.torture.tgtd.senseless import NUMBERS, Senseless, words
from tests.world import NOTHING_PRIVATE, Tgtd

KEYS = (
    *("user", "password", "targetname", "initiator-address", "initiator-name", "path", "bstype"),
    *("scsi_id", "scsi_sn", "online", "mode_page", "state", "State", "bsopts", "debug", "tid"),
    *("RedirectCallback", "RedirectAddress", "", "user=root,password"),
)
MEMORY = 32 << 10
"""KiB that the longest answers may take."""
HASTE = 0.1
"""Seconds to wait for what never comes."""
PLENTY = 2000
"""Tries after which everything has come to pass at least once."""
MOST_IN_DISCOVERY = 16
KINDS = (*get_args(AccountChange), *get_args(TargetChange))
TEXT = b"System:\n    State: ready\n    debug: off\n\0"
AT_ONCE = 5.0
"""Seconds within which a busy machine has understood an answer, or seen that there is no sense."""


# -- what is said


class Scribe(Exchanging):
    """A transport that looks at every frame and answers at random."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.frames = 0

    def exchange(self, request: Request, *, pid: int | None = None) -> Reply:
        assert pid is None
        require_harmless(request.frame)
        self.frames += 1
        if self._chance.random() < 0.3:
            return Reply(self._chance.randrange(40))
        return Reply(0, words(self._chance))

    def ensure(self) -> Peer:
        return Peer(1, 1)

    def hole(self, _pid: int) -> str | None:
        return None


class Anywhere(Machine):
    """Every path leads to a file, the longer the larger."""

    def look(self, path: str) -> BackingStore:
        return BackingStore(Kind.FILE, "file", len(path) * BLOCK)

    def identity(self, path: str) -> str | None:
        return "file" if path else None


@runs(push=10_000, release=100_000)
def test_nothing_that_can_be_said_to_tgtd_harms_it(root: Path, torture: Torture) -> None:
    """Requests of any shape, and changes of any content: a frame that is harmless, or a typed
    error and no frame at all."""
    chance, scribe, seen = torture.chance, Scribe(torture.chance), Counter[str]()
    backend = TgtdBackend(scribe, scribe, Anywhere(Territory(root)))
    senseless = Senseless(chance, root, hostility=0.5)
    for _ in range(torture.runs):
        try:
            scribe.exchange(_any_request(chance))
        except ValueError:
            seen["requests_refused"] += 1
        change = senseless.change(Observed())
        try:
            apply(backend, change)
        except (Refused, Conflict, Unavailable):
            seen["changes_refused"] += 1
    assert min(seen.values()) > torture.runs // 10
    assert scribe.frames > torture.runs // 10
    torture.figure(frames=scribe.frames, **seen)


def _any_request(chance: random.Random) -> Request:
    """Half of them of a shape that there is, with numbers and words that may make no sense."""
    mode, op = int(chance.choice(list(Mode))), int(chance.choice(list(Op)))
    keys = chance.sample(KEYS, chance.choice((0, 1, 1, 2, 3)))
    if chance.random() < 0.5:
        (mode, op), known = chance.choice([(shape, sorted(WORDS[shape])) for shape in WORDS])
        keys = chance.sample(known, chance.randint(0, len(known)))
    values = ("rdwr", "aio", "ssc", "sg", words(chance), words(chance))
    return Request(
        Mode(mode),
        Op(op),
        tid=_number(chance),
        lun=_number(chance),
        sid=_number(chance),
        cid=_number(chance),
        device=chance.choice(list(Device)),
        outgoing=chance.random() < 0.5,
        force=chance.random() < 0.5,
        parameters=tuple((key, chance.choice(values)) for key in keys),
    )


def _number(chance: random.Random) -> int:
    return chance.choice(NUMBERS) if chance.random() < 0.2 else chance.randrange(100)


# -- what is done


class Hand:
    """Changes tgtd as the service does: checked first, known of afterwards, looked at anew when
    an answer shows that what was known is not so."""

    def __init__(self, backend: TgtdBackend) -> None:
        self._backend = backend
        self.seen = self.look()

    def look(self) -> Observed:
        self.seen = self._backend.observe()
        return self.seen

    def change(self, change: Change) -> None:
        """Raises Refused, Conflict."""
        self.seen.check(change)
        self.seen.doubt(change)
        try:
            apply(self._backend, change)
        except Refused as refused:
            if refused.drift:
                self.look()
            raise
        self.seen.apply(change)


@runs(push=10_000, release=100_000)
def test_tgtd_outlives_changes_of_no_sense_in_no_order(tgtd: Tgtd, torture: Torture) -> None:
    chance, transport = torture.chance, SocketTransport(tgtd.socket_path)
    backend = TgtdBackend(transport, AttachedTgtd(transport), NOTHING_PRIVATE)
    first = backend.ensure()
    hand, senseless = Hand(backend), Senseless(chance, tgtd.root, hostility=0.05)
    came, crowd, input_ = Counter[str](), 0, Path(f"/proc/{first.pid}/fd/0").readlink()
    for _ in range(torture.runs):
        change = senseless.change(hand.seen)
        torture.note("change", change=change)
        try:
            hand.change(change)
            came[type(change).__name__] += 1
        except (Refused, Conflict) as refused:
            torture.note("refused", reason=str(refused))
            came["refused"] += 1
        if chance.random() < 0.3:
            hand.look()
        crowd = max(crowd, len(hand.seen.discovery.incoming))
    for mode in ("system", "target", "account", "portal", "lld"):
        assert tgtd.admin("show", mode) or mode == "account"
    assert backend.ensure() == first
    assert Path(f"/proc/{first.pid}/fd/0").readlink() == input_
    if torture.runs >= PLENTY:
        assert came.keys() == {kind.__name__ for kind in KINDS} | {"refused"}
        assert crowd == MOST_IN_DISCOVERY, "tgtd's limit was never met"
    torture.figure(deaths=0, **came)


# -- what is heard


@pytest.mark.usefixtures("quiet")
@runs(push=10_000, release=100_000)
def test_no_answer_of_tgtd_is_worse_than_useless(tgtd: Tgtd, torture: Torture) -> None:
    """Whole passes, over answers that were real before somebody spoilt them; n counts answers."""
    chance, outcomes, slowest = torture.chance, Counter[str](), 0.0
    desired = Draw(chance, tgtd.root).inventory(whole=True)
    mimic = Mimic(chance, recorded(tgtd, desired))
    while mimic.answers < torture.runs:
        backend = TgtdBackend(mimic, mimic, NOTHING_PRIVATE)
        passes = Passes(Knowledge(backend, MemoryNotes()))
        for _ in range(20):
            started = time.monotonic()
            try:
                passes.full(desired)
                backend.familiar(backend.observe())
                for name in desired.targets:
                    passes.known.sessions(name)
                    apply(backend, EndSessions(name, force=True))
                outcomes["understood"] += 1
            except StorLeverError as error:
                outcomes[type(error).__name__] += 1
            slowest = max(slowest, time.monotonic() - started)
            assert slowest < AT_ONCE
    if torture.runs >= PLENTY:
        assert {"understood", "Unavailable", "Untrusted"} <= outcomes.keys()
    torture.figure(passes=outcomes.total(), slowest=round(slowest, 3), **outcomes)


@runs(push=10_000, release=100_000)
def test_no_bytes_on_the_socket_are_worse_than_no_answer(root: Path, torture: Torture) -> None:
    """Too few, too many, too late, or of a length that nobody has: a reply where one is in them,
    else that tgtd is unavailable; in time, and without memory for what was only announced."""
    chance, path, outcomes = torture.chance, root / "socket", Counter[str]()
    patient, hasty = (SocketTransport(str(path), timeout=seconds) for seconds in (AT_ONCE, HASTE))
    garbler, descriptors = Garbler(chance, [TEXT]), sample(os.getpid()).descriptors
    memory = _peak(afresh=True)
    with liar(path) as tell:
        for _ in range(torture.runs):
            told = lie(chance, garbler.garbled(TEXT))
            tell(told)
            started = time.monotonic()
            try:
                reply = (hasty if told.slow else patient).exchange(Request(Mode.SYSTEM, Op.SHOW))
            except Unavailable:
                outcomes["useless"] += 1
                assert told.slow or told.understood() is None
            else:
                outcomes["understood"] += 1
                assert reply == told.understood()
            assert time.monotonic() - started < AT_ONCE
    assert sample(os.getpid()).descriptors == descriptors
    grown = _peak() - memory
    assert grown < MEMORY
    torture.figure(grown_by_kib=grown, **outcomes)


def _peak(*, afresh: bool = False) -> int:
    """The most memory that this process had, in KiB, since that was last counted afresh."""
    if afresh:
        Path("/proc/self/clear_refs").write_text("5")
    [line] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line)
