"""The same cases on a real tgtd and on its in-memory twin."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storlever.errors import Unavailable
from storlever.observed import Observed
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.memory import MemoryTgtd
from storlever.tgtd.process import AttachedTgtd
from storlever.tgtd.transport import SocketTransport, Transport
from storlever.tgtd.wire import Mode, Op, Request
from tests.world import NOTHING_PRIVATE, Tgtd


@dataclass
class Rig:
    """A daemon with a backend on it. `folder` is for backing files."""

    transport: Transport
    backend: TgtdBackend
    folder: Path

    @property
    def alive(self) -> bool:
        """Whether it answers a `show` of everything, which is where holes kill it."""
        try:
            self.backend.observe()
            self.transport.exchange(Request(Mode.DRIVER, Op.SHOW))
        except Unavailable:
            return False
        return True

    def observe(self) -> Observed:
        return self.backend.observe()


@pytest.fixture(params=["memory", "real"])
def rig(request: pytest.FixtureRequest, root: Path) -> Iterator[Rig]:
    if request.param == "memory":
        memory = MemoryTgtd()
        yield Rig(memory, TgtdBackend(memory, memory, NOTHING_PRIVATE), root)
        return
    daemon = Tgtd(root)
    try:
        daemon.start()
        transport = SocketTransport(daemon.socket_path)
        yield Rig(transport, TgtdBackend(transport, AttachedTgtd(transport), NOTHING_PRIVATE), root)
    finally:
        daemon.kill()
