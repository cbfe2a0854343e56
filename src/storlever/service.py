"""The use cases: what the SAN API can do, behind one lock and one writer.

A write is decided purely, put into force, made durable, and only then answered. If tgtd refuses
or the store fails, what was before is put back and the caller hears why.
"""

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from storlever import failpoint
from storlever.errors import Unavailable
from storlever.inventory import DISCOVERY, Direction, Edit, Inventory
from storlever.model import (
    FITTING,
    Account,
    DeviceType,
    LogicalUnit,
    Place,
    Session,
    Target,
    sessions_in_the_way,
)
from storlever.names import SHORT_SECRET
from storlever.plan import Scope
from storlever.reconciler import Reconciler
from storlever.shelf import Host, Shelf

LOCK_PATIENCE = 10.0
"""Seconds a write waits for its turn."""

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

    def commit(self, edit: Edit) -> None:
        """Make the edit durable before returning. Raises StateFailed; whatever is raised, nothing
        changed, unless its code is `state-doubtful`: then a restart may find the edit made."""


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
    `foreign`: the targets in tgtd that are not ours."""

    down: str | None
    failing: tuple[tuple[str, str], ...]
    foreign: tuple[str, ...]


class Service:
    """Writes return the warnings the caller should pass on; all raise StorLeverError."""

    def __init__(
        self, store: Store, reconciler: Reconciler, host: Host, lock: threading.Lock
    ) -> None:
        self._store = store
        self._reconciler = reconciler
        self._lock = lock
        self._shelf = Shelf(host)
        self.inventory = store.load()
        for target in self.inventory.targets.values():
            for unit in target.units:
                self._shelf.claim((target.name, unit.lun), unit)

    # -- reading: from memory, but for the sessions

    def target_names(self) -> list[str]:
        return sorted(self.inventory.targets)

    def target(self, name: str) -> TargetStatus:
        target = self.inventory.target(name)
        sessions: tuple[Session, ...] = ()
        reason = self._reconciler.down
        if reason is None:
            try:
                sessions = self._reconciler.sessions(name)
            except Unavailable as error:
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
            self._enact(self.inventory.set_discovery(given))
        return _secret_warnings(*filter(None, given.values()))

    def add_target(self, name: str) -> tuple[str, ...]:
        with self._write():
            self._enact(self.inventory.add_target(name))
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
            edit = self.inventory.edit_target(name, online=online, names=names, addresses=addresses)
            if online is False and self.inventory.target(name).online and not force:
                self._require_no_sessions(name)
            self._enact(edit, force=force)
        return ()

    def remove_target(self, name: str, *, force: bool = False) -> tuple[str, ...]:
        """A target with sessions raises Conflict unless forced."""
        with self._write():
            edit = self.inventory.remove_target(name)
            if not force:
                self._require_no_sessions(name)
            self._enact(edit, force=force)
        return ()

    def add_user(self, name: str, direction: Direction, account: Account) -> tuple[str, ...]:
        with self._write():
            self._enact(self.inventory.add_user(name, direction, account))
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
            self.inventory.require_user(name, direction, user)
            if secret is None:
                return ()
            account = Account(user, secret)
            self._enact(self.inventory.set_secret(name, direction, account, everywhere=everywhere))
        return _secret_warnings(account)

    def remove_user(self, name: str, direction: Direction, user: str) -> tuple[str, ...]:
        with self._write():
            self._enact(self.inventory.remove_user(name, direction, user))
        return ()

    def add_unit(
        self, name: str, lun: int, given: Mapping[str, Any], *, force: bool = False
    ) -> tuple[str, ...]:
        """`given`: fields of LogicalUnit by name; those left out take their defaults."""
        with self._write():
            self.inventory.target(name)
            unit = self._shelf.mapped(_new(lun, given), given)
            edit = self.inventory.add_unit(name, unit)
            store = self._shelf.usable((name, lun), unit, self.inventory, force=force)
            self._enact(
                edit, verify=lambda: self._shelf.require_same(unit, store, self._reconciler.pid)
            )
        return _aio_warnings(unit)

    def edit_unit(
        self, name: str, lun: int, given: Mapping[str, Any], *, force: bool = False
    ) -> tuple[str, ...]:
        """`given`: the fields to change. Giving the path again serves what is there now."""
        with self._write():
            old = self.inventory.unit(name, lun)
            unit = _changed(old, given)
            if (unit.direct_map, unit.backing_path) != (old.direct_map, old.backing_path):
                unit = self._shelf.mapped(replace(unit, product=None), given)
            edit = self.inventory.edit_unit(name, unit)
            if "backing_path" in given or _asks_more(old, unit):
                self._stand(name, old, unit, edit, force=force)
            else:
                self._enact(edit)
        return _aio_warnings(unit) if "backing_type" in given else ()

    def _stand(
        self, name: str, old: LogicalUnit, unit: LogicalUnit, edit: Edit, *, force: bool
    ) -> None:
        """Bring an edit of a LUN into force that makes it stand on its store anew."""
        place = (name, unit.lun)
        going_on = old.online and unit.backing_path == old.backing_path
        store = self._shelf.usable(place, unit, self.inventory, force=force or going_on)
        reopen: frozenset[Place] = frozenset()
        if self._shelf.moved(place, unit, store, self._reconciler.backend.unit_size(*place)):
            edit = edit or Edit({name: self.inventory.target(name)})
            reopen = frozenset({place})
        self._enact(
            edit,
            reopen=reopen,
            verify=lambda: self._shelf.require_same(unit, store, self._reconciler.pid),
        )

    def remove_unit(self, name: str, lun: int) -> tuple[str, ...]:
        """Waits a little for commands in flight; raises Conflict while the LUN stays busy."""
        with self._write():
            self._enact(self.inventory.remove_unit(name, lun))
        return ()

    # -- the write path

    @contextmanager
    def _write(self) -> Iterator[None]:
        self._reconciler.require_up()
        if not self._lock.acquire(timeout=LOCK_PATIENCE):
            raise Unavailable("too many changes are waiting for their turn")
        try:
            failpoint.reached("write.locked")
            self._reconciler.require_up()
            self._claim_opened()  # by passes, since the last write
            try:
                yield
            finally:
                self._claim_opened()
            failpoint.reached("write.claimed")
        finally:
            self._lock.release()

    def _enact(
        self,
        edit: Edit,
        *,
        force: bool = False,
        reopen: frozenset[Place] = frozenset(),
        verify: Callable[[], None] = lambda: None,
    ) -> None:
        """In force, then durable, then known; or none of the three."""
        if not edit:
            return
        before, after = self.inventory, self.inventory.after(edit)
        scope = replace(
            Scope.of(edit, before, after),
            parked=self._failing() - _changed_units(edit, before) - reopen,
            reopen=reopen,
            force=frozenset(edit.targets) if force else frozenset(),
        )
        moved = frozenset(
            place
            for place in _changed_units(edit, before)
            if _path(before, place) != _path(after, place)
        )
        failpoint.reached("write.decided")
        self._reconciler.enforce(before, after, scope)
        try:
            failpoint.reached("write.enforced")
            verify()
            failpoint.reached("write.verified")
            self._store.commit(edit)
        except Exception:
            self._reconciler.put_back(before, scope)
            raise
        # Nothing can fail between a commit and these two lines.
        self.inventory = after
        self._reconciler.opened |= moved
        failpoint.reached("write.committed")
        self._reconciler.finish(after, scope)
        failpoint.reached("write.finished")

    def _claim_opened(self) -> None:
        self._claim(self._reconciler.opened)
        self._reconciler.opened.clear()

    def _claim(self, places: Iterable[Place]) -> None:
        for name, lun in places:
            target = self.inventory.targets.get(name)
            self._shelf.claim((name, lun), target.unit(lun) if target else None)

    def _failing(self) -> frozenset[Place]:
        return frozenset((name, lun) for name, lun in self._reconciler.failures if lun is not None)

    def _require_no_sessions(self, name: str) -> None:
        if sessions := self._reconciler.sessions(name):
            raise sessions_in_the_way(name, sessions)


def _path(inventory: Inventory, place: Place) -> str | None:
    target = inventory.targets.get(place[0])
    unit = target.unit(place[1]) if target else None
    return unit.backing_path if unit else None


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


def _changed_units(edit: Edit, before: Inventory) -> frozenset[Place]:
    changed = set()
    for name, new in edit.targets.items():
        old = before.targets.get(name)
        units = frozenset(old.units if old else ()) ^ frozenset(new.units if new else ())
        changed |= {(name, unit.lun) for unit in units}
    return frozenset(changed)


def _secret_warnings(*accounts: Account) -> tuple[str, ...]:
    short = any(len(account.secret) < SHORT_SECRET for account in accounts)
    return (SHORT_SECRET_WARNING,) if short else ()


def _aio_warnings(unit: LogicalUnit) -> tuple[str, ...]:
    return (AIO_WARNING,) if unit.aio else ()
