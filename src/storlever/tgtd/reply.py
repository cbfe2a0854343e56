"""A reply of tgtd (1.0.30 to 1.0.97): an 8-byte header in host byte order, and text up to a NUL."""

import codecs
import struct

from msgspec import Struct

MAX_REPLY = 512 * 2**20
"""Bytes, the header included."""

_HEADER = struct.Struct("=II")
_Decoder = codecs.getincrementaldecoder("utf-8")


class Reply(Struct, frozen=True):
    """`error` 0 is success; other numbers are a TgtError where tgtd is one we know."""

    error: int
    text: str = ""


class Arriving:
    """A reply that is taken in piece by piece, as it comes. That of 10,000 targets has 16 MB, and
    each time that they were handled in one go, no other thread could do anything for 10 ms."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        """Bytes of the text that have not come, once the header has."""
        self._texts: list[str] = []
        self._decoder = _Decoder("replace")
        self._ended = False
        """Whether a NUL has come."""

    @property
    def missing(self) -> int:
        """How many bytes must come at least."""
        return _HEADER.size - len(self._header) or self._left

    def take(self, piece: bytes) -> None:
        """What comes after the reply is no part of it. Raises ValueError on a nonsense size."""
        if len(self._header) < _HEADER.size:
            piece = self._take_header(piece)
        piece = piece[: self._left]
        self._left -= len(piece)
        if not self._ended:
            text, end, _ = self._decoder.decode(piece, final=not self._left).partition("\0")
            self._texts.append(text)
            self._ended = bool(end)

    def _take_header(self, piece: bytes) -> bytes:
        """The rest of the piece."""
        lacking = self.missing
        self._header += piece[:lacking]
        if len(self._header) == _HEADER.size:
            _, size = _HEADER.unpack(self._header)
            if not _HEADER.size <= size <= MAX_REPLY:
                raise ValueError(f"reply of {size} bytes")
            self._left = size - _HEADER.size
        return piece[lacking:]

    def reply(self) -> Reply:
        """Once nothing is missing."""
        error, _ = _HEADER.unpack(self._header)
        return Reply(error, "".join(self._texts))
