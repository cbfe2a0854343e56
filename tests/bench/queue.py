"""A host with several commands in flight on one session (libiscsi), and how long each took.

    python -m tests.bench.queue PORTAL TARGET

A program of its own, so that it shares no interpreter with whoever makes the API's writes. For
each line `DEPTH SECONDS` on standard input, it prints the milliseconds of every command, in JSON.
"""

import ctypes as c
import json
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from tests.initiator import GOOD, ConnectionLost, Initiator

BLOCK = 512
BYTES = 4096
"""Of one command: half of them read, half of them write, anywhere on the LUN."""
_BLOCKS = BYTES // BLOCK
_READ, _WRITE = 0x88, 0x8A
_CALLBACK = c.CFUNCTYPE(None, c.c_void_p, c.c_int, c.c_void_p, c.c_void_p)


class _Data(c.Structure):
    _fields_ = [("size", c.c_size_t), ("data", c.c_char_p)]


class Queue(Initiator):
    """A session that does not wait for one command before it sends the next."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._lib.scsi_create_task.argtypes = [c.c_int, c.c_char_p, c.c_int, c.c_int]
        self._answered = _CALLBACK(self._note)
        self._payload = _Data(BYTES, b"x" * BYTES)
        self._sent: dict[int, float] = {}
        self._chance = random.Random(1)  # noqa: S311  not for secrets
        self._last = self.capacity()[0] // _BLOCKS - 1
        return self

    def run(self, depth: int, seconds: float) -> list[float]:
        """Keep `depth` commands in flight; the milliseconds that each took."""
        self._took: list[float] = []
        end = time.perf_counter() + seconds
        for _ in range(depth):
            self._send()
        while self._sent:
            before = len(self._took)
            self._serve()
            if time.perf_counter() < end:
                for _ in range(len(self._took) - before):
                    self._send()
        return self._took

    def _send(self) -> None:
        write = self._chance.random() < 0.5
        lba = self._chance.randint(0, self._last) * _BLOCKS
        cdb = struct.pack(">BBQLBB", _WRITE if write else _READ, 0, lba, _BLOCKS, 0, 0)
        task = self._lib.scsi_create_task(len(cdb), cdb, 2 if write else 1, BYTES)
        payload = c.byref(self._payload) if write else None
        self._sent[c.addressof(task.contents)] = time.perf_counter()
        self._lib.iscsi_scsi_command_async(
            self._context, self.lun, task, self._answered, payload, None
        )

    def _note(self, _: int, status: int, task: int, __: int) -> None:
        self._took.append(round((time.perf_counter() - self._sent.pop(task)) * 1e3, 4))
        self._lib.scsi_free_scsi_task(c.c_void_p(task))
        if status != GOOD:
            self._lost = f"a command failed: status {status:#04x}"

    def _serve(self) -> None:
        """Send and receive what can be, and wait until that is something."""
        poll = select.poll()
        poll.register(
            self._lib.iscsi_get_fd(self._context), self._lib.iscsi_which_events(self._context)
        )
        for _, events in poll.poll(5_000):
            if self._lib.iscsi_service(self._context, events) != 0:
                self._lost = "the target closed the connection"
        if self._lost:
            raise ConnectionLost(self._lost)


class Host:
    """The program, asked from another one."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, depth: int, seconds: float) -> None:
        print(depth, seconds, file=self._process.stdin, flush=True)

    def took(self) -> list[float]:
        """Of what was begun: milliseconds, sorted."""
        assert self._process.stdout is not None
        answer: Any = json.loads(self._process.stdout.readline())
        return sorted(answer)


@contextmanager
def host(portal: str, target: str) -> Iterator[Host]:
    """One that is logged in to LUN 1."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.bench.queue", portal, target]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Host(process)
        except BaseException:
            process.kill()
            raise


def main() -> None:
    portal, target = sys.argv[1:]
    with Queue(portal, target, name="iqn.2026-01.bench:host") as session:
        session.ready()
        for line in sys.stdin:
            depth, seconds = line.split()
            print(json.dumps(session.run(int(depth), float(seconds))), flush=True)


if __name__ == "__main__":
    main()
