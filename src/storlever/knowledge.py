"""The core's only way to tgtd: looks at it and changes of it, and what is known of it by them.

What it has is `observed`; besides, there is which life of it that is of, whether it is there, what
could not be done, and what is foreign. A look at everything is dear, because tgtd serves nobody
while it prints.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog

from storlever import failpoint
from storlever.alarm import Alarm
from storlever.backoff import Backoff
from storlever.change import Change, CreateUnit, DeleteUnit, UpdateUnit
from storlever.doubts import Doubts
from storlever.errors import Conflict, NotFound, Swapped, Unavailable, Untrusted
from storlever.events import Events
from storlever.failures import Failed
from storlever.inventory import Inventory
from storlever.model import (
    Account,
    Bindings,
    DiscoveryAuth,
    ObservedTarget,
    ObservedUnit,
    Pending,
    Place,
    Session,
    sessions_in_the_way,
)
from storlever.names import GUARD
from storlever.observed import Observed
from storlever.plan import Plan, Scope, plan
from storlever.protocols import Backend, Notes, Peer, Talk
from storlever.tally import Tally

log = structlog.get_logger(__name__)

PARTING = 2.0
"""Seconds that a session may take to end once its connections are closed."""


class Knowledge:
    """Of one daemon, life after life; `passes`, `enforcer`, `writer`, `loop` and `sampler` share
    one. Methods that change anything need the caller's lock; `down`, `failures` and `foreign` can
    be read without it."""

    def __init__(self, backend: Backend, notes: Notes) -> None:
        self.backend = backend
        self.doubts = Doubts(notes)
        self.events = Events()
        """What happens, here and in the service."""
        self.tally = Tally()
        self.alarm = Alarm()
        """Rings when a pass is due at once."""
        self._down: str | None = "not looked at yet"
        self._guard = Account(GUARD, secrets.token_hex(32))
        self.peer: Peer | None = None
        """The life that the rest is of."""
        self.observed = Observed()
        self.foreign: tuple[ObservedTarget, ...] = ()
        """Targets in tgtd that are not ours, by name: shown, never touched unless adopted."""
        self.looking = 0.0
        """Seconds that the last look at everything took."""
        self.opened: set[Place] = set()
        """LUNs that may stand on another file than `writer` has claimed for them, which it does as
        it empties this."""
        self.failures: dict[Failed, str] = {}
        """(target, LUN or None for the target) -> why it is not served."""
        self.backoff = Backoff()

    @property
    def down(self) -> str | None:
        """Why tgtd cannot be changed now; None when it can."""
        return self._down

    @down.setter
    def down(self, reason: str | None) -> None:
        was, self._down = self._down, reason
        if was is None and reason is not None:
            self.events.publish(("tgtd-down", {"reason": reason}))
        elif was is not None and reason is None:
            self.events.publish(("tgtd-up", {"pid": self.pid}))

    @property
    def pid(self) -> int:
        """The process that was last looked at; 0 before the first look."""
        return self.peer.pid if self.peer else 0

    # -- looking

    def look(self, desired: Inventory) -> None:
        """Look at everything, in whichever life it is. Raises Unavailable."""
        self._see(desired, self.backend.ensure(), self.doubts.half_done)

    def refresh(self, desired: Inventory) -> None:
        """Look again, if it is there. Raises Unavailable."""
        self.require_up()
        with self.losing():
            self.look_again(desired)

    def look_again(self, before: Inventory, unknown: Pending | None = None) -> None:
        """What a write may look at: the life of tgtd that it began with. Into another one, a pass
        brings everything first. Raises Unavailable.

        `unknown`: of what nothing is known any more; what is half done, if it is left out.
        """
        peer = self.backend.ensure()
        if peer != self.peer:
            raise Unavailable("tgtd has been restarted")
        self._see(before, peer, self.doubts.half_done if unknown is None else unknown)

    def _see(self, desired: Inventory, peer: Peer, unknown: Pending) -> None:
        """Replace what is known by what tgtd shows, with what it does not show from memory."""
        pending = self.doubts.earlier(peer)
        started = time.monotonic()
        try:
            observed = self.backend.observe()
        except Untrusted as error:
            if peer != self.peer or unknown:
                raise
            # Nobody who may log in shall be able to stop the service: what we did still holds.
            log.warning("going by what is known", reason=str(error))
            return
        self.looking = time.monotonic() - started
        if peer == self.peer:
            observed.learn(self.observed, unknown)
        else:
            self._meet(peer, observed, desired, pending)
        ours, begun = desired.targets, pending.targets
        theirs = sorted(name for name in observed.targets if name not in ours and name not in begun)
        self.foreign = tuple(map(observed.targets.__getitem__, theirs))
        observed.pinned = frozenset(
            account for target in self.foreign for account in target.bindings.accounts
        )
        self.observed, self.peer = observed, peer

    def _meet(self, peer: Peer, observed: Observed, desired: Inventory, pending: Pending) -> None:
        """Another life than before: what does not hold in it is forgotten. One that had what is
        stored, as the notes tell, has it still."""
        self.backoff.clear()
        self.doubts.half_done = pending
        self.tally.restarts += self.peer is not None
        if self.doubts.is_settled(peer):
            observed.learn(_expected(desired), pending)

    def stranger(self, name: str, desired: Inventory) -> ObservedTarget:
        """A target that is not ours, as tgtd has it now. Raises NotFound, Unavailable, and Conflict
        where one of its users is not its alone: its password would have to be made anew."""
        self.refresh(desired)
        found = next((target for target in self.foreign if target.name == name), None)
        if found is None:
            raise NotFound(f"tgtd has no foreign target {name!r}", code="target-not-found")
        if shared := found.bindings.accounts & self._used_besides(found, desired):
            raise Conflict(
                f"others use users of target {name} too: {', '.join(sorted(shared))}",
                code="user-foreign",
            )
        return found

    def _used_besides(self, foreign: ObservedTarget, desired: Inventory) -> set[str]:
        """Users of all else that is not ours."""
        others = (target for target in self.foreign if target is not foreign)
        used = {account for target in others for account in target.bindings.accounts}
        if desired.discovery == DiscoveryAuth():
            used |= self.observed.discovery.accounts
        return used - {GUARD}

    # -- changing

    def plan(self, desired: Inventory, scope: Scope) -> Plan:
        """From what is known to what is desired."""
        return plan(desired, self.observed, scope, self._guard)

    def hold(self, changes: Plan, lane: Callable[[Iterable[Change]], Iterator[Talk]]) -> None:
        """Make the changes, stage by stage. Raises what a `lane` raises, or lets a talk raise."""
        for lanes in changes.stages:
            self.backend.hold(map(lane, lanes))

    def talk(self, change: Change) -> Talk:
        """One change, which is known of as far as it went. Raises Refused and Conflict, when it is
        held."""
        self.observed.check(change)
        before = self.observed.doubt(change)
        try:
            yield from self.backend.talk(change)
        except Conflict:  # an initiator holds the medium
            if isinstance(change, UpdateUnit) and before is not None:
                self.observed.keep_medium(change.target, before)
            raise
        except Swapped:
            if isinstance(change, UpdateUnit):
                self.observed.apply(DeleteUnit(change.target, change.unit.lun))
            raise
        if isinstance(change, CreateUnit) or (
            isinstance(change, UpdateUnit) and "backing_path" in change.fields
        ):
            self.opened.add((change.target, change.unit.lun))
        failpoint.reached("change.made")
        self.observed.apply(change)

    def forgive(self, scope: Scope) -> None:
        """Forget the failures of what was just mended or removed."""
        for name, lun in list(self.failures):
            if name in scope.targets and (name, lun) not in scope.parked:
                del self.failures[name, lun]
                if lun is not None:
                    self.backoff.forget((name, lun))

    # -- whether it is there

    def require_up(self) -> None:
        """Raises Unavailable."""
        if self.down is not None:
            raise Unavailable(self.down)

    def lost(self, error: Unavailable) -> None:
        """It is gone, or not as it is thought to be: the next pass sees to it."""
        self.down = str(error)
        self.wake()

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Whatever in it finds tgtd gone has the next pass see to it, and raises Unavailable."""
        try:
            yield
        except Unavailable as error:
            self.lost(error)
            raise

    def wake(self) -> None:
        """Ask for a pass at once; from any thread."""
        self.alarm.ring()

    # -- sessions

    def sessions(self, target: str, *, hurry: bool = False) -> tuple[Session, ...]:
        """The sessions of a target now. Needs no lock. Raises Unavailable."""
        try:
            return self.backend.sessions(target, hurry=hurry)
        except Unavailable:
            if not hurry:
                self.wake()  # what it means for writes, the pass decides
            raise

    def require_no_sessions(self, *targets: str) -> None:
        """Raises Conflict. So that a target need not be closed to hear of them."""
        busy, sessions = [], list[Session]()
        with self.losing():
            for target in targets:
                if found := self.backend.sessions(target):
                    busy.append(target)
                    sessions += found
        if busy:
            raise sessions_in_the_way(", ".join(busy), tuple(sessions))

    def close(self, target: str, sid: int) -> None:
        """Close a session, and wait until it is gone. Raises Refused, Conflict and Unavailable."""
        deadline = time.monotonic() + PARTING
        with self.losing():
            while any(each.sid == sid for each in self.backend.sessions(target)):
                if time.monotonic() > deadline:
                    raise Conflict(f"session {sid} of {target} does not end", code="session-stays")
                self.backend.close(target, sid)
                time.sleep(0.005)


def _expected(desired: Inventory) -> Observed:
    """What tgtd does not show, as it must be if nobody else changed it."""
    return Observed(
        {
            name: ObservedTarget(name, units=tuple(map(ObservedUnit.of, target.units)))
            for name, target in desired.targets.items()
        },
        {name: account.secret for name, account in desired.accounts.items()},
        Bindings(outgoing=desired.discovery.outgoing),
    )
