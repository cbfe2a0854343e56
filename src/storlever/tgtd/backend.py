"""Changes to requests, answers to errors: the Backend that stands on a running tgtd.

Stands on all that looks (`lookout`, `connections`) and all that changes (`targets`, `units`,
`accounts`); TgtRefusal and Forged come no further than here.
"""

from collections.abc import Iterable
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
from storlever.errors import Unavailable, Untrusted
from storlever.model import Sample, Session, sessions_in_the_way
from storlever.observed import ANY, Observed
from storlever.tgtd import accounts, connections, show, targets, units
from storlever.tgtd.conversation import Conversation, Talk, Talks
from storlever.tgtd.life import Life, Peer
from storlever.tgtd.lookout import Lookout
from storlever.tgtd.openings import Files, Openings
from storlever.tgtd.refusal import ALREADY, TgtRefusal, translated, unspeakable
from storlever.tgtd.transport import Transport
from storlever.tgtd.wire import Op, TgtError


class Daemon(Protocol):
    """Finds the daemon, or starts it where it is ours. Raises Unavailable."""

    def ensure(self) -> Peer: ...

    def hole(self, pid: int) -> str | None:
        """What its executable is known to be vulnerable to, as a sentence. Raises nothing."""


class TgtdBackend:
    """A Backend over a transport. Not for two threads at once, but for `sessions`, `sample` and
    `aliases`."""

    def __init__(self, transport: Transport, daemon: Daemon, files: Files) -> None:
        self._transport = transport
        self._daemon = daemon
        self._life = Life(transport)
        self._openings = Openings(files)
        self._lookout = Lookout(self._openings)
        self.hole: str | None = None
        """What this tgtd is known to be vulnerable to."""

    def ensure(self) -> Peer:
        peer = self._daemon.ensure()
        if peer.pid != self._life.pid:
            self.hole = self._daemon.hole(peer.pid)
            self._openings.identities.clear()
            self._life = Life(self._transport, peer.pid)
        return peer

    # -- looking

    @property
    def portals(self) -> tuple[str, ...]:
        return self._lookout.portals

    @property
    def stall(self) -> float:
        return self._lookout.stall

    def observe(self) -> Observed:
        """Everything tgtd shows. Raises Unavailable, and Untrusted for a text that is forged."""
        try:
            return self._lookout.observe(self._life)
        except TgtRefusal as refusal:
            raise Unavailable(f"tgtd does not show what it has: {refusal}") from None
        except show.Forged as forged:
            raise Untrusted(
                f"tgtd's answer cannot be trusted, an initiator's name forges it: {forged}"
            ) from None

    def familiar(self, known: Observed) -> bool:
        """Whether tgtd has the same targets, users and discovery users as are known: all that it
        tells at a small price. A target made anew has another number. Raises Unavailable.
        """
        try:
            return self._lookout.familiar(self._life, known)
        except TgtRefusal:
            return False

    def sessions(self, target: str, *, hurry: bool = False) -> tuple[Session, ...]:
        """The sessions of a target now; () when tgtd does not have the target."""
        life = self._life
        tid = life.ids.get(target)
        if tid is None:
            return ()
        try:
            return connections.sessions(life, tid, hurry=hurry)
        except TgtRefusal as refusal:
            if refusal.number in (TgtError.NO_TARGET, TgtError.NO_LUN):
                return ()
            refused = translated(refusal.number, None)
            raise Unavailable(f"tgtd does not show its sessions: {refused}") from None

    def aliases(self, target: str, sessions: Iterable[Session]) -> dict[int, str]:
        """What sessions of a target called themselves besides, by number, as far as the last look
        told it and nobody else can have said so."""
        return self._lookout.reader.aliases(target, sessions)

    def sample(self) -> Sample:
        """What went through every session to every LUN. Raises Unavailable."""
        try:
            return self._lookout.sample(self._life)
        except TgtRefusal as refusal:
            refused = translated(refusal.number, None)
            raise Unavailable(f"tgtd does not show its statistics: {refused}") from None

    def unit_size(self, target: str, lun: int) -> int | None:
        """The bytes that initiators see, as far as it is known."""
        return self._openings.sizes.get((target, lun))

    def unit_identity(self, target: str, lun: int) -> str | None:
        """What tgtd opened for it, as far as it is known."""
        return self._openings.identities.get((target, lun))

    # -- changing

    def close(self, target: str, sid: int) -> None:
        """Close every connection of a session, if it is there. Raises Refused and Unavailable."""
        life = self._life
        tid = life.ids.get(target)
        if tid is None:
            return
        try:
            found = connections.nexuses(life, tid)
            connections.close(life, tid, (nexus for nexus in found if nexus.sid == sid))
        except TgtRefusal as refusal:
            raise translated(refusal.number, None) from None

    def hold(self, lanes: Iterable[Talks]) -> None:
        """Makes the changes of several lanes at a time. Raises what a lane or a talk raises."""
        Conversation(self._life.send).hold(lanes)

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
                self._openings.require_fit(unit)
            case UpdateUnit(_, unit, fields) if "backing_path" in fields:
                self._openings.require_fit(unit)

    def _talk(self, change: Change) -> Talk:
        """What may have to wait for others asks by itself: no other change is under way then."""
        life = self._life
        match change:
            case Admit(target, entry):
                yield targets.admission(life, target, entry)
            case Deny(target, entry):
                yield from targets.deny(life, target, entry)
            case EndSessions(target, force):
                if not connections.end(life, target, force=force):
                    raise sessions_in_the_way(target, self.sessions(target))
            case SetReady(target, ready):
                yield targets.readiness(life, target, ready)
            case CreateTarget(target):
                yield from targets.create(life, target)
            case DeleteTarget(target):
                targets.delete(life, target)
            case CreateAccount(account):
                yield accounts.creation(account)
            case DeleteAccount(name):
                yield accounts.deletion(life, name)
            case BindIncoming(target, name):
                yield accounts.binding(life, Op.BIND, target, name, outgoing=False)
            case UnbindIncoming(target, name):
                yield accounts.binding(life, Op.UNBIND, target, name, outgoing=False)
            case BindOutgoing(target, name):
                yield from accounts.bind_outgoing(life, target, name)
            case UnbindOutgoing(None, name) if name == ANY:
                accounts.unbind_any(life)
            case UnbindOutgoing(target, name):
                yield accounts.binding(life, Op.UNBIND, target, name, outgoing=True)
            case CreateUnit(target, unit):
                yield from units.create(life, self._openings, target, unit)
            case UpdateUnit(target, unit, fields):
                yield from units.update(life, self._openings, target, unit, fields)
            case DeleteUnit(target, lun):
                units.delete(life, self._openings, target, lun)
