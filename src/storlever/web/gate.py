"""What is checked of every request before it is anybody's business: host, who asks, origin, path;
and what is told of it afterwards, in the log and in the audit.

A service on loopback is within reach of every web page its administrator opens: the origin checks
end cross-site writes, as those of the host (`hosts`) end DNS rebinding.
"""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storlever.errors import Throttled, Unauthenticated
from storlever.names import NAME_BYTES
from storlever.principal import NOBODY, Act, Principal, Role
from storlever.service import Service
from storlever.web.authentication import Authentication
from storlever.web.edge import Edge
from storlever.web.hosts import host_of, is_local
from storlever.web.meter import Meter
from storlever.web.problem import of_error, problem

log = structlog.get_logger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_HEADER = 16 * 1024
"""Bytes of a request's header, however they arrive."""
CLOSING = {"Connection": "close"}
UNKNOWN = Principal(NOBODY, Role.NOBODY)
REQUEST_ID = "[A-Za-z0-9._-]{1,64}"
MOST_OF_A_PATH = 512
MOST_OF_A_METHOD = 16
"""Characters of them that the audit and the log are told."""


def marks(request_id: str) -> dict[str, str]:
    """The headers of every answer that does not say otherwise."""
    return {
        "X-Request-Id": request_id,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'",
    }


class Gate:
    def __init__(
        self,
        app: ASGIApp,
        edge: Edge,
        authentication: Authentication,
        service: Service,
        meter: Meter | None = None,
    ) -> None:
        self._app = app
        self._edge = edge
        self._authentication = authentication
        self._service = service
        self._meter = meter or Meter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0  # nothing was answered: it was cut off, and what became of it is not known

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in marks(request_id).items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await (self._refusal(scope) or self._app)(scope, receive, answer)
        finally:
            seconds = time.monotonic() - started
            self._tell(scope, status)
            self._meter.note(scope, status, seconds)
            _log(scope, status, seconds)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        return (
            self._malformed(scope, headers)
            or self._unknown(scope, headers)
            or self._misled(scope, headers)
        )

    def _malformed(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        if _size(scope) > MAX_HEADER:
            detail = f"a header has at most {MAX_HEADER} bytes"
            return problem(scope, 431, "header-too-large", detail, headers=CLOSING)
        if "content-length" in headers and "transfer-encoding" in headers:
            detail = "the body's length is said twice"  # a proxy may have read it the other way
            return problem(scope, 400, "malformed", detail, headers=CLOSING)
        hosts = headers.getlist("host")
        host = host_of(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            detail = "the request needs one well-formed Host"
            return problem(scope, 400, "malformed", detail, headers=CLOSING)
        if not self._is_ours(host, scope):
            detail = (
                "Host must be a name or an address that this service goes by; allow_host adds one"
            )
            return problem(scope, 421, "host-not-allowed", detail)
        return None

    def _is_ours(self, host: str, scope: Scope) -> bool:
        """By its very spelling; an address is ours where the request came in on it."""
        server, _ = scope.get("server") or ("", 0)
        return is_local(host) or host in self._edge.hosts or host == server

    def _unknown(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        """Find out who asks."""
        state = scope["state"]
        address = self._authentication.address(scope, headers)
        try:
            state["principal"] = self._authentication.principal(scope, headers, address)
        except Unauthenticated as error:
            state["principal"] = Principal(error.who or NOBODY, Role.NOBODY, address)
            return of_error(scope, error)
        return None

    def _misled(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        if any(ord(char) < 0x20 or ord(char) == 0x7F for char in scope["path"]):
            return problem(scope, 404, "path-not-found", "there is nothing at this path")
        if scope["method"] not in SAFE_METHODS and self._cross_site(headers):
            return problem(scope, 403, "cross-site", "a page of another site may not change this")
        return None

    def _cross_site(self, headers: Headers) -> bool:
        origins = headers.getlist("origin")
        if origins and set(origins) <= set(self._edge.origins):
            return False
        sites = headers.getlist("sec-fetch-site")
        return not {"none", "same-origin"}.issuperset(sites) or any(
            origin.partition("://")[2] != headers["host"] for origin in origins
        )

    def _tell(self, scope: Scope, status: int) -> None:
        """The audit hears of every write that was refused, and of whoever failed to say who they
        are; but not of those who fail too often, nor where it was not even asked who they are."""
        state = scope["state"]
        code = state.get("code", "internal")
        principal: Principal | None = state.get("principal")
        if principal is None or code == Throttled.code:
            return
        known = principal.name != NOBODY
        refused = known and status >= 400 and scope["method"] not in SAFE_METHODS
        if refused or status == 401:
            self._service.tell(act_of(scope), code)


def _log(scope: Scope, status: int, seconds: float) -> None:
    state = scope["state"]
    principal: Principal = state.get("principal", UNKNOWN)
    log.info(
        "request",
        who=principal.name,
        address=principal.address,
        method=scope["method"][:MOST_OF_A_METHOD],
        path=scope["path"][:MOST_OF_A_PATH],
        status=status or None,
        code=state.get("code"),
        milliseconds=round(seconds * 1000, 1),
        request_id=state["request_id"],
    )


def act_of(scope: Scope) -> Act:
    """What a request asks for, as far as it got."""
    state = scope["state"]
    route = scope.get("route") if state.get("code") != "method-not-allowed" else None
    return Act(
        state["principal"],
        state["request_id"],
        route.name if route else scope["method"][:MOST_OF_A_METHOD],
        scope["path"][:MOST_OF_A_PATH],
        scope.get("path_params", {}).get("iqn", "")[:NAME_BYTES],
    )


def _request_id(headers: Headers) -> str:
    """The client's own, if it is one; it stands in the log and in the audit as it is."""
    given = headers.getlist("x-request-id")
    own = len(given) == 1 and re.fullmatch(REQUEST_ID, given[0])
    return given[0] if own else uuid.uuid4().hex


def _size(scope: Scope) -> int:
    """Bytes that the header took on the wire, but for its first line's other words."""
    target = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    return target + sum(len(name) + len(value) + 4 for name, value in scope["headers"])
