"""Errors as answers: one table, one shape (RFC 9457, application/problem+json)."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from storlever.errors import (
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    Precondition,
    Refused,
    StateFailed,
    StorLeverError,
    Throttled,
    Unauthenticated,
    Unavailable,
)
from storlever.web.wire import Problem, ProblemFault, ProblemSession, wire_name

STATUSES: dict[type[StorLeverError], int] = {
    Invalid: 422,
    NotFound: 404,
    Throttled: 429,
    Unauthenticated: 401,
    Forbidden: 403,
    Conflict: 409,
    Precondition: 412,
    Refused: 409,
    Unavailable: 503,
    StateFailed: 503,
}
MOST_FAULTS = 200
"""Of one answer: a document may have a hundred thousand."""
RETRY_AFTER = 2
"""Seconds in which a tgtd that died is mostly back."""
CHALLENGE = 'Bearer realm="StorLever", Basic realm="StorLever"'
FULL = 507  # RFC 4918: the state's file system has no room

TITLES = {
    400: "Malformed request",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Invalid request",
    429: "Too many failures",
    431: "Header too large",
    500: "Internal error",
    503: "Unavailable",
    507: "Insufficient storage",
}

CODES = {
    400: "malformed",
    404: "path-not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    431: "header-too-large",
    500: "internal",
}


HINTS = {
    "sessions-active": "say force=true to close them",
    "backing-store-held": "an admin may say force=true to serve it all the same",
    "backing-store-in-use": 'say "shared": true to serve it twice',
    "too-much-removed": "say force=true to have it so",
    "password-shared": "say everywhere=true to change it on all of them",
}
"""What a client can say to have it all the same."""


NO_SUCH = {
    "lun": ("lun-not-found", "LUN"),
    "id": ("session-not-found", "session"),
    "number": ("revision-not-kept", "revision"),
}
"""By parameter of a path that is malformed."""


def problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    faults: Iterable[Fault] = (),
    blocking: Iterable[tuple[str, str]] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    state = scope.setdefault("state", {})
    state["code"] = code
    body = Problem(
        type=f"urn:storlever:problem:{code}",
        title=TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        instance=scope["path"],
        code=code,
        errors=[ProblemFault(field=each.field, message=each.message) for each in faults],
        blocking=[ProblemSession(initiator=name, addr=addr) for name, addr in blocking],
        request_id=state.get("request_id", ""),
        info=detail,
        exception=code,
    )
    return Response(
        body.model_dump_json(), status, media_type="application/problem+json", headers=headers
    )


def of_error(scope: Scope, error: StorLeverError) -> Response:
    status = next(number for kind, number in STATUSES.items() if isinstance(error, kind))
    extra: dict[str, Any] = {}
    match error:
        case Invalid():
            told = [Fault(wire_name(each.field), each.message) for each in error.faults]
            return _invalid(scope, error.code, told)
        case Conflict():
            hint = HINTS.get(error.code)
            detail = f"{error}; {hint}" if hint else str(error)
            return problem(scope, status, error.code, detail, blocking=error.blocking)
        case Throttled():
            extra["headers"] = {"Retry-After": str(ceil(error.seconds))}
        case Unauthenticated():
            extra["headers"] = {"WWW-Authenticate": CHALLENGE}
        case Unavailable():
            extra["headers"] = {"Retry-After": str(RETRY_AFTER)}
        case StateFailed() if error.code == "state-full":
            status = FULL
    return problem(scope, status, error.code, str(error), **extra)


def of_faults(request: Request, errors: Iterable[dict[str, Any]]) -> Response:
    """What pydantic found, every fault with its field; a value that was sent is not repeated."""
    errors = list(errors)
    for each in errors:
        if each["loc"][0] == "path":
            code, what = NO_SUCH[str(each["loc"][1])]
            return problem(request.scope, 404, code, f"no such {what}")
    faults = []
    for each in errors:
        where = ".".join(str(part) for part in each["loc"][1:]) or "body"
        faults.append(Fault(where, _rule(each)))
    return _invalid(request.scope, Invalid.code, faults)


def _invalid(scope: Scope, code: str, faults: Sequence[Fault]) -> Response:
    told, more = faults[:MOST_FAULTS], len(faults) - MOST_FAULTS
    said = [f"{each.field}: {each.message}" for each in told]
    detail = "; ".join([*said, f"and {more} more"] if more > 0 else said)
    return problem(scope, STATUSES[Invalid], code, detail, faults=told)


def _rule(error: dict[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "missing":
            return "is required"
        case "model_type" | "model_attributes_type":
            return "must be a JSON object"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
        case _:
            return str(error["msg"])
