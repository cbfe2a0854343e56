"""The service as the routes have it: what may wait is done in threads.

Reads that ask tgtd have threads of their own, so that waiting writes cannot hold them up. There is
one thread for writes, which takes all that wait by then, and has them durable in one commit.
asyncio's own way into a thread takes half the time of the frameworks'.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from storlever.errors import Unavailable
from storlever.service import LOCK_PATIENCE, Service

READERS = 16
MOST_TOGETHER = 64
"""How many writes share a commit: none of them is answered before the last of them is done."""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Method = Callable[Concatenate[Service, Given], Answer]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    call: Callable[[], Any]
    answer: asyncio.Future[Any]


class Threaded:
    """`service` for what comes from memory; `read` and `write` take its other methods, unbound."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._writer = ThreadPoolExecutor(1, "writer")
        self._waiting: deque[_Waiting] = deque()
        self._writing = False

    async def read(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        call = partial(method, self.service, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def write(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        """Raises Unavailable when it does not get its turn in time; then nothing is done."""
        loop = asyncio.get_running_loop()
        call = partial(method, self.service, *args, **options)
        mine = _Waiting(call, loop.create_future())
        self._waiting.append(mine)
        clock = loop.call_later(LOCK_PATIENCE, self._give_up, mine)
        if not self._writing:
            self._write_on(loop)
        try:
            answer: Answer = await mine.answer
        finally:
            clock.cancel()
        return answer

    def _write_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the thread do what waits, for as long as anything does."""
        count = min(len(self._waiting), MOST_TOGETHER)
        self._writing = count > 0
        if not count:
            return
        taken = [self._waiting.popleft() for _ in range(count)]
        calls = [each.call for each in taken]
        done = loop.run_in_executor(self._writer, self.service.together, calls)
        done.add_done_callback(lambda done: self._answer(taken, done.result()))

    def _answer(self, taken: list[_Waiting], outcomes: list[Any]) -> None:
        for each, outcome in zip(taken, outcomes, strict=True):
            if each.answer.done():
                continue  # its request was cancelled
            if isinstance(outcome, Exception):
                each.answer.set_exception(outcome)
            else:
                each.answer.set_result(outcome)
        self._write_on(asyncio.get_running_loop())

    def _give_up(self, mine: _Waiting) -> None:
        if mine in self._waiting and not mine.answer.done():
            self._waiting.remove(mine)
            mine.answer.set_exception(Unavailable("too many changes are waiting for their turn"))
