"""Bringing tgtd to what is desired as a whole: passes, and glances between them.

A pass looks at everything, and brings all of it into force. A glance sees at a small price whether
targets or users came or went, and tries again what failed. `loop` says when; what was adopted is
brought into force by a pass as well.
"""

import time
from collections.abc import Iterable, Iterator
from functools import partial

import structlog
from msgspec.structs import replace

from storlever import failpoint
from storlever.change import Change, CreateAccount, DeleteAccount
from storlever.errors import StorLeverError, Unavailable
from storlever.failures import Failures
from storlever.inventory import DISCOVERY, Inventory
from storlever.knowledge import Knowledge
from storlever.model import DiscoveryAuth, Pending
from storlever.names import GUARD
from storlever.observed import ANY
from storlever.plan import Plan, Scope
from storlever.protocols import Talk

log = structlog.get_logger(__name__)


class Passes:
    """For `loop` and `enforcer`. Needs the caller's lock."""

    def __init__(self, known: Knowledge) -> None:
        self.known = known
        self._doubts = known.doubts

    def full(self, desired: Inventory) -> int:
        """Look at everything and bring it into force; returns how many changes that took.

        What cannot be done is noted in `failures`; a target that could not be brought into force
        stays closed, a LUN that cannot be served is left out. Raises Unavailable.
        """
        with self.known.tally.passes.measured():
            started = time.monotonic()
            right = self.known.peer if self.known.down is None else None
            failing = {name for name, _ in self.known.failures}
            self.known.look(desired)
            failpoint.reached("pass.looked")
            made, failures, changes = self._converge(
                desired, self._whole(desired, started), started
            )
            if right == self.known.peer:
                self._note_drift(each for each in made if _target_of(each) not in failing)
            self._settle(desired, failures)
            failpoint.reached("pass.concluded")
            return changes

    def _note_drift(self, made: Iterable[Change]) -> None:
        """tgtd was as desired, and is the same: somebody else changed what was put right."""
        if changes := sum(1 for _ in made):
            self.known.tally.drift += changes
            self.known.events.publish(("drift", {"changes": changes}))

    def glance(self, desired: Inventory) -> bool:
        """Whether a cheap look shows nothing new; what failed before is tried again.

        It does not see access lists, LUNs and states. Raises Unavailable.
        """
        if self.known.down is not None or not self.known.backend.familiar(self.known.observed):
            return False
        if self.known.failures:
            now = time.monotonic()
            whole = self._whole(desired, now)
            failing = whole.targets & {name for name, _ in self.known.failures}
            self._converge(desired, replace(whole, targets=failing), now)
        # Passwords that were in doubt may be well now, which only a whole pass knows.
        return bool(self.known.failures) or not self._doubts.half_done.secrets

    def _converge(
        self, desired: Inventory, scope: Scope, started: float
    ) -> tuple[list[Change], Failures, int]:
        """What was made, what failed, and how many changes were made or tried."""
        changes = self.known.plan(desired, scope)
        failpoint.reached("pass.planned")
        failures = Failures(
            {place: why for place, why in self.known.failures.items() if place in scope.parked}
        )
        made = self._move_what_can_be(changes, failures)
        self.known.backoff.note(failures.refused, started)
        self._conclude(failures)
        if changes:
            seconds = round(time.monotonic() - started, 3)
            log.info("pass", changes=len(changes), failures=len(failures.reasons), seconds=seconds)
        return made, failures, len(changes)

    def _whole(self, desired: Inventory, now: float) -> Scope:
        seen, earlier = self.known.observed, self._doubts.earlier(self.known.peer)
        left_over = (earlier.targets & seen.targets.keys()).difference(desired.targets)
        accounts = earlier.accounts.union(desired.accounts)
        return Scope(
            targets=frozenset(desired.targets) | left_over,
            accounts=accounts,
            # Who never asked for discovery users does not take away those of somebody else.
            discovery=desired.discovery != DiscoveryAuth()
            or seen.discovery.outgoing == ANY
            or not seen.discovery.accounts.isdisjoint(accounts | {GUARD}),
            parked=self.known.backoff.resting(now),
            force=left_over,  # nobody was ever told that they exist
        )

    def _move_what_can_be(self, changes: Plan, failures: Failures) -> list[Change]:
        made = list[Change]()
        self.known.hold(changes, partial(self._trying, failures, made))
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
            yield from self.known.talk(change)
            made.append(change)
        except Unavailable:
            raise
        except StorLeverError as error:
            failures.record(change, error)

    def _conclude(self, failures: Failures) -> None:
        for (name, lun), reason in failures.reasons.items():
            if self.known.failures.get((name, lun)) != reason:
                log.warning("not served", target=name, lun=lun, reason=reason)
        self.known.failures = failures.reasons
        if self.known.down is not None:
            log.info("tgtd is up", pid=self.known.pid)
        self.known.down = None

    def _settle(self, desired: Inventory, failures: Failures) -> None:
        """Note what tgtd was brought to as a whole, and what of it is in doubt."""
        if failures.unsettled:
            self._doubts.settle_but(self._left(desired, failures))
        else:
            self._doubts.settle(self.known.peer)

    def _left(self, desired: Inventory, failures: Failures) -> Pending:
        """What is half done after a pass that could not do it all."""
        left, seen = self._doubts.half_done, self.known.observed
        failing = {name for name, lun in failures.reasons if lun is None}
        gone = seen.targets.keys() - desired.targets.keys()
        known = filter(None, map(desired.accounts.get, seen.accounts))
        return Pending(
            frozenset(name for name in left.targets if name in failing or name in gone),
            frozenset(left.accounts & seen.accounts.keys() - desired.accounts.keys()),
            str(self.known.peer),
            frozenset(account.name for account in known if seen.wrong(account)),
            left.discovery and DISCOVERY in failing,
        )


def _target_of(change: Change) -> str | None:
    """As failures name it; None for a change of accounts."""
    if isinstance(change, CreateAccount | DeleteAccount):
        return None
    return change.target or DISCOVERY
