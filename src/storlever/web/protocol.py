"""HTTP/1.1 as uvicorn reads it with h11, and what it lacks: deadlines, bounds, errors in our shape.

uvicorn's other parser takes headers of any size.
"""

import asyncio
import contextlib
import socket
import sys
import uuid
from http import HTTPStatus
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from storlever.web.gate import marks
from storlever.web.peer import UnixPeer
from storlever.web.problem import CODES, problem
from storlever.web.tls import common_name

log = structlog.get_logger(__name__)

PATIENCE = 10.0
"""Seconds in which a connection must bring a whole request, from its first byte to its last; and
in which it must take an answer, or the part of it that is waiting to be sent."""
MOST_CONNECTIONS = 1000
"""At once. Where more come, those go that we have waited for longest; none is waited for longer
than PATIENCE anyway."""
CHUNK = 16 << 10
"""Bytes read at a time; about as many of a body wait for whoever reads it. There may be many
connections, and by default asyncio and uvicorn grant each of them 20 times as much."""
UNSENT = 64 << 10
"""Bytes of an answer that wait in a TLS connection before its writer must; asyncio's default for
one in the clear."""
PARTING = 1.0
"""Seconds that a TLS client which has its answer may take to say goodbye when the service stops."""


class HttpProtocol(H11Protocol):
    """Closes connections that dribble a request, bring none, or do not take the answer."""

    _deadline: asyncio.TimerHandle | None = None
    _answered = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._accepted = self.loop.time()

    def connection_made(self, transport: Any) -> None:
        """With TLS, once the handshake is through; its time counts, too."""
        transport.max_size = CHUNK
        super().connection_made(transport)
        self._make_room()
        if (end := transport.get_extra_info("socket")).family == socket.AF_UNIX:
            self.app_state = {**self.app_state, "peer": UnixPeer.of(end)}
        if self.scheme == "https":
            transport.set_read_buffer_limits(CHUNK)
            transport.set_write_buffer_limits(UNSENT)
            name = common_name(transport.get_extra_info("peercert"))
            if name is not None:
                self.app_state = {**self.app_state, "client_certificate": name}
        self._deadline = self.loop.call_at(self._accepted + PATIENCE, transport.abort)

    def _make_room(self) -> None:
        """Let go of who has kept us waiting longest."""
        if len(self.connections) > MOST_CONNECTIONS:
            waited_for = {
                each: each._deadline.when()
                for each in self.connections
                if isinstance(each, HttpProtocol) and each._deadline is not None
            }
            min(waited_for, key=waited_for.__getitem__, default=self).transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answered:
            self._answered = False
            self._unwatch()
        super().data_received(data)
        if self.conn.their_state is h11.SEND_BODY and self._waiting_for_reader():
            self.flow.pause_reading()
        self._watch()

    def on_response_complete(self) -> None:
        if self.conn.their_state is not h11.SEND_BODY:
            self._unwatch()
        super().on_response_complete()  # which reads on, if the next request is there already
        self._answered = self.conn.their_state is h11.IDLE
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()
        if self.scheme == "https" and self.transport.is_closing():
            self.loop.call_later(PARTING, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Called where h11's error is caught, which knows the status: 431 for too long a header."""
        status = getattr(sys.exception(), "error_status_hint", 400)
        if status not in CODES:
            status = 400
        request_id = uuid.uuid4().hex
        scope = {"path": "", "state": {"request_id": request_id}}
        detail = "the header is too long" if status == 431 else "this is not sound HTTP/1.1"
        answer = problem(scope, status, CODES[status], detail, headers=marks(request_id))
        log.info("request", status=status, reason=msg, request_id=request_id)
        headers = [*answer.raw_headers, (b"connection", b"close")]
        phrase = HTTPStatus(status).phrase.encode()
        # An answer may be under way, when it is only the rest of the body that is not sound.
        with contextlib.suppress(h11.LocalProtocolError):
            for event in (
                h11.Response(status_code=status, headers=headers, reason=phrase),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _waiting_for_reader(self) -> bool:
        return len(self.cycle.body) > 0 and not self.cycle.response_complete

    # -- whose turn it is

    def _watch(self) -> None:
        """The clock runs while it is the client's turn, and only then."""
        if self._our_turn():
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(PATIENCE, self.transport.abort)

    def _our_turn(self) -> bool:
        return (
            self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)
            and not self.transport.is_closing()
            and not self.cycle.response_complete
            and not self.flow.write_paused
        )

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
