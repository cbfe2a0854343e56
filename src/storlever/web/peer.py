"""The other end of a connection, as the kernel knows it."""

import contextlib
import socket
import struct
from dataclasses import dataclass

SO_PEERGROUPS = 59
"""asm-generic/socket.h; Python has no name for it."""
_UCRED = struct.Struct("3i")
_MOST_BYTES = 1024
"""That Python takes of a socket's option: 256 groups."""


@dataclass(frozen=True, slots=True)
class UnixPeer:
    """Who connected, as of then (unix(7)). Of who is in more groups than can be
    told, only the first is known."""

    uid: int
    gids: frozenset[int]

    @classmethod
    def of(cls, connection: socket.socket) -> "UnixPeer":
        """Raises OSError."""
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, gid = _UCRED.unpack(found)
        groups = b""
        with contextlib.suppress(OSError):
            groups = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _MOST_BYTES)
        return cls(uid, frozenset({gid, *(each for (each,) in struct.iter_unpack("I", groups))}))
