"""The use cases: what the API can do, behind one lock and one writer.

Reads come from memory, but for sessions. A write is decided purely, put into force, made durable,
and only then answered (`writer`).
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from storlever import audit, warning
from storlever.admission import Admission, Asking, admission, shutting_out
from storlever.adoption import wished
from storlever.audit import Json, Link, Search
from storlever.clock import now
from storlever.document import Document, TargetPart, UserPart, toward
from storlever.enforcer import Enforcer
from storlever.errors import NotFound, Unavailable
from storlever.figures import Figures
from storlever.inventory import DISCOVERY, Direction, Edit, Inventory
from storlever.losses import Losses
from storlever.model import (
    Access,
    Account,
    LogicalUnit,
    ObservedTarget,
    Session,
    Target,
)
from storlever.principal import Act, Role
from storlever.rehearsal import ending
from storlever.sampler import Sampler, Visit
from storlever.shelf import Host
from storlever.standing import Standing
from storlever.status import Health, TargetStatus, UnitStatus, state, trouble
from storlever.token import Token
from storlever.writer import Store

MOST_FORGOTTEN = 20
"""Batches of old entries that go at once."""
USES_INTERVAL = 60.0
"""Seconds between two commits of when tokens were used."""


class Service(Standing):
    """Writes return the warnings the caller should pass on; all raise StorLeverError."""

    def __init__(self, store: Store, enforcer: Enforcer, host: Host, lock: threading.RLock) -> None:
        super().__init__(store, enforcer, host, lock)
        self.sampler = Sampler(self._known, lambda: self.inventory)
        self._used: dict[str, datetime] = {}
        """When tokens were used, by name, since that was last made durable."""
        self._due = time.monotonic() + USES_INTERVAL

    # -- reading: from memory, but for the sessions

    @property
    def tag_key(self) -> bytes:
        """With which tags are made of what is wished (docs/decisions/0024)."""
        return self._store.tag_key

    def targets(self) -> list[TargetStatus]:
        """All of them by name, without their sessions: tgtd is not asked."""
        down, targets = self._known.down, self.inventory.targets
        named = (targets[name] for name in sorted(targets))
        return [self._target_status(each, down) for each in named]

    def target_names(self) -> list[str]:
        return sorted(self.inventory.targets)

    def target(self, name: str, *, hurry: bool = False) -> TargetStatus:
        """`hurry`: at once, or Unavailable is raised, which says nothing."""
        target = self.inventory.target(name)
        sessions: tuple[Session, ...] = ()
        reason = self._known.down
        if reason is None:
            try:
                sessions = self._known.sessions(name, hurry=hurry)
            except Unavailable as error:
                if hurry:
                    raise
                reason = str(error)
        return self._target_status(target, reason, sessions)

    def unit(self, name: str, lun: int) -> UnitStatus:
        return self._unit_status(name, self.inventory.unit(name, lun))

    def units(self, name: str) -> list[UnitStatus]:
        return [self._unit_status(name, unit) for unit in self.inventory.target(name).units]

    def health(self) -> Health:
        failures = sorted(self._known.failures.items(), key=str)
        return Health(
            self._known.down,
            tuple((_spoken(*failed), reason) for failed, reason in failures),
            tuple(target.name for target in self._known.foreign),
            self._known.backend.hole,
        )

    def portals(self) -> tuple[str, ...]:
        """Where hosts log in, as HOST:PORT, as a pass saw it last; an address that stands for all
        of the machine's among them."""
        return self._known.backend.portals

    def foreign(self) -> tuple[ObservedTarget, ...]:
        """As a pass saw them last, by name."""
        return self._known.foreign

    def visits(self, name: str, *, hurry: bool = False) -> list[Visit]:
        """The sessions of a target now, by number. Raises NotFound and Unavailable. `hurry`: as of
        `target`."""
        self.inventory.target(name)
        self._known.require_up()
        known = self.sampler.visits(name)
        found = sorted(self._known.sessions(name, hurry=hurry), key=lambda each: each.sid)
        return [
            Visit(each, known[each.sid].since if each.sid in known else now()) for each in found
        ]

    def aliases(self, name: str, sessions: Iterable[Session]) -> dict[int, str]:
        """What sessions of a target called themselves besides, where that is beyond doubt."""
        return self._known.backend.aliases(name, sessions)

    def figures(self) -> Figures:
        """Without a lock: each of them is true, if not at the very same moment."""
        known, sampler = self._known, self.sampler
        return Figures(
            self.inventory,
            known.down,
            known.backend.hole,
            0 if known.down else known.pid,
            len(known.foreign),
            known.failures.copy(),
            known.tally,
            sampler.counters.units,
            sampler.present(),
            sampler.taken,
            self.events.last,
        )

    def admission(self, name: str, asking: Asking) -> Admission:
        target = self.inventory.target(name)
        closed = trouble(self._known.down, self._known.failures, name)
        return admission(target, asking, closed)

    def _target_status(
        self, target: Target, down: str | None, sessions: tuple[Session, ...] = ()
    ) -> TargetStatus:
        reason = trouble(down, self._known.failures, target.name)
        return TargetStatus(target, state(target.online, reason), reason, sessions)

    def _unit_status(self, name: str, unit: LogicalUnit) -> UnitStatus:
        known = self._known
        reason = trouble(known.down, known.failures, name, unit.lun)
        size = None if reason else known.backend.unit_size(name, unit.lun)
        return UnitStatus(unit, state(unit.online, reason), reason, size)

    # -- writing

    def set_discovery(self, given: Mapping[Direction, Account | None]) -> tuple[str, ...]:
        with self._write():
            self._enact(self._latest.set_discovery(given))
        return warning.of_accounts(*filter(None, given.values()))

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
            self._latest.add_target(name)  # it must not be there
            for account in accounts:
                self._latest.require_same_secret(account)
            users = tuple(UserPart(each.name, each.secret) for each in accounts)
            document = Document((part or TargetPart(name),), users)
            return self._enact_document(document, overrule=overrule, at="")

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
                self._known.require_no_sessions(name)
            self._enact(edit, force=force)
        return ()

    def remove_target(self, name: str, *, force: bool = False) -> tuple[str, ...]:
        """A target with sessions raises Conflict unless forced."""
        with self._write():
            edit = self._latest.remove_target(name)
            if not force:
                self._known.require_no_sessions(name)
            self._enact(edit, force=force)
        return ()

    def add_user(self, name: str, direction: Direction, account: Account) -> tuple[str, ...]:
        with self._write():
            self._enact(self._latest.add_user(name, direction, account))
        return warning.of_accounts(account)

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
        return warning.of_accounts(account)

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
        return warning.of_units(unit)

    def edit_unit(
        self, name: str, lun: int, given: Mapping[str, Any], *, force: bool = False
    ) -> tuple[str, ...]:
        """`given`: the fields to change. Giving the path again serves what is there now."""
        with self._write():
            unit = self._made(self._latest.unit(name, lun), lun, given)
            again = {(name, lun)} if "backing_path" in given else set()
            edit = self._latest.edit_unit(name, unit)
            self._enact_standing(edit, overrule=force, again=again, given=bool(again))
        return warning.of_units(unit) if "backing_type" in given else ()

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
            for each in self._known.sessions(name)
            if (each.initiator_name, each.address) == (out.initiator_name, out.address)
        ]

    def _session(self, name: str, sid: int) -> Session:
        for session in self._known.sessions(name):
            if session.sid == sid:
                return session
        raise NotFound(f"target {name} has no session {sid}", code="session-not-found")

    def _end(self, name: str, session: Session) -> None:
        if self._rehearsing:
            self._steps += ending(name, 1)
            return
        with suppress(Unavailable):  # what it did last counts, where that can still be had
            self.sampler.look()
        self._known.close(name, session.sid)

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
        warnings = warning.of_edit(edit, latest)
        self._enact_standing(edit, force=force, overrule=overrule, at=document.places(at))
        return warnings

    def _require_harmless(self, edit: Edit) -> None:
        """Raises Conflict."""
        losses = Losses.of(edit, self._latest)
        losses.require_moderate(self._latest)
        self._known.require_no_sessions(*sorted(losses.bearers))

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
            target = wished(self._known.stranger(name, self._latest))
            for account in accounts:
                self._latest.require_same_secret(account)
            edit = self._latest.add_whole(target, accounts)
            stands = self._stands(edit, frozenset(), given=False, at={})
            self._require_served(stands, self._usable(stands, edit, overrule=overrule))
            self._welcome(target, edit)
        return warning.of_accounts(*accounts)

    def hand_out_secrets(self) -> Inventory:
        """All that is durable, once the audit tells durably who took it. It needs no tgtd."""
        with self._turn:
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
        with self._turn:
            token, secret = Token.new(name, role, lifetime, now())
            self._take(self._latest.add_token(token))
        return token, secret

    def remove_token(self, name: str) -> tuple[str, ...]:
        with self._turn:
            self._take(self._latest.remove_token(name))
            if not self._rehearsing:
                self._used.pop(name, None)
        return ()

    # -- the audit

    def audit(self, search: Search) -> tuple[Link, Sequence[Json]]:
        """The link before the oldest entry that is kept, and a page of what is durable."""
        return self._store.audit(search)

    def tell(self, act: Act, outcome: str) -> None:
        """Have the audit tell of a request that changed nothing, at the next commit. The event loop
        calls this, and does not wait."""
        self._backlog.tell(act, outcome)

    def keep(self, *, last: bool = False) -> None:
        """Make durable what the audit was told and, now and then or at the `last`, when tokens were
        used; and forget some of what the audit kept long enough. Raises StateFailed, or
        Unavailable when other writes take too long."""
        due = last or time.monotonic() > self._due
        if due or self._backlog.waiting:
            with self._turn:
                if due:
                    self._due = time.monotonic() + USES_INTERVAL
                    used, self._used = self._used, {}
                    self._take(self._latest.with_uses(used))
                if self._backlog and not self._group.edit:
                    self._record(Edit())
        for _ in range(MOST_FORGOTTEN):
            if not self._store.forget(now()):
                break


def _spoken(name: str, lun: int | None) -> str:
    place = "discovery" if name == DISCOVERY else name
    return place if lun is None else f"{place} LUN {lun}"
