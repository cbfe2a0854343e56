"""Tags of what is wished, and the conditions that requests make with them (RFC 9110, 8.8.3 and 13).

A tag is a digest of the wish alone, under a key that lasts: so it is the same after a restart, and
nobody can try passwords on it (docs/decisions/0024).
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from storlever.audit import plain
from storlever.errors import NotFound, Precondition
from storlever.inventory import Inventory

View = Callable[[Inventory], object]
"""What is wished of one resource. Raises NotFound where it is not there."""

ANY = "*"
_TAG = re.compile(r'(W/)?("[!#-~\x80-\xff]*")')
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=plain)


def tag(key: bytes, wish: object) -> str:
    """`wish`: JSON, with dataclasses in it."""
    text = _CANONICAL.encode(wish).encode()
    return f'"{hashlib.blake2b(text, key=key, digest_size=16).hexdigest()}"'


def listed(header: str) -> frozenset[str]:
    """The strong tags in a header; what is none names nothing."""
    return frozenset(text for weak, text in _TAG.findall(header) if not weak)


@dataclass(frozen=True, slots=True)
class Condition:
    """What If-Match and If-None-Match say; None where they are not there."""

    match: str | None = None
    none_match: str | None = None

    def require(self, key: bytes, view: View | None, inventory: Inventory) -> None:
        """Raises Precondition; NotFound where a tag is asked of what is not there."""
        if self.match is not None:
            found = tag(key, view(inventory)) if view else None
            if found is None or not _names(self.match, found):
                raise Precondition("it is not what If-Match says: somebody changed it")
        if self.none_match is not None:
            found = _found(key, view, inventory)
            if found is not None and _names(self.none_match, found):
                raise Precondition("it is there, and If-None-Match says that it must not be")


def _found(key: bytes, view: View | None, inventory: Inventory) -> str | None:
    try:
        return tag(key, view(inventory)) if view else None
    except NotFound:
        return None


def _names(header: str, found: str) -> bool:
    return header.strip() == ANY or found in listed(header)
