"""Hundreds of connections that keep a server waiting, each in the same way."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.torture.http.onthewire import announced, chunked, get
from tests.work import working


@dataclass(frozen=True)
class Manner:
    """What each sends when it comes, what it sends again and again then, with a pause or without,
    whether it takes what it is told, whether it says that nothing more will come; and how many
    there are."""

    first: bytes = b""
    again: bytes = b""
    pause: float = 0.3
    reads: bool = True
    ends: bool = False
    size: int = 100


ALMOST = (1 << 20) - 1
BUNDLE = b"/docs/assets/swagger-ui-bundle.js"
MUCH = 1 << 18
CHUNK = b"%x\r\n" % MUCH + b" " * MUCH + b"\r\n"
MANNERS: dict[str, dict[str, Manner]] = {
    "bring no request, or take no answer": {
        "nothing": Manner(),
        "half a header": Manner(b"GET /healthz HTTP/1.1\r\nHost:"),
        "a header without end": Manner(get()[:-2], b"X: y\r\n"),
        "a second request in the first one's wake": Manner(get() + get()[:-2], b"X: y\r\n"),
        "half a request and an end": Manner(get()[:-2], ends=True),
        "a whole request and an end": Manner(get(), ends=True),
        "long files": Manner(get(BUNDLE) * 8, reads=False, size=20),
        "documents": Manner(get(b"/openapi.json") * 40, reads=False, size=20),
        "errors": Manner(get(b"/" + b"x" * 9000) * 100, reads=False, size=5),
    },
    "bring bodies": {
        "all but the last byte": Manner(announced(ALMOST + 1) + b" " * ALMOST),
        "a byte now and then": Manner(announced(ALMOST), b" "),
        "chunks without end": Manner(chunked(b""), b"1\r\nx\r\n"),
        "nothing after a promise": Manner(announced(ALMOST, b"Expect: 100-continue")),
        "10 GB": Manner(announced(10 << 30), b" " * MUCH, pause=0, size=1),
        "10 GB in chunks": Manner(chunked(b""), CHUNK, pause=0, size=1),
    },
}


class Crowd:
    """Connections of one manner. `peers`: their ports; `sent`: bytes, by all of them."""

    def __init__(self, port: int, manner: Manner) -> None:
        self._manner = manner
        self.sent = 0
        self._left = {self._come(port): memoryview(manner.first) for _ in range(manner.size)}
        self.peers = {connection.getsockname()[1] for connection in self._left}

    def run(self, stop: threading.Event) -> None:
        """Whether a connection is closed by the other side is not ours to see: we may not read."""
        with selectors.DefaultSelector() as ready:
            for connection in self._left:
                ready.register(connection, self._interest())
            while not stop.wait(self._manner.pause):
                for key, events in ready.select(0.1):
                    assert isinstance(key.fileobj, socket.socket)
                    if not self._served(key.fileobj, events):
                        ready.unregister(key.fileobj)

    def close(self) -> None:
        for connection in self._left:
            connection.close()

    def _come(self, port: int) -> socket.socket:
        connection = socket.socket()
        if not self._manner.reads:  # nor does much of an answer find room on its way
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", port))
        connection.setblocking(False)
        return connection

    def _interest(self) -> int:
        reading = selectors.EVENT_READ if self._manner.reads else 0
        return reading | selectors.EVENT_WRITE

    def _served(self, connection: socket.socket, events: int) -> bool:
        """Whether there is more to be done with it."""
        try:
            if events & selectors.EVENT_READ and not connection.recv(1 << 20):
                return False
            if events & selectors.EVENT_WRITE:
                self._send(connection)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _send(self, connection: socket.socket) -> None:
        left = self._left[connection] or memoryview(self._manner.again)
        if left:
            count = connection.send(left)
            self.sent += count
            self._left[connection] = left[count:]
            if count == len(left) and self._manner.ends:
                connection.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def crowds(port: int, manners: Iterable[Manner]) -> Iterator[set[int]]:
    """A crowd of each; yields the ports of all."""
    gathered = [Crowd(port, manner) for manner in manners]
    try:
        with working(gathered):
            yield set().union(*(crowd.peers for crowd in gathered))
    finally:
        for crowd in gathered:
            crowd.close()
