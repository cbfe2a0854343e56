"""Receipts: what a request with a key of its own was, and what was answered, so that whoever asks
again gets the same answer, and nothing is done twice. Pure.

A request is known by a digest, for its body may hold secrets; the answer may, too. So a receipt is
sealed where it is kept.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from storlever.encoding import encoded
from storlever.errors import Fault, Reused
from storlever.token import Token

LASTS = timedelta(hours=24)
MOST = 10_000
"""Receipts that are kept; the oldest go first."""
HEADER = "Idempotency-Key"


class Key(Struct, frozen=True):
    """`name` is of the principal and their key, `request` of all that the request said: digests."""

    name: str
    request: str

    @classmethod
    def of(cls, who: str, key: str, *said: bytes) -> "Key":
        """`said`: method, path, query, body."""
        return cls(_digest((who.encode(), key.encode())), _digest(said))


class Done(Struct, frozen=True):
    """What a call of a method of Service returned. `already`: what it was to make was there, or
    what it was to remove was gone. `replayed`: it was done before, for the same request."""

    answer: Any = ()
    already: bool = False
    replayed: bool = False


class Receipt(Struct, frozen=True):
    """`time`: as the audit has it; `outcome`: JSON."""

    key: Key
    time: datetime
    outcome: str

    @classmethod
    def of(cls, key: Key, time: datetime, done: Done) -> "Receipt":
        return cls(key, time, encoded({"answer": _coded(done.answer), "already": done.already}))

    def again(self, key: Key, now: datetime) -> Done | None:
        """What was answered; None where that is too long ago. Raises Reused for another request
        with the same key."""
        if self.time + LASTS < now:
            return None
        if self.key.request != key.request:
            raise Reused(Fault(HEADER, "was given to another request; take a new one"))
        said = json.loads(self.outcome)
        return Done(_decoded(said["answer"]), said["already"], replayed=True)


def _digest(parts: Iterable[bytes]) -> str:
    """Of the parts and where each ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _coded(answer: Any) -> Any:
    """As JSON: tuples as lists, tokens as objects. Raises TypeError for what is neither."""
    match answer:
        case Token():
            return {"token": answer.as_document()}
        case tuple():
            return [_coded(each) for each in answer]
        case None | str() | int():
            return answer
    raise TypeError(f"a {type(answer).__name__} cannot be answered again")


def _decoded(said: Any) -> Any:
    match said:
        case {"token": document}:
            return Token.from_document(document)
        case list():
            return tuple(_decoded(each) for each in said)
    return said
