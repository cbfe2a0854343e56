"""The OpenAPI document: what the routes' types say, and what they cannot say of themselves.

An operation may meet any error of its kind, and they all look alike; answers have headers; what
was made is found elsewhere in the API. That is said here, once for all operations.
"""

import json
from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode
from starlette.routing import BaseRoute

from storlever import __version__
from storlever.principal import Role
from storlever.web.body import MAX_BODY
from storlever.web.config import ConfigUpdate
from storlever.web.edge import Edge
from storlever.web.gate import MAX_HEADER, REQUEST_ID
from storlever.web.table import Guarded
from storlever.web.wire import Problem, RehearsalShown

Json = dict[str, Any]

SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "a token"},
    "password": {"type": "http", "scheme": "basic", "description": "a token as the password"},
}
PROBLEMS = {
    400: "not sound HTTP or JSON",
    401: "nobody knows who asks: no token, or one that is no good",
    403: "who asks may not do this; or a page of another site tried to change something",
    404: "no such target, user, LUN or token",
    409: "it does not fit what is there, or tgtd refuses it; nothing was changed",
    412: "it is not as If-Match or If-None-Match say; nothing was changed",
    413: f"the body has more than {MAX_BODY} bytes, or what the operation takes",
    415: "the body is not application/json",
    421: "the Host header names another machine",
    422: "a field or a parameter breaks a rule, or the backing store cannot be served",
    429: "too many failures to say who asks, from this address or with this token",
    431: f"the header has more than {MAX_HEADER} bytes",
    500: "an error in StorLever; its log has it under the request's id",
    503: "tgtd or the state file cannot be changed now; nothing was changed",
    507: "no room for the state file; nothing was changed",
}
"""What each status means; why it came to that is for the problem's `code` to say."""

UNCERTAIN = {"get_sessions", "get_session", "get_events"}
"""What can be unavailable although it only reads."""

_SCHEMAS = "#/components/schemas/"
_RESPONSES = "#/components/responses/"


def _header(pattern: str, description: str, *, required: bool = True) -> Json:
    schema = {"type": "string", "pattern": pattern}
    return {"description": description, "required": required, "schema": schema}


_ID = {"X-Request-Id": _header(f"^{REQUEST_ID}$", "under which the log has the request")}
_TAG = {"ETag": _header('^"[0-9a-f]{32}"$', "tag of what is wished", required=False)}
_REPLAYED = {
    "Idempotency-Replayed": _header("^true$", "it was done before, by the key", required=False)
}
_OWN_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "description": f"the client's own id of the request, {REQUEST_ID}; else one is made",
    "schema": {"type": "string"},
}
_LOCATION = {"Location": _header("^https?://", "URL of what was made")}
_ADVICE = {"Warning": _header("^299 storlever ", "advice, though it was done", required=False)}
_CHALLENGE = {"WWW-Authenticate": _header("^Bearer ", "how to say who asks")}
_RETRY = {"Retry-After": _header("^[0-9]+$", "seconds to wait before a retry", required=False)}

_HEADERS = {401: _CHALLENGE, 429: _RETRY, 503: _RETRY}

_TARGET = {"iqn": "$request.body#/iqn"}
_NAMED_TARGET = {"iqn": "$request.path.iqn"}
_ON_TARGET = ("get_target", "put_target", "delete_target", "get_luns", "post_lun")


def _links(key: str, field: str, *operations: str) -> dict[str, Json]:
    """Operations on what was posted to a target, which has its key from this field."""
    where = {"iqn": "$request.path.iqn", key: f"$request.body#/{field}"}
    return dict.fromkeys(operations, where)


LINKS: dict[str, dict[str, Json]] = {
    "post_target": dict.fromkeys(_ON_TARGET, _TARGET),
    "adopt_foreign": dict.fromkeys(_ON_TARGET, _NAMED_TARGET),
    "post_lun": _links("lun", "lun", "get_lun", "put_lun", "delete_lun"),
    "post_token": {name: {"name": "$request.body#/name"} for name in ("get_token", "delete_token")},
    **{
        f"post_{which}_user": _links(
            "user",
            "username",
            *(f"{method}_{which}_user" for method in ("get", "put", "delete")),
        )
        for which in ("incoming", "outgoing")
    },
}
"""By operation: those that take what it made, and where their parameters were said."""


def document(routes: Sequence[BaseRoute], edge: Edge) -> bytes:
    made = get_openapi(
        title="StorLever",
        version=__version__,
        summary="Targets, CHAP users, access lists and LUNs of tgtd",
        routes=routes,
    )
    components: Json = made["components"]
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own
        components["schemas"].pop(unused, None)
    components["schemas"] |= _schemas(Problem, "serialization") | _schemas(ConfigUpdate)
    components["schemas"] |= _schemas(RehearsalShown)
    components["parameters"] = {"RequestId": _OWN_ID}
    components["responses"] = {str(status): _problem(status) for status in PROBLEMS}
    components["securitySchemes"] = SCHEMES
    rights = {route.unique_id: route.may for route in routes if isinstance(route, Guarded)}
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            may = rights[operation["operationId"]]
            operation["security"] = _security(may, edge)
            _complete(operation, path, method, may)
    return json.dumps(made).encode()


def _schemas(shape: type[BaseModel], mode: JsonSchemaMode = "validation") -> Json:
    """Of a shape that no route names, and of those in it."""
    made = shape.model_json_schema(ref_template=_SCHEMAS + "{model}", mode=mode)
    return {**made.pop("$defs", {}), shape.__name__: made}


def _problem(status: int) -> Json:
    return {
        "description": PROBLEMS[status],
        "headers": _ID | _HEADERS.get(status, {}),
        "content": {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}Problem"}}},
    }


def _security(may: Role, edge: Edge) -> list[Json]:
    """{} stands for nothing at all, which will do on this machine where it is open."""
    open_to_all = may is Role.NOBODY or edge.open_loopback
    return [*([{}] if open_to_all else []), *({name: []} for name in SCHEMES)]


def _complete(operation: Json, path: str, method: str, may: Role) -> None:
    operation["x-role"] = str(may)
    parameters: list[Json] = operation.setdefault("parameters", [])
    said = {each["name"] for each in parameters}
    answers: Json = operation["responses"]
    answers.pop("422", None)  # FastAPI's own
    if "dry_run" in said:
        answers.setdefault("200", {"description": "Rehearsed, or so already"})
        answers["200"]["x-dry-run"] = {"$ref": f"{_SCHEMAS}RehearsalShown"}
    for answer in answers.values():
        answer["headers"] = _ID | _headers(method, said)
    if made := answers.get("201"):
        made["links"] = {
            name: {"operationId": name, "parameters": where}
            for name, where in LINKS[operation["operationId"]].items()
        }
        made["headers"] |= _LOCATION
    if method == "get" and "If-None-Match" in said:
        answers["304"] = {"description": "the client has it", "headers": _ID | _TAG}
    for each in parameters:
        _without_null(each)
    parameters.append({"$ref": "#/components/parameters/RequestId"})
    for status in sorted(_errors(operation, path, method, may)):
        answers.setdefault(str(status), {"$ref": f"{_RESPONSES}{status}"})


def _headers(method: str, said: set[str]) -> Json:
    """Those of a success, by its request's parameters."""
    tagged = {"If-Match", "If-None-Match"} & said
    return (
        ({} if method == "get" else _ADVICE)
        | (_TAG if tagged else {})
        | (_REPLAYED if "Idempotency-Key" in said else {})
    )


def _without_null(parameter: Json) -> None:
    """What is not said is left out: a header cannot be null."""
    kinds = parameter["schema"].pop("anyOf", None)
    if kinds:
        parameter["schema"] |= next(kind for kind in kinds if kind != {"type": "null"})


def _errors(operation: Json, path: str, method: str, may: Role) -> set[int]:
    """Those that this operation may answer with."""
    found = {400, 401, 421, 429, 431, 500}
    if may is not Role.NOBODY:
        found |= {403}
    if "{" in path:
        found |= {404}
    if operation["operationId"] in UNCERTAIN:
        found |= {503}
    if method != "get":
        found |= {403, 409, 503, 507}
    if "requestBody" in operation:
        found |= {413, 415, 422}
    parameters = [each for each in operation["parameters"] if "in" in each]
    if any(each["in"] == "query" for each in parameters):
        found |= {422}
    if method != "get" and {each["name"] for each in parameters} & {"If-Match", "If-None-Match"}:
        found |= {412}
    return found
