"""A client that costs next to nothing, so that what is measured is the service."""

import json
import socket
import time
from typing import Any

from storlever.web.san import PREFIX

REST = 4.0


class Client:
    """One connection, kept alive (the service closes it after 5 s of rest); a request leaves in
    one piece."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = self._connected()

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._used = time.monotonic()
        return connection

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of the answer, which must be a success."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        if time.monotonic() - self._used > REST:
            self._socket.close()
            self._socket = self._connected()
        self._socket.sendall(f"{head}\r\n".encode() + content)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._received()
        top, _, rest = answer.partition(b"\r\n\r\n")
        lines = top.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        while len(rest) < length:
            rest += self._received()
        self._used = time.monotonic()
        if not lines[0].startswith(b"http/1.1 2"):
            raise AssertionError(f"{method} {path}: {lines[0]!r} {rest!r}")
        return rest

    def api(self, method: str, path: str, body: Any = None) -> bytes:
        """`path` from the API's prefix on."""
        return self.request(method, PREFIX + path, body)

    def _received(self) -> bytes:
        chunk = self._socket.recv(1 << 16)
        if not chunk:
            raise ConnectionError("the service closed the connection")
        return chunk
