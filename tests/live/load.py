"""Initiators that read and write one LUN without pause, and check every block they read."""

import random
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from tests.initiator import GOOD, UNIT_ATTENTION, ConnectionLost, Initiator, LoginError, Result

BLOCK = 512
SLOT_BLOCKS = 64  # one command reads or writes one slot
SLOTS = 16  # of each connection
SPAN = SLOT_BLOCKS * SLOTS  # blocks of each connection
_SLOT = SLOT_BLOCKS * BLOCK
_STAMP = struct.Struct(">IIQ")  # connection, slot, number of the write
_NEVER_WRITTEN = bytes(_STAMP.size)
_NOT_DONE = ((2, 0x3A, 0), (5, 0x20, 0), (5, 0x25, 0), (7, 0x27, 0))
"""What a write is refused with before the file is touched; after any other failure both the old
and the new data are right."""
PATIENCE = 60.0
"""Seconds within which all connections have logged in, or have ended."""


@dataclass
class Tally:
    """What one connection met, or all of them together."""

    commands: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    attentions: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What was read instead of what the last write answered with GOOD had brought."""
    lost: list[str] = field(default_factory=list)
    slowest: float = 0.0
    gap: float = 0.0
    """The longest time in which not one command succeeded, in seconds as `slowest`."""

    def add(self, other: "Tally") -> None:
        self.commands += other.commands
        self.failed += other.failed
        self.attentions += other.attentions
        self.wrong += other.wrong
        self.lost += other.lost
        self.slowest = max(self.slowest, other.slowest)
        self.gap = max(self.gap, other.gap)

    def note(self, result: Result, took: float) -> None:
        self.commands += 1
        self.slowest = max(self.slowest, took)
        if result.sense is None:
            if result.status != GOOD:
                self.failed[f"status {result.status:#04x}"] += 1
        elif result.sense[0] == UNIT_ATTENTION:
            self.attentions[spoken(result.sense)] += 1
        else:
            self.failed[spoken(result.sense)] += 1


def spoken(sense: tuple[int, int, int]) -> str:
    return "{:x}/{:02x}/{:02x}".format(*sense)


class Connection(threading.Thread):
    """One session with one command in flight at any time; its part of the LUN is its own.

    `exact`: the LUN stays on one file, so a slot holds what was written last. Otherwise anything
    that was ever written there will do.
    """

    def __init__(self, disk: Initiator, number: int, seed: int, *, exact: bool) -> None:
        super().__init__(daemon=True)
        self.tally = Tally()
        self.loaded, self.stop, self.idle, self.check = (threading.Event() for _ in range(4))
        self._disk = disk
        self._number = number
        self._exact = exact
        self._random = random.Random(f"{seed} {number}")  # noqa: S311  not for secrets
        self._writes = 0
        self._allowed = [{_NEVER_WRITTEN} for _ in range(SLOTS)]

    def run(self) -> None:
        try:
            with self._disk:
                self._work()
        except (ConnectionLost, LoginError) as error:
            self.tally.lost.append(f"connection {self._number}: {error}")
        finally:
            self.loaded.set()
            self.idle.set()

    def _work(self) -> None:
        self._disk.ready()
        for slot in range(SLOTS):
            self._write(slot)
        self._last_good = time.perf_counter()
        self.loaded.set()
        while not self.stop.is_set():
            act = self._random.choice((self._read, self._write))
            act(self._random.randrange(SLOTS))
        self.idle.set()
        self.check.wait(PATIENCE)
        self._check_all()

    def _check_all(self) -> None:
        self._last_good = time.perf_counter()
        self._disk.ready()
        for slot in range(SLOTS):
            self._read(slot)

    def _read(self, slot: int) -> None:
        began = time.perf_counter()
        result = self._disk.read(self._lba(slot), SLOT_BLOCKS)
        if self._noted(result, began):
            self._compare(slot, result.data)

    def _compare(self, slot: int, data: bytes) -> None:
        """What is found counts as right from then on, so that nothing is reported twice."""
        stamp, allowed = data[: _STAMP.size], self._allowed[slot]
        if stamp not in allowed or data != _filled(stamp):
            wanted = [_STAMP.unpack(each) for each in sorted(allowed)]
            self.tally.wrong.append(f"{_STAMP.unpack(stamp)} instead of {wanted}")
            allowed.add(stamp)

    def _write(self, slot: int) -> None:
        self._writes += 1
        stamp = _STAMP.pack(self._number, slot, self._writes)
        began = time.perf_counter()
        result = self._disk.write(self._lba(slot), _filled(stamp))
        if self._noted(result, began):
            if self._exact:
                self._allowed[slot].clear()
            self._allowed[slot].add(stamp)
        elif result.sense not in _NOT_DONE:
            self._allowed[slot].add(stamp)

    def _noted(self, result: Result, began: float) -> bool:
        now = time.perf_counter()
        if not self.loaded.is_set():
            return result.status == GOOD
        self.tally.note(result, now - began)
        if result.status != GOOD:
            return False
        self.tally.gap = max(self.tally.gap, now - self._last_good)
        self._last_good = now
        return True

    def _lba(self, slot: int) -> int:
        return self._number * SPAN + slot * SLOT_BLOCKS


class Load:
    """All connections together."""

    def __init__(self, portal: str, target: str, count: int, seed: int, *, exact: bool) -> None:
        self._connections = [
            Connection(
                Initiator(portal, target, name=f"iqn.2026-01.test:host{number}"),
                number,
                seed,
                exact=exact,
            )
            for number in range(count)
        ]

    def start(self) -> None:
        """Returns once every connection has filled its part of the LUN, or has ended."""
        for connection in self._connections:
            connection.start()
        for connection in self._connections:
            if not connection.loaded.wait(PATIENCE):
                raise TimeoutError("an initiator neither logged in nor gave up")

    def pause(self) -> None:
        """Returns once no command is in flight any more."""
        for connection in self._connections:
            connection.stop.set()
        for connection in self._connections:
            connection.idle.wait(PATIENCE)

    def finish(self) -> Tally:
        """After `pause`: every part of the LUN is read once more, then the sessions end."""
        self.pause()
        total = Tally()
        for connection in self._connections:
            connection.check.set()
        for connection in self._connections:
            with suppress(RuntimeError):  # it never started
                connection.join(PATIENCE)
            total.add(connection.tally)
        return total


def _filled(stamp: bytes) -> bytes:
    return stamp * (_SLOT // len(stamp))
