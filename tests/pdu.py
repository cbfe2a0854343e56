"""An initiator made by hand: it calls itself whatever it likes, which libiscsi would not send."""

import socket
import struct
from typing import Self

_LOGIN, _LOGIN_ANSWER = 0x43, 0x23  # the former as an immediate command
_TRANSIT = 0x80
_STRAIGHT_IN = 0x87  # from the operational stage to full features (RFC 7143, 11.12)
_HEADER = struct.Struct(">BBBBB3s6sHIHHII16x")


class Refused(Exception):
    """The target let it not in: status class and detail (RFC 7143, 11.13.5)."""


class RawInitiator:
    """One session that only logs in, and stands until it is left."""

    def __init__(
        self, portal: str, target: str, name: bytes, alias: bytes | None = None, isid: int = 1
    ) -> None:
        self._portal, self._isid = portal, isid
        said = [b"InitiatorName=" + name, b"TargetName=" + target.encode(), b"SessionType=Normal"]
        self._text = b"".join(key + b"\0" for key in said + _alias(alias))
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        host, _, port = self._portal.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=5)
        try:
            self._log_in(self._socket)
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        assert self._socket is not None
        self._socket.close()

    def _log_in(self, connection: socket.socket) -> None:
        """The target may want to be asked again, for it has something to say first."""
        text, seen = self._text, 0
        for _ in range(8):
            connection.sendall(self._request(text, seen))
            header = _whole(connection, 48)
            length = int.from_bytes(header[5:8], "big")
            _whole(connection, length + -length % 4)
            if header[0] != _LOGIN_ANSWER or header[36]:
                raise Refused(header[36], header[37])
            if header[1] & _TRANSIT:
                return
            text, seen = b"", int.from_bytes(header[24:28], "big") + 1
        raise Refused("the login does not end")

    def _request(self, text: bytes, seen: int) -> bytes:
        isid = b"\x80" + self._isid.to_bytes(5, "big")
        length = len(text).to_bytes(3, "big")
        header = _HEADER.pack(_LOGIN, _STRAIGHT_IN, 0, 0, 0, length, isid, 0, 1, 0, 0, 1, seen)
        return header + text + bytes(-len(text) % 4)


def _alias(alias: bytes | None) -> list[bytes]:
    return [] if alias is None else [b"InitiatorAlias=" + alias]


def _whole(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = connection.recv(length - len(found))
        if not part:
            raise ConnectionError("the target closed the connection")
        found += part
    return found
