"""The service as the routes have it: what may wait is done in threads.

Writes wait for each other behind the service's lock; reads that ask tgtd have threads of their
own, so that waiting writes cannot hold them up. asyncio's own way into a thread takes half the
time of the frameworks'.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from storlever.service import Service

READERS = 16
WRITERS = 40

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Method = Callable[Concatenate[Service, Given], Answer]


class Threaded:
    """`service` for what comes from memory; `read` and `write` take its other methods, unbound."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._writers = ThreadPoolExecutor(WRITERS, "writer")

    async def read(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        return await self._in(self._readers, partial(method, self.service, *args, **options))

    async def write(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        return await self._in(self._writers, partial(method, self.service, *args, **options))

    @staticmethod
    async def _in(threads: ThreadPoolExecutor, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
