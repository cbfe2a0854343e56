"""The use cases: what the SAN API can do, behind one lock and one writer.

A write is decided purely, put into force, made durable, and only then answered. If tgtd refuses
or the store fails, what was before is put back and the caller hears why. Writes that wait together
share a commit, and what is read is always durable.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from storlever import audit, failpoint
from storlever.admission import Admission, Asking, admission, shutting_out
from storlever.adoption import wished
from storlever.audit import DONE, Entry, Json, Link, Search
from storlever.backing import BackingStore
from storlever.clock import now
from storlever.document import Document, TargetPart, UserPart, toward
from storlever.errors import (
    Conflict,
    Fault,
    Invalid,
    NotFound,
    StateFailed,
    Unauthenticated,
    Unavailable,
)
from storlever.events import of_edit
from storlever.figures import Figures
from storlever.group import Group
from storlever.inventory import DISCOVERY, Direction, Edit, Inventory
from storlever.losses import Losses
from storlever.model import (
    FITTING,
    Access,
    Account,
    DeviceType,
    LogicalUnit,
    ObservedTarget,
    Place,
    Session,
    Target,
)
from storlever.names import SHORT_SECRET
from storlever.principal import Act, Principal, Role
from storlever.receipt import Done, Key, Receipt
from storlever.reconciler import Reconciler
from storlever.rehearsal import Rehearsal, Step, adoption, ending, steps
from storlever.sampler import Sampler, Visit
from storlever.shelf import Host, Shelf, Stand
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

    def revisions(self, before: int | None, limit: int) -> Sequence[Json]:
        """A page of those that are kept, the newest first. Raises StateFailed."""

    def revision(self, number: int) -> tuple[Json, Edit, Edit]:
        """One that is kept; what stood where it changed something, and what it put there. Raises
        NotFound and StateFailed."""

    def since(self, number: int) -> Edit:
        """What leads back to the state after a revision that is kept. Raises NotFound and
        StateFailed."""


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
        self._at_once = False
        """Whether they must be durable although they tell of no change."""
        self._told: deque[Entry] = deque()
        """What it has to tell besides, at the next commit."""
        self._lost = 0
        """How many of those there was no room for."""
        self._telling = Throttle(TOLD_AT_ONCE, TOLD_EACH)
        self._used: dict[str, datetime] = {}
        """When tokens were used, by name, since that was last made durable."""
        self._due = time.monotonic() + USES_INTERVAL
        self.events = reconciler.events
        """What happened, commits in their order."""
        self.sampler = Sampler(reconciler, lambda: self.inventory, self.events)
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
            tuple(target.name for target in self._reconciler.foreign),
            self._reconciler.backend.hole,
        )

    def portals(self) -> tuple[str, ...]:
        """Where hosts log in, as HOST:PORT, as a pass saw it last; an address that stands for all
        of the machine's among them."""
        return self._reconciler.backend.portals

    def foreign(self) -> tuple[ObservedTarget, ...]:
        """As a pass saw them last, by name."""
        return self._reconciler.foreign

    def visits(self, name: str, *, hurry: bool = False) -> list[Visit]:
        """The sessions of a target now, by number. Raises NotFound, and Unavailable; with `hurry`
        at once, which says nothing."""
        self.inventory.target(name)
        self._reconciler.require_up()
        known = self.sampler.visits(name)
        found = sorted(self._reconciler.sessions(name, hurry=hurry), key=lambda each: each.sid)
        return [
            Visit(each, known[each.sid].since if each.sid in known else now()) for each in found
        ]

    def aliases(self, name: str, sessions: Iterable[Session]) -> dict[int, str]:
        """What sessions of a target called themselves besides, where that is beyond doubt."""
        return self._reconciler.backend.aliases(name, sessions)

    def figures(self) -> Figures:
        """Without a lock: each of them is true, if not at the very same moment."""
        reconciler, sampler = self._reconciler, self.sampler
        return Figures(
            self.inventory,
            reconciler.down,
            reconciler.backend.hole,
            0 if reconciler.down else reconciler.pid,
            len(reconciler.foreign),
            reconciler.failures.copy(),
            reconciler.tally,
            sampler.counters.units,
            sampler.present(),
            sampler.taken,
            self.events.last,
        )

    def admission(self, name: str, asking: Asking) -> Admission:
        target = self.inventory.target(name)
        failing = self._reconciler.failures.get((name, None))
        return admission(target, asking, self._reconciler.down or failing)

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

    def add_target(
        self,
        name: str,
        part: TargetPart | None = None,
        accounts: Sequence[Account] = (),
        *,
        overrule: bool = False,
    ) -> tuple[str, ...]:
        """With all of the part at once; `accounts`: the users it names."""
        with self._write():
            new = self._latest.add_target(name)
            if part is not None:
                for account in accounts:
                    self._latest.require_same_secret(account)
                users = tuple(UserPart(each.name, each.secret) for each in accounts)
                document = Document((part,), users)
                return self._enact_document(document, overrule=overrule, at="")
            self._enact(new)
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
            unit = self._made(None, lun, given)
            self._enact_standing(self._latest.add_unit(name, unit), overrule=force)
        return _aio_warnings(unit)

    def edit_unit(
        self, name: str, lun: int, given: Mapping[str, Any], *, force: bool = False
    ) -> tuple[str, ...]:
        """`given`: the fields to change. Giving the path again serves what is there now."""
        with self._write():
            unit = self._made(self._latest.unit(name, lun), lun, given)
            again = {(name, lun)} if "backing_path" in given else set()
            edit = self._latest.edit_unit(name, unit)
            self._enact_standing(edit, overrule=force, again=again, given=bool(again))
        return _aio_warnings(unit) if "backing_type" in given else ()

    def _made(self, old: LogicalUnit | None, lun: int, given: Mapping[str, Any]) -> LogicalUnit:
        """A new unit, or the old one with what is given; with what its device says of itself, where
        it is mapped directly. Raises Invalid."""
        if old is None:
            return self._shelf.mapped(_new(lun, given), given)
        unit = _changed(old, given)
        if (unit.direct_map, unit.backing_path) != (old.direct_map, old.backing_path):
            unit = self._shelf.mapped(replace(unit, product=None), given)
        return unit

    def _enact_standing(
        self,
        edit: Edit,
        *,
        force: bool = False,
        overrule: bool = False,
        again: Set[Place] = frozenset(),
        given: bool = True,
        at: Mapping[Place, str] | None = None,
    ) -> None:
        """Bring an edit into force whose LUNs stand on stores that were looked at: those that are
        new, or ask more of their store than before, or open it `again`. `overrule`: although the
        machine uses one; `given`: their paths were asked for; `at`: their places in faults."""
        stands = self._stands(edit, again, given=given, at=at or {})
        inventories = self._latest.after(edit), self.inventory.after(edit)
        stores = self._shelf.usable(stands, inventories, force=overrule)
        size = self._reconciler.backend.unit_size
        reopen = frozenset(
            place
            for place, stand in ((stand.place, stand) for stand in stands if stand.old)
            if self._shelf.moved(place, stand.unit, stores[place], size(*place))
        )
        for name, _ in reopen:
            edit = edit or Edit({name: self._latest.target(name)})
        self._enact(
            edit,
            force=force,
            reopen=reopen,
            verify=lambda: self._require_same(stands, stores),
        )

    def _stands(
        self, edit: Edit, again: Set[Place], *, given: bool, at: Mapping[Place, str]
    ) -> list[Stand]:
        """`again` may name what the edit does not change."""
        names = (*edit.targets, *(name for name, _ in again if name not in edit.targets))
        after = ((name, edit.targets.get(name, self._latest.targets.get(name))) for name in names)
        found = []
        for name, target in after:
            known = {unit.lun: unit for unit in _units_of(self._latest, name)}
            for unit in target.units if target else ():
                place, old = (name, unit.lun), known.get(unit.lun)
                if place in again or old is None or (old is not unit and _asks_more(old, unit)):
                    found.append(Stand(place, unit, old, given, at.get(place, "")))
        return found

    def _require_same(self, stands: Sequence[Stand], stores: Mapping[Place, BackingStore]) -> None:
        for stand in stands:
            opened = self._reconciler.backend.unit_identity(*stand.place)
            self._shelf.require_same(stand.unit, stores[stand.place], opened)

    def remove_unit(self, name: str, lun: int) -> tuple[str, ...]:
        """Waits a little for commands in flight; raises Conflict while the LUN stays busy."""
        with self._write():
            self._enact(self._latest.remove_unit(name, lun))
        return ()

    # -- sessions

    def shut_out(self, name: str, sid: int) -> tuple[Session, Access]:
        """Take a session's own entries off the lists; the session, and what was taken. Raises
        Conflict where that would shut out others, or nobody."""
        with self._write():
            target, session = self._latest.target(name), self._session(name, sid)
            left = shutting_out(target.access, session)
            self._enact(self._latest.edit_target(name, names=left.names, addresses=left.addresses))
            if self._rehearsing:
                self._steps += ending(name, len(self._alike(name, session)))
        return session, target.access.without(left)

    def end_session(self, name: str, sid: int) -> None:
        with self._write():
            self._latest.target(name)
            self._end(name, self._session(name, sid))

    def end_shut_out(self, name: str, out: Session) -> int:
        """End what sessions there are of one that was shut out; how many there were."""
        with self._write():
            same = self._alike(name, out)
            for session in same:
                self._end(name, session)
        return len(same)

    def _alike(self, name: str, out: Session) -> list[Session]:
        """Those of the same initiator, as far as its name and address tell."""
        return [
            each
            for each in self._reconciler.sessions(name)
            if (each.initiator_name, each.address) == (out.initiator_name, out.address)
        ]

    def _session(self, name: str, sid: int) -> Session:
        for session in self._reconciler.sessions(name):
            if session.sid == sid:
                return session
        raise NotFound(f"target {name} has no session {sid}", code="session-not-found")

    def _end(self, name: str, session: Session) -> None:
        if self._rehearsing:
            self._steps += ending(name, 1)
            return
        with suppress(Unavailable):  # what it did last counts, where that can still be had
            self.sampler.look()
        self._reconciler.close(name, session.sid)

    # -- many at once

    def apply(
        self,
        document: Document,
        *,
        prune: bool = False,
        force: bool = False,
        overrule: bool = False,
    ) -> tuple[str, ...]:
        """Raises Conflict, unless forced, where it takes away more than a third of all targets or
        of all LUNs, or anything that goes or goes offline has sessions."""
        with self._write():
            return self._enact_document(document, prune=prune, force=force, overrule=overrule)

    def _enact_document(
        self,
        document: Document,
        *,
        prune: bool = False,
        force: bool = False,
        overrule: bool = False,
        at: str = "targets.{}.",
    ) -> tuple[str, ...]:
        latest = self._latest
        edit = toward(document, latest, self._made, prune=prune, at=at)
        if not force:
            self._require_harmless(edit)
        warnings = _all_warnings(edit, latest)
        self._enact_standing(edit, force=force, overrule=overrule, at=document.places(at))
        return warnings

    def _require_harmless(self, edit: Edit) -> None:
        """Raises Conflict."""
        losses = Losses.of(edit, self._latest)
        losses.require_moderate(self._latest)
        self._reconciler.require_no_sessions(*sorted(losses.bearers))

    def restore(
        self, revision: int, *, force: bool = False, overrule: bool = False
    ) -> tuple[str, ...]:
        """Back to the state after it, but for tokens. Raises NotFound, and Conflict as `apply`."""
        with self._write():
            edit = self._latest.narrowed(self._since(revision))
            if not force:
                self._require_harmless(edit)
            self._enact_standing(edit, force=force, overrule=overrule, given=False)
        return ()

    def _since(self, revision: int) -> Edit:
        """What leads back there from the latest, of which some may not be durable."""
        return self.inventory.as_before(self._group.edit).joined(self._store.since(revision))

    def revisions(self, before: int | None, limit: int) -> Sequence[Json]:
        return self._store.revisions(before, limit)

    def revision(self, number: int) -> Json:
        """With what it changed, `before` and `after`, as in the audit. Raises NotFound."""
        told, old, new = self._store.revision(number)
        before, after = audit.difference(new, Inventory().after(old))
        return {**told, "before": before, "after": after}

    def adopt(
        self, name: str, accounts: Sequence[Account], *, overrule: bool = False
    ) -> tuple[str, ...]:
        """Make a foreign target ours, as it is. `accounts`: its users, for tgtd does not tell their
        secrets; each gets the one that is given. It becomes ours durably before anything of it is
        touched, so nothing is ever put back: what could not be done is for passes to do.

        Raises NotFound, Invalid where secrets are missing, and Conflict for what of it cannot be a
        wish of ours, or is not its alone."""
        with self._write():
            self._latest.add_target(name)  # it must not be ours
            target = wished(self._reconciler.stranger(name, self._latest))
            for account in accounts:
                self._latest.require_same_secret(account)
            edit = self._latest.add_whole(target, accounts)
            stands = self._stands(edit, frozenset(), given=False, at={})
            inventories = self._latest.after(edit), self.inventory.after(edit)
            stores = self._shelf.usable(stands, inventories, force=overrule)
            self._require_served(stands, stores)
            self._enact(edit, adopting=target)
        return (*_secret_warnings(*accounts),)

    def _require_served(
        self, stands: Sequence[Stand], stores: Mapping[Place, BackingStore]
    ) -> None:
        """Raises Conflict where tgtd seems to have opened something else than is at a path now."""
        for stand in stands:
            unit, size = stand.unit, self._reconciler.backend.unit_size(*stand.place)
            if unit.device_type is DeviceType.DISK and size != stores[stand.place].size:
                raise Conflict(
                    f"what tgtd serves as LUN {unit.lun} has not the size of {unit.backing_path}",
                    code="backing-store-changed",
                )

    def hand_out_secrets(self) -> Inventory:
        """All that is durable, once the audit tells durably who took it. It needs no tgtd."""
        with self._turn():
            self._at_once = True
        return self.inventory

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
                    if self._group.adopted or time.monotonic() > deadline:
                        break  # what is adopted becomes ours before anything more is done to it
        except Exception as error:
            return [error for _ in writes]
        return outcomes

    def is_valid(self, principal: Principal) -> bool:
        """Whether the token that was shown still is one, if it was a token."""
        return _is_valid(principal, self.inventory)

    def _require_valid(self, principal: Principal) -> None:
        """Raises Unauthenticated for a token that was revoked, or expired, since it was shown."""
        if not _is_valid(principal, self._latest):
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
        adopting: Target | None = None,
    ) -> None:
        """Bring an edit of the latest into force, or raise and leave all as it was. Once a write:
        what is rehearsed is not there for another one to stand on. A target that is being adopted
        is in force already, but for what the commit brings."""
        if not edit:
            return
        self._edit = edit
        write = Group.of(edit, self._latest, reopen, force=force)
        failpoint.reached("write.decided")
        if adopting is not None and self._rehearsing:
            self._steps = adoption(adopting.name)
            return
        if adopting is not None:
            self._reconciler.welcome(adopting, frozenset(edit.accounts))
            self._group = self._group.joined(replace(write, adopted=frozenset({adopting.name})))
            return
        scope = write.scope(self._failing())
        if self._rehearsing:
            changes = self._reconciler.rehearse(write.before, write.after, scope)
            self._steps += steps(edit, write.before, write.after, changes, self._count)
            return
        self._reconciler.enforce(write.before, write.after, scope, verify)
        self._group = self._group.joined(write)
        self._reconciler.opened |= write.moved

    def _count(self, target: str) -> int:
        return len(self._reconciler.sessions(target))

    def _adopt(self, edit: Edit) -> None:
        """Take an edit of the latest that is nothing to tgtd."""
        if self._rehearsing:
            self._steps += steps(edit, self._latest, self._latest.after(edit), (), self._count)
            return
        self._edit = edit
        self._group = self._group.joined(Group.of(edit, self._latest, frozenset(), force=False))

    def _commit(self) -> None:
        """Make what is in force durable, and known; or put back what was before, and raise."""
        group = self._group
        at_once, self._at_once = self._at_once, False
        if not (group.edit or self._receipts or at_once):
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
        self.events.publish(*of_edit(group.edit, group.before))
        self._group = Group.empty(group.after)
        self._reconciler.opened |= group.moved
        failpoint.reached("write.committed")
        if group.edit.for_tgtd:  # else what a killed life was changing there is not finished
            self._reconciler.finish()
        if group.adopted:
            self._reconciler.take_up(group.after)
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
            with self._reconciler.tally.commits.measured():
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
            self._reconciler.abandon(group.before, group.undo(self._failing()))
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


def _is_valid(principal: Principal, inventory: Inventory) -> bool:
    if not principal.digest:
        return True
    token = inventory.tokens.get(principal.name.partition(":")[2])
    return token is not None and token.digest == principal.digest and not token.expired(now())


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
    """A unit of these fields, with an identity of its own where none is given. Raises Invalid."""
    if "backing_path" not in given:
        raise Invalid(Fault("backing_path", "is required for a new LUN"))
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
        or old.backing_path != new.backing_path
        or (old.readonly and not new.readonly)
        or (new.readonly and not old.readonly and new.device_type is DeviceType.CD)  # a blank one?
        or (old.shared and not new.shared)
        or (new.online and not old.online)
    )


def _secret_warnings(*accounts: Account) -> tuple[str, ...]:
    short = any(len(account.secret) < SHORT_SECRET for account in accounts)
    return (SHORT_SECRET_WARNING,) if short else ()


def _all_warnings(edit: Edit, before: Inventory) -> tuple[str, ...]:
    """What there is to say of an edit's accounts and LUNs, each sentence once."""
    units = [unit for target in edit.targets.values() if target for unit in target.units]
    known = {unit for name in edit.targets for unit in _units_of(before, name)}
    aio = any(unit.aio and unit not in known for unit in units)
    return (
        *_secret_warnings(*filter(None, edit.accounts.values())),
        *((AIO_WARNING,) if aio else ()),
    )


def _units_of(inventory: Inventory, name: str) -> tuple[LogicalUnit, ...]:
    target = inventory.targets.get(name)
    return target.units if target else ()


def _aio_warnings(unit: LogicalUnit) -> tuple[str, ...]:
    return (AIO_WARNING,) if unit.aio else ()
