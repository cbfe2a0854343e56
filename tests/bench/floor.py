"""What a write cannot do without: the exchanges with tgtd and one durable commit, sent raw."""

import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from storlever.backing import Machine
from storlever.enforcer import Enforcer
from storlever.inventory import Edit
from storlever.knowledge import Knowledge
from storlever.notes import FileNotes
from storlever.passes import Passes
from storlever.schema import PRAGMAS
from storlever.service import Service
from storlever.store import SqliteStore
from storlever.territory import Territory
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.process import AttachedTgtd
from storlever.tgtd.transport import Awaited, SocketTransport, Transport
from storlever.tgtd.wire import Request
from storlever.writer import Write
from tests.keys import keys_in
from tests.unit.core import ACT
from tests.world import Tgtd

Value = TypeVar("Value")


class Recorder(Transport):
    """A transport that remembers the frames it sent, and the seconds that it waited, if it is told
    to: that takes time as well."""

    def __init__(self, transport: SocketTransport) -> None:
        self._transport = transport
        self._recording = False
        self.frames: list[bytes] = []
        self.seconds = 0.0

    def send(self, request: Request, *, pid: int | None = None) -> Awaited:
        if not self._recording:
            return self._transport.send(request, pid=pid)
        self.frames.append(request.frame)
        return partial(self._timed, self._timed(partial(self._transport.send, request, pid=pid)))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """From nothing."""
        self.frames.clear()
        self.seconds = 0.0
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    def _timed(self, what: Callable[[], Value]) -> Value:
        started = time.perf_counter()
        try:
            return what()
        finally:
            self.seconds += time.perf_counter() - started


@dataclass(frozen=True)
class Traces:
    """What one write sent to tgtd, and what it told SQLite."""

    frames: tuple[bytes, ...]
    statements: tuple[str, ...]


class Core:
    """The service without HTTP on a tgtd of somebody else's, with what it does laid open; it
    begins with what `edit` makes."""

    def __init__(self, root: Path, tgtd: Tgtd, edit: Edit = Edit()) -> None:  # noqa: B008  frozen
        self.root = root
        state = root / "core"
        (state / "run").mkdir(parents=True)
        transport = SocketTransport(tgtd.socket_path, timeout=30)
        machine = Machine(Territory(state))
        self.recorder = Recorder(transport)
        self.store = SqliteStore(state / "state.db", keys_in(state))
        self.store.commit(edit)
        backend = TgtdBackend(self.recorder, AttachedTgtd(transport), machine)
        self.known = Knowledge(backend, FileNotes(state / "run"))
        self.passes = Passes(self.known)
        self.service = Service(self.store, Enforcer(self.passes), machine, threading.RLock())

    def write(self, call: Callable[[Service], object]) -> None:
        """As a request has it made: with its entry in the audit."""
        (outcome,) = self.service.together([Write(ACT, partial(call, self.service))])
        if isinstance(outcome, Exception):
            raise outcome

    def traced(self, write: Callable[[], object]) -> Traces:
        statements: list[str] = []
        connection = self.store._connection
        connection.set_trace_callback(statements.append)
        with self.recorder.recording():
            write()
        connection.set_trace_callback(None)
        return Traces(tuple(self.recorder.frames), tuple(map(RawStore.again, statements)))


NUMBERED = (
    (r"^(INSERT INTO audit .*? VALUES \()[0-9]+", r"\1NULL"),
    (r"^(INSERT INTO revision VALUES \()[0-9]+", r"\1NULL"),
    (r"^(INSERT INTO past SELECT )[0-9]+", r"\1(SELECT ifnull(max(number), 0) + 1 FROM past)"),
)


class RawStore:
    """A state file of the same make, that only executes what it is told, again and again; what is
    numbered in it, it numbers anew."""

    def __init__(self, path: Path) -> None:
        SqliteStore(path, keys_in(path.parent)).close()
        self._connection = sqlite3.connect(path, isolation_level=None)
        for name, value in PRAGMAS.items():
            self._connection.execute(f"PRAGMA {name} = {value}")

    def execute(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._connection.execute(statement)

    @staticmethod
    def again(statement: str) -> str:
        for pattern, number in NUMBERED:
            statement = re.sub(pattern, number, statement)
        return statement


def exchange(path: str, frames: Sequence[bytes]) -> None:
    """Send each frame on a connection of its own, as tgtd wants it, and take in the answer."""
    for frame in frames:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(frame)
            answer = connection.recv(1 << 16)
            size = int.from_bytes(answer[4:8], "little")
            while len(answer) < size:
                answer += connection.recv(1 << 20)


@contextmanager
def running(root: Path) -> Iterator[Tgtd]:
    """A tgtd with one I/O thread a LUN, in a folder of its own."""
    folder = root / "raw"
    folder.mkdir()
    daemon = Tgtd(folder)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.kill()
