"""The core on its in-memory twins, with faults on demand."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from storlever.audit import Entry
from storlever.backing import Machine
from storlever.enforcer import Enforcer
from storlever.errors import StateFailed, Unavailable
from storlever.inventory import Edit
from storlever.knowledge import Knowledge
from storlever.names import GUARD
from storlever.passes import Passes
from storlever.principal import Act, Principal, Role
from storlever.receipt import Done, Receipt
from storlever.service import Service
from storlever.territory import Territory
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.memory import Bound, MemoryTgtd, Unit
from storlever.tgtd.reply import Reply
from storlever.tgtd.wire import Mode, Op, Request, TgtError
from storlever.twins import MemoryNotes, MemoryStore
from storlever.writer import Write
from tests.backends import Exchanging

ACT = Act(Principal("tester", Role.ADMIN, "127.0.0.1"), "0" * 32, "test", "/test")
FOREIGN = "iqn.2026-01.test:foreign"


class Crash(BaseException):
    """The service's process ends here."""


class FlakyTgtd(Exchanging):
    """Lets a fault happen instead of (or right after) the n-th request from now on."""

    def __init__(self, tgtd: MemoryTgtd) -> None:
        self.tgtd = tgtd
        self.fault: Callable[[Request], Reply] | None = None
        self.countdown = 0
        self.hit = False

    def fail(self, number: int, fault: Callable[[Request], Reply]) -> None:
        self.countdown, self.fault, self.hit = number, fault, False

    def mend(self) -> None:
        self.fault = None

    def exchange(self, request: Request, *, pid: int | None = None) -> Reply:
        if self.fault is not None and not self.hit:
            self.countdown -= 1
            if self.countdown == 0:
                self.hit = True
                return self.fault(request)
        return self.tgtd.exchange(request, pid=pid)

    # -- faults

    def refuse(self, _: Request) -> Reply:
        return Reply(TgtError.UNKNOWN)

    def die(self, _: Request) -> Reply:
        self.tgtd.dead = True
        raise Unavailable("tgtd closed the connection")

    def crash_before(self, _: Request) -> Reply:
        raise Crash

    def crash_after(self, request: Request) -> Reply:
        self.tgtd.exchange(request)
        raise Crash

    def time_out_after(self, request: Request) -> Reply:
        """tgtd does what it was asked, and the answer does not come in time."""
        self.tgtd.exchange(request)
        raise Unavailable("tgtd did not answer")


class FlakyStore(MemoryStore):
    full = False
    room: int | None = None
    """For how many entries of the audit there is room at once."""

    def commit(
        self, edit: Edit, entries: Sequence[Entry] = (), receipts: Sequence[Receipt] = ()
    ) -> None:
        if self.full or (self.room is not None and len(entries) > self.room):
            raise StateFailed("no space", code="state-full")
        super().commit(edit, entries, receipts)


class MortalStore(FlakyStore):
    """Its process may be killed right before or right after a commit."""

    killed = ""

    def commit(
        self, edit: Edit, entries: Sequence[Entry] = (), receipts: Sequence[Receipt] = ()
    ) -> None:
        if self.killed == "before":
            raise Crash
        super().commit(edit, entries, receipts)
        if self.killed == "after":
            raise Crash


@dataclass
class Core:
    """A service with everything under it; `reborn` is its next life after a kill."""

    folder: Path
    tgtd: MemoryTgtd = field(default_factory=MemoryTgtd)
    store: FlakyStore = field(default_factory=FlakyStore)
    notes: MemoryNotes = field(default_factory=MemoryNotes)

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.flaky = FlakyTgtd(self.tgtd)
        machine = Machine(Territory(self.folder / "private"))
        self.backend = TgtdBackend(self.flaky, self.tgtd, machine)
        self.known = Knowledge(self.backend, self.notes)
        self.passes = Passes(self.known)
        self.service = Service(self.store, Enforcer(self.passes), machine, self.lock)

    def together(self, calls: Iterable[Callable[[], object]]) -> list[Any]:
        """What each returned or raised."""
        outcomes = self.service.together([Write(ACT, call) for call in calls])
        return [each.answer if isinstance(each, Done) else each for each in outcomes]

    def reborn(self) -> "Core":
        return Core(self.folder, self.tgtd, self.store, self.notes)

    def settle(self) -> int:
        """One full pass; how many changes it took."""
        return self.passes.full(self.service.inventory)

    def shown(self) -> str:
        """All that tgtd has, secrets and mode pages included; not its numbers, nor the order of
        what has none. A hole in the slots fails here."""
        accounts = {name: secret for name, secret in self.tgtd.accounts.items() if name != GUARD}
        lines = [
            f"{target.name} {target.ready} {sorted(target.addresses)} {sorted(target.names)} "
            f"{self._bound(target.bound)} {sorted(self._units(target.units).items())} "
            f"{target.segment}"
            for target in self.tgtd.targets.values()
        ]
        lines += [f"{name} {secret}" for name, secret in accounts.items()]
        return "\n".join([*sorted(lines), self._bound(self.tgtd.discovery)])

    @staticmethod
    def _units(units: dict[int, Unit]) -> dict[int, Unit]:
        """Whether a unit that is offline has its file open makes no difference to anyone."""
        return {
            lun: unit if unit.online else replace(unit, path=None, size=0)
            for lun, unit in units.items()
        }

    @staticmethod
    def _bound(bound: Bound) -> str:
        used = [name for name in bound.slots if name is not None]
        assert used == bound.slots[: len(used)], f"a hole: {bound.slots}"
        assert GUARD not in used[1:]
        return f"{used[:1]} {sorted(used[1:])} {bound.outgoing}"

    def add_foreign(self) -> None:
        """A target with a user of its own that somebody else made."""
        self.raw(Mode.TARGET, Op.NEW, ("targetname", FOREIGN), tid=99)
        self.raw(Mode.TARGET, Op.BIND, ("initiator-address", "ALL"), tid=99)
        self.raw(Mode.ACCOUNT, Op.NEW, ("user", "stranger"), ("password", "stranger's"))
        self.raw(Mode.ACCOUNT, Op.BIND, ("user", "stranger"), tid=99)

    def log_out(self) -> None:
        """Everybody."""
        for target in self.tgtd.targets.values():
            target.sessions.clear()

    def raw(self, mode: Mode, op: Op, *parameters: tuple[str, str], tid: int = 0) -> None:
        """What somebody else's tgtadm would do."""
        reply = self.tgtd.exchange(Request(mode, op, tid=tid, parameters=parameters))
        assert reply.error == 0
