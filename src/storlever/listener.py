"""Sockets that wait for connections."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from storlever.endpoint import Endpoint
from storlever.errors import ConfigError

UNSENT = 128 * 1024
"""Bytes of answers that the kernel holds for a client that does not take them. It would hold
megabytes, for each of as many clients as there are."""


@contextlib.contextmanager
def listening(
    where: Endpoint | Path, *, mode: int = 0o660, group: int | None = None
) -> Iterator[socket.socket]:
    """`mode` and `group` are those of a Unix socket: who may connect. Raises ConfigError."""
    try:
        listener = _unix(where, mode, group) if isinstance(where, Path) else _tcp(where)
    except OSError as error:
        raise ConfigError(f"cannot listen on {where}: {error.strerror or error}") from None
    try:
        yield listener
    finally:
        listener.close()
        if isinstance(where, Path):
            where.unlink(missing_ok=True)


def _tcp(where: Endpoint) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # asyncio sets TCP_NODELAY only where the protocol is given; without it a GET takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)  # of what it accepts, too
    if family == socket.AF_INET6:  # else IPv4 would come in with addresses that are IPv6's
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _unix(where: Path, mode: int, group: int | None) -> socket.socket:
    """Its mode and its group are what they shall be before anybody can connect. A socket file that
    nobody listens on any more is replaced."""
    _make_way(where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(where))
        # In a folder with setgid it is so already, where we may not chown.
        if group is not None and where.lstat().st_gid != group:
            os.chown(where, -1, group, follow_symlinks=False)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _make_way(where: Path) -> None:
    """Raises OSError for anything but a socket, which is never ours to remove."""
    if not os.path.lexists(where):
        return
    if not where.is_socket() or where.is_symlink():
        raise OSError("something else than a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(where))
        except ConnectionRefusedError:
            where.unlink()
        else:
            raise OSError("another program listens there")
