"""The seam to the daemon: one request in, one reply out."""

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from msgspec import Struct

from storlever.errors import Unavailable
from storlever.tgtd.reply import Arriving, Reply
from storlever.tgtd.wire import Mode, Op, Request

_CREDENTIALS = struct.Struct("=iII")
AT_ONCE = 0.002
"""Seconds; tgtd answers in 0.1 ms, when it does nothing else."""
AWAKE = 0.00015
"""Seconds that a thread stays awake for an answer (docs/decisions/0039)."""
PIECE = 1 << 16
"""Bytes of a reply that are taken in at a time."""
_HARMLESS = Request(Mode.DRIVER, Op.SHOW)


class NotRunning(Unavailable):
    """Nothing listens on the management socket."""


class Silent(Unavailable):
    """It took the request and gives no answer; `pid` is the process that hangs."""

    def __init__(self, timeout: float, pid: int) -> None:
        super().__init__(f"tgtd did not answer within {timeout:g} s")
        self.pid = pid


Awaited = Callable[[], Reply]
"""A reply that may have to be waited for. It is to be called, once."""


class Transport(Protocol):
    """Raises Unavailable when the daemon is down, hung, or answers nonsense: when it is sent to, or
    when the reply is awaited."""

    def send(self, request: Request, *, pid: int | None = None) -> Awaited:
        """`pid`: the process that must be at the other end; another one is not asked."""

    def exchange(self, request: Request, *, pid: int | None = None) -> Reply:
        return self.send(request, pid=pid)()


class SocketTransport(Transport):
    """One connection a request, as tgtd wants it, with a deadline to take it and one to answer."""

    def __init__(self, path: str, *, timeout: float = 3.0) -> None:
        self.path = path
        self.timeout = timeout
        self._heard = 0.0
        """When it last answered anybody."""

    def send(self, request: Request, *, pid: int | None = None) -> Awaited:
        return partial(self._reply, self._sent(request, pid))

    def peer(self) -> int:
        """The process id of the daemon, which answers. Raises Unavailable."""
        exchange = self._sent(_HARMLESS, None)
        self._reply(exchange)
        return exchange.pid

    def _reply(self, exchange: "_Exchange") -> Reply:
        reply = exchange.reply(self._heard)
        self._heard = time.monotonic()
        return reply

    def _sent(self, request: Request, expected: int | None) -> "_Exchange":
        seconds = AT_ONCE if request.hurry else self.timeout + request.patience
        deadline = time.monotonic() + seconds
        try:
            connection = self._connected(deadline)
            try:
                pid = _pid_of(connection)
                # A whole request follows every connection: tgtd spins over one that brings none.
                same = expected in (None, pid)
                connection.sendall((request if same else _HARMLESS).frame)
                if not same:
                    raise Unavailable("tgtd has been restarted")
            except BaseException:
                connection.close()
                raise
        except TimeoutError:
            raise Unavailable(f"tgtd did not answer within {seconds:g} s") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"tgtd is not running: nothing listens on {self.path}") from None
        except PermissionError:
            raise Unavailable(f"no permission to speak to tgtd on {self.path}") from None
        except OSError as error:
            raise _senseless(error) from None
        return _Exchange(connection, pid, time.monotonic(), seconds)

    def _connected(self, deadline: float) -> socket.socket:
        """A connection; EAGAIN means that tgtd's queue of 32 is full, so it is tried again. It
        never blocks: a request finds room in a new one, and for the answer `_received` waits."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            while True:
                try:
                    connection.connect(self.path)
                    return connection
                except BlockingIOError:
                    _require_time(deadline)
                    time.sleep(0.001)
        except BaseException:
            connection.close()
            raise


class _Exchange(Struct, frozen=True):
    """A request that was sent. tgtd may be at others first: its time runs from the last answer to
    any of them, so that of several only one is waited for in vain."""

    connection: socket.socket
    pid: int
    sent: float
    seconds: float

    def reply(self, heard: float) -> Reply:
        """`heard`: when tgtd last answered. What has come already is taken in any case."""
        deadline = max(max(self.sent, heard) + self.seconds, time.monotonic() + AT_ONCE)
        try:
            with self.connection:
                return _received(self.connection, deadline)
        except TimeoutError:
            raise Silent(self.seconds, self.pid) from None
        except (OSError, EOFError, ValueError) as error:
            raise _senseless(error) from None


def _senseless(error: Exception) -> Unavailable:
    if isinstance(error, ConnectionError | EOFError):
        return Unavailable("tgtd closed the connection: it died, or runs as another user or group")
    return Unavailable(f"tgtd gave no sensible answer: {error}")


def _pid_of(connection: socket.socket) -> int:
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(said)[0]
    return pid


def _require_time(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise TimeoutError


def _received(connection: socket.socket, deadline: float) -> Reply:
    """A whole reply; most come in one piece, and soon. One that is there counts, however late it is
    that we look: it may be us who were kept from it."""
    arriving, awake = Arriving(), time.monotonic() + AWAKE
    while True:
        piece = _piece(connection, awake, deadline)
        if not piece:
            raise EOFError
        arriving.take(piece)
        if not arriving.missing:
            return arriving.reply()
        _require_time(deadline)


def _piece(connection: socket.socket, awake: float, deadline: float) -> bytes:
    """What comes next; b"" where nothing does. Stays awake until `awake`."""
    while True:
        try:
            return connection.recv(PIECE)
        except BlockingIOError:
            now = time.monotonic()
            if now < awake:
                os.sched_yield()
            else:
                _sleep(connection, max(0.0, deadline - now))


def _sleep(connection: socket.socket, seconds: float) -> None:
    """Until there is something to receive."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise TimeoutError
