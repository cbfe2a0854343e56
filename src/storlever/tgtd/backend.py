"""Changes to requests, answers to errors: the Backend that stands on a running tgtd.

The numbers tgtd gives to targets live and die here: elsewhere a target is known by its name.
"""

import contextlib
import os
import stat
import time
from dataclasses import dataclass
from typing import Protocol

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
from storlever.errors import Conflict, Refused, StoreMissing, StorLeverError, Unavailable
from storlever.model import BLOCK, DeviceType, LogicalUnit, Session, sessions_in_the_way
from storlever.observed import Observed
from storlever.tgtd import show
from storlever.tgtd.transport import Transport
from storlever.tgtd.unit import DEVICES, Parameters, attributes, completion, creation
from storlever.tgtd.wire import EVERY, Mode, Op, Request, TgtError

BUSY_PATIENCE = 2.0
"""Seconds to wait for commands in flight before a busy unit or target is given up on."""

_MEANINGS: dict[TgtError, str] = {
    TgtError.UNKNOWN: "tgtd met an error it has no name for",
    TgtError.NO_MEMORY: "tgtd is out of memory",
    TgtError.NO_DRIVER: "tgtd's iSCSI driver is stopped",
    TgtError.NO_TARGET: "tgtd does not have the target",
    TgtError.NO_LUN: "tgtd does not have the LUN",
    TgtError.NO_SESSION: "tgtd does not have the session",
    TgtError.NO_CONNECTION: "tgtd does not have the connection",
    TgtError.NO_BINDING: "tgtd does not have the binding",
    TgtError.TARGET_EXISTS: "tgtd has a target of this name that is not StorLever's",
    TgtError.LUN_EXISTS: "tgtd has this LUN already",
    TgtError.BINDING_EXISTS: "tgtd has this binding already",
    TgtError.ACL_EXISTS: "tgtd has this ACL entry already",
    TgtError.NO_ACL: "tgtd does not have this ACL entry",
    TgtError.USER_EXISTS: "tgtd has this user already, and it is not StorLever's to change",
    TgtError.NO_USER: "tgtd does not have this user, or not here",
    TgtError.TOO_MANY_USERS: "tgtd has no room for another user",
    TgtError.INVALID_REQUEST: "tgtd does not accept it",
    TgtError.OUTGOING_EXISTS: "tgtd has another outgoing user here",
    TgtError.TARGET_ACTIVE: "the target has sessions",
    TgtError.LUN_ACTIVE: "the LUN has commands in flight",
    TgtError.DRIVER_ACTIVE: "tgtd's iSCSI driver has targets",
    TgtError.UNSUPPORTED: "tgtd does not know this operation",
    TgtError.UNKNOWN_PARAMETER: "tgtd does not know this parameter",
    TgtError.REMOVAL_PREVENTED: "an initiator prevents the removal of the medium",
}

# What tells that tgtd is not in the state we last knew.
_DRIFT = frozenset(
    {
        TgtError.NO_TARGET,
        TgtError.NO_LUN,
        TgtError.TARGET_EXISTS,
        TgtError.LUN_EXISTS,
        TgtError.USER_EXISTS,
        TgtError.NO_USER,
        TgtError.OUTGOING_EXISTS,
    }
)

# A change whose end is there already, whoever brought it about, is done.
_ALREADY: dict[type[Change], TgtError] = {
    Admit: TgtError.ACL_EXISTS,
    Deny: TgtError.NO_ACL,
    DeleteTarget: TgtError.NO_TARGET,
    DeleteUnit: TgtError.NO_LUN,
    DeleteAccount: TgtError.NO_USER,
    UnbindOutgoing: TgtError.NO_USER,
}


@dataclass(frozen=True, slots=True)
class Peer:
    """One life of the daemon: process ids come again, so the start time is part of it."""

    pid: int
    started: int


class Daemon(Protocol):
    """Finds the daemon, or starts it where it is ours. Raises Unavailable."""

    def ensure(self) -> Peer: ...


class _TgtRefusal(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class TgtdBackend:
    """A Backend over a transport. Not for two threads at once, but for `sessions`."""

    def __init__(self, transport: Transport, daemon: Daemon) -> None:
        self._transport = transport
        self._daemon = daemon
        self._ids: dict[str, int] = {}
        self._last_id = 0
        self._sizes: dict[tuple[str, int], int] = {}

    def ensure(self) -> Peer:
        return self._daemon.ensure()

    # -- looking

    def observe(self) -> Observed:
        """Everything tgtd shows. Raises Unavailable, also when the text cannot be trusted."""
        for _ in range(3):
            ids = show.target_ids(self._ask(Request(Mode.DRIVER, Op.SHOW)))
            text = self._ask(Request(Mode.TARGET, Op.SHOW, tid=EVERY))
            try:
                found = show.targets(text, ids)
            except show.Forged as error:
                raise Unavailable(
                    f"tgtd's answer cannot be trusted, an initiator's name forges it: {error}"
                ) from None
            if found.keys() == ids.keys():
                break  # else somebody made or removed a target between the two answers
        self._ids = {name: ids[name] for name in found}
        self._last_id = max((self._last_id, *ids.values()))
        self._sizes = {
            (name, unit.lun): self._size(name, unit.lun, unit.backing_path, megabytes[unit.lun])
            for name, (target, megabytes) in found.items()
            for unit in target.units
        }
        return Observed(
            {name: target for name, (target, _) in found.items()},
            dict.fromkeys(show.accounts(self._ask(Request(Mode.ACCOUNT, Op.SHOW)))),
            show.discovery(self._ask(Request(Mode.SYSTEM, Op.SHOW))),
        )

    def sessions(self, target: str) -> tuple[Session, ...]:
        """The sessions of a target now; () when tgtd does not have the target."""
        tid = self._ids.get(target)
        if tid is None:
            return ()
        found = {nexus.session.sid: nexus.session for nexus in self._nexuses(tid)}
        return tuple(found.values())

    def unit_size(self, target: str, lun: int) -> int | None:
        """The bytes that initiators see, as far as it is known."""
        return self._sizes.get((target, lun))

    def _size(self, target: str, lun: int, path: str | None, megabytes: int) -> int:
        """tgtd tells megabytes only: what we knew, or the file's size, when they agree with it."""
        candidates = [self._sizes.get((target, lun))]
        if path is not None:
            with contextlib.suppress(OSError):
                candidates.append(_file_size(path))
        for size in candidates:
            if size is not None and abs(size / 1e6 - megabytes) < 2:
                return size
        return megabytes * 10**6

    # -- changing

    def apply(self, change: Change) -> None:
        """Make the change. Raises Refused, Conflict (sessions, commands in flight), Unavailable."""
        try:
            self._perform(change)
        except _TgtRefusal as refusal:
            if refusal.number != _ALREADY.get(type(change)):
                raise _translated(refusal.number, change) from None

    def _perform(self, change: Change) -> None:
        match change:
            case Admit(target, entry):
                self._ask(_acl(Op.BIND, self._tid(target), entry))
            case Deny(target, entry):
                self._ask(_acl(Op.UNBIND, self._tid(target), entry))
            case EndSessions(target, force):
                self._end_sessions(target, force)
            case SetReady(target, ready):
                state = (("state", "ready" if ready else "offline"),)
                self._ask(Request(Mode.TARGET, Op.UPDATE, tid=self._tid(target), parameters=state))
            case CreateTarget(target):
                self._create_target(target)
            case DeleteTarget(target):
                self._patiently(Request(Mode.TARGET, Op.DELETE, tid=self._tid(target)))
                self._ids.pop(target, None)
            case CreateAccount(account):
                pair = (("user", account.name), ("password", account.secret))
                self._ask(Request(Mode.ACCOUNT, Op.NEW, parameters=pair))
            case DeleteAccount(name):
                self._ask(Request(Mode.ACCOUNT, Op.DELETE, parameters=(("user", name),)))
            case BindIncoming(target, name):
                self._ask(_binding(Op.BIND, self._place(target), name, outgoing=False))
            case UnbindIncoming(target, name):
                self._ask(_binding(Op.UNBIND, self._place(target), name, outgoing=False))
            case BindOutgoing(target, name):
                self._bind_outgoing(target, name)
            case UnbindOutgoing(target, name):
                self._ask(_binding(Op.UNBIND, self._place(target), name, outgoing=True))
            case CreateUnit(target, unit):
                self._create_unit(target, unit)
            case UpdateUnit(target, unit, fields):
                self._update_unit(target, unit, fields)
            case DeleteUnit(target, lun):
                self._patiently(Request(Mode.UNIT, Op.DELETE, tid=self._tid(target), lun=lun))
                self._sizes.pop((target, lun), None)

    def _create_target(self, name: str) -> None:
        """A number that is free as far as we know; if it is not, the numbers are looked up."""
        for _ in range(3):
            self._last_id += 1
            parameters = (("targetname", name),)
            try:
                self._ask(Request(Mode.TARGET, Op.NEW, tid=self._last_id, parameters=parameters))
            except _TgtRefusal as refusal:
                ids = show.target_ids(self._ask(Request(Mode.DRIVER, Op.SHOW)))
                if refusal.number != TgtError.TARGET_EXISTS or name in ids:
                    raise
                self._last_id = max((self._last_id, *ids.values()))
            else:
                self._ids[name] = self._last_id
                return
        raise Refused(f"cannot create target {name}: tgtd's target numbers keep changing")

    def _end_sessions(self, target: str, force: bool) -> None:
        """The ACL is empty by now, so nobody comes back while connections are being closed."""
        tid = self._tid(target)
        for _ in range(50):
            nexuses = self._nexuses(tid)
            if not nexuses:
                return
            if not force:
                raise sessions_in_the_way(target, tuple(nexus.session for nexus in nexuses))
            for nexus in nexuses:
                try:
                    self._ask(
                        Request(
                            Mode.CONNECTION,
                            Op.DELETE,
                            tid=tid,
                            sid=nexus.session.sid,
                            cid=nexus.cid,
                        )
                    )
                except _TgtRefusal as refusal:
                    if refusal.number not in (TgtError.NO_SESSION, TgtError.NO_CONNECTION):
                        raise
            time.sleep(0.01)
        raise sessions_in_the_way(target, tuple(nexus.session for nexus in nexuses))

    def _bind_outgoing(self, target: str | None, name: str) -> None:
        """tgtd does not show an outgoing account of discovery that stands alone: make room."""
        request = _binding(Op.BIND, self._place(target), name, outgoing=True)
        try:
            self._ask(request)
        except _TgtRefusal as refusal:
            if target is not None or refusal.number != TgtError.OUTGOING_EXISTS:
                raise
            for other in show.accounts(self._ask(Request(Mode.ACCOUNT, Op.SHOW))):
                try:
                    self._ask(_binding(Op.UNBIND, EVERY, other, outgoing=True))
                except _TgtRefusal:
                    continue
                break
            self._ask(request)

    def _create_unit(self, target: str, unit: LogicalUnit) -> None:
        """In two requests, so that no initiator meets the unit before it is as wished.

        Only an aio unit, which must have its path from the start, can be met for a moment
        writable and with tgtd's own identity by initiators that are logged in.
        """
        tid, size = self._tid(target), _openable(unit)
        new = Request(
            Mode.UNIT,
            Op.NEW,
            tid=tid,
            lun=unit.lun,
            device=DEVICES[unit.device_type],
            parameters=creation(unit),
        )
        self._ask(new)
        try:
            if rest := completion(unit):
                self._ask(_update(tid, unit, rest))
        except _TgtRefusal:
            self._patiently(Request(Mode.UNIT, Op.DELETE, tid=tid, lun=unit.lun))
            raise
        self._sizes[target, unit.lun] = size

    def _update_unit(self, target: str, unit: LogicalUnit, fields: tuple[str, ...]) -> None:
        tid = self._tid(target)
        size = _openable(unit) if "backing_path" in fields else None
        try:
            self._ask(_update(tid, unit, attributes(unit, fields)))
        except _TgtRefusal:
            if size is not None:  # was it that the old path could not be left? Then this says so.
                self._ask(_update(tid, unit, (("online", "0"),)))
            raise
        if size is not None:
            self._sizes[target, unit.lun] = size

    # -- asking

    def _ask(self, request: Request) -> str:
        reply = self._transport.exchange(request)
        if reply.error:
            raise _TgtRefusal(reply.error)
        return reply.text

    def _patiently(self, request: Request) -> None:
        """Ask until nothing is in flight any more, or patience ends."""
        deadline = time.monotonic() + BUSY_PATIENCE
        while True:
            try:
                self._ask(request)
                return
            except _TgtRefusal as refusal:
                busy = refusal.number in (TgtError.LUN_ACTIVE, TgtError.TARGET_ACTIVE)
                if not busy or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)

    def _tid(self, target: str) -> int:
        try:
            return self._ids[target]
        except KeyError:
            raise _TgtRefusal(TgtError.NO_TARGET) from None

    def _place(self, target: str | None) -> int:
        return EVERY if target is None else self._tid(target)

    def _nexuses(self, tid: int) -> tuple[show.Nexus, ...]:
        try:
            return show.nexuses(self._ask(Request(Mode.CONNECTION, Op.SHOW, tid=tid)))
        except _TgtRefusal as refusal:
            if refusal.number == TgtError.NO_TARGET:
                return ()
            raise _translated(refusal.number, None) from None


def _translated(number: int, change: Change | None) -> StorLeverError:
    try:
        error = TgtError(number)
    except ValueError:
        return Refused(f"tgtd answered with the unknown error {number}")
    meaning = _MEANINGS[error]
    if error is TgtError.LUN_ACTIVE:
        return Conflict(f"cannot change the LUN: {meaning}", code="lun-busy")
    if error is TgtError.TARGET_ACTIVE:
        return Conflict(f"cannot remove the target: {meaning}", code="target-busy")
    if error is TgtError.REMOVAL_PREVENTED:
        return Conflict(f"cannot take the LUN offline: {meaning}", code="removal-prevented")
    what = _spoken(change)
    return Refused(f"cannot {what}: {meaning}", drift=error in _DRIFT)


def _spoken(change: Change | None) -> str:
    """The change in words, without a secret."""
    match change:
        case CreateUnit(target, unit) | UpdateUnit(target, unit):
            return f"serve {unit.backing_path} as LUN {unit.lun} of {target}"
        case DeleteUnit(target, lun):
            return f"remove LUN {lun} of {target}"
        case Admit(target, entry):
            return f"admit {entry} to {target}"
        case Deny(target, entry):
            return f"remove {entry} from the ACL of {target}"
        case CreateAccount(account):
            return f"create user {account.name}"
        case DeleteAccount(name):
            return f"delete user {name}"
        case BindIncoming(_, name) | UnbindIncoming(_, name):
            return f"change incoming user {name}"
        case BindOutgoing(_, name) | UnbindOutgoing(_, name):
            return f"change outgoing user {name}"
        case CreateTarget(target):
            return f"create target {target}"
        case DeleteTarget(target):
            return f"delete target {target}"
        case SetReady(target, ready):
            return f"take target {target} {'online' if ready else 'offline'}"
        case _:
            return "list sessions"


def _acl(op: Op, tid: int, entry: str) -> Request:
    named = entry.startswith(("iqn.", "eui.", "naa."))
    key = "initiator-name" if named else "initiator-address"
    return Request(Mode.TARGET, op, tid=tid, parameters=((key, entry),))


def _binding(op: Op, tid: int, name: str, *, outgoing: bool) -> Request:
    return Request(Mode.ACCOUNT, op, tid=tid, outgoing=outgoing, parameters=(("user", name),))


def _update(tid: int, unit: LogicalUnit, parameters: Parameters) -> Request:
    return Request(Mode.UNIT, Op.UPDATE, tid=tid, lun=unit.lun, parameters=parameters)


def _openable(unit: LogicalUnit) -> int:
    """The size of the backing file, in bytes. Raises StoreMissing, so that tgtd is not bothered.

    Nor are initiators: an empty disk is one of 2**64 blocks to them, as tgtd counts.
    """
    try:
        size = _file_size(unit.backing_path)
    except OSError as error:
        raise StoreMissing(f"cannot serve {unit.backing_path}: {error.strerror}") from None
    if unit.device_type is DeviceType.DISK and size < BLOCK:
        raise StoreMissing(f"cannot serve {unit.backing_path}: it is smaller than a block")
    return size


def _file_size(path: str) -> int:
    """Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            return 0
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)
