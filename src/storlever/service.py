"""The use cases: what the SAN API can do, behind one lock and one writer.

A write is decided purely, put into force, made durable, and only then answered. If tgtd refuses
or the store fails, what was before is put back and the caller hears why. Writes that wait together
share a commit, and what is read is always durable.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from storlever import audit, failpoint
from storlever.audit import DONE, Entry, Json, Link, Search
from storlever.backing import BackingStore
from storlever.clock import now
from storlever.errors import Conflict, NotFound, StateFailed, Unauthenticated, Unavailable
from storlever.group import Group
from storlever.inventory import DISCOVERY, Direction, Edit, Inventory
from storlever.model import (
    FITTING,
    Account,
    DeviceType,
    LogicalUnit,
    Place,
    Session,
    Target,
)
from storlever.names import SHORT_SECRET
from storlever.principal import Act, Principal, Role
from storlever.receipt import Done, Key, Receipt
from storlever.reconciler import Reconciler
from storlever.rehearsal import Rehearsal, Step, steps
from storlever.shelf import Host, Shelf
from storlever.throttle import Throttle
from storlever.token import Token

Outcome = Done | Rehearsal | Exception

TURN_PATIENCE = 10.0
"""Seconds a write waits for the thread that makes it, and then for the lock."""
TOGETHER = 1.0
"""Seconds in which writes may begin that share a commit: tgtd takes its time over some."""

TOLD_AT_ONCE, TOLD_EACH = 100, 1.0
"""Refusals of one principal that the audit tells of at once, and seconds until one more is."""
MOST_FORGOTTEN = 20
"""Batches of old entries that go at once."""
MOST_TOLD = 10_000
"""Entries of the audit that may wait for a commit."""
USES_INTERVAL = 60.0
"""Seconds between two commits of when tokens were used."""
OURSELVES = Act(Principal("storlever", Role.ADMIN), "", "audit", "")

SHORT_SECRET_WARNING = (
    f"the password has fewer than {SHORT_SECRET} characters: it is easy to guess, and some "
    "initiators refuse it"
)
AIO_WARNING = (
    "tgtd's aio ignores SYNCHRONIZE CACHE and answers WRITE AND VERIFY without writing: "
    "rdwr is the safe backing type"
)


class Store(Protocol):
    """Where the inventory is durable."""

    def load(self) -> Inventory: ...

    @property
    def tag_key(self) -> bytes:
        """A secret that lasts."""

    def commit(
        self, edit: Edit, entries: Sequence[Entry] = (), receipts: Sequence[Receipt] = ()
    ) -> None:
        """Make the edit, the audit's entries and receipts durable before returning. Raises
        StateFailed; whatever is raised, nothing changed, unless its code is `state-doubtful`: then
        a restart may find the edit made."""

    def receipt(self, name: str) -> Receipt | None:
        """By the name of its key. Raises StateFailed."""

    def forget(self, now: datetime) -> bool:
        """Remove some of the audit, and of receipts, that was kept long enough; whether there may
        be more. Raises StateFailed."""

    def audit(self, search: Search) -> tuple[Link, Sequence[Json]]:
        """The link before the oldest entry that is kept, and a page of entries."""


def _whatever(_: Inventory) -> None: ...


def _nothing(_: Exception, __: Inventory) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Write:
    """A call of a method of Service, and in whose name.

    `rehearsed`: find out what it would do, and do nothing. `key`: if its receipt is there, that is
    the answer. `require` is shown what the call begins with, and raises what speaks against it;
    `left` is shown what it leaves. `excuses`: whether what it raised means that all is as it would
    have made it.
    """

    act: Act
    call: Callable[[], Any]
    rehearsed: bool = False
    key: Key | None = None
    require: Callable[[Inventory], None] = _whatever
    left: Callable[[Inventory], None] = _whatever
    excuses: Callable[[Exception, Inventory], bool] = _nothing


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """A LUN as wished for, and as it is: `state` is ready, offline or error with a `reason`."""

    unit: LogicalUnit
    state: str
    reason: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target as wished for, and as it is: `state` is ready, offline or error with a `reason`."""

    target: Target
    state: str
    reason: str | None
    sessions: tuple[Session, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """`down`: why nothing can be changed now; `failing`: (place, reason) of what is not served;
    `foreign`: the targets in tgtd that are not ours; `hole`: what tgtd is known to be vulnerable
    to."""

    down: str | None
    failing: tuple[tuple[str, str], ...]
    foreign: tuple[str, ...]
    hole: str | None


class Service:
    """Writes return the warnings the caller should pass on; all raise StorLeverError."""

    def __init__(
        self, store: Store, reconciler: Reconciler, host: Host, lock: threading.RLock
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._lock = lock
        self._shelf = Shelf(host)
        self.inventory = store.load()
        """What is durable."""
        self._group = Group.empty(self.inventory)
        """The writes that are in force, and not durable yet."""
        self._open = False
        """Whether more may come to them before the commit."""
        self._edit = Edit()
        """What the write under way made."""
        self._entries: list[Entry] = []
        """What the audit has to tell of the writes in force."""
        self._receipts: dict[str, Receipt] = {}
        """Those of the writes in force, by the names of their keys."""
        self._rehearsing = False
        """Whether the write under way is to do nothing."""
        self._steps: tuple[Step, ...] = ()
        """What it would do."""
        self._told: deque[Entry] = deque()
        """What it has to tell besides, at the next commit."""
        self._lost = 0
        """How many of those there was no room for."""
        self._telling = Throttle(TOLD_AT_ONCE, TOLD_EACH)
        self._used: dict[str, datetime] = {}
        """When tokens were used, by name, since that was last made durable."""
        self._due = time.monotonic() + USES_INTERVAL
        for target in self.inventory.targets.values():
            for unit in target.units:
                self._shelf.claim((target.name, unit.lun), [unit])

    # -- reading: from memory, but for the sessions

    @property
    def tag_key(self) -> bytes:
        """With which tags are made of what is wished (docs/decisions/0024)."""
        return self._store.tag_key

    def targets(self) -> list[TargetStatus]:
        """All of them by name, without their sessions: tgtd is not asked."""
        down, targets = self._reconciler.down, self.inventory.targets
        named = (targets[name] for name in sorted(targets))
        return [TargetStatus(each, *self._target_state(each, down), ()) for each in named]

    def target_names(self) -> list[str]:
        return sorted(self.inventory.targets)

    def target(self, name: str, *, hurry: bool = False) -> TargetStatus:
        """`hurry`: at once, or Unavailable is raised, which says nothing."""
        target = self.inventory.target(name)
        sessions: tuple[Session, ...] = ()
        reason = self._reconciler.down
        if reason is None:
            try:
                sessions = self._reconciler.sessions(name, hurry=hurry)
            except Unavailable as error:
                if hurry:
                    raise
                reason = str(error)
        return TargetStatus(target, *self._target_state(target, reason), sessions)

    def unit(self, name: str, lun: int) -> UnitStatus:
        return self._unit_status(name, self.inventory.unit(name, lun))

    def units(self, name: str) -> list[UnitStatus]:
        return [self._unit_status(name, unit) for unit in self.inventory.target(name).units]

    def health(self) -> Health:
        failures = sorted(self._reconciler.failures.items(), key=str)
        return Health(
            self._reconciler.down,
            tuple((_spoken(*failed), reason) for failed, reason in failures),
            self._reconciler.foreign,
            self._reconciler.backend.hole,
        )

    def _target_state(self, target: Target, down: str | None) -> tuple[str, str | None]:
        """What is known of tgtd does not count: it may be that of a write that is not done yet."""
        reason = down or self._reconciler.failures.get((target.name, None))
        if reason is not None:
            return "error", reason
        return ("ready" if target.online else "offline"), None

    def _unit_status(self, name: str, unit: LogicalUnit) -> UnitStatus:
        reconciler = self._reconciler
        reason = (
            reconciler.down
            or reconciler.failures.get((name, unit.lun))
            or reconciler.failures.get((name, None))
        )
        if reason is not None:
            return UnitStatus(unit, "error", reason, None)
        size = reconciler.backend.unit_size(name, unit.lun)
        return UnitStatus(unit, "ready" if unit.online else "offline", None, size)

    # -- writing

    def set_discovery(self, given: Mapping[Direction, Account | None]) -> tuple[str, ...]:
        with self._write():
            self._enact(self._latest.set_discovery(given))
        return _secret_warnings(*filter(None, given.values()))

    def add_target(self, name: str) -> tuple[str, ...]:
        with self._write():
            self._enact(self._latest.add_target(name))
        return ()

    def edit_target(
        self,
        name: str,
        *,
        online: bool | None = None,
        names: tuple[str, ...] | None = None,
        addresses: tuple[str, ...] | None = None,
        force: bool = False,
    ) -> tuple[str, ...]:
        """Going offline with sessions raises Conflict unless forced."""
        with self._write():
            edit = self._latest.edit_target(name, online=online, names=names, addresses=addresses)
            if online is False and self._latest.target(name).online and not force:
                self._reconciler.require_no_sessions(name)
            self._enact(edit, force=force)
        return ()

    def remove_target(self, name: str, *, force: bool = False) -> tuple[str, ...]:
        """A target with sessions raises Conflict unless forced."""
        with self._write():
            edit = self._latest.remove_target(name)
            if not force:
                self._reconciler.require_no_sessions(name)
            self._enact(edit, force=force)
        return ()

    def add_user(self, name: str, direction: Direction, account: Account) -> tuple[str, ...]:
        with self._write():
            self._enact(self._latest.add_user(name, direction, account))
        return _secret_warnings(account)

    def set_secret(
        self,
        name: str,
        direction: Direction,
        user: str,
        secret: str | None,
        *,
        everywhere: bool = False,
    ) -> tuple[str, ...]:
        """`secret` None changes nothing."""
        with self._write():
            self._latest.require_user(name, direction, user)
            if secret is None:
                return ()
            account = Account(user, secret)
            self._enact(self._latest.set_secret(name, direction, account, everywhere=everywhere))
        return _secret_warnings(account)

    def remove_user(self, name: str, direction: Direction, user: str) -> tuple[str, ...]:
        with self._write():
            self._enact(self._latest.remove_user(name, direction, user))
        return ()

    def add_unit(
        self, name: str, lun: int, given: Mapping[str, Any], *, force: bool = False
    ) -> tuple[str, ...]:
        """`given`: fields of LogicalUnit by name; those left out take their defaults."""
        with self._write():
            self._latest.target(name)
            unit = self._shelf.mapped(_new(lun, given), given)
            edit = self._latest.add_unit(name, unit)
            store = self._shelf.usable((name, lun), unit, self._inventories, force=force)
            self._enact(edit, verify=lambda: self._require_same(name, unit, store))
        return _aio_warnings(unit)

    def edit_unit(
        self, name: str, lun: int, given: Mapping[str, Any], *, force: bool = False
    ) -> tuple[str, ...]:
        """`given`: the fields to change. Giving the path again serves what is there now."""
        with self._write():
            old = self._latest.unit(name, lun)
            unit = _changed(old, given)
            if (unit.direct_map, unit.backing_path) != (old.direct_map, old.backing_path):
                unit = self._shelf.mapped(replace(unit, product=None), given)
            edit = self._latest.edit_unit(name, unit)
            if "backing_path" in given or _asks_more(old, unit):
                self._stand(name, old, unit, edit, force=force, given="backing_path" in given)
            else:
                self._enact(edit)
        return _aio_warnings(unit) if "backing_type" in given else ()

    def _stand(
        self,
        name: str,
        old: LogicalUnit,
        unit: LogicalUnit,
        edit: Edit,
        *,
        force: bool,
        given: bool,
    ) -> None:
        """Bring an edit of a LUN into force that makes it stand on its store anew."""
        place = (name, unit.lun)
        going_on = old.online and unit.backing_path == old.backing_path
        store = self._shelf.usable(
            place,
            unit,
            self._inventories,
            force=force,
            going_on=going_on,
            given=given,
        )
        reopen: frozenset[Place] = frozenset()
        if self._shelf.moved(place, unit, store, self._reconciler.backend.unit_size(*place)):
            edit = edit or Edit({name: self._latest.target(name)})
            reopen = frozenset({place})
        self._enact(
            edit,
            reopen=reopen,
            verify=lambda: self._require_same(name, unit, store),
        )

    def _require_same(self, name: str, unit: LogicalUnit, store: BackingStore) -> None:
        opened = self._reconciler.backend.unit_identity(name, unit.lun)
        self._shelf.require_same(unit, store, opened)

    def remove_unit(self, name: str, lun: int) -> tuple[str, ...]:
        """Waits a little for commands in flight; raises Conflict while the LUN stays busy."""
        with self._write():
            self._enact(self._latest.remove_unit(name, lun))
        return ()

    # -- tokens

    def tokens(self) -> list[Token]:
        return [self.token(name) for name in sorted(self.inventory.tokens)]

    def token(self, name: str) -> Token:
        token = self.inventory.token(name)
        return replace(token, last_used=self._used.get(name, token.last_used))

    def note_use(self, name: str) -> None:
        """Of a token. Any thread may call this, and does not wait."""
        self._used[name] = now().replace(microsecond=0)

    def add_token(self, name: str, role: Role, lifetime: timedelta | None) -> tuple[Token, str]:
        """The token, and its secret, which is not kept. It needs no tgtd."""
        with self._turn():
            token, secret = Token.new(name, role, lifetime, now())
            self._adopt(self._latest.add_token(token))
        return token, secret

    def remove_token(self, name: str) -> tuple[str, ...]:
        with self._turn():
            self._adopt(self._latest.remove_token(name))
            if not self._rehearsing:
                self._used.pop(name, None)
        return ()

    # -- the audit

    def audit(self, search: Search) -> tuple[Link, Sequence[Json]]:
        """The link before the oldest entry that is kept, and a page of what is durable."""
        return self._store.audit(search)

    def tell(self, act: Act, outcome: str) -> None:
        """Have the audit tell of a request that changed nothing, at the next commit: of each
        principal a few a second, or somebody could have it filled with what is nothing. The event
        loop calls this, and does not wait."""
        if self._telling.fail(act.principal.name):
            self._lost += 1
        else:
            self._tell(audit.entry(act, now(), outcome))

    def _tell(self, entry: Entry) -> None:
        if len(self._told) < MOST_TOLD:
            self._told.append(entry)
        else:
            self._lost += 1

    def keep(self, *, last: bool = False) -> None:
        """Make durable what the audit was told and, now and then or at the `last`, when tokens were
        used; and forget some of what the audit kept long enough. Raises StateFailed, or
        Unavailable when other writes take too long."""
        due = last or time.monotonic() > self._due
        if due or self._told:
            with self._turn():
                if due:
                    self._due = time.monotonic() + USES_INTERVAL
                    used, self._used = self._used, {}
                    self._adopt(self._latest.with_uses(used))
                if (self._told or self._lost) and not self._group.edit:
                    self._record(Edit())
        for _ in range(MOST_FORGOTTEN):
            if not self._store.forget(now()):
                break

    # -- the write path

    def together(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out calls of the methods above in turn, and make them durable in one commit with
        what the audit tells of them; what became of each: Done, a Rehearsal, or what it raised.
        Where the commit fails, that is what became of all of them: what one found may have been
        another's doing.

        Those that would begin after `TOGETHER` are left out: the first has waited long enough.
        """
        try:
            self._reconciler.require_up()
        except Exception as error:
            return [error for _ in writes]
        return self._all(writes)

    def apart(self, write: Write) -> Outcome:
        """Carry out one that needs no tgtd; what became of it."""
        return self._all([write])[0]

    def _all(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            with self._turn():
                deadline = time.monotonic() + TOGETHER
                for write in writes:
                    outcomes.append(self._outcome(write))
                    if time.monotonic() > deadline:
                        break
        except Exception as error:
            return [error for _ in writes]
        return outcomes

    def _require_valid(self, principal: Principal) -> None:
        """Raises Unauthenticated for a token that was revoked, or expired, since it was shown."""
        if principal.digest:
            token = self._latest.tokens.get(principal.name.partition(":")[2])
            if token is None or token.digest != principal.digest or token.expired(now()):
                raise Unauthenticated("the token is not valid any more", code="token-unknown")

    def _outcome(self, write: Write) -> Outcome:
        before, self._edit = self._group, Edit()
        try:
            self._require_valid(write.act.principal)
            if write.rehearsed:
                return self._rehearsal(write)
            if write.key and (done := self._done_before(write.key)):
                return done
            done = self._done(write)
            write.left(self._latest)
        except Exception as error:
            if self._group is not before:  # it is in force, and its caller hears of a failure
                raise
            return error
        self._entries.append(audit.entry(write.act, now(), DONE, self._edit, before.after))
        if write.key:
            self._receipts[write.key.name] = Receipt.of(write.key, now(), done)
        return done

    def _done(self, write: Write) -> Done:
        try:
            write.require(self._latest)
            return Done(write.call())
        except (Conflict, NotFound) as error:
            if not write.excuses(error, self._latest):
                raise
            return Done(already=True)

    def _done_before(self, key: Key) -> Done | None:
        """Raises Reused, and StateFailed."""
        receipt = self._receipts.get(key.name) or self._store.receipt(key.name)
        return receipt.again(key, now()) if receipt else None

    def _rehearsal(self, write: Write) -> Rehearsal:
        self._rehearsing, self._steps = True, ()
        try:
            answer = self._done(write).answer
        finally:
            self._rehearsing = False
        told = isinstance(answer, tuple) and all(isinstance(each, str) for each in answer)
        return Rehearsal(self._steps, answer if told else ())  # else a token, which is none

    @contextmanager
    def _write(self) -> Iterator[None]:
        self._reconciler.require_up()
        with self._turn():
            failpoint.reached("write.locked")
            self._reconciler.require_up()
            self._claim_opened()  # by passes, since the last write
            try:
                yield
            finally:
                self._claim_opened()
            failpoint.reached("write.claimed")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """A turn of all that may change anything, and the commit that ends it. A turn within it is
        a part of it, without a commit of its own."""
        if not self._lock.acquire(timeout=TURN_PATIENCE):
            raise no_turn()
        try:
            if self._open:
                yield
                return
            self._open = True
            try:
                yield
            except Exception:
                self._abandon()
                raise
            finally:
                self._open = False
            self._commit()
        finally:
            self._lock.release()

    @property
    def _latest(self) -> Inventory:
        """What the next write begins with."""
        return self._group.after

    @property
    def _inventories(self) -> tuple[Inventory, Inventory]:
        return self._latest, self.inventory

    def _enact(
        self,
        edit: Edit,
        *,
        force: bool = False,
        reopen: frozenset[Place] = frozenset(),
        verify: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring an edit of the latest into force, or raise and leave all as it was. Once a write:
        what is rehearsed is not there for another one to stand on."""
        if not edit:
            return
        self._edit = edit
        write = Group.of(edit, self._latest, reopen, force=force)
        failpoint.reached("write.decided")
        scope = write.scope(self._failing())
        if self._rehearsing:
            changes = self._reconciler.rehearse(write.before, write.after, scope)
            self._steps = steps(edit, write.before, write.after, changes, self._count)
            return
        self._reconciler.enforce(write.before, write.after, scope, verify)
        self._group = self._group.joined(write)
        self._reconciler.opened |= write.moved

    def _count(self, target: str) -> int:
        return len(self._reconciler.sessions(target))

    def _adopt(self, edit: Edit) -> None:
        """Take an edit of the latest that is nothing to tgtd."""
        if self._rehearsing:
            self._steps = steps(edit, self._latest, self._latest.after(edit), (), self._count)
            return
        self._edit = edit
        self._group = self._group.joined(Group.of(edit, self._latest, frozenset(), force=False))

    def _commit(self) -> None:
        """Make what is in force durable, and known; or put back what was before, and raise."""
        group = self._group
        if not group.edit and not self._receipts:
            for entry in self._entries:
                self._tell(entry)
            self._entries.clear()
            return
        try:
            self._record(group.edit)
        except Exception:
            self._abandon()
            raise
        # Nothing can fail between a commit and these lines.
        self.inventory = group.after
        self._group = Group.empty(group.after)
        self._reconciler.opened |= group.moved
        failpoint.reached("write.committed")
        if group.edit.for_tgtd:  # else what a killed life was changing there is not finished
            self._reconciler.finish()
        self._claim_opened()
        if self._reconciler.failures:
            self._reconciler.forgive(group.scope(self._failing()))
        failpoint.reached("write.finished")

    def _record(self, edit: Edit) -> None:
        """Commit the edit with all that the audit has to tell."""
        told, lost = list(self._told), self._lost
        note = [audit.entry(OURSELVES, now(), f"{lost} entries were lost")] if lost else []
        receipts = tuple(self._receipts.values())
        try:
            self._store.commit(edit, (*told, *note, *self._entries), receipts)
        except StateFailed as error:
            if error.code != "state-full" or not (told and edit):
                raise
            # What was told can wait; a change need not.
            self._store.commit(edit, self._entries, receipts)
        else:
            self._lost -= lost
            for _ in told:
                self._told.popleft()
        self._entries.clear()
        self._receipts.clear()

    def _abandon(self) -> None:
        """Put back what was before. Who asked for it hears of a failure, and so does the audit."""
        self._entries.clear()
        self._receipts.clear()
        group, self._group = self._group, Group.empty(self.inventory)
        if group.edit.for_tgtd:
            self._reconciler.abandon(group.before, group.scope(self._failing()))
            self._reconciler.opened |= group.moved
            self._claim_opened()

    def _claim_opened(self) -> None:
        self._claim(self._reconciler.opened)
        self._reconciler.opened.clear()

    def _claim(self, places: Iterable[Place]) -> None:
        """What a write let go of is free when that is durable: it may have to be put back."""
        for place in places:
            found = (inventory.find(*place) for inventory in self._inventories)
            opened = self._reconciler.backend.unit_identity(*place)
            self._shelf.claim(place, filter(None, found), opened)

    def _failing(self) -> frozenset[Place]:
        return frozenset((name, lun) for name, lun in self._reconciler.failures if lun is not None)


def no_turn() -> Unavailable:
    return Unavailable("too many changes are waiting for their turn", code="too-busy")


def _spoken(name: str, lun: int | None) -> str:
    place = "discovery" if name == DISCOVERY else name
    return place if lun is None else f"{place} LUN {lun}"


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without identities given empty, which ask for the generated one or leave what is there."""
    return {
        key: value
        for key, value in given.items()
        if value or key not in ("scsi_id", "serial_number")
    }


def _new(lun: int, given: Mapping[str, Any]) -> LogicalUnit:
    """A unit of these fields, with an identity of its own where none is given."""
    kind = given.get("device_type", DeviceType.DISK)
    defaults = {
        "backing_type": FITTING[kind][0],
        "scsi_id": secrets.token_hex(16)[:31],  # as many digits as an NAA-6 designator
        "serial_number": secrets.token_hex(8).upper(),
    }
    return LogicalUnit(lun=lun, **(defaults | _said(given)))


def _changed(old: LogicalUnit, given: Mapping[str, Any]) -> LogicalUnit:
    """The unit with these fields; a new device type brings a backing type that fits."""
    changes = _said(given)
    fitting = FITTING[changes.get("device_type", old.device_type)]
    if old.backing_type not in fitting:
        changes.setdefault("backing_type", fitting[0])
    return replace(old, **changes)


def _asks_more(old: LogicalUnit, new: LogicalUnit) -> bool:
    """Whether the unit stands on its store in a way that was not looked at before."""
    return (
        old.backing_type is not new.backing_type
        or old.device_type is not new.device_type
        or (old.readonly and not new.readonly)
        or (new.readonly and not old.readonly and new.device_type is DeviceType.CD)  # a blank one?
        or (old.shared and not new.shared)
        or (new.online and not old.online)
    )


def _secret_warnings(*accounts: Account) -> tuple[str, ...]:
    short = any(len(account.secret) < SHORT_SECRET for account in accounts)
    return (SHORT_SECRET_WARNING,) if short else ()


def _aio_warnings(unit: LogicalUnit) -> tuple[str, ...]:
    return (AIO_WARNING,) if unit.aio else ()
