"""Tags of what is wished, and the conditions that requests make with them (RFC 9110, 8.8.3 and 13).

A tag is a digest of the wish alone, under a key that lasts: so it is the same after a restart, and
nobody can try passwords on it (docs/decisions/0024).
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Struct

from storlever.encoding import canonical
from storlever.errors import NotFound, Precondition
from storlever.inventory import Inventory

View = Callable[[Inventory], object]
"""What is wished of one resource: JSON, a struct, or a tuple of such. Raises NotFound
where it is not there."""

ANY = "*"
MOST_KNOWN = 2_000
"""Digests that are remembered: each keeps its value in memory, though it may be a wish of old."""
_TAG = re.compile(r'(W/)?("[!#-~\x80-\xff]*")')


class Tags:
    """Makes tags, in any thread. A target of 255 LUNs takes a millisecond, but not twice."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[int, tuple[object, bytes]] = {}
        """By id: the value, which so keeps its id, and its digest."""

    def of(self, wish: object) -> str:
        return f'"{self._digest(wish).hex()}"'

    def _digest(self, wish: object) -> bytes:
        if isinstance(wish, tuple):
            return self._keyed(b"parts", b"".join(map(self._digest, wish)))
        if not isinstance(wish, Struct):
            return self._keyed(b"whole", canonical(wish).encode())
        known = self._known.get(id(wish))
        if known is None:
            known = wish, self._keyed(b"whole", canonical(wish).encode())
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[id(wish)] = known
        return known[1]

    def _keyed(self, kind: bytes, text: bytes) -> bytes:
        return hashlib.blake2b(text, key=self._key, person=kind, digest_size=16).digest()


def listed(header: str) -> frozenset[str]:
    """The strong tags in a header; what is none names nothing."""
    return frozenset(text for weak, text in _TAG.findall(header) if not weak)


@dataclass(frozen=True, slots=True)
class Condition:
    """What If-Match and If-None-Match say; None where they are not there."""

    match: str | None = None
    none_match: str | None = None

    def require(self, tags: Tags, view: View | None, inventory: Inventory) -> None:
        """Raises Precondition; NotFound where a tag is asked of what is not there."""
        if self.match is not None:
            found = tags.of(view(inventory)) if view else None
            if found is None or not _names(self.match, found):
                raise Precondition("it is not what If-Match says: somebody changed it")
        if self.none_match is not None:
            found = _found(tags, view, inventory)
            if found is not None and _names(self.none_match, found):
                raise Precondition("it is there, and If-None-Match says that it must not be")


def _found(tags: Tags, view: View | None, inventory: Inventory) -> str | None:
    try:
        return tags.of(view(inventory)) if view else None
    except NotFound:
        return None


def _names(header: str, found: str) -> bool:
    return header.strip() == ANY or found in listed(header)
