"""A client of the NBD protocol, as far as qemu-nbd needs one: several requests at once, by number.

https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

import socket
import struct
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

OPTION_MAGIC = b"IHAVEOPT"
FIXED_NEWSTYLE = NO_ZEROES = 1
EXPORT_NAME = 1
REQUEST = struct.Struct(">IHHQQI")
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
REPLY = struct.Struct(">IIQ")


class Command(IntEnum):
    READ = 0
    WRITE = 1
    FLUSH = 3


class Request(NamedTuple):
    """`data` is what is to be written, `length` what is to be read, in bytes."""

    command: Command
    offset: int = 0
    length: int = 0
    data: bytes = b""


class Reply(NamedTuple):
    """`number` is that of the request in what was sent; `error` is a number of errno, or 0."""

    number: int
    error: int
    data: bytes


class Client:
    """One connection to a server that exports one disk. Raises OSError when it is lost."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
            self._stream = self._socket.makefile("rb")
            self.size = self._negotiate()
        except BaseException:
            self._socket.close()
            raise
        self._sent: Sequence[Request] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stream.close()
        self._socket.close()

    def _negotiate(self) -> int:
        """The size of the disk, in bytes."""
        greeting = self._exactly(18)
        assert greeting[:16] == b"NBDMAGIC" + OPTION_MAGIC, greeting
        flags = FIXED_NEWSTYLE | NO_ZEROES << 1
        self._socket.sendall(
            struct.pack(">I", flags) + OPTION_MAGIC + struct.pack(">II", EXPORT_NAME, 0)
        )
        size, _ = struct.unpack(">QH", self._exactly(10))
        return int(size)

    def send(self, requests: Sequence[Request]) -> None:
        """All at once. The answers must be taken before more is sent."""
        self._sent = requests
        self._socket.sendall(
            b"".join(
                REQUEST.pack(
                    *(REQUEST_MAGIC, 0, each.command, number, each.offset),
                    each.length or len(each.data),
                )
                + each.data
                for number, each in enumerate(requests)
            )
        )

    def reply(self) -> Reply:
        """The next answer, in the order in which the server is done."""
        magic, error, number = REPLY.unpack(self._exactly(REPLY.size))
        assert magic == REPLY_MAGIC, hex(magic)
        data = self._exactly(0 if error else self._sent[number].length)
        return Reply(number, error, data)

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) != count:
            raise ConnectionError("the NBD server has ended")
        return data
