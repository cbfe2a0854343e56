"""What happens, as it happens: server-sent events (HTML Living Standard, 9.2).

A stream holds no queue: it knows the number of the event that it told last, and reads on in the
ring that all share. One that falls behind what the ring keeps is told to read the state again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated

from fastapi import Header, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from storlever.audit import stamp
from storlever.clock import now
from storlever.errors import Unavailable
from storlever.events import MOST, Bell, Event, Events
from storlever.principal import Role
from storlever.web.asked import Core
from storlever.web.table import API, Table

KEEPALIVE = 15.0
"""Seconds after which something is said, if only that there is nothing to say."""
MOST_STREAMS = 64
BATCH = 100
"""Events that are told at a time, before others get their turn."""
LONGEST_ID = 64
WIRE = {
    "target": "iqn",
    "user": "username",
    "session": "id",
    "initiator_name": "initiator",
    "address": "addr",
}
"""What the core's words are here."""


class Streams:
    """All of an event loop. One call into it wakes them all."""

    def __init__(self, events: Events, *, most: int = MOST_STREAMS) -> None:
        self.events = events
        self.ended = False
        self._most = most
        self._wakes: set[asyncio.Event] = set()
        self._rung = False
        self._bell: Bell | None = None

    def __len__(self) -> int:
        return len(self._wakes)

    def require_room(self) -> None:
        """Raises Unavailable."""
        if len(self._wakes) >= self._most:
            raise Unavailable(
                f"{self._most} streams of events are open already", code="too-many-streams"
            )

    def end(self) -> None:
        """Each stream, at once: the service stops."""
        self.ended = True
        self._wake()

    @contextmanager
    def joined(self) -> Iterator[asyncio.Event]:
        """What is set when there is something new."""
        wake = asyncio.Event()
        if self._bell is None:
            self._rung = False
            self._bell = partial(self._ring, asyncio.get_running_loop())
            self.events.listen(self._bell)
        self._wakes.add(wake)
        try:
            yield wake
        finally:
            self._wakes.discard(wake)
            if not self._wakes:
                self.events.unlisten(self._bell)
                self._bell = None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """From any thread."""
        if not self._rung:
            self._rung = True
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._rung = False
        for wake in self._wakes:
            wake.set()


@dataclass(slots=True)
class _Reader:
    """`position`: the number of the event that was told last. `valid`: whether who reads still
    may."""

    streams: Streams
    position: int
    follow: bool
    valid: Callable[[], bool]

    async def told(self, wake: asyncio.Event) -> AsyncIterator[bytes]:
        events = self.streams.events
        yield _mark(events, min(self.position, events.last))
        while self.valid() and not self.streams.ended:
            wake.clear()
            batch = events.after(self.position, BATCH)
            if batch is None:
                self.position = events.last
                yield _reset(events)
            elif batch:
                self.position = batch[-1].number
                yield b"".join(_encoded(events.epoch, event) for event in batch)
                await asyncio.sleep(0)
            elif self.follow:
                yield b"" if await _woken(wake) else b": nothing new\n\n"
            else:
                return


async def _woken(wake: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(KEEPALIVE):
            return await wake.wait()
    except TimeoutError:
        return False


@lru_cache(maxsize=MOST)
def _encoded(epoch: str, event: Event) -> bytes:
    """The same for all who read it."""
    about = {WIRE.get(key, key): value for key, value in event.about.items()}
    data = json.dumps({"time": event.time, **about})
    return f"id: {epoch}-{event.number}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def _mark(events: Events, position: int) -> bytes:
    """No event, but from where to go on, should there be none until the connection breaks."""
    return f"id: {events.epoch}-{max(position, 0)}\n\n".encode()


def _reset(events: Events) -> bytes:
    data = json.dumps({"time": stamp(now())})
    return f"id: {events.epoch}-{events.last}\nevent: reset\ndata: {data}\n\n".encode()


def _position(events: Events, last: str | None) -> int:
    """After which event to begin; -1 where that is not known any more."""
    if not last:
        return events.last
    epoch, _, number = last.partition("-")
    known = epoch == events.epoch and number.isascii() and number.isdecimal()
    return int(number) if known else -1


class _Stream(StreamingResponse):
    media_type = "text/event-stream"

    def __init__(self, reader: _Reader) -> None:
        super().__init__(iter(()), headers={"X-Accel-Buffering": "no"})
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["streaming"] = True
        with self._reader.streams.joined() as wake:
            self.body_iterator = self._reader.told(wake)
            await super().__call__(scope, receive, send)


table = Table(API, tag="events")

LastId = Annotated[str | None, Query(max_length=LONGEST_ID)]
LastIdHeader = Annotated[str | None, Header(alias="Last-Event-ID", max_length=LONGEST_ID)]


@table.get(
    "/events",
    Role.READER,
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def get_events(
    request: Request,
    core: Core,
    last_event_id: LastId = None,
    reconnecting: LastIdHeader = None,
    follow: Annotated[bool, Query(description="false: end after what there is by now")] = True,
) -> Response:
    """A stream without end. A header counts before a parameter: browsers keep the latter."""
    streams: Streams = request.app.state.streams
    streams.require_room()
    position = _position(streams.events, reconnecting or last_event_id)
    principal = core.principal
    valid = partial(core.service.is_valid, principal)
    return _Stream(_Reader(streams, position, follow, valid))
