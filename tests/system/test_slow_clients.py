"""Connections that dribble a request, bring none, or take no answer are closed: with TLS, too."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from storlever.web import protocol
from storlever.web.server import Hangup, Server
from storlever.web.tls import Identity, Tls
from tests.pki import server_pair
from tests.world import wait_until

PATIENCE = 0.5
MUCH = 32 << 20
"""Bytes, more than the kernel would hold."""


async def count(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def much(_: Request) -> StreamingResponse:
    """In pieces, as files are sent."""
    piece = b"x" * (1 << 16)
    return StreamingResponse(iter([piece] * (MUCH // len(piece))))


@dataclass
class Served:
    """It speaks as the service does, with less patience."""

    server: Server
    port: int
    client: ssl.SSLContext | None

    def connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), 5)
        return self.client.wrap_socket(plain) if self.client else plain


@pytest.fixture(params=["plain", "TLS"])
def served(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setattr(protocol, "PATIENCE", PATIENCE)
    app = Starlette(routes=[Route("/", count, methods=["GET", "POST"]), Route("/much", much)])
    config = uvicorn.Config(app, http=protocol.HttpProtocol, lifespan="off", log_config=None)
    pair = server_pair(tmp_path)
    identity = Identity(Tls(pair.certificate, pair.key))
    secure = request.param == "TLS"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(config, Hangup(), [listener] if secure else [], identity)
        plain = [] if secure else [listener]
        client = ssl.create_default_context(cafile=pair.certificate) if secure else None
        if client:
            client.check_hostname = False
        thread = threading.Thread(target=server.run, args=(plain,))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield Served(server, listener.getsockname()[1], client)
        finally:
            server.should_exit = True
            thread.join(10)


def seconds_until_closed(connection: socket.socket, dribble: bytes) -> float:
    """Send the byte again and again; how long the other side puts up with it."""
    started = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() - started < 10 * PATIENCE:
        try:
            if dribble:
                connection.sendall(dribble)
            if not connection.recv(1000):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - started


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("first", "dribble"),
    [
        (b"", b""),
        (b"", b"G"),
        (HEAD, b""),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b""),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD + b"Content-Length: 9\r\n\r\n", b""),
    ],
    ids=[
        *("nothing", "a slow method", "half a header", "a slow header", "no body", "a slow body"),
        *("endless chunks", "a second request in the first one's wake"),
    ],
)
def test_a_request_that_does_not_end_is_cut_off(
    served: Served, first: bytes, dribble: bytes
) -> None:
    with served.connect() as connection:
        connection.sendall(first)
        assert seconds_until_closed(connection, dribble) < 4 * PATIENCE


def test_requests_that_end_share_a_connection_for_longer_than_one_may_take(served: Served) -> None:
    started, body = time.monotonic(), b"x" * 10
    with served.connect() as connection:
        while time.monotonic() - started < 3 * PATIENCE:
            connection.sendall(HEAD + b"Content-Length: 10\r\n\r\n" + body[:5])
            time.sleep(PATIENCE / 4)  # a client that thinks, but not too long
            connection.sendall(body[5:])
            answer = b""
            while not answer.endswith(b"\r\n\r\n10"):  # the test's timeout of 5 s ends it
                answer += connection.recv(1000) or pytest.fail(f"closed after {answer!r}")


@pytest.mark.parametrize("times", [1, 3], ids=["one", "several"])
def test_who_takes_no_answer_is_cut_off(served: Served, times: int) -> None:
    with served.connect() as connection:
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n" * times)
        wait_until(lambda: served.server.server_state.connections)
        wait_until(lambda: not served.server.server_state.connections, 6 * PATIENCE)


def test_an_answer_may_take_longer_than_patience_to_arrive_while_it_is_being_taken(
    served: Served,
) -> None:
    started, came = time.monotonic(), 0
    with served.connect() as connection:
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while piece := connection.recv(1 << 20):
            came += len(piece)
            time.sleep(3 * PATIENCE * len(piece) / MUCH)  # a client that is in no hurry
    assert came > MUCH
    assert time.monotonic() - started > 2 * PATIENCE


@pytest.mark.parametrize("served", ["TLS"], indirect=True)
@pytest.mark.parametrize(
    ("first", "dribble"),
    [(b"", b""), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"x")],
    ids=["no handshake", "a slow one"],
)
def test_a_handshake_that_does_not_end_is_cut_off(
    served: Served, first: bytes, dribble: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 5) as connection:
        connection.sendall(first)
        assert PATIENCE / 2 < seconds_until_closed(connection, dribble) < 4 * PATIENCE


@pytest.mark.parametrize("served", ["TLS"], indirect=True)
def test_handshake_and_request_have_their_time_together(served: Served) -> None:
    assert served.client is not None
    started = time.monotonic()
    plain = socket.create_connection(("127.0.0.1", served.port), 5)
    time.sleep(PATIENCE * 0.8)
    with served.client.wrap_socket(plain) as connection:
        seconds_until_closed(connection, b"")
    assert time.monotonic() - started < 1.5 * PATIENCE


def test_patience_is_short_of_15_seconds() -> None:
    assert protocol.PATIENCE < 15
