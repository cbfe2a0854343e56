"""HTTP/1.1 as uvicorn reads it with h11, and what it lacks: a deadline, and errors in our shape.

uvicorn's other parser takes headers of any size.
"""

import asyncio
import contextlib
import uuid
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from storlever.web.guard import marks
from storlever.web.problem import CODES, problem

log = structlog.get_logger(__name__)

PATIENCE = 10.0
"""Seconds in which a connection must bring a whole request, from its first byte to its last."""


class HttpProtocol(H11Protocol):
    """Closes connections that dribble a request, or bring none."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        self._watch()
        super().data_received(data)
        self._unwatch_if_received()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which reads on, if the next request is there already
        if self.conn.their_state is not h11.IDLE:
            self._watch()
            self._unwatch_if_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        request_id = uuid.uuid4().hex
        scope = {"path": "", "state": {"request_id": request_id}}
        detail = "this is not sound HTTP/1.1"
        answer = problem(scope, 400, CODES[400], detail, headers=marks(request_id))
        log.info("request", status=400, reason=msg, request_id=request_id)
        headers = [*answer.raw_headers, (b"connection", b"close")]
        # An answer may be under way, when it is only the rest of the body that is not sound.
        with contextlib.suppress(h11.LocalProtocolError):
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(PATIENCE, self.transport.abort)

    def _unwatch_if_received(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._unwatch()

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
