"""What a call can raise, as one tree.

ClientError
├── Unreachable         nobody answered, or the connection broke
├── NotUnderstood       the answer is none that this client knows
└── Problem             the service said no, and why
    ├── Invalid             400, 413, 415, 422: `errors` names each field and its rule
    ├── Unauthenticated     401
    ├── Forbidden           403
    ├── NotFound            404
    ├── Conflict            409: `blocking` names the sessions in the way
    ├── PreconditionFailed  412: it is not as `matching` said
    ├── Throttled           429: wait `retry_after` seconds
    └── Unavailable         503, 507: nothing of it lasts
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Barrier = Literal["", "permission", "certificate"]
"""Of the socket; of the service, which we do not trust."""


class ClientError(Exception):
    """The root."""


class Unreachable(ClientError):
    """`maybe_done`: the request was on its way, so what it asked for may have happened. `barrier`:
    what keeps us away from a service that may well be there; "" for nothing known."""

    def __init__(self, detail: str, *, maybe_done: bool = False, barrier: Barrier = "") -> None:
        super().__init__(detail)
        self.maybe_done = maybe_done
        self.barrier = barrier


class NotUnderstood(ClientError):
    pass


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Blocking:
    """A session in the way."""

    initiator: str
    addr: str


class Problem(ClientError):
    """`code` is the word for programs (docs/errors.md), `detail` the sentence for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: tuple[Fault, ...] = (),
        blocking: tuple[Blocking, ...] = (),
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.blocking = blocking
        self.request_id = request_id
        self.retry_after = retry_after


class Invalid(Problem):
    pass


class Unauthenticated(Problem):
    pass


class Forbidden(Problem):
    pass


class NotFound(Problem):
    pass


class Conflict(Problem):
    pass


class PreconditionFailed(Problem):
    pass


class Throttled(Problem):
    pass


class Unavailable(Problem):
    pass


KINDS: dict[int, type[Problem]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Throttled,
    502: Unavailable,  # 502 and 504 are a proxy's
    503: Unavailable,
    504: Unavailable,
    507: Unavailable,
}


def problem(status: int, headers: Mapping[str, str], content: bytes) -> Problem:
    """Of an answer that is no success; whoever gave it, if it was a proxy."""
    said = _object(content)
    code = said.get("code")
    return KINDS.get(status, Problem)(
        status,
        code if isinstance(code, str) else "http",
        str(said.get("detail") or f"HTTP status {status}"),
        errors=tuple(
            Fault(str(each.get("field", "")), str(each.get("message", "")))
            for each in _objects(said.get("errors"))
        ),
        blocking=tuple(
            Blocking(str(each.get("initiator", "")), str(each.get("addr", "")))
            for each in _objects(said.get("blocking"))
        ),
        request_id=str(said.get("request_id") or headers.get("x-request-id", "")),
        retry_after=seconds(headers.get("retry-after")),
    )


def seconds(text: str | None) -> float | None:
    """Of a Retry-After; None also for a date, which StorLever never sends."""
    return float(text) if text and text.isascii() and text.isdigit() else None


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _objects(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
