"""Bringing tgtd to what is desired: edit by edit for writes, whole by whole in passes.

A write plans and applies only what it touches and is put back when tgtd refuses. A pass looks at
everything; it runs at start, when tgtd is back after its death, after a write went wrong, and on
a timer that stretches with the cost of looking, because tgtd serves nobody while it prints.
Between two passes, a glance sees at a small price whether targets or users came or went.
"""

import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog

from storlever import failpoint
from storlever.alarm import Alarm
from storlever.backoff import Backoff
from storlever.change import (
    Change,
    CreateUnit,
    DeleteAccount,
    DeleteUnit,
    EndSessions,
    UnbindIncoming,
    UpdateUnit,
)
from storlever.errors import (
    Conflict,
    NotFound,
    Refused,
    StateFailed,
    StorLeverError,
    Swapped,
    Unavailable,
    Unfit,
    Untrusted,
)
from storlever.events import Events
from storlever.failures import Failed, Failures, lun_of
from storlever.inventory import DISCOVERY, Inventory
from storlever.model import (
    NOTHING_PENDING,
    Account,
    Bindings,
    DiscoveryAuth,
    ObservedTarget,
    ObservedUnit,
    Pending,
    Place,
    Sample,
    Session,
    Target,
    sessions_in_the_way,
)
from storlever.names import GUARD
from storlever.observed import ANY, Observed
from storlever.plan import Plan, Scope, plan
from storlever.tally import Tally

log = structlog.get_logger(__name__)


CHEAP_LOOK = 0.02
"""Seconds of looking at everything that a write may cost; it grows with the number of targets."""


PARTING = 2.0
"""Seconds that a session may take to end once its connections are closed."""


class Peer(Protocol):
    """One life of the daemon; equal for the same life, str() for the notes."""

    @property
    def pid(self) -> int: ...


Talk = Generator[Any, Any, None]
"""A change that is being made; how it goes on is between a backend and itself."""


class Backend(Protocol):
    """What stands between a plan and a daemon. Everything raises Unavailable."""

    hole: str | None
    """What the daemon is known to be vulnerable to, as a sentence."""

    portals: tuple[str, ...]
    """Where the daemon serves iSCSI, as HOST:PORT, by the last `observe`."""

    def ensure(self) -> Peer:
        """Find the daemon, or start it where it is ours."""

    stall: float
    """Seconds for which the last `observe` kept the daemon from serving anybody."""

    def observe(self) -> Observed:
        """Everything the daemon shows; secrets and write caches are unknown."""

    def familiar(self, known: Observed) -> bool:
        """Whether a cheap look shows the same targets, users and discovery users as are known."""

    def talk(self, change: Change) -> Talk:
        """One change, which is made while it is held. Raises Refused or Conflict when the daemon
        will not."""

    def hold(self, lanes: Iterable[Iterator[Talk]]) -> None:
        """Hold talks: of a lane one after another, of different lanes at the same time. Where one
        raises, no more are begun; those under way go on to their end, and then it is raised."""

    def require_fit(self, change: Change) -> None:
        """Raises what the change would meet before the daemon is asked: Unfit."""

    def sessions(self, target: str, *, hurry: bool = False) -> tuple[Session, ...]:
        """The sessions of a target now; callable from any thread. `hurry`: at once, or Unavailable
        is raised, which says nothing."""

    def aliases(self, target: str, sessions: Iterable[Session]) -> dict[int, str]:
        """What sessions called themselves besides, by number, where that is beyond doubt; callable
        from any thread."""

    def sample(self) -> Sample:
        """What went through every session to every LUN; callable from any thread."""

    def close(self, target: str, sid: int) -> None:
        """Close a session, if it is there. Raises Refused."""

    def unit_size(self, target: str, lun: int) -> int | None:
        """The bytes that initiators see."""

    def unit_identity(self, target: str, lun: int) -> str | None:
        """The backing store that was opened for it; None where that is not known, or none was."""


class Notes(Protocol):
    """What the next life of the service must know and a power cut may take."""

    def settled(self) -> str | None:
        """The life of the daemon that has what is stored, but for what is pending."""

    def settle(self, peer: str) -> None:
        """An empty one where there is none."""

    def pending(self) -> Pending:
        """What unfinished writes were changing."""

    def begin(self, pending: Pending) -> None:
        """Raises StateFailed."""

    def finish(self) -> None: ...


class Reconciler:
    """Holds what is known of tgtd. Methods that change anything need the caller's lock; `down`,
    `failures` and `foreign` can be read without it."""

    def __init__(self, backend: Backend, notes: Notes) -> None:
        self.backend = backend
        self.failures: dict[Failed, str] = {}
        """(target, LUN or None for the target) -> why it is not served."""
        self._down: str | None = "not looked at yet"
        self._notes = notes
        self._unfinished = NOTHING_PENDING
        """The names of writes that are in force, and not durable."""
        self._half_done = NOTHING_PENDING
        """The names of writes that are neither in force nor put back: nothing of them is known."""
        self._observed = Observed()
        self._peer: Peer | None = None
        self._guard = Account(GUARD, secrets.token_hex(32))
        self.alarm = Alarm()
        """Rings when a pass is due at once."""
        self.opened: set[Place] = set()
        """LUNs that may stand on another file since somebody last emptied this."""
        self.looking = 0.0
        """Seconds that the last look at everything took."""
        self.foreign: tuple[ObservedTarget, ...] = ()
        """Targets in tgtd that are not ours, by name: shown, never touched unless adopted."""
        self._backoff = Backoff()
        self.events = Events()
        """What happens, here and in the service."""
        self.tally = Tally()

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

    # -- writes

    def enforce(
        self,
        before: Inventory,
        desired: Inventory,
        scope: Scope,
        verify: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring what is in scope into force, or put `before` back and raise what went wrong.

        `verify` raises what speaks against it once it is done.
        """
        changes = self._permitted(before, desired, scope)
        names, left = self._touched(before, desired, scope), self._half_done
        self._half_done = names.joined(left)
        try:
            self._notes.begin(self._half_done.joined(self._unfinished))
            failpoint.reached("write.noted")
            self._move_despite_drift(changes, before, desired, scope)
            failpoint.reached("write.enforced")
            verify()
            failpoint.reached("write.verified")
        except Unavailable as error:
            self._lost(error)
            raise
        except _Foreign as foreign:
            self._put_back(before, _without(foreign.name, scope), left)
            raise
        except StorLeverError:
            self._put_back(before, scope, left)
            raise
        except Exception:  # at any moment: a change may be in force that we do not know of
            self._put_back(before, scope, left, look=True)
            raise
        self._unfinished, self._half_done = names.joined(self._unfinished), left

    def rehearse(self, before: Inventory, desired: Inventory, scope: Scope) -> Plan:
        """The changes that `enforce` would make. Raises what it would raise, but for what only tgtd
        knows; nothing changes but what another look finds, and that is true."""
        changes = self._permitted(before, desired, scope)
        for change in changes:
            self.backend.require_fit(change)
            if isinstance(change, EndSessions) and not change.force:
                self.require_no_sessions(change.target)
        return changes

    def _permitted(self, before: Inventory, desired: Inventory, scope: Scope) -> Plan:
        """The plan, if there is nothing against it. Raises Unavailable and Conflict."""
        self.require_up()
        changes = self._planned(before, desired, scope)
        self._require_known(desired, scope)
        self._require_ours(before, desired, scope)
        return changes

    def _touched(self, before: Inventory, desired: Inventory, scope: Scope) -> Pending:
        after, old = desired.accounts, before.accounts
        changing = (name for name in scope.accounts if name in after)
        secrets = frozenset(name for name in changing if old.get(name) != after[name])
        return Pending(scope.targets, scope.accounts, str(self._peer), secrets, scope.discovery)

    def _move_despite_drift(
        self, changes: Plan, before: Inventory, desired: Inventory, scope: Scope
    ) -> None:
        """Where tgtd is not as we knew it, look, and try once more from what is there."""
        try:
            self._move(changes)
        except Refused as refused:
            if not refused.drift:
                raise
            made = self._observed.targets.keys() | self._observed.accounts.keys()
            self._look_again(before)
            failpoint.reached("write.drifted")
            self._require_known(desired, scope)
            self._require_ours(before, desired, scope, made)
            self._move(self._plan(desired, scope))

    def _planned(self, before: Inventory, desired: Inventory, scope: Scope) -> Plan:
        """The plan, made after another look where it unbinds anything and looking is cheap.

        Somebody may have bound an account of ours to a target of theirs, or one of theirs to
        ours, since the last look; unbound in ignorance of that, it leaves a hole, and tgtd dies.
        They may have let go of one as well, which then need not be spared any more.
        """
        changes = self._plan(desired, scope)
        if not self._in_ignorance(changes, scope):
            return changes
        self.refresh(before)
        failpoint.reached("write.looked")
        return self._plan(desired, scope)

    def _in_ignorance(self, changes: Iterable[Change], scope: Scope) -> bool:
        """Whether a plan lets go of users, which may be others' by now, and looking is cheap."""
        letting_go = any(isinstance(change, UnbindIncoming | DeleteAccount) for change in changes)
        spared = not scope.accounts.isdisjoint(self._observed.pinned)
        return (letting_go or spared) and self.looking <= CHEAP_LOOK

    def _plan(self, desired: Inventory, scope: Scope) -> Plan:
        return plan(desired, self._observed, scope, self._guard)

    def _require_ours(
        self, before: Inventory, desired: Inventory, scope: Scope, made: Set[str] = frozenset()
    ) -> None:
        """Raise _Foreign when a name of the edit is in tgtd, and is not ours.

        `made`: names that count as ours, because this very write may have made them.
        """
        known = self._observed
        for name in scope.targets - made:  # taking a view of keys away would look at every key
            if name in known.targets and name not in before.targets:
                raise _Foreign(name, f"target {name} that is not StorLever's", "target-foreign")
        for name in filter(desired.accounts.__contains__, scope.accounts):
            old = before.accounts.get(name)
            if (old is None and name in known.accounts and name not in made) or (
                name in known.pinned and old != desired.accounts[name]
            ):
                raise _Foreign(name, f"user {name!r} that is not StorLever's alone", "user-foreign")

    def _require_known(self, desired: Inventory, scope: Scope) -> None:
        """Raise Unavailable when a user may have another password in tgtd. It has to be made anew,
        for all its targets at once, which passes do; until then, its targets stay closed."""
        targets = filter(None, map(desired.targets.get, scope.targets))
        used = frozenset[str]().union(*(target.accounts for target in targets))
        used |= desired.discovery.accounts if scope.discovery else frozenset()
        for name in used - scope.accounts:
            if self._observed.wrong(desired.accounts[name]):
                raise Unavailable(f"tgtd may have user {name!r} with another password")

    def abandon(self, before: Inventory, scope: Scope) -> None:
        """Put back all that was brought into force since `finish`; it never became durable."""
        left = self._half_done
        self._half_done, self._unfinished = self._unfinished.joined(left), NOTHING_PENDING
        if self.down is None:  # else the next pass does it
            self._put_back(before, scope, left)

    def _put_back(
        self, before: Inventory, scope: Scope, left: Pending, *, look: bool = False
    ) -> None:
        """Undo, and never raise: where even that fails, the next pass does it.

        `left`: what is half done even then. `look`: what is known of tgtd may be wrong.
        """
        nobodys = frozenset(name for name in scope.targets if name not in before.targets)
        scope = replace(scope, force=scope.force | nobodys)
        try:
            failpoint.reached("undo.begun")
            if look:
                self._look_again(before)
            elif self._in_ignorance(self._plan(before, scope), scope):
                with suppress(Untrusted):
                    self._look_again(before, left)
            failpoint.reached("undo.looked")
            self._require_known(before, scope)
            self.backend.hold([self._undoing(self._plan(before, scope))])
            self._half_done = left
            self._note()
        except Unavailable as error:
            self._lost(error)
        except Exception as error:
            log.warning("could not put back, a pass will", reason=str(error), exc_info=True)
            self._lost(Unavailable("tgtd is being brought back to the stored state"))

    def _note(self) -> None:
        """Raises StateFailed."""
        names = self._half_done.joined(self._unfinished)
        if names:
            self._notes.begin(names)
        else:
            self._notes.finish()

    def finish(self) -> None:
        """All that was brought into force is durable."""
        self._unfinished = NOTHING_PENDING
        if not self._half_done:  # else a note of too much does no harm
            self._notes.finish()

    def require_no_sessions(self, *targets: str) -> None:
        """Raises Conflict. So that a target need not be closed to hear of them."""
        busy, sessions = [], list[Session]()
        with self._losing():
            for target in targets:
                if found := self.backend.sessions(target):
                    busy.append(target)
                    sessions += found
        if busy:
            raise sessions_in_the_way(", ".join(busy), tuple(sessions))

    def require_up(self) -> None:
        if self.down is not None:
            raise Unavailable(self.down)

    def _move(self, changes: Plan) -> None:
        self._hold(changes, self._moving)

    def _hold(self, changes: Plan, lane: Callable[[Iterable[Change]], Iterator[Talk]]) -> None:
        for lanes in changes.stages:
            self.backend.hold(map(lane, lanes))

    def _moving(self, changes: Iterable[Change]) -> Iterator[Talk]:
        for change in changes:
            failpoint.reached("write.change")
            yield self._talk(change)
            failpoint.reached("write.changed")

    def forgive(self, scope: Scope) -> None:
        """Forget the failures of what was just mended or removed."""
        for name, lun in list(self.failures):
            if name in scope.targets and (name, lun) not in scope.parked:
                del self.failures[name, lun]
                if lun is not None:
                    self._backoff.forget((name, lun))

    def _talk(self, change: Change) -> Talk:
        self._observed.check(change)
        before = self._observed.doubt(change)
        try:
            yield from self.backend.talk(change)
        except Conflict:  # an initiator holds the medium
            if isinstance(change, UpdateUnit) and before is not None:
                self._observed.keep_medium(change.target, before)
            raise
        except Swapped:
            if isinstance(change, UpdateUnit):
                self._observed.apply(DeleteUnit(change.target, change.unit.lun))
            raise
        if isinstance(change, CreateUnit) or (
            isinstance(change, UpdateUnit) and "backing_path" in change.fields
        ):
            self.opened.add((change.target, change.unit.lun))
        failpoint.reached("change.made")
        self._observed.apply(change)

    def _undoing(self, changes: Iterable[Change]) -> Iterator[Talk]:
        for change in changes:
            yield self._undo(change)
            failpoint.reached("undo.changed")

    def _undo(self, change: Change) -> Talk:
        """A LUN that was failing before the write may fail again."""
        try:
            yield from self._talk(change)
        except Unfit:
            lun = lun_of(change)
            if lun is None or (getattr(change, "target", ""), lun) not in self.failures:
                raise

    def _lost(self, error: Unavailable) -> None:
        self.down = str(error)
        self.wake()

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Whatever in it finds tgtd gone has the next pass see to it, and raises Unavailable."""
        try:
            yield
        except Unavailable as error:
            self._lost(error)
            raise

    def wake(self) -> None:
        """Ask for a pass at once; from any thread."""
        self.alarm.ring()

    def refresh(self, desired: Inventory) -> None:
        """Look at everything. Raises Unavailable."""
        self.require_up()
        with self._losing():
            self._look_again(desired)

    def _look_again(self, before: Inventory, unknown: Pending | None = None) -> None:
        """What a write may look at: the life of tgtd that it began with. Into another one, a pass
        brings everything first. Raises Unavailable.

        `unknown`: of what nothing is known any more; what is half done, if it is left out.
        """
        peer = self.backend.ensure()
        if peer != self._peer:
            raise Unavailable("tgtd has been restarted")
        self._see(before, peer, self._half_done if unknown is None else unknown)

    # -- adoption

    def stranger(self, name: str, desired: Inventory) -> ObservedTarget:
        """A target that is not ours, as tgtd has it now. Raises NotFound, Unavailable, and Conflict
        where one of its users is not its alone: its password would have to be made anew."""
        self.refresh(desired)
        found = next((target for target in self.foreign if target.name == name), None)
        if found is None:
            raise NotFound(f"tgtd has no foreign target {name!r}", code="target-not-found")
        others = {
            account
            for target in self.foreign
            if target is not found
            for account in target.bindings.accounts
        }
        if desired.discovery == DiscoveryAuth():
            others |= self._observed.discovery.accounts
        if shared := found.bindings.accounts & others - {GUARD}:
            raise Conflict(
                f"others use users of target {name} too: {', '.join(sorted(shared))}",
                code="user-foreign",
            )
        return found

    def welcome(self, target: Target, users: frozenset[str]) -> None:
        """Before it is durable that the target is ours: note that the secrets which tgtd has of
        these users are not known, and take what it does not tell of LUNs for what is wished.
        Raises StateFailed. Nothing is changed in tgtd, where it is served, until then."""
        doubt = Pending(peer=str(self._peer), secrets=users)
        self._half_done = doubt.joined(self._half_done)
        self._note()
        self._observed.trust(target)

    def take_up(self, desired: Inventory) -> None:
        """Bring what was welcomed into force. Never raises: what goes wrong, the next pass does."""
        try:
            self.full_pass(desired)
        except Unavailable as error:
            self._lost(error)
        except Exception as error:
            log.warning("could not adopt yet, a pass will", reason=str(error), exc_info=True)
            self._lost(Unavailable("tgtd is being brought to the stored state"))

    # -- passes

    def full_pass(self, desired: Inventory) -> int:
        """Look at everything and bring it into force; returns how many changes that took.

        What cannot be done is noted in `failures`; a target that could not be brought into force
        stays closed, a LUN that cannot be served is left out. Raises Unavailable.
        """
        with self.tally.passes.measured():
            started = time.monotonic()
            right = self._peer if self.down is None else None
            failing = {name for name, _ in self.failures}
            self._look(desired)
            failpoint.reached("pass.looked")
            made, failures, changes = self._converge(
                desired, self._whole(desired, started), started
            )
            if right == self._peer:
                self._note_drift(each for each in made if _target_of(each) not in failing)
            self._settle(desired, failures)
            failpoint.reached("pass.concluded")
            return changes

    def _note_drift(self, made: Iterable[Change]) -> None:
        """tgtd was as desired, and is the same: somebody else changed what was put right."""
        if changes := sum(1 for _ in made):
            self.tally.drift += changes
            self.events.publish(("drift", {"changes": changes}))

    def glance(self, desired: Inventory) -> bool:
        """Whether a cheap look shows nothing new; what failed before is tried again.

        It does not see access lists, LUNs and states. Raises Unavailable.
        """
        if self.down is not None or not self.backend.familiar(self._observed):
            return False
        if self.failures:
            now = time.monotonic()
            whole = self._whole(desired, now)
            failing = whole.targets & {name for name, _ in self.failures}
            self._converge(desired, replace(whole, targets=failing), now)
        # Passwords that were in doubt may be well now, which only a whole pass knows.
        return bool(self.failures) or not self._half_done.secrets

    def _converge(
        self, desired: Inventory, scope: Scope, started: float
    ) -> tuple[list[Change], Failures, int]:
        """What was made, what failed, and how many changes were made or tried."""
        changes = self._plan(desired, scope)
        failpoint.reached("pass.planned")
        failures = Failures(
            {place: why for place, why in self.failures.items() if place in scope.parked}
        )
        made = self._move_what_can_be(changes, failures)
        self._backoff.note(failures.refused, started)
        self._conclude(failures)
        if changes:
            seconds = round(time.monotonic() - started, 3)
            log.info("pass", changes=len(changes), failures=len(failures.reasons), seconds=seconds)
        return made, failures, len(changes)

    def _look(self, desired: Inventory) -> None:
        self._see(desired, self.backend.ensure(), self._half_done)

    def _see(self, desired: Inventory, peer: Peer, unknown: Pending) -> None:
        """Replace what is known by what tgtd shows, with what it does not show from memory."""
        pending = self._pending(peer)
        started = time.monotonic()
        try:
            observed = self.backend.observe()
        except Untrusted as error:
            if peer != self._peer or unknown:
                raise
            # Nobody who may log in shall be able to stop the service: what we did still holds.
            log.warning("going by what is known", reason=str(error))
            return
        self.looking = time.monotonic() - started
        if peer == self._peer:
            observed.learn(self._observed, unknown)
        else:
            self._backoff.clear()
            self._half_done = pending
            self.tally.restarts += self._peer is not None
            if str(peer) == self._notes.settled():
                observed.learn(_expected(desired), pending)
        ours = pending.targets.union(desired.targets)
        theirs = sorted(observed.targets.keys() - ours)
        self.foreign = tuple(map(observed.targets.__getitem__, theirs))
        observed.pinned = frozenset(
            account for target in self.foreign for account in target.bindings.accounts
        )
        self._observed, self._peer = observed, peer

    def _pending(self, peer: Peer | None) -> Pending:
        pending = self._notes.pending()
        return pending if pending.peer == str(peer) else NOTHING_PENDING

    def _whole(self, desired: Inventory, now: float) -> Scope:
        pending = self._pending(self._peer)
        left_over = (pending.targets & self._observed.targets.keys()).difference(desired.targets)
        accounts = pending.accounts.union(desired.accounts)
        return Scope(
            targets=frozenset(desired.targets) | left_over,
            accounts=accounts,
            # Who never asked for discovery users does not take away those of somebody else.
            discovery=desired.discovery != DiscoveryAuth()
            or self._observed.discovery.outgoing == ANY
            or not self._observed.discovery.accounts.isdisjoint(accounts | {GUARD}),
            parked=self._backoff.resting(now),
            force=left_over,  # nobody was ever told that they exist
        )

    def _move_what_can_be(self, changes: Plan, failures: Failures) -> list[Change]:
        made = list[Change]()
        self._hold(changes, partial(self._trying, failures, made))
        return made

    def _trying(
        self, failures: Failures, made: list[Change], changes: Iterable[Change]
    ) -> Iterator[Talk]:
        for change in changes:
            if failures.prevent(change):
                continue
            failpoint.reached("pass.change")
            yield self._try(change, failures, made)
            failpoint.reached("pass.changed")

    def _try(self, change: Change, failures: Failures, made: list[Change]) -> Talk:
        try:
            yield from self._talk(change)
            made.append(change)
        except Unavailable:
            raise
        except StorLeverError as error:
            failures.record(change, error)

    def _conclude(self, failures: Failures) -> None:
        for (name, lun), reason in failures.reasons.items():
            if self.failures.get((name, lun)) != reason:
                log.warning("not served", target=name, lun=lun, reason=reason)
        self.failures = failures.reasons
        if self.down is not None:
            log.info("tgtd is up", pid=self.pid)
        self.down = None

    def _settle(self, desired: Inventory, failures: Failures) -> None:
        """Note what tgtd was brought to as a whole, and what of it is in doubt."""
        if not failures.unsettled:
            self._half_done = NOTHING_PENDING
            self._notes.finish()
            self._notes.settle(str(self._peer))
            return
        self._half_done = self._left(desired, failures)
        try:
            self._note()
        except StateFailed:
            self._notes.settle("")

    def _left(self, desired: Inventory, failures: Failures) -> Pending:
        """What is half done after a pass that could not do it all."""
        left, seen = self._half_done, self._observed
        failing = {name for name, lun in failures.reasons if lun is None}
        gone = seen.targets.keys() - desired.targets.keys()
        known = filter(None, map(desired.accounts.get, seen.accounts))
        return Pending(
            frozenset(name for name in left.targets if name in failing or name in gone),
            frozenset(left.accounts & seen.accounts.keys() - desired.accounts.keys()),
            str(self._peer),
            frozenset(account.name for account in known if seen.wrong(account)),
            left.discovery and DISCOVERY in failing,
        )

    def close(self, target: str, sid: int) -> None:
        """Close a session, and wait until it is gone. Raises Refused, Conflict and Unavailable."""
        deadline = time.monotonic() + PARTING
        with self._losing():
            while any(each.sid == sid for each in self.backend.sessions(target)):
                if time.monotonic() > deadline:
                    raise Conflict(f"session {sid} of {target} does not end", code="session-stays")
                self.backend.close(target, sid)
                time.sleep(0.005)

    # -- what is known

    def sessions(self, target: str, *, hurry: bool = False) -> tuple[Session, ...]:
        """The sessions of a target now. Needs no lock. Raises Unavailable."""
        try:
            return self.backend.sessions(target, hurry=hurry)
        except Unavailable:
            if not hurry:
                self.wake()  # what it means for writes, the pass decides
            raise

    @property
    def pid(self) -> int:
        """The process that was last looked at; 0 before the first look."""
        return self._peer.pid if self._peer else 0


class _Foreign(Conflict):
    """tgtd has a target or an account of this name that is not ours: hands off it."""

    def __init__(self, name: str, what: str, code: str) -> None:
        super().__init__(f"tgtd has a {what}", code=code)
        self.name = name


def _target_of(change: Change) -> str | None:
    name: str | None = getattr(change, "target", None)
    return name


def _without(name: str, scope: Scope) -> Scope:
    return replace(scope, targets=scope.targets - {name}, accounts=scope.accounts - {name})


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
