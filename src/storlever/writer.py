"""The write path: calls carried out in turn, brought into force one by one, made durable in groups.

If tgtd refuses or the store fails, what was before is put back and the caller hears why. Writes
that wait together share a commit, and what is read is always durable.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from storlever import audit, failpoint
from storlever.audit import DONE, Entry, Json, Link, Search
from storlever.backlog import Backlog
from storlever.clock import now
from storlever.enforcer import Enforcer
from storlever.errors import Conflict, NotFound, StateFailed, Unauthenticated
from storlever.events import of_edit
from storlever.group import Group
from storlever.inventory import Edit, Inventory
from storlever.model import Place, Target
from storlever.principal import Act, Principal
from storlever.receipt import Done, Key, Receipt
from storlever.rehearsal import Rehearsal, Step, adoption, steps
from storlever.shelf import Host, Shelf
from storlever.turn import Turn

Outcome = Done | Rehearsal | Exception

TOGETHER = 1.0
"""Seconds in which writes may begin that share a commit: tgtd takes its time over some."""


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


class Write(Struct, frozen=True):
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


class Writer:
    """What Service is made of, with Standing: carries out calls of its methods in turn and in
    groups. In such a call, `_write` or `_turn` is around what it does, and `_enact`, `_welcome` or
    `_take` does it."""

    def __init__(self, store: Store, enforcer: Enforcer, host: Host, lock: threading.RLock) -> None:
        self._store = store
        self._enforcer = enforcer
        self._known = enforcer.known
        self._turn = Turn(lock, self._commit, self._abandon)
        self._shelf = Shelf(host)
        self.events = self._known.events
        """What happened, commits in their order."""
        self.inventory = store.load()
        """What is durable."""
        self._group = Group.empty(self.inventory)
        """The writes that are in force, and not durable yet."""
        self._entries: list[Entry] = []
        """What the audit has to tell of them."""
        self._receipts: dict[str, Receipt] = {}
        """Theirs, by the names of their keys."""
        self._at_once = False
        """Whether they must be durable although they tell of no change."""
        self._backlog = Backlog()
        self._edit = Edit()
        """What the write under way made."""
        self._rehearsing = False
        """Whether it is to do nothing."""
        self._steps: tuple[Step, ...] = ()
        """What it would do."""
        for target in self.inventory.targets.values():
            for unit in target.units:
                self._shelf.claim((target.name, unit.lun), [unit])

    def together(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out calls of methods of Service in turn, and make them durable in one commit with
        what the audit tells of them; what became of each: Done, a Rehearsal, or what it raised.
        Where the commit fails, that is what became of all of them: what one found may have been
        another's doing.

        Those that would begin after `TOGETHER` are left out: the first has waited long enough.
        """
        try:
            self._known.require_up()
        except Exception as error:
            return [error for _ in writes]
        return self._all(writes)

    def apart(self, write: Write) -> Outcome:
        """Carry out one that needs no tgtd; what became of it."""
        return self._all([write])[0]

    def _all(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            with self._turn:
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
        with self._turn:
            failpoint.reached("write.locked")
            self._known.require_up()
            self._claim_opened()  # by passes, since the last write
            try:
                yield
            finally:
                self._claim_opened()
            failpoint.reached("write.claimed")

    @property
    def _latest(self) -> Inventory:
        """What the next write begins with."""
        return self._group.after

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
        write = self._decided(edit, reopen, force=force)
        scope = write.scope(self._failing())
        if self._rehearsing:
            changes = self._enforcer.rehearse(write.before, write.after, scope)
            self._steps += steps(edit, write.before, write.after, changes, self._count)
            return
        self._enforcer.enforce(write.before, write.after, scope, verify)
        self._join(write)

    def _join(self, write: Group) -> None:
        self._group = self._group.joined(write)
        self._known.opened |= write.moved

    def _welcome(self, target: Target, edit: Edit) -> None:
        """The same for a target that is adopted: it is in force already, but for what the commit
        brings."""
        write = replace(self._decided(edit), adopted=frozenset({target.name}))
        if self._rehearsing:
            self._steps += adoption(target.name)
            return
        self._enforcer.welcome(target, frozenset(edit.accounts))
        self._join(write)

    def _decided(
        self, edit: Edit, reopen: frozenset[Place] = frozenset(), *, force: bool = False
    ) -> Group:
        self._edit = edit
        write = Group.of(edit, self._latest, reopen, force=force)
        failpoint.reached("write.decided")
        return write

    def _count(self, target: str) -> int:
        return len(self._known.sessions(target))

    def _take(self, edit: Edit) -> None:
        """Take an edit of the latest that is nothing to tgtd."""
        if self._rehearsing:
            self._steps += steps(edit, self._latest, self._latest.after(edit), (), self._count)
            return
        self._edit = edit
        self._group = self._group.joined(Group.of(edit, self._latest))

    def _commit(self) -> None:
        """Make what is in force durable, and known; or put back what was before, and raise."""
        group = self._group
        at_once, self._at_once = self._at_once, False
        if not (group.edit or self._receipts or at_once):
            for entry in self._entries:
                self._backlog.add(entry)
            self._entries.clear()
            return
        try:
            self._record(group.edit)
        except Exception:
            self._abandon()
            raise
        # Nothing can fail between a commit and these two lines (docs/decisions/0014).
        self.inventory = group.after
        self._group = Group.empty(group.after)
        self.events.publish(*of_edit(group.edit, group.before))
        self._known.opened |= group.left  # what came was claimed as it did
        failpoint.reached("write.committed")
        if group.edit.for_tgtd:  # else what a killed life was changing there is not finished
            self._enforcer.finish()
        if group.adopted:
            self._enforcer.take_up(group.after)
        self._claim_opened()
        if self._known.failures:
            self._known.forgive(group.scope(self._failing()))
        failpoint.reached("write.finished")

    def _record(self, edit: Edit) -> None:
        """Commit the edit with all that the audit has to tell."""
        batch, receipts = self._backlog.batch(), tuple(self._receipts.values())
        try:
            with self._known.tally.commits.measured():
                self._store.commit(edit, (*batch.told, *self._entries), receipts)
        except StateFailed as error:
            if error.code != "state-full" or not (batch.entries and edit):
                raise
            # What was told can wait; a change need not.
            self._store.commit(edit, self._entries, receipts)
        else:
            self._backlog.forget(batch)
        self._entries.clear()
        self._receipts.clear()

    def _abandon(self) -> None:
        """Put back what was before. Who asked for it hears of a failure, and so does the audit."""
        self._entries.clear()
        self._receipts.clear()
        group, self._group = self._group, Group.empty(self.inventory)
        if group.edit.for_tgtd:
            self._enforcer.abandon(group.before, group.undo(self._failing()))
            self._known.opened |= group.moved
            self._claim_opened()

    def _claim_opened(self) -> None:
        while self._known.opened:
            self._claim(self._known.opened.pop())

    def _claim(self, place: Place) -> None:
        """What a write let go of is free when that is durable: it may have to be put back."""
        found = (inventory.find(*place) for inventory in (self._latest, self.inventory))
        opened = self._known.backend.unit_identity(*place)
        self._shelf.claim(place, filter(None, found), opened)

    def _failing(self) -> frozenset[Place]:
        return frozenset((name, lun) for name, lun in self._known.failures if lun is not None)


def _is_valid(principal: Principal, inventory: Inventory) -> bool:
    if not principal.digest:
        return True
    token = inventory.tokens.get(principal.name.partition(":")[2])
    return token is not None and token.digest == principal.digest and not token.expired(now())
