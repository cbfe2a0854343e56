"""The route table: method, path, who may, function. A route that does not say who may is none."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import cache
from typing import Any, ClassVar, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from storlever.errors import Forbidden
from storlever.principal import Principal, Role
from storlever.web.authentication import Authentication
from storlever.web.body import MAX_BODY, JsonRequest

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


SAID = "said"
"""The headers of an answer, in its request's state: whoever knows one says so."""
LARGE_ANSWERS = 8
"""Answers about everything that are made and sent at a time: there may be a thousand who ask for
one and do not take it. The others wait."""
PIECE = 64 << 10
"""Bytes of such an answer that are handed to the connection at a time."""
TAKING = 60.0
"""Seconds in which it must be taken: others wait."""
API = "/storlever/api/v1"
"""Before every path but those of health and documentation."""


class Guarded(APIRoute):
    """A route that first looks who asks, and then reads a body as JsonRequest does. `large`:
    whether its answer is about everything."""

    may: ClassVar[Role]
    most: ClassVar[int] = MAX_BODY
    large: ClassVar[bool] = False

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.large:
            await super().handle(scope, receive, send)
            return
        async with scope["app"].state.large_answers:
            await super().handle(scope, receive, _in_pieces(send))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        may, most = self.may, self.most

        async def guarded(request: Request) -> Response:
            _require(may, request)
            read = JsonRequest(request.scope, request.receive)
            read.most = most
            try:
                response = await handle(read)
                response.headers.update(request.scope["state"].get(SAID, {}))
                return response
            finally:
                read.release()

        return guarded


class Table:
    """The routes of one part of the API. Of their options, `most` is the bytes of a body, `large`
    whether the answer is about everything; the others are FastAPI's."""

    def __init__(self, prefix: str = "", *, tag: str = "", in_schema: bool = True) -> None:
        self.prefix = prefix
        self.router = APIRouter(
            prefix=prefix,
            tags=[tag],
            include_in_schema=in_schema,
            generate_unique_id_function=lambda route: route.name,  # clients are generated of it
        )

    def get(self, path: str, may: Role, **options: Any) -> Callable[[Endpoint], Endpoint]:
        return self._add("GET", path, may, options)

    def post(self, path: str, may: Role, **options: Any) -> Callable[[Endpoint], Endpoint]:
        return self._add("POST", path, may, options)

    def put(self, path: str, may: Role, **options: Any) -> Callable[[Endpoint], Endpoint]:
        return self._add("PUT", path, may, options)

    def delete(self, path: str, may: Role, **options: Any) -> Callable[[Endpoint], Endpoint]:
        return self._add("DELETE", path, may, options)

    def _add(
        self, method: str, path: str, may: Role, options: dict[str, Any]
    ) -> Callable[[Endpoint], Endpoint]:
        guarded = _guarded(may, options.pop("most", MAX_BODY), options.pop("large", False))

        def add(endpoint: Endpoint) -> Endpoint:
            self.router.add_api_route(
                path, endpoint, methods=[method], route_class_override=guarded, **options
            )
            return endpoint

        return add


def say(request: Request, name: str, value: str) -> None:
    """Put a header on the answer, if it is a success."""
    request.scope["state"].setdefault(SAID, {})[name] = value


@cache
def _guarded(may: Role, most: int, large: bool) -> type[Guarded]:
    return type("Guarded", (Guarded,), {"may": may, "most": most, "large": large})


def _in_pieces(send: Send) -> Send:
    """So that the connection tells when its client does not take what was sent. After TAKING
    seconds, the answer ends without its end."""
    until = asyncio.get_running_loop().time() + TAKING

    async def sent(message: Message) -> None:
        body = message.get("body", b"")
        *others, last = range(0, max(len(body), 1), PIECE)
        for start in others:
            if asyncio.get_running_loop().time() > until:
                return
            piece = body[start : start + PIECE]
            await send({"type": message["type"], "body": piece, "more_body": True})
        await send({**message, "body": body[last:]} if body else message)

    return sent


def require_rights(routes: Iterable[BaseRoute]) -> None:
    """Raises TypeError for a route that does not say who may: the service must not start."""
    for route in routes:
        if not isinstance(getattr(route, "may", None), Role):
            raise TypeError(f"nothing says who may use {route}")


def _require(may: Role, request: Request) -> None:
    """Raises Unauthenticated or Forbidden."""
    principal: Principal = request.state.principal
    if principal.role >= may:
        return
    if principal.role is Role.NOBODY and not principal.name.startswith(("user:", "certificate:")):
        authentication: Authentication = request.app.state.authentication
        raise authentication.failure(
            principal.address, "token-missing", "say who you are, by Authorization: Bearer TOKEN"
        )
    has = principal.role or "no role"
    raise Forbidden(f"{principal.name} has {has}, and this takes {may}")
