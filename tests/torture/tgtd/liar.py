"""A daemon at a management socket that gives any bytes at all for an answer, at any pace."""

import random
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from storlever.tgtd.reply import MAX_REPLY, Reply
from tests.torture.tgtd.frames import HEADER

HEAD = struct.Struct("=II")
SIZES = (0, 1, 7, 8, 9, 2**20, MAX_REPLY, MAX_REPLY + 1, 2**31 - 1, 2**31, 2**32 - 1)
PAUSES = (0.0, 0.0, 0.0, 0.001)
NEVER = 60.0


@dataclass(frozen=True)
class Lie:
    """What is sent, in pieces, with `pause` seconds after each, and `last` before the end."""

    pieces: tuple[bytes, ...]
    pause: float
    last: float

    @property
    def slow(self) -> bool:
        return NEVER in (self.pause, self.last)

    def understood(self) -> Reply | None:
        """The reply that there is in it, as the protocol has it; None where there is none."""
        said = b"".join(self.pieces)
        if len(said) < HEAD.size:
            return None
        error, size = HEAD.unpack(said[: HEAD.size])
        if not HEAD.size <= size <= min(len(said), MAX_REPLY):
            return None
        text, _, _ = said[HEAD.size : size].partition(b"\0")
        return Reply(error, text.decode("utf-8", "replace"))


def lie(chance: random.Random, text: bytes) -> Lie:
    """The text behind a header that is true, or nearly so, or nothing of the kind; some of it."""
    size = HEAD.size + len(text)
    claimed = chance.choice(
        (
            size,
            size,
            size,
            size + chance.randint(-3, 3),
            chance.choice(SIZES),
            chance.getrandbits(32),
        )
    )
    error = chance.choice((0, 0, 0, 17, chance.getrandbits(32)))
    said = HEAD.pack(error, max(claimed, 0)) + text
    if chance.random() < 0.2:
        said = chance.choice((said[: chance.randint(0, len(said))], chance.randbytes(50)))
    cuts = sorted(chance.randint(0, len(said)) for _ in range(chance.choice((0, 0, 1, 3))))
    bounds = [0, *cuts, len(said)]
    pieces = tuple(said[start:end] for start, end in pairwise(bounds))
    return Lie(
        pieces,
        NEVER if chance.random() < 0.002 else chance.choice(PAUSES),
        NEVER if chance.random() < 0.002 else 0.0,
    )


@contextmanager
def liar(path: Path) -> Iterator[Callable[[Lie], None]]:
    """Listens at `path`; what is called gives the lie for the next request."""
    lies: list[Lie] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):  # the listener is closed at the end
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        _tell(connection, lies.pop())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield lies.append
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _tell(connection: socket.socket, told: Lie) -> None:
    connection.recv(HEADER.size, socket.MSG_WAITALL)
    for piece in told.pieces:
        connection.sendall(piece)
        _wait(connection, told.pause)
    _wait(connection, told.last)


def _wait(connection: socket.socket, seconds: float) -> None:
    """Until the time is over, or whoever asked has gone, which ends the answer."""
    if not seconds:
        return
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if poll.poll(seconds * 1000):
        raise BrokenPipeError
