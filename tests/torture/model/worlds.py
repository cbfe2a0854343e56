"""A service in this process with everything under it, on the twin or on a real tgtd.

Its store and its notes outlive it, as files would; `be_reborn` is a kill and a new start.
"""

import threading
from abc import ABC, abstractmethod
from pathlib import Path

from storlever.backing import Machine
from storlever.enforcer import Enforcer
from storlever.knowledge import Knowledge
from storlever.names import GUARD
from storlever.passes import Passes
from storlever.service import Service
from storlever.territory import Territory
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.memory import MemoryTgtd
from storlever.tgtd.process import AttachedTgtd
from storlever.tgtd.transport import SocketTransport, Transport
from storlever.tgtd.wire import EVERY, Device, Mode, Op, Request
from storlever.twins import MemoryNotes, MemoryStore
from tests.torture.tgtd.printed import Printed, read
from tests.unit.core import Core, MortalStore
from tests.world import Tgtd


class World(ABC):
    """`transport` is what others ask tgtd by."""

    transport: Transport

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether tgtd runs."""

    @property
    @abstractmethod
    def service(self) -> Service: ...

    @property
    @abstractmethod
    def passes(self) -> Passes: ...

    @abstractmethod
    def be_reborn(self) -> None: ...

    @abstractmethod
    def kill(self) -> None:
        """tgtd."""

    @abstractmethod
    def start(self) -> None:
        """tgtd, which has forgotten everything."""

    def settle(self) -> int:
        """A full pass; how many changes it took."""
        return self.passes.full(self.service.inventory)

    def tell(self, request: Request) -> None:
        """As others do, who are not refused."""
        reply = self.transport.exchange(request)
        assert reply.error == 0, (request, request.parameters, reply)

    def printed(self) -> Printed:
        shown = (
            self.transport.exchange(Request(mode, Op.SHOW, tid=EVERY)).text
            for mode in (Mode.TARGET, Mode.ACCOUNT, Mode.SYSTEM)
        )
        return read(*shown)

    def sessions(self) -> dict[str, list[int]]:
        return {}


class TwinWorld(World):
    """`folder` is for backing files."""

    def __init__(self, folder: Path) -> None:
        self.tgtd = MemoryTgtd()
        self.transport = self.tgtd
        self.store = MortalStore()
        self.core = Core(folder, self.tgtd, self.store)

    @property
    def service(self) -> Service:
        return self.core.service

    @property
    def passes(self) -> Passes:
        return self.core.passes

    def be_reborn(self) -> None:
        self.core = self.core.reborn()

    @property
    def alive(self) -> bool:
        return not self.tgtd.dead

    def kill(self) -> None:
        self.tgtd.dead = True

    def start(self) -> None:
        self.tgtd.restart()

    def sessions(self) -> dict[str, list[int]]:
        targets = self.tgtd.targets.values() if self.alive else ()
        return {target.name: sorted(target.sessions) for target in targets if target.sessions}

    # -- what only the twin tells

    def secrets(self) -> dict[str, str]:
        """Everybody's but the guard's, which is nobody's."""
        return {name: each for name, each in self.tgtd.accounts.items() if name != GUARD}

    def cached(self) -> dict[tuple[str, int], bool]:
        """Disk -> whether its write cache is on (SBC-3, 6.5.5: bit 2 of the page's third byte)."""
        return {
            (target.name, lun): bool(int((unit.mode_page or "8:0:18:0x14").split(":")[3], 16) & 4)
            for target in self.tgtd.targets.values()
            for lun, unit in target.units.items()
            if unit.device is Device.DISK
        }


class RealWorld(World):
    """`tgtd` is running, and is not StorLever's."""

    def __init__(self, tgtd: Tgtd) -> None:
        self.tgtd = tgtd
        self.transport = SocketTransport(tgtd.socket_path)
        self._store, self._notes = MemoryStore(), MemoryNotes()
        self._be_born()

    def _be_born(self) -> None:
        transport = SocketTransport(self.tgtd.socket_path)
        machine = Machine(Territory(self.tgtd.root / "private"))
        backend = TgtdBackend(transport, AttachedTgtd(transport), machine)
        self._passes = Passes(Knowledge(backend, self._notes))
        self._service = Service(self._store, Enforcer(self._passes), machine, threading.RLock())

    @property
    def service(self) -> Service:
        return self._service

    @property
    def passes(self) -> Passes:
        return self._passes

    def be_reborn(self) -> None:
        self._be_born()

    @property
    def alive(self) -> bool:
        return self.tgtd.alive

    def kill(self) -> None:
        self.tgtd.kill()

    def start(self) -> None:
        self.tgtd.start()
