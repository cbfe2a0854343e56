"""Bringing edits into force: a write plans and applies only what it touches, and is put back when
tgtd refuses."""

from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager, suppress

import structlog
from msgspec.structs import replace

from storlever import failpoint
from storlever.change import Change, DeleteAccount, EndSessions, UnbindIncoming, UnitChange
from storlever.errors import (
    Conflict,
    Refused,
    StorLeverError,
    Unavailable,
    Unfit,
    Untrusted,
)
from storlever.failures import lun_of
from storlever.inventory import Inventory
from storlever.model import Pending, Target
from storlever.passes import Passes
from storlever.plan import Plan, Scope
from storlever.protocols import Talk

log = structlog.get_logger(__name__)

CHEAP_LOOK = 0.02
"""Seconds of looking at everything that a write may cost; it grows with the number of targets."""


class Enforcer:
    """For `writer`. Needs the caller's lock."""

    def __init__(self, passes: Passes) -> None:
        self.known = passes.known
        self._doubts = passes.known.doubts
        self._passes = passes

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
        names, left = self._touched(before, desired, scope), self._doubts.half_done
        try:
            self._doubts.begin(names)
            failpoint.reached("write.noted")
            self._move_despite_drift(changes, before, desired, scope)
            failpoint.reached("write.enforced")
            verify()
            failpoint.reached("write.verified")
        except Unavailable as error:
            self.known.lost(error)
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
        self._doubts.enforced(names, left)

    def rehearse(self, before: Inventory, desired: Inventory, scope: Scope) -> Plan:
        """The changes that `enforce` would make. Raises what it would raise, but for what only tgtd
        knows; nothing changes but what another look finds, and that is true."""
        changes = self._permitted(before, desired, scope)
        for change in changes:
            self.known.backend.require_fit(change)
            if isinstance(change, EndSessions) and not change.force:
                self.known.require_no_sessions(change.target)
        return changes

    def _permitted(self, before: Inventory, desired: Inventory, scope: Scope) -> Plan:
        """The plan, if there is nothing against it. Raises Unavailable and Conflict."""
        self.known.require_up()
        changes = self._planned(before, desired, scope)
        self._require_known(desired, scope)
        self._require_ours(before, desired, scope)
        return changes

    def _touched(self, before: Inventory, desired: Inventory, scope: Scope) -> Pending:
        after, old = desired.accounts, before.accounts
        changing = (name for name in scope.accounts if name in after)
        secrets = frozenset(name for name in changing if old.get(name) != after[name])
        return Pending(
            scope.targets, scope.accounts, str(self.known.peer), secrets, scope.discovery
        )

    def _move_despite_drift(
        self, changes: Plan, before: Inventory, desired: Inventory, scope: Scope
    ) -> None:
        """Where tgtd is not as we knew it, look, and try once more from what is there."""
        try:
            self._move(changes)
        except Refused as refused:
            if not refused.drift:
                raise
            made = self.known.observed.targets.keys() | self.known.observed.accounts.keys()
            self.known.look_again(before)
            failpoint.reached("write.drifted")
            self._require_known(desired, scope)
            self._require_ours(before, desired, scope, made)
            self._move(self.known.plan(desired, scope))

    def _planned(self, before: Inventory, desired: Inventory, scope: Scope) -> Plan:
        """The plan, made after another look where it unbinds anything and looking is cheap.

        Somebody may have bound an account of ours to a target of theirs, or one of theirs to
        ours, since the last look; unbound in ignorance of that, it leaves a hole, and tgtd dies.
        They may have let go of one as well, which then need not be spared any more.
        """
        changes = self.known.plan(desired, scope)
        if not self._in_ignorance(changes, scope):
            return changes
        self.known.refresh(before)
        failpoint.reached("write.looked")
        return self.known.plan(desired, scope)

    def _in_ignorance(self, changes: Iterable[Change], scope: Scope) -> bool:
        """Whether a plan lets go of users, which may be others' by now, and looking is cheap."""
        letting_go = any(isinstance(change, UnbindIncoming | DeleteAccount) for change in changes)
        spared = not scope.accounts.isdisjoint(self.known.observed.pinned)
        return (letting_go or spared) and self.known.looking <= CHEAP_LOOK

    def _require_ours(
        self, before: Inventory, desired: Inventory, scope: Scope, made: Set[str] = frozenset()
    ) -> None:
        """Raise _Foreign when a name of the edit is in tgtd, and is not ours.

        `made`: names that count as ours, because this very write may have made them.
        """
        known = self.known.observed
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
            if self.known.observed.wrong(desired.accounts[name]):
                raise Unavailable(f"tgtd may have user {name!r} with another password")

    def finish(self) -> None:
        """All that was brought into force is durable."""
        self._doubts.finish()

    def abandon(self, before: Inventory, scope: Scope) -> None:
        """Put back all that was brought into force since `finish`; it never became durable."""
        left = self._doubts.abandon()
        if self.known.down is None:  # else the next pass does it
            self._put_back(before, scope, left)

    def _put_back(
        self, before: Inventory, scope: Scope, left: Pending, *, look: bool = False
    ) -> None:
        """Undo, and never raise: where even that fails, the next pass does it.

        `left`: what is half done even then. `look`: what is known of tgtd may be wrong.
        """
        nobodys = frozenset(name for name in scope.targets if name not in before.targets)
        scope = replace(scope, force=scope.force | nobodys)
        with self._or_a_pass("could not put back, a pass will", "brought back"):
            failpoint.reached("undo.begun")
            if look:
                self.known.look_again(before)
            elif self._in_ignorance(self.known.plan(before, scope), scope):
                with suppress(Untrusted):
                    self.known.look_again(before, left)
            failpoint.reached("undo.looked")
            self._move_back(before, scope)
            self._doubts.put_back(left)

    @contextmanager
    def _or_a_pass(self, said: str, done: str) -> Iterator[None]:
        """Nothing is raised out of it: what goes wrong, the next pass does. `said`: in the log;
        `done`: what is done to tgtd until then, as callers are told."""
        try:
            yield
        except Unavailable as error:
            self.known.lost(error)
        except Exception as error:
            log.warning(said, reason=str(error), exc_info=True)
            self.known.lost(Unavailable(f"tgtd is being {done} to the stored state"))

    def _move_back(self, before: Inventory, scope: Scope) -> None:
        """Where tgtd is not as we knew it, look, and try once more from what is there."""
        try:
            self._undo_all(before, scope)
        except Refused as refused:
            if not refused.drift:
                raise
            self.known.look_again(before)
            self._undo_all(before, scope)

    def _undo_all(self, before: Inventory, scope: Scope) -> None:
        self._require_known(before, scope)
        self.known.backend.hold([self._undoing(self.known.plan(before, scope))])

    def _move(self, changes: Plan) -> None:
        self.known.hold(changes, self._moving)

    def _moving(self, changes: Iterable[Change]) -> Iterator[Talk]:
        for change in changes:
            failpoint.reached("write.change")
            yield self.known.talk(change)
            failpoint.reached("write.changed")

    def _undoing(self, changes: Iterable[Change]) -> Iterator[Talk]:
        for change in changes:
            yield self._undo(change)
            failpoint.reached("undo.changed")

    def _undo(self, change: Change) -> Talk:
        """A LUN that was failing before the write may fail again."""
        try:
            yield from self.known.talk(change)
        except Unfit:
            if not isinstance(change, UnitChange):
                raise
            if (change.target, lun_of(change)) not in self.known.failures:
                raise

    # -- adoption

    def welcome(self, target: Target, users: frozenset[str]) -> None:
        """Before it is durable that the target is ours: note that the secrets which tgtd has of
        these users are not known, and take what it does not tell of LUNs for what is wished.
        Raises StateFailed. Nothing is changed in tgtd, where it is served, until then."""
        self._doubts.begin(Pending(peer=str(self.known.peer), secrets=users))
        self.known.observed.trust(target)

    def take_up(self, desired: Inventory) -> None:
        """Bring what was welcomed into force. Never raises: what goes wrong, the next pass does."""
        with self._or_a_pass("could not adopt yet, a pass will", "brought"):
            self._passes.full(desired)


class _Foreign(Conflict):
    """tgtd has a target or an account of this name that is not ours: hands off it."""

    def __init__(self, name: str, what: str, code: str) -> None:
        super().__init__(f"tgtd has a {what}", code=code)
        self.name = name


def _without(name: str, scope: Scope) -> Scope:
    return replace(scope, targets=scope.targets - {name}, accounts=scope.accounts - {name})
