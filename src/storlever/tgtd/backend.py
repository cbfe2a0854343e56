"""Changes to requests, answers to errors: the Backend that stands on a running tgtd.

The numbers tgtd gives to targets live and die here: elsewhere a target is known by its name.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Protocol

from storlever import failpoint
from storlever.backing import BackingStore, Unusable
from storlever.change import (
    Admit,
    BindIncoming,
    BindOutgoing,
    Change,
    CreateAccount,
    CreateTarget,
    CreateUnit,
    DeleteAccount,
    DeleteTarget,
    DeleteUnit,
    Deny,
    EndSessions,
    SetReady,
    UnbindIncoming,
    UnbindOutgoing,
    UpdateUnit,
)
from storlever.errors import Refused, Swapped, Unavailable, Unfit, Untrusted
from storlever.model import (
    BLOCK,
    Bindings,
    DeviceType,
    LogicalUnit,
    Place,
    Sample,
    Session,
    sessions_in_the_way,
)
from storlever.observed import ANY, Observed
from storlever.tgtd import show
from storlever.tgtd.conversation import ALONE, Conversation, Talk, Talks
from storlever.tgtd.refusal import ALREADY, TgtRefusal, text_of, translated, unspeakable
from storlever.tgtd.transport import Transport
from storlever.tgtd.unit import DEVICES, Parameters, attributes, completion, creation, ejection
from storlever.tgtd.wire import (
    CONTROLLER,
    EVERY,
    MAX_TID,
    SEGMENT_LENGTH,
    Mode,
    Op,
    Request,
    TgtError,
)

_NAME, _ADDRESS = "initiator-name", "initiator-address"
SEGMENT = (SEGMENT_LENGTH, str(256 << 10))
"""How many bytes a host may send in one piece: as many as tgtd asks for at a time. With tgtd's own
8 KiB, long writes take up to twice the time (docs/performance.md)."""
PATIENCE = 0.001
"""Seconds a target to wait longer for what tgtd (1.0.85) does by looking at every target for each
target: at 10,000 of them, 1 to 2 s that it has for itself."""
BUSY_PATIENCE = 2.0
"""Seconds to wait for commands in flight before a busy unit or target is given up on."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One life of the daemon: process ids come again, so the start time is part of it."""

    pid: int
    started: int

    def __str__(self) -> str:
        """As it stands in the notes, for the next version too."""
        return f"{self.pid} started {self.started}"


class Daemon(Protocol):
    """Finds the daemon, or starts it where it is ours. Raises Unavailable."""

    def ensure(self) -> Peer: ...

    def hole(self, pid: int) -> str | None:
        """What its executable is known to be vulnerable to, as a sentence. Raises nothing."""


class Files(Protocol):
    """The machine's files."""

    def look(self, path: str) -> BackingStore:
        """What is there. Raises Unusable."""

    def identity(self, path: str) -> str | None:
        """What tells this store from others; None where nothing is."""

    def settled(self, path: str) -> bool:
        """Whether nobody else can change what the path leads to."""

    def stores_open(self, pid: int) -> Counter[str] | None:
        """How often a process has each store open, by identity; None where there is no such
        process. Raises Unusable."""

    def room_for_aio(self) -> bool:
        """Whether another aio unit can be made: where not, tgtd (1.0.85) closes a descriptor
        that is not the unit's, and somebody's session with it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a path led to before tgtd was asked to open it; and what tgtd had open, where others can
    change what the path leads to."""

    store: BackingStore
    before: Counter[str] | None


def _a_little() -> None:
    time.sleep(0.005)


class TgtdBackend:
    """A Backend over a transport. Not for two threads at once, but for `sessions`, `sample` and
    `aliases`."""

    def __init__(self, transport: Transport, daemon: Daemon, files: Files) -> None:
        self._transport = transport
        self._daemon = daemon
        self._files = files
        self._pid: int | None = None
        """The process that the numbers below are of: another one must not be asked by them."""
        self._reader = show.TargetReader()
        self._ids: dict[str, int] = {}
        self._last_id = 0
        self._sizes: dict[Place, int | None] = {}
        self._opened: dict[Place, str] = {}
        """The identity of what this tgtd opened for a unit, when we made it do so."""
        self._told: dict[int, tuple[str, tuple[Session, ...]]] = {}
        """What tgtd last said of a target's connections, and what that means."""
        self.portals: tuple[str, ...] = ()
        """Where it serves iSCSI, as HOST:PORT, by the last look."""
        self.hole: str | None = None
        """What this tgtd is known to be vulnerable to."""
        self.stall = 0.0
        """Seconds that tgtd took to print everything, and served nobody."""

    def ensure(self) -> Peer:
        peer = self._daemon.ensure()
        if peer.pid != self._pid:
            self._ids, self._opened, self._told = {}, {}, {}
            self.hole = self._daemon.hole(peer.pid)
        self._pid = peer.pid
        return peer

    # -- looking

    def observe(self) -> Observed:
        """Everything tgtd shows. Raises Unavailable, and Untrusted for a text that is forged."""
        try:
            return self._observe()
        except TgtRefusal as refusal:
            raise Unavailable(f"tgtd does not show what it has: {refusal}") from None
        except show.Forged as forged:
            raise Untrusted(
                f"tgtd's answer cannot be trusted, an initiator's name forges it: {forged}"
            ) from None

    def _observe(self) -> Observed:
        for _ in range(3):
            ids = show.target_ids(self._ask(Request(Mode.DRIVER, Op.SHOW)))
            started = time.monotonic()
            everything = Request(Mode.TARGET, Op.SHOW, tid=EVERY, patience=len(ids) * PATIENCE)
            shown = self._ask(everything)
            self.stall = time.monotonic() - started
            found = self._reader.read(shown, ids)
            if found.keys() == ids.keys():
                break  # else somebody made or removed a target between the two answers
        self._ids = {name: ids[name] for name in found}
        self._last_id = max((self._last_id, *ids.values()))
        self._sizes = {
            (name, unit.lun): self._size(name, unit.lun, unit.backing_path, megabytes[unit.lun])
            for name, (target, megabytes) in found.items()
            for unit in target.units
        }
        self.portals = tuple(sorted(show.portals(self._ask(Request(Mode.PORTAL, Op.SHOW)))))
        return Observed(
            {name: target for name, (target, _) in found.items()},
            dict.fromkeys(self._accounts()),
            self._discovery(),
        )

    def familiar(self, known: Observed) -> bool:
        """Whether tgtd has the same targets, users and discovery users as are known: all that it
        tells at a small price. A target made anew has another number. Raises Unavailable.
        """
        # An outgoing account of discovery that stands alone is not shown.
        discovery = known.discovery if known.discovery.incoming else Bindings()
        try:
            return (
                show.target_ids(self._ask(Request(Mode.DRIVER, Op.SHOW))) == self._ids
                and frozenset(self._accounts()) == known.accounts.keys()
                and self._discovery() == discovery
            )
        except TgtRefusal:
            return False

    def _accounts(self) -> tuple[str, ...]:
        return show.accounts(self._ask(Request(Mode.ACCOUNT, Op.SHOW)))

    def _discovery(self) -> Bindings:
        return show.discovery(self._ask(Request(Mode.SYSTEM, Op.SHOW)))

    def sessions(self, target: str, *, hurry: bool = False) -> tuple[Session, ...]:
        """The sessions of a target now; () when tgtd does not have the target."""
        tid = self._ids.get(target)
        if tid is None:
            return ()
        try:
            return self._sessions(tid, hurry=hurry)
        except TgtRefusal as refusal:
            if refusal.number in (TgtError.NO_TARGET, TgtError.NO_LUN):
                return ()
            refused = translated(refusal.number, None)
            raise Unavailable(f"tgtd does not show its sessions: {refused}") from None

    def _sessions(self, tid: int, *, hurry: bool = False) -> tuple[Session, ...]:
        """Which of them are there is asked for once a text: no two sessions of a tgtd have the same
        number, so the same text is told by the same sessions."""
        text = self._connections(tid, hurry=hurry)
        if not text:
            return ()
        known, sessions = self._told.get(tid, ("", ()))
        if known != text:
            stats = Request(
                Mode.UNIT, Op.STATS, tid=tid, lun=CONTROLLER, patience=self._patience, hurry=hurry
            )
            sessions = show.sessions(text, show.session_numbers(self._ask(stats)))
            self._told[tid] = text, sessions
        return sessions

    def aliases(self, target: str, sessions: Iterable[Session]) -> dict[int, str]:
        """What sessions of a target called themselves besides, by number, as far as the last look
        told it and nobody else can have said so."""
        return self._reader.aliases(target, sessions)

    def sample(self) -> Sample:
        """What went through every session to every LUN. Raises Unavailable."""
        pid = self._pid
        if pid is None:
            raise Unavailable("not looked at yet")
        request = Request(Mode.SYSTEM, Op.STATS, patience=self._patience)
        reply = self._transport.exchange(request, pid=pid)
        if reply.error:
            refused = translated(reply.error, None)
            raise Unavailable(f"tgtd does not show its statistics: {refused}")
        told = show.traffic(reply.text)
        names = {tid: name for name, tid in self._ids.copy().items()} if told else {}
        return Sample(
            pid,
            {
                (names[tid], lun, sid): traffic
                for (tid, lun, sid), traffic in told.items()
                if tid in names
            },
        )

    def close(self, target: str, sid: int) -> None:
        """Close every connection of a session, if it is there. Raises Refused and Unavailable."""
        tid = self._ids.get(target)
        if tid is None:
            return
        try:
            self._close(tid, (nexus for nexus in self._nexuses(tid) if nexus.sid == sid))
        except TgtRefusal as refusal:
            raise translated(refusal.number, None) from None

    def unit_size(self, target: str, lun: int) -> int | None:
        """The bytes that initiators see, as far as it is known."""
        return self._sizes.get((target, lun))

    def unit_identity(self, target: str, lun: int) -> str | None:
        """What tgtd opened for it, as far as it is known."""
        return self._opened.get((target, lun))

    def _size(self, target: str, lun: int, path: str | None, megabytes: int) -> int | None:
        """tgtd tells megabytes only: what we knew, or the file's size, if they agree with it."""
        known = self._sizes.get((target, lun))
        if known is None and path is not None:
            with contextlib.suppress(Unusable):
                known = self._files.look(path).size
        agrees = known is not None and abs(known / 1e6 - megabytes) < 2
        return known if agrees else None

    # -- changing

    def hold(self, lanes: Iterable[Talks]) -> None:
        """Makes the changes of several lanes at a time. Raises what a lane or a talk raises."""
        Conversation(partial(self._transport.send, pid=self._pid)).hold(lanes)

    def talk(self, change: Change) -> Talk:
        """One change, which is made while it is held. Raises Refused, Conflict (sessions, commands
        in flight), Unavailable."""
        try:
            yield from self._talk(change)
        except TgtRefusal as refusal:
            if refusal.number != ALREADY.get(type(change)):
                raise translated(refusal.number, change) from None
        except ValueError as error:  # as for a name that somebody else has bound to a target
            raise unspeakable(change, error) from None

    def require_fit(self, change: Change) -> None:
        """Raises what the change would meet before tgtd is asked: Unfit."""
        match change:
            case CreateUnit(_, unit) if unit.opened:
                self._require_fit(unit)
            case UpdateUnit(_, unit, fields) if "backing_path" in fields:
                self._require_fit(unit)

    def _talk(self, change: Change) -> Talk:
        """What may have to wait for others asks by itself: no other change is under way then."""
        match change:
            case Admit(target, entry):
                yield _admission(self._tid(target), entry)
            case Deny(target, entry):
                yield from self._deny(self._tid(target), entry)
            case EndSessions(target, force):
                self._end_sessions(target, force)
            case SetReady(target, ready):
                state = (("state", "ready" if ready else "offline"),)
                yield Request(Mode.TARGET, Op.UPDATE, tid=self._tid(target), parameters=state)
            case CreateTarget(target):
                yield from self._create_target(target)
            case DeleteTarget(target):
                self._delete_target(target)
            case CreateAccount(account):
                pair = (("user", account.name), ("password", account.secret))
                yield Request(Mode.ACCOUNT, Op.NEW, parameters=pair)
            case DeleteAccount(name):
                user, patience = (("user", name),), self._patience
                yield Request(Mode.ACCOUNT, Op.DELETE, parameters=user, patience=patience)
            case BindIncoming(target, name):
                yield _binding(Op.BIND, self._place(target), name, outgoing=False)
            case UnbindIncoming(target, name):
                yield _binding(Op.UNBIND, self._place(target), name, outgoing=False)
            case BindOutgoing(target, name):
                yield from self._bind_outgoing(target, name)
            case UnbindOutgoing(None, name) if name == ANY:
                self._unbind_any()
            case UnbindOutgoing(target, name):
                yield _binding(Op.UNBIND, self._place(target), name, outgoing=True)
            case CreateUnit(target, unit):
                yield from self._create_unit(target, unit)
            case UpdateUnit(target, unit, fields):
                yield from self._update_unit(target, unit, fields)
            case DeleteUnit(target, lun):
                self._patiently(Request(Mode.UNIT, Op.DELETE, tid=self._tid(target), lun=lun))
                self._let_go((target, lun))

    def _deny(self, tid: int, entry: str) -> Talk:
        """Somebody else may have bound anything as a name or as an address: not there is gone."""
        for key in (_NAME, _ADDRESS):
            try:
                yield Request(Mode.TARGET, Op.UNBIND, tid=tid, parameters=((key, entry),))
            except TgtRefusal as refusal:
                if refusal.number != TgtError.NO_ACL:
                    raise

    def _delete_target(self, name: str) -> None:
        tid, patience = self._tid(name), self._patience
        self._patiently(Request(Mode.TARGET, Op.DELETE, tid=tid, patience=patience))
        self._ids.pop(name, None)
        self._told.pop(tid, None)

    def _create_target(self, name: str) -> Talk:
        if self._last_id >= MAX_TID:  # free numbers are found by looking at those that are taken
            yield ALONE
        tid = yield from self._new_target(name)
        try:
            yield Request(Mode.TARGET, Op.UPDATE, tid=tid, parameters=(SEGMENT,))
        except TgtRefusal:
            yield Request(Mode.TARGET, Op.DELETE, tid=tid)
            raise
        self._ids[name] = tid

    def _new_target(self, name: str) -> Generator[Request, str, int]:
        """A number that is free as far as we know; if it is not, the numbers are looked up."""
        ids = self._ids
        for _ in range(3):
            tid = self._free_id(ids)
            parameters = (("targetname", name),)
            try:
                yield Request(Mode.TARGET, Op.NEW, tid=tid, parameters=parameters)
            except TgtRefusal as refusal:
                ids = show.target_ids((yield Request(Mode.DRIVER, Op.SHOW)))
                if refusal.number != TgtError.TARGET_EXISTS or name in ids:
                    raise
                self._last_id = max((self._last_id, *ids.values()))
            else:
                return tid
        raise Refused(f"cannot create target {name}: tgtd's target numbers keep changing")

    def _free_id(self, ids: Mapping[str, int]) -> int:
        """One past the highest; the lowest that is free where somebody has taken tgtd's last."""
        if self._last_id < MAX_TID:
            self._last_id += 1
            return self._last_id
        taken = frozenset(ids.values())
        return next(number for number in count(1) if number not in taken)

    def _end_sessions(self, target: str, force: bool) -> None:
        """The ACL is empty by now, so nobody comes back while connections are being closed."""
        tid = self._tid(target)
        for _ in range(50):
            nexuses = self._nexuses(tid)
            if not nexuses:
                return
            if not force:
                break
            self._close(tid, nexuses)
            time.sleep(0.01)
        raise sessions_in_the_way(target, self.sessions(target))

    def _close(self, tid: int, nexuses: Iterable[show.Nexus]) -> None:
        for nexus in nexuses:
            request = Request(Mode.CONNECTION, Op.DELETE, tid=tid, sid=nexus.sid, cid=nexus.cid)
            try:
                self._ask(request)
            except TgtRefusal as refusal:
                if refusal.number not in (TgtError.NO_SESSION, TgtError.NO_CONNECTION):
                    raise

    def _bind_outgoing(self, target: str | None, name: str) -> Talk:
        """tgtd does not show an outgoing account of discovery that stands alone: make room."""
        request = _binding(Op.BIND, self._place(target), name, outgoing=True)
        try:
            yield request
        except TgtRefusal as refusal:
            if target is not None or refusal.number != TgtError.OUTGOING_EXISTS:
                raise
            self._unbind_any()
            yield request

    def _unbind_any(self) -> None:
        """The outgoing account of discovery, whichever it is, if there is one."""
        for name in self._accounts():
            with contextlib.suppress(TgtRefusal):
                self._ask(_binding(Op.UNBIND, EVERY, name, outgoing=True))
                return

    def _create_unit(self, target: str, unit: LogicalUnit) -> Talk:
        """In two requests, so that no initiator meets the unit before it is as wished.

        Only an aio unit, which must have its path from the start, can be met for a moment
        writable and with tgtd's own identity by initiators that are logged in.
        """
        opening = (yield from self._opening(unit)) if unit.opened else None
        tid = self._tid(target)
        yield Request(
            Mode.UNIT,
            Op.NEW,
            tid=tid,
            lun=unit.lun,
            device=DEVICES[unit.device_type],
            parameters=creation(unit),
        )
        failpoint.reached("unit.made")
        try:
            if rest := completion(unit):
                yield _update(tid, unit, rest)
        except TgtRefusal:
            self._patiently(Request(Mode.UNIT, Op.DELETE, tid=tid, lun=unit.lun))
            raise
        self._let_go((target, unit.lun))  # of one that somebody else removed
        if opening is not None:
            self._note_opened(target, unit, opening)

    def _update_unit(self, target: str, unit: LogicalUnit, fields: tuple[str, ...]) -> Talk:
        opening = (yield from self._opening(unit)) if "backing_path" in fields else None
        tid = self._tid(target)
        try:
            yield _update(tid, unit, attributes(unit, fields))
        except TgtRefusal:
            if opening is not None:  # could the old path not be left? Then this says so.
                yield _update(tid, unit, (("online", "0"),))
            raise
        if rest := ejection(unit, fields):
            yield _update(tid, unit, rest)
        if opening is not None:
            self._note_opened(target, unit, opening)

    def _require_fit(self, unit: LogicalUnit) -> BackingStore:
        """What tgtd is about to open. Raises Unfit: tgtd is not bothered."""
        store = self._looked_at(unit)
        if unit.aio and not self._files.room_for_aio():
            raise Unfit(
                f"cannot serve {unit.backing_path} by aio: the machine has no room for another "
                "context (fs.aio-max-nr)",
                code="no-room-for-aio",
            )
        return store

    def _looked_at(self, unit: LogicalUnit) -> BackingStore:
        """An empty disk is one of 2**64 blocks to initiators, as tgtd counts. Raises Unfit."""
        try:
            store = self._files.look(unit.backing_path)
        except Unusable as error:
            raise _unfit(unit, error) from None
        if unit.device_type is DeviceType.DISK and store.size < BLOCK:
            raise Unfit(
                f"cannot serve {unit.backing_path}: it is smaller than a block",
                code="backing-store-too-small",
            )
        return store

    def _opening(self, unit: LogicalUnit) -> Generator[Request | None, str, Opening]:
        """Nothing else is opened between a look at what tgtd has open and the next one, nor between
        the question whether there is room and its use. Raises Unfit."""
        settled = self._files.settled(unit.backing_path)
        if unit.aio or not settled:
            yield ALONE
        store = self._require_fit(unit)
        try:
            return Opening(store, None if settled else self._stores_open())
        except Unusable as error:
            raise _unfit(unit, error) from None

    def _stores_open(self) -> Counter[str] | None:
        return None if self._pid is None else self._files.stores_open(self._pid)

    def _note_opened(self, target: str, unit: LogicalUnit, opening: Opening) -> None:
        """Raises Swapped where tgtd opened something else than what was looked at: the path was
        made to lead elsewhere in between, and initiators must not have that."""
        place, wanted = (target, unit.lun), opening.store.identity
        if opening.before is None:
            right = self._files.identity(unit.backing_path) == wanted
        else:
            new = (self._stores_open() or Counter()) - opening.before
            # It may have closed the same store to open it again.
            right = new == {wanted: 1} or (not new and self._opened.get(place) == wanted)
        if not right:
            self._discard(target, unit)
            raise Swapped(f"{unit.backing_path} was replaced while it was being opened")
        self._sizes[place], self._opened[place] = opening.store.size, wanted

    def _discard(self, target: str, unit: LogicalUnit) -> None:
        """Of initiators that keep commands in flight the sessions are closed: they may be in
        league with who replaced the file."""
        tid = self._tid(target)
        with contextlib.suppress(TgtRefusal):
            self._ask(_update(tid, unit, (("online", "0"), ("removable", "1"))))
        delete = Request(Mode.UNIT, Op.DELETE, tid=tid, lun=unit.lun)
        self._patiently(delete, lambda: self._close(tid, self._nexuses(tid)))
        self._let_go((target, unit.lun))

    def _let_go(self, place: Place) -> None:
        for known in (self._sizes, self._opened):
            known.pop(place, None)

    # -- asking

    @property
    def _patience(self) -> float:
        """With what takes tgtd longer the more targets it has."""
        return len(self._ids) * PATIENCE

    def _ask(self, request: Request) -> str:
        return text_of(self._transport.exchange(request, pid=self._pid))

    def _patiently(self, request: Request, meanwhile: Callable[[], None] = _a_little) -> None:
        """Ask until nothing is in flight any more, or patience ends."""
        deadline = time.monotonic() + BUSY_PATIENCE
        while True:
            try:
                self._ask(request)
                return
            except TgtRefusal as refusal:
                busy = refusal.number in (TgtError.LUN_ACTIVE, TgtError.TARGET_ACTIVE)
                if not busy or time.monotonic() > deadline:
                    raise
            meanwhile()

    def _tid(self, target: str) -> int:
        try:
            return self._ids[target]
        except KeyError:
            raise TgtRefusal(TgtError.NO_TARGET) from None

    def _place(self, target: str | None) -> int:
        return EVERY if target is None else self._tid(target)

    def _nexuses(self, tid: int) -> tuple[show.Nexus, ...]:
        """() when tgtd does not have the target."""
        try:
            return show.nexuses(self._connections(tid))
        except TgtRefusal as refusal:
            if refusal.number == TgtError.NO_TARGET:
                return ()
            raise translated(refusal.number, None) from None

    def _connections(self, tid: int, *, hurry: bool = False) -> str:
        """It may have to wait for what tgtd does before."""
        patience = self._patience
        return self._ask(Request(Mode.CONNECTION, Op.SHOW, tid=tid, patience=patience, hurry=hurry))


def _unfit(unit: LogicalUnit, error: Unusable) -> Unfit:
    return Unfit(f"cannot serve {unit.backing_path}, which {error}", code=error.code)


def _admission(tid: int, entry: str) -> Request:
    key = _NAME if entry.startswith(("iqn.", "eui.", "naa.")) else _ADDRESS
    return Request(Mode.TARGET, Op.BIND, tid=tid, parameters=((key, entry),))


def _binding(op: Op, tid: int, name: str, *, outgoing: bool) -> Request:
    return Request(Mode.ACCOUNT, op, tid=tid, outgoing=outgoing, parameters=(("user", name),))


def _update(tid: int, unit: LogicalUnit, parameters: Parameters) -> Request:
    return Request(Mode.UNIT, Op.UPDATE, tid=tid, lun=unit.lun, parameters=parameters)
