"""A request that is not yet made: what to send, what its answer means, whether it may be sent
again."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from storlever.client.decode import decoded
from storlever.client.errors import NotUnderstood, Problem, problem
from storlever.client.shapes import Done, Rehearsal

API = "/storlever/api/v1"
T = TypeVar("T")
S = TypeVar("S")

KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer as it arrived; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @property
    def trouble(self) -> Problem:
        """What it says, given that it is no success."""
        return problem(self.status, self.headers, self.content)

    def json(self) -> Any:
        """Raises NotUnderstood."""
        try:
            return json.loads(self.content)
        except ValueError:
            raise NotUnderstood("the answer is no JSON") from None


@dataclass(frozen=True, slots=True)
class Tagged(Generic[T]):
    """`etag`: what `matching` takes; None where the service has none for it."""

    value: T
    etag: str | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """`repeatable`: to do it twice is to do it once. `keyed`: so it is for the service, given a key
    that stands for this call. `answers`: statuses that are no error here."""

    method: str
    path: str
    decode: Callable[[Raw], T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    keyed: bool = False
    answers: tuple[int, ...] = (200, 201)

    @property
    def content(self) -> bytes | None:
        return None if self.body is None else json.dumps(self.body).encode()

    def matching(self, etag: str) -> "Call[T]":
        """Only if it is still as it was when it had this ETag; else PreconditionFailed. It is not
        repeatable then: the first time may have changed the ETag."""
        return replace(self, headers={**self.headers, "If-Match": etag}, repeatable=False)

    def read_as(self, decode: "Callable[[Raw], S]") -> "Call[S]":
        """The same, with another meaning of its answer."""
        return Call(
            self.method,
            self.path,
            decode,
            self.query,
            self.body,
            self.headers,
            self.repeatable,
            self.keyed,
            self.answers,
        )

    def tagged(self) -> "Call[Tagged[T]]":
        """The same, with the ETag of what is answered."""
        return self.read_as(lambda raw: Tagged(self.decode(raw), raw.headers.get("etag")))

    def plain(self) -> "Call[Any]":
        """The same, answered with the JSON as it is."""
        return self.read_as(Raw.json)

    def rehearsed(self) -> "Call[Rehearsal]":
        """The same as a question: what would it do?"""
        return Call(
            self.method,
            self.path,
            shaped(Rehearsal),
            {**self.query, "dry_run": "true"},
            self.body,
            self.headers,
        )

    def with_key(self, key: str) -> "Call[T]":
        """As it is sent: with a key of its own where it takes one and has none."""
        if not self.keyed or KEY in self.headers:
            return self
        return replace(self, headers={KEY: key, **self.headers})


def path(*parts: str) -> str:
    """Of the API; every part may hold any character."""
    return "/".join((API, *(quote(part, safe=":") for part in parts)))


def shaped(kind: type[T]) -> Callable[[Raw], T]:
    """Reads an answer whose body is this."""
    return lambda raw: decoded(kind, raw.json())


def done(raw: Raw) -> Done:
    headers = raw.headers
    return Done(warnings(headers), headers.get("location"), headers.get("etag"))


def warnings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The texts of a Warning header (RFC 7234, 5.5)."""
    said = re.findall(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"', headers.get("warning", ""))
    return tuple(re.sub(r"\\(.)", r"\1", text) for text in said)
