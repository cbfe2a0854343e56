"""Bringing tgtd to what is desired: edit by edit for writes, whole by whole in passes.

A write plans and applies only what it touches and is put back when tgtd refuses. A pass looks at
everything; it runs at start, when tgtd is back after its death, after a write went wrong, and on
a timer that stretches with the cost of looking, because tgtd serves nobody while it prints.
"""

import os
import secrets
import select
import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from typing import Protocol

import structlog

from storlever.backoff import Backoff
from storlever.change import (
    BindIncoming,
    BindOutgoing,
    Change,
    CreateAccount,
    DeleteAccount,
    UnitChange,
)
from storlever.claims import Place
from storlever.errors import Conflict, Refused, StoreMissing, StorLeverError, Unavailable
from storlever.inventory import Inventory
from storlever.model import Account, Bindings, ObservedTarget, ObservedUnit, Session
from storlever.names import GUARD
from storlever.observed import Observed
from storlever.plan import Scope, plan

log = structlog.get_logger(__name__)

SHORTEST_INTERVAL = 2.0
LONGEST_INTERVAL = 4.0
"""Somebody else's change in tgtd is promised to be put right within 5 s."""
LOOKING_SHARE = 1 / 200
"""Timer passes keep tgtd busy for at most this share of its time, while intervals allow it."""
BACK_OFF = (0.1, 0.2, 0.5, 1.0)


class Peer(Protocol):
    """One life of the daemon; equal for the same life, str() for the notes."""

    @property
    def pid(self) -> int: ...


class Backend(Protocol):
    """What stands between a plan and a daemon. Everything raises Unavailable."""

    def ensure(self) -> Peer:
        """Find the daemon, or start it where it is ours."""

    def observe(self) -> Observed:
        """Everything the daemon shows; secrets and write caches are unknown."""

    def apply(self, change: Change) -> None:
        """Make one change. Raises Refused or Conflict when the daemon will not."""

    def sessions(self, target: str) -> tuple[Session, ...]:
        """The sessions of a target now; callable from any thread."""

    def unit_size(self, target: str, lun: int) -> int | None:
        """The bytes that initiators see."""


class Notes(Protocol):
    """What the next life of the service must know and a power cut may take."""

    def settled(self) -> str | None:
        """The life of the daemon that was last brought to the desired state as a whole."""

    def settle(self, peer: str) -> None: ...

    def pending(self) -> frozenset[str]:
        """Names of the targets and accounts that an unfinished write was changing."""

    def begin(self, names: frozenset[str]) -> None: ...

    def finish(self) -> None: ...


class Reconciler:
    """Holds what is known of tgtd. All but `run`, `wake` and `sessions` need the caller's lock."""

    def __init__(self, backend: Backend, notes: Notes, lock: threading.Lock) -> None:
        self.backend = backend
        self.failures: dict[tuple[str, int | None], str] = {}
        """(target, LUN or None for the target) -> why it is not served."""
        self.down: str | None = "not looked at yet"
        """Why tgtd cannot be changed now; None when it can."""
        self._notes = notes
        self._lock = lock
        self._observed = Observed()
        self._peer: Peer | None = None
        self._guard = Account(GUARD, secrets.token_hex(32))
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._backoff = Backoff()
        self._looking = 0.0
        self._stopping = False

    # -- writes

    def enforce(self, before: Inventory, desired: Inventory, scope: Scope) -> None:
        """Bring what is in scope into force, or put `before` back and raise what went wrong."""
        self.require_up()
        self._require_ours(before, desired, scope)
        self._notes.begin(scope.targets | scope.accounts)
        try:
            self._move_despite_drift(before, desired, scope)
            self._forgive(desired, scope)
        except Unavailable as error:
            self._lost(error)
            raise
        except _Foreign as foreign:
            self.put_back(before, _without(foreign.name, scope))
            raise
        except Exception:
            self.put_back(before, scope)
            raise

    def _move_despite_drift(self, before: Inventory, desired: Inventory, scope: Scope) -> None:
        """Where tgtd is not as we knew it, look, and try once more from what is there."""
        try:
            self._move(desired, scope)
        except Refused as refused:
            if not refused.drift:
                raise
            made = self._observed.targets.keys() | self._observed.accounts.keys()
            self._look(before)
            self._require_ours(before, desired, scope, made)
            self._move(desired, scope)

    def _require_ours(
        self, before: Inventory, desired: Inventory, scope: Scope, made: Set[str] = frozenset()
    ) -> None:
        """Raise _Foreign when a name of the edit is in tgtd, and is not ours.

        `made`: names that count as ours, because this very write may have made them.
        """
        known = self._observed
        for name in scope.targets - before.targets.keys() - made:
            if name in known.targets:
                raise _Foreign(name, f"target {name} that is not StorLever's", "target-foreign")
        for name in scope.accounts & desired.accounts.keys():
            old = before.accounts.get(name)
            if (old is None and name in known.accounts.keys() - made) or (
                name in known.pinned and old != desired.accounts[name]
            ):
                raise _Foreign(name, f"user {name!r} that is not StorLever's alone", "user-foreign")

    def put_back(self, before: Inventory, scope: Scope) -> None:
        """Undo, and never raise: where even that fails, the next pass does it."""
        try:
            self._move(before, scope)
            self._notes.finish()
        except Unavailable as error:
            self._lost(error)
        except Exception as error:
            log.warning("could not put back, a pass will", reason=str(error))
            self._lost(Unavailable("tgtd is being brought back to the stored state"))

    def finish(self) -> None:
        """The write is durable: what it noted is no longer in doubt."""
        self._notes.finish()

    def require_up(self) -> None:
        if self.down is not None:
            raise Unavailable(self.down)

    def _move(self, desired: Inventory, scope: Scope) -> None:
        for change in plan(desired, self._observed, scope, self._guard):
            self._apply(change)

    def _forgive(self, desired: Inventory, scope: Scope) -> None:
        """Forget the failures of what a write has just mended or removed."""
        for name, lun in list(self.failures):
            if name not in scope.targets or (name, lun) in scope.parked:
                continue
            target = desired.targets.get(name)
            if lun is not None or target is None:
                del self.failures[name, lun]

    def _apply(self, change: Change) -> None:
        self._observed.check(change)
        self._observed.doubt(change)
        self.backend.apply(change)
        self._observed.apply(change)

    def _lost(self, error: Unavailable) -> None:
        self.down = str(error)
        self.wake()

    # -- passes

    def full_pass(self, desired: Inventory) -> int:
        """Look at everything and bring it into force; returns how many changes that took.

        What cannot be done is noted in `failures`; a target that could not be brought into force
        stays closed, a LUN that cannot be served is left out. Raises Unavailable.
        """
        started = time.monotonic()
        self._look(desired)
        ours = self._notes.pending()
        left_over = (ours & self._observed.targets.keys()) - desired.targets.keys()
        scope = Scope(
            targets=frozenset(desired.targets) | left_over,
            accounts=ours | desired.accounts.keys(),
            discovery=True,
            parked=self._backoff.resting(started),
            force=left_over,  # nobody was ever told that they exist
        )
        changes = plan(desired, self._observed, scope, self._guard)
        failures = _Failures(
            {place: why for place, why in self.failures.items() if place in scope.parked}
        )
        for change in changes:
            if failures.forbid(change):
                continue
            try:
                self._apply(change)
            except Unavailable:
                raise
            except StorLeverError as error:
                failures.record(change, error)
        self._backoff.note(failures.refused, started)
        self._settled(failures)
        if changes:
            log.info(
                "pass",
                changes=len(changes),
                failures=len(failures.reasons),
                seconds=round(time.monotonic() - started, 3),
            )
        return len(changes)

    def _look(self, desired: Inventory) -> None:
        """Replace what is known by what tgtd shows, with what it does not show from memory."""
        peer = self.backend.ensure()
        started = time.monotonic()
        observed = self.backend.observe()
        self._looking = time.monotonic() - started
        pending = self._notes.pending()
        if peer == self._peer:
            observed.learn(self._observed, except_for=pending)
        else:
            self._backoff.clear()
            if str(peer) == self._notes.settled():
                observed.learn(_expected(desired), except_for=pending)
        ours = desired.targets.keys() | pending
        observed.pinned = frozenset(
            account
            for name, target in observed.targets.items()
            if name not in ours
            for account in (*target.bindings.incoming, target.bindings.outgoing)
            if account is not None
        )
        self._observed, self._peer = observed, peer

    def _settled(self, failures: "_Failures") -> None:
        for key, reason in failures.reasons.items():
            if self.failures.get(key) != reason:
                log.warning("not served", target=key[0], lun=key[1], reason=reason)
        self.failures = failures.reasons
        if self.down is not None:
            log.info("tgtd is up", pid=self._peer and self._peer.pid)
        self.down = None
        if not failures.doubtful:
            self._notes.finish()
            self._notes.settle(str(self._peer))

    # -- what is known

    def foreign(self, desired: Inventory) -> tuple[ObservedTarget, ...]:
        """Targets in tgtd that are not ours: shown, never touched."""
        return tuple(
            target for name, target in self._observed.targets.items() if name not in desired.targets
        )

    def served(self, target: str) -> ObservedTarget | None:
        return self._observed.targets.get(target)

    # -- the loop

    def run(self, desired: Callable[[], Inventory]) -> None:
        """Keep tgtd as desired until `stop`. The one place that survives anything."""
        attempt = 0
        while not self._stopping:
            try:
                with self._lock:
                    self.full_pass(desired())
                attempt = 0
                wait = min(max(SHORTEST_INTERVAL, self._looking / LOOKING_SHARE), LONGEST_INTERVAL)
            except Exception as error:
                if not isinstance(error, StorLeverError):
                    log.exception("a pass failed")
                elif str(error) != self.down or attempt == 0:
                    log.warning("tgtd is not available", reason=str(error))
                self.down = str(error)
                wait = BACK_OFF[min(attempt, len(BACK_OFF) - 1)]
                attempt += 1
            self._wait(wait)

    def wake(self) -> None:
        os.write(self._wake_write, b"!")

    def stop(self) -> None:
        self._stopping = True
        self.wake()

    def _wait(self, seconds: float) -> None:
        """Until the time is over, somebody wakes us, or the daemon dies."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        death = _death_of(self._peer) if self.down is None else None
        if death is not None:
            poll.register(death, select.POLLIN)
        try:
            ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        finally:
            if death is not None:
                os.close(death)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if death in ready:
            self.down = "tgtd has died"
            log.warning("tgtd has died", pid=self._peer and self._peer.pid)


class _Foreign(Conflict):
    """tgtd has a target or an account of this name that is not ours: hands off it."""

    def __init__(self, name: str, what: str, code: str) -> None:
        super().__init__(f"tgtd has a {what}", code=code)
        self.name = name


def _without(name: str, scope: Scope) -> Scope:
    return replace(scope, targets=scope.targets - {name}, accounts=scope.accounts - {name})


class _Failures:
    """What a pass could not do, and what it must not do in consequence."""

    def __init__(self, reasons: Mapping[tuple[str, int | None], str]) -> None:
        self.reasons: dict[tuple[str, int | None], str] = dict(reasons)
        self.refused: set[Place] = set()
        """The LUNs that tgtd itself refused."""
        self.doubtful = False
        """Something besides a LUN failed, so the state as a whole is not what is desired."""
        self._accounts: dict[str, str] = {}

    def record(self, change: Change, error: StorLeverError) -> None:
        match change:
            case CreateAccount(account):
                self._accounts[account.name] = str(error)
            case DeleteAccount(name):
                self._accounts[name] = str(error)
            case _:
                name, lun = change.target or "", _lun(change)
                self.reasons[name, lun] = str(error)
                if lun is not None and not isinstance(error, StoreMissing):
                    self.refused.add((name, lun))
        self.doubtful = self.doubtful or _lun(change) is None

    def forbid(self, change: Change) -> bool:
        """A target that failed is left closed, and so is one whose user cannot be trusted."""
        if isinstance(change, BindIncoming | BindOutgoing) and change.name in self._accounts:
            self.reasons[change.target or "", None] = self._accounts[change.name]
        if isinstance(change, CreateAccount):
            return change.account.name in self._accounts
        if isinstance(change, DeleteAccount):
            return False
        lun = _lun(change)
        return (change.target or "", None) in self.reasons or (
            lun is not None and (change.target or "", lun) in self.reasons
        )


def _lun(change: Change) -> int | None:
    if not isinstance(change, UnitChange):
        return None
    return change.lun if hasattr(change, "lun") else change.unit.lun


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


def _death_of(peer: Peer | None) -> int | None:
    """A descriptor that is readable once the process is gone."""
    try:
        return None if peer is None else os.pidfd_open(peer.pid)
    except OSError:
        return None
