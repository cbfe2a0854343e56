"""The service as the routes have it: what may wait is done in threads.

Reads that ask tgtd have threads of their own, so that waiting writes cannot hold them up. There is
one thread for writes, which takes all that wait by then, and has them durable in one commit.
asyncio's own way into a thread takes half the time of the frameworks'.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from storlever.audit import Json, Link, Search
from storlever.errors import Conflict, Unavailable
from storlever.receipt import Done, Key
from storlever.rehearsal import Rehearsal
from storlever.sampler import Visit
from storlever.service import Service
from storlever.status import TargetStatus
from storlever.turn import PATIENCE, no_turn
from storlever.web.etag import Tags
from storlever.writer import Write

READERS = 16
MOST_TOGETHER = 64
"""How many writes share a commit: none of them is answered before the last of them is done."""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Told_co = TypeVar("Told_co", covariant=True)
Method = Callable[Concatenate[Service, Given], Answer]


class Prompt(Protocol[Told_co]):
    """A method of Service that asks tgtd about a target. `hurry`: at once, or Unavailable is
    raised, which says nothing."""

    def __call__(self, service: Service, name: str, /, *, hurry: bool) -> Told_co: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    write: Write
    answer: asyncio.Future[Done | Rehearsal]
    until: float
    """When it has waited long enough, by the loop's clock."""


class Threaded:
    """`service` for what comes from memory; `read` takes its other methods, unbound."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._writer = ThreadPoolExecutor(1, "writer")
        self._auditor = ThreadPoolExecutor(1, "auditor")
        self._writer.submit(int)  # now, while a thread can be had
        self._slow = 0
        """Targets that are waited for in threads."""
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self.tags = Tags(service.tag_key)
        self._keys: set[str] = set()
        """Of requests that are not answered yet."""

    async def read(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        call = partial(method, self.service, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def aside(self, call: Callable[[], Answer]) -> Answer:
        """What computes for long."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def audit(self, search: Search) -> tuple[Link, Sequence[Json]]:
        """One at a time: what looks through it keeps commits waiting."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._auditor, self.service.audit, search)

    async def target(self, name: str) -> TargetStatus:
        return await self._promptly(Service.target, name)

    async def visits(self, name: str) -> list[Visit]:
        return await self._promptly(Service.visits, name)

    async def _promptly(self, method: Prompt[Answer], name: str) -> Answer:
        """In the loop itself, as long as tgtd answers at once: the way into a thread and back takes
        longer than that. While it keeps anybody waiting, nobody tries."""
        if not self._slow:
            with suppress(Unavailable):
                return method(self.service, name, hurry=True)
        self._slow += 1
        try:
            return await self.read(method, name, hurry=False)
        finally:
            self._slow -= 1

    async def write(self, write: Write) -> Done | Rehearsal:
        """Raises Unavailable when it does not get its turn in time; then nothing is done."""
        loop = asyncio.get_running_loop()
        mine = _Waiting(write, loop.create_future(), loop.time() + PATIENCE)
        self._waiting.append(mine)
        clock = loop.call_at(mine.until, self._give_up, mine)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_on())
        try:
            return await mine.answer
        finally:
            clock.cancel()

    async def write_apart(self, write: Write) -> Done | Rehearsal:
        """For what needs no tgtd."""
        outcome = await self._in_writer(self.service.apart, write)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @contextmanager
    def in_flight(self, key: Key | None) -> Iterator[None]:
        """Raises Conflict while another request with the key is in here."""
        if key is None:
            yield
            return
        if key.name in self._keys:
            raise Conflict(
                "the first request with this Idempotency-Key is not answered yet",
                code="idempotency-key-in-flight",
            )
        self._keys.add(key.name)
        try:
            yield
        finally:
            self._keys.discard(key.name)

    async def _in_writer(self, call: Callable[..., Answer], *args: object) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call, *args)

    async def _write_on(self) -> None:
        """Have the thread do what waits, for as long as anything does."""
        loop = asyncio.get_running_loop()
        try:
            while taken := self._taken():
                writes = [each.write for each in taken]
                outcomes = await self._in_writer(self.service.together, writes)
                self._put_back(taken[len(outcomes) :], loop.time())
                for each, outcome in zip(taken, outcomes, strict=False):
                    _settle(each.answer, outcome)
        finally:
            self._writing = None

    def _taken(self) -> list[_Waiting]:
        waiting = [each for each in self._waiting if not each.answer.done()]
        self._waiting = waiting[MOST_TOGETHER:]
        return waiting[:MOST_TOGETHER]

    def _put_back(self, left: list[_Waiting], now: float) -> None:
        self._waiting[:0] = left
        for each in left:
            if each.until <= now:  # the clock found it taken
                self._give_up(each)

    def close(self) -> None:
        """Wait for what has begun; what waits is never done."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._auditor.shutdown()

    def _give_up(self, mine: _Waiting) -> None:
        if mine in self._waiting and not mine.answer.done():
            self._waiting.remove(mine)
            mine.answer.set_exception(no_turn())


def _settle(
    answer: asyncio.Future[Done | Rehearsal], outcome: Done | Rehearsal | Exception
) -> None:
    if answer.done():  # its request was cancelled
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
