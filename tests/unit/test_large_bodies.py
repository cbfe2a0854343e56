"""However many clients send long bodies, the few that are here at a time fill no memory."""

import asyncio
from pathlib import Path

from fastapi import FastAPI
from starlette.types import Message

from storlever.web.app import create_app
from storlever.web.body import LARGE_BODIES, SMALL
from storlever.web.edge import Edge
from storlever.web.san import PREFIX
from storlever.web.threads import Threaded
from tests.unit.core import Core
from tests.world import WIKI_TARGET

WAITING = 3
LAST = b"{}"


class Client:
    """Sends `length` bytes of a body, and the last ones when it is let."""

    def __init__(self, app: FastAPI, length: int, last: asyncio.Event) -> None:
        self._app = app
        self._parts = [b" " * length, LAST]
        self._last = last
        self.status = 0

    async def run(self) -> None:
        path = f"{PREFIX}/target_list/{WIKI_TARGET}"
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "PUT",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        part = self._parts.pop(0)
        if not self._parts:
            await self._last.wait()
        return {"type": "http.request", "body": part, "more_body": bool(self._parts)}

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)


def test_a_few_large_bodies_are_taken_in_at_a_time_and_small_ones_always(root: Path) -> None:
    """Each large one until its request is answered."""
    core = Core(root)
    core.settle()
    core.service.add_target(WIKI_TARGET)
    app = create_app(Threaded(core.service), Edge())

    async def ask() -> None:
        may_end, places = asyncio.Event(), app.state.large_bodies
        large = [Client(app, SMALL + 1, may_end) for _ in range(LARGE_BODIES + WAITING)]
        asked = [asyncio.create_task(client.run()) for client in large]
        async with asyncio.timeout(10):
            while places.statistics().tasks_waiting < WAITING:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)
            assert places.borrowed_tokens == LARGE_BODIES
            now = asyncio.Event()
            now.set()
            small = Client(app, SMALL - len(LAST), now)
            await small.run()
            assert small.status == 200
            assert {client.status for client in large} == {0}
            may_end.set()
            await asyncio.gather(*asked)
        assert {client.status for client in large} == {200}
        assert places.borrowed_tokens == 0

    asyncio.run(ask())
