"""Connections that dribble a request, bring none, or take no answer are closed."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from storlever.web import protocol
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


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    """It speaks as the service does, with less patience."""
    monkeypatch.setattr(protocol, "PATIENCE", PATIENCE)
    app = Starlette(routes=[Route("/", count, methods=["GET", "POST"]), Route("/much", much)])
    config = uvicorn.Config(app, http=protocol.HttpProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield server
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


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
def test_a_request_that_does_not_end_is_cut_off(port: int, first: bytes, dribble: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(first)
        assert seconds_until_closed(connection, dribble) < 4 * PATIENCE


def test_requests_that_end_share_a_connection_for_longer_than_one_may_take(port: int) -> None:
    started, body = time.monotonic(), b"x" * 10
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        while time.monotonic() - started < 3 * PATIENCE:
            connection.sendall(HEAD + b"Content-Length: 10\r\n\r\n" + body[:5])
            time.sleep(PATIENCE / 4)  # a client that thinks, but not too long
            connection.sendall(body[5:])
            answer = b""
            while not answer.endswith(b"\r\n\r\n10"):  # the test's timeout of 5 s ends it
                answer += connection.recv(1000) or pytest.fail(f"closed after {answer!r}")


@pytest.mark.parametrize("times", [1, 3], ids=["one", "several"])
def test_who_takes_no_answer_is_cut_off(server: uvicorn.Server, port: int, times: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n" * times)
        wait_until(lambda: server.server_state.connections)
        wait_until(lambda: not server.server_state.connections, 6 * PATIENCE)


def test_an_answer_may_take_longer_than_patience_to_arrive_while_it_is_being_taken(
    port: int,
) -> None:
    started, came = time.monotonic(), 0
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while piece := connection.recv(1 << 20):
            came += len(piece)
            time.sleep(3 * PATIENCE / 32)  # a client that is in no hurry
    assert came > MUCH
    assert time.monotonic() - started > 2 * PATIENCE
