"""What is checked of every request before it is anybody's business: host, origin, path.

A service on loopback is within reach of every web page its administrator opens; the allow-list of
hosts ends DNS rebinding, the origin checks end cross-site writes.
"""

import re
import time
import uuid
from ipaddress import ip_address

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storlever.web.problem import problem

log = structlog.get_logger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost"})
MAX_HEADER = 16 * 1024
"""Bytes of a request's header, however they arrive."""
CLOSING = {"Connection": "close"}
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")


def host_of(header: str) -> str | None:
    """The host of a Host header, in lower case and without brackets; None when malformed."""
    match = _HOST.fullmatch(header)
    return match[1].strip("[]").lower() if match else None


def is_local(host: str) -> bool:
    """Whether a host is this machine by its very spelling; 127.0.0.1.example.com is not."""
    if host in LOCAL_NAMES:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def marks(request_id: str) -> dict[str, str]:
    """The headers of every answer that does not say otherwise."""
    return {
        "X-Request-Id": request_id,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'",
    }


class Gate:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500

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
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round((time.monotonic() - started) * 1000, 1),
                request_id=request_id,
            )

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
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
        if not is_local(host):
            return problem(
                scope, 421, "host-not-allowed", "Host must be a loopback address or localhost"
            )
        if any(ord(char) < 0x20 or ord(char) == 0x7F for char in scope["path"]):
            return problem(scope, 404, "path-not-found", "there is nothing at this path")
        if scope["method"] not in SAFE_METHODS and self._cross_site(headers):
            return problem(scope, 403, "cross-site", "a page of another site may not change this")
        return None

    def _cross_site(self, headers: Headers) -> bool:
        sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
        return not {"none", "same-origin"}.issuperset(sites) or any(
            origin.partition("://")[2] != headers["host"] for origin in origins
        )


def _size(scope: Scope) -> int:
    """Bytes that the header took on the wire, but for its first line's other words."""
    target = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    return target + sum(len(name) + len(value) + 4 for name, value in scope["headers"])
