"""The client that waits: made by script/generate of `awaiting`, not edited."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

import httpx2

from storlever.client import connection, published
from storlever.client.call import Call
from storlever.client.connection import NOT_SENT, URL, Connection
from storlever.client.errors import ClientError, NotUnderstood, Unavailable, Unreachable
from storlever.client.methods import Methods
from storlever.client.shapes import Event, Rehearsal
from storlever.client.tries import Pauses, Tries

T = TypeVar("T")


class Client(Methods):
    """One connection or more, kept for the next call; may be shared by threads. See Connection for
    what it takes. `patience`: for how many seconds a call that got no answer is tried again, if
    that is safe (see `tries`). `transport` replaces the network, for tests."""

    def __init__(
        self,
        url: str = URL,
        *,
        socket: Path | None = None,
        token: str | None = None,
        ca_file: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        timeout: float = 30.0,
        patience: float = 10.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._where = where = Connection(url, socket, token, ca_file, certificate, timeout)
        if socket and transport is None:
            transport = httpx2.HTTPTransport(uds=str(socket))
        self._http = httpx2.Client(transport=transport, **where.options())
        self._patience = patience
        self._published: Mapping[str, Any] | None = None

    def do(self, call: Call[T]) -> T:
        """One of `operations`, or what was made of it. Raises ClientError."""
        call = call.with_key(uuid4().hex)
        tries = Tries(call, self._patience, self._where)
        while True:
            pause: float | None
            try:
                answer = connection.raw(self._http.request(**connection.request(call)))
            except httpx2.TransportError as error:
                pause = tries.failed(error, sent=not isinstance(error, NOT_SENT))
            else:
                pause = tries.answered(answer)
                if pause is None:
                    return tries.decoded(answer)
            time.sleep(pause)

    def rehearse(self, call: Call[T]) -> Rehearsal:
        """What a write would do; nothing is changed. Raises what it would raise; NotUnderstood
        where the service cannot tell."""
        if self._published is None:
            self._published = self.do(published.document())
        if not published.can_rehearse(self._published, call):
            raise NotUnderstood("this service cannot say what that would do, so it was not asked")
        return self.do(call.rehearsed())

    def events(
        self,
        last_event_id: str = "",
        *,
        patience: float | None = None,
        lost: Callable[[ClientError], None] | None = None,
    ) -> Iterator[Event]:
        """What happens from the first `next` on, or has happened since that event; without end. A
        connection that is lost is made again, and nothing missed. Raises ClientError when that
        takes longer than `patience` seconds (default: the client's), or makes no sense; until then
        `lost` is told why."""
        most = self._patience if patience is None else patience
        pauses = None
        while True:
            try:
                for sent in self._stream(last_event_id):
                    pauses = None
                    last_event_id = sent.id or last_event_id
                    if sent.data:
                        yield connection.event(sent)
                trouble: ClientError = Unreachable("the stream of events has ended")
            except (Unreachable, Unavailable) as error:
                trouble = error
            pauses = pauses or Pauses(most)
            pause = pauses.another()
            if pause is None:
                raise trouble
            if lost is not None:
                lost(trouble)
            time.sleep(pause)

    def _stream(self, last_event_id: str) -> Iterator[httpx2.ServerSentEvent]:
        """Of one connection; each tells where to go on from, and those without data no more."""
        try:
            with self._http.stream(**connection.stream(last_event_id)) as response:
                if response.status_code != 200:
                    response.read()
                    raise connection.raw(response).trouble
                yield from httpx2.EventSource(response)
        except httpx2.TransportError as error:
            raise self._where.unreachable(error) from error

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
