"""Bodies read strictly: JSON by type, one value a key, within bounds."""

import asyncio
import json
from typing import Any

from anyio import CapacityLimiter
from fastapi import Request
from starlette.exceptions import HTTPException

MAX_BODY = 1 << 20
MAX_KEYS = 32
"""Keys of one object. No shape has as many, and each that is unknown is told of."""
MAX_DEPTH = 16
"""Levels of a body's arrays and objects. No shape has as many."""
SMALL = 16 << 10
"""Bytes of a body that anybody may have here at any time; what clients send is far less."""
HUGE_BODY = 16 << 20
"""Bytes of a body that may hold the whole state."""
LARGE_BODIES = 4
"""Longer ones are taken in as many at a time, each until its request is answered: however many
clients there are, they fill no memory. The others wait in the network."""
HUGE_BODIES = 1
"""Of more than MAX_BODY, which become ten times as much in memory."""


class JsonRequest(Request):
    """Raises HTTPException: 415 for another type than JSON, 413 for more than `most` bytes,
    400 for what is no sound JSON. `release` it when it is answered."""

    most = MAX_BODY

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._places: list[CapacityLimiter] = []

    async def body(self) -> bytes:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "the body must have the header Content-Type: application/json")
        if int(self.headers.get("content-length", 0)) > self.most:  # h11 takes only digits there
            raise _too_large(self.most)
        if not hasattr(self, "_body"):
            self._body = await self._received()
        return self._body

    async def json(self) -> Any:
        """A huge one is read in a thread, while others are served; any other one here, one at a
        time, for several at once fill memory."""
        text = await self.body()
        return _sound(text) if len(text) <= MAX_BODY else await asyncio.to_thread(_sound, text)

    @property
    def received(self) -> bytes:
        """What was read of it so far."""
        return getattr(self, "_body", b"")

    def release(self) -> None:
        """Let another large body in."""
        while self._places:
            self._places.pop().release_on_behalf_of(self)

    async def _received(self) -> bytes:
        chunks = bytearray()
        async for chunk in self.stream():
            chunks += chunk
            if len(chunks) > self.most:
                raise _too_large(self.most)
            if len(chunks) > SMALL and not self._places:
                await self._take_place(self.app.state.large_bodies)
            if len(chunks) > MAX_BODY and len(self._places) == 1:
                await self._take_place(self.app.state.huge_bodies)
        return bytes(chunks)

    async def _take_place(self, places: CapacityLimiter) -> None:
        await places.acquire_on_behalf_of(self)
        self._places.append(places)


def _sound(text: bytes) -> Any:
    """Raises HTTPException."""
    try:
        found = json.loads(text.decode(), object_pairs_hook=_distinct, parse_constant=_no_constant)
        if _depth(found) > MAX_DEPTH:
            raise ValueError(f"it has at most {MAX_DEPTH} levels")
        return found
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not sound JSON: {error}") from None


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"a body has at most {most} bytes here")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise ValueError(f"an object has at most {MAX_KEYS} keys")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _depth(value: Any) -> int:
    """Levels of arrays and objects, as far as one more than MAX_DEPTH."""
    depth, level = 0, [value]
    while depth <= MAX_DEPTH:
        level = [each for each in level if isinstance(each, list | dict)]
        if not level:
            break
        depth += 1
        level = [
            inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth
