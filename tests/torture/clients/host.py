"""A host at work on one LUN: qemu with its initiator, which comes back by itself when it loses the
target, and a program that writes, reads, and knows of every block what must be in it.

Every block that was ever written names its host, its place and how often it was written, so data
that is old, misplaced or somebody else's is told from what must be there.
"""

import random
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from tests.torture.clients.nbd import Client, Command, Reply, Request
from tests.world import image, wait_until

BLOCK = 512
MEGABYTES = 8
DEPTH = 8
"""Commands in flight at any time, each in a stripe of its own."""
BLOCKS = (MEGABYTES << 20) // BLOCK
STRIPE = BLOCKS // DEPTH
LONGEST = 64
"""Blocks of one command."""
PAUSE = 0.01
"""Seconds between two batches of commands, so that there is time for others."""
PATIENCE = 30.0
"""Seconds after which a host that does nothing is stuck."""
_STAMP = struct.Struct(">IIQ")
_EMPTY = bytes(BLOCK)


@dataclass(frozen=True)
class Login:
    """Where the LUN is and who asks for it; with `user` by CHAP."""

    portal: str
    target: str
    lun: int
    initiator: str
    user: str = ""
    password: str = ""

    def arguments(self) -> list[str]:
        """For qemu's tools."""
        disk = {
            "driver": "iscsi",
            "transport": "tcp",
            "portal": self.portal,
            "target": self.target,
            "lun": str(self.lun),
            "initiator-name": self.initiator,
        }
        secret = []
        if self.user:
            disk |= {"user": self.user, "password-secret": "chap"}
            secret = ["--object", f"secret,id=chap,data={self.password}"]
        return [*secret, "--image-opts", ",".join(f"{key}={value}" for key, value in disk.items())]


@dataclass
class Tally:
    """What a host did, and what it met."""

    commands: int = 0
    moved: int = 0
    """Bytes read or written."""
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Host:
    """A worker on an empty LUN, which stands on `file`. It ends with the first mishap.

    A context manager: at its end everything is read once more, and all must have been well.
    """

    def __init__(self, number: int, login: Login, file: Path, chance: random.Random) -> None:
        self.number = number
        self.login = login
        self.tally = Tally()
        self._file = image(file, MEGABYTES)
        self._chance = random.Random(chance.getrandbits(32))  # noqa: S311  no secrets
        self._generation = [0] * BLOCKS
        self._answered_at = 0.0
        self._gap = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._disk = self._open(stack)
            self._answered_at = time.monotonic()
            self._thread.start()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        with self._cleanup:
            self._stop.set()
            self._thread.join(PATIENCE)
            stuck = self._thread.is_alive()
            self._qemu.kill()  # and what the thread may wait for will not come
            self._thread.join()
        if kind is None:
            assert not stuck, f"host {self.number} is stuck"
            self.require_well()
            assert self._file.read_bytes() == self._expected(0, BLOCKS)

    def _open(self, stack: ExitStack) -> Client:
        path = self._file.with_suffix(".nbd")
        log = stack.enter_context(self._file.with_suffix(".qemu").open("wb"))
        command = ["qemu-nbd", "--socket", str(path), "--persistent", "--cache", "none"]
        self._qemu = subprocess.Popen(
            [*command, *self.login.arguments()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        stack.callback(self._qemu.wait)
        stack.callback(self._qemu.kill)
        client: Client = wait_until(lambda: self._connected(path, log))
        return stack.enter_context(client)

    def _connected(self, path: Path, log: BinaryIO) -> Client | None:
        assert self._qemu.poll() is None, Path(log.name).read_text()
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return Client(path)
        return None

    # -- what must be true

    def require_well(self) -> None:
        assert self.tally.errors == [], self._file.with_suffix(".qemu").read_text()[-2000:]
        assert self.tally.wrong == []

    def require_work(self, seconds: float = PATIENCE) -> None:
        """Something that is asked from now on is answered within this time."""
        goal = self.tally.commands + 2 * DEPTH
        wait_until(lambda: self.tally.commands >= goal or self._mishap, seconds)
        self.require_well()

    def gap(self) -> float:
        """The longest time between two answers since this was asked last, in seconds."""
        longest, self._gap = self._gap, 0.0
        return longest

    @property
    def _mishap(self) -> bool:
        return bool(self.tally.errors or self.tally.wrong)

    # -- commands

    def _run(self) -> None:
        try:
            while not self._stop.wait(PAUSE) and not self._mishap:
                self._ask([self._request(stripe) for stripe in range(DEPTH)])
            for first in range(0, BLOCKS, LONGEST):
                if not self._mishap:
                    self._ask([Request(Command.READ, first * BLOCK, length=LONGEST * BLOCK)])
        except Exception as error:
            self.tally.errors.append(f"host {self.number}: {error!r}")

    def _request(self, stripe: int) -> Request:
        first = stripe * STRIPE + self._chance.randrange(STRIPE)
        blocks = self._chance.randint(1, min(LONGEST, (stripe + 1) * STRIPE - first))
        kind = self._chance.choices((Command.READ, Command.WRITE, Command.FLUSH), (16, 16, 1))[0]
        if kind is Command.FLUSH:
            return Request(kind)
        if kind is Command.READ:
            return Request(kind, first * BLOCK, length=blocks * BLOCK)
        for at in range(first, first + blocks):
            self._generation[at] += 1
        return Request(kind, first * BLOCK, data=self._expected(first, blocks))

    def _ask(self, requests: list[Request]) -> None:
        self._disk.send(requests)
        for _ in requests:
            reply = self._disk.reply()
            self._note(requests[reply.number], reply)

    def _note(self, request: Request, reply: Reply) -> None:
        now = time.monotonic()
        self._gap = max(self._gap, now - self._answered_at)
        self._answered_at = now
        first = request.offset // BLOCK
        what = f"host {self.number}: {request.command.name} at {first}"
        if reply.error:
            self.tally.errors.append(f"{what}: error {reply.error}")
        elif reply.data != self._expected(first, request.length // BLOCK):
            self.tally.wrong.append(f"{what}: {self._difference(first, reply.data)}")
        self.tally.moved += len(request.data) + len(reply.data)
        self.tally.commands += 1

    # -- blocks

    def _expected(self, first: int, blocks: int) -> bytes:
        return b"".join(self._block(at) for at in range(first, first + blocks))

    def _block(self, at: int) -> bytes:
        written = self._generation[at]
        if not written:
            return _EMPTY
        return _STAMP.pack(self.number, at, written) * (BLOCK // _STAMP.size)

    def _difference(self, first: int, data: bytes) -> str:
        """What the first wrong block says of itself."""
        for at in range(first, first + len(data) // BLOCK):
            found = data[(at - first) * BLOCK :][:BLOCK]
            if found != self._block(at):
                said = _STAMP.unpack_from(found)
                return f"block {at} is {said} instead of write {self._generation[at]}"
        return f"{len(data)} bytes"
