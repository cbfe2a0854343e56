"""HTTP as bytes: requests that no decent client sends, and the answers in what comes back."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from storlever.web.san import PREFIX

TOKEN = "storlever_of-a-client-whose-requests-are-read"
HOST = b"Host: localhost\r\nAuthorization: Bearer " + TOKEN.encode()
"""With the token that the besieged service knows: who has none is soon refused."""
STRANGER = b"Host: localhost"
JSON = b"Content-Type: application/json"
TARGETS = f"{PREFIX}/target_list".encode()


@dataclass(frozen=True)
class Answer:
    """`headers` with their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of a problem, which every error has to be; "" for a success."""
        if self.status < 400:
            return ""
        assert self.headers["content-type"] == "application/problem+json", self
        said = json.loads(self.body)
        assert said["status"] == self.status
        return str(said["code"])


def get(path: bytes = b"/healthz", *headers: bytes, version: bytes = b"1.1") -> bytes:
    return head(b"GET " + path + b" HTTP/" + version, HOST, *headers)


def post(body: bytes, *headers: bytes) -> bytes:
    """To the list of targets, where a body is read whatever is in it."""
    return announced(len(body), *headers) + body


def announced(length: int, *headers: bytes) -> bytes:
    """The header of a post that has a body of this many bytes."""
    size = b"Content-Length: %d" % length
    return head(b"POST " + TARGETS + b" HTTP/1.1", HOST, JSON, size, *headers)


def chunked(body: bytes, *headers: bytes) -> bytes:
    """`body` has its chunks already."""
    line = b"POST " + TARGETS + b" HTTP/1.1"
    return head(line, HOST, JSON, b"Transfer-Encoding: chunked", *headers) + body


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (*lines, b""))


def exchange(port: int, request: bytes, seconds: float = 20) -> list[Answer]:
    """What comes back until the other side closes, or waits for more after it has answered."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.settimeout(seconds)
        return list(parsed(sent(connection, request)))


def sent(connection: socket.socket, request: bytes) -> bytes:
    """Send it and take what comes: an answer, and all after it if that is to be the last. A
    connection may be reset while much is still to be sent, and the answer be lost with it."""
    came = bytearray()
    try:
        connection.sendall(request)
        while not _enough(came):
            piece = connection.recv(1 << 16)
            if not piece:
                break
            came += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return bytes(came)


def _enough(came: bytearray) -> bool:
    answer = next(parsed(bytes(came)), None)
    return answer is not None and answer.headers.get("connection", "").lower() != "close"


def parsed(came: bytes) -> Iterator[Answer]:
    """The whole answers in it. Each has a Content-Length, as all of StorLever's do."""
    while b"\r\n\r\n" in came:
        top, _, rest = came.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        status = int(first.split()[1])
        if status == 100:
            came = rest
            continue
        length = int(headers["content-length"])
        if len(rest) < length:
            return
        yield Answer(status, headers, rest[:length])
        came = rest[length:]
