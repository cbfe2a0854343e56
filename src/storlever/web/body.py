"""Bodies read strictly: JSON by type, one value a key, within bounds."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

MAX_BODY = 1 << 20


class JsonRequest(Request):
    """Raises HTTPException: 415 for another type than JSON, 413 for more than MAX_BODY bytes,
    400 for what is no sound JSON."""

    async def body(self) -> bytes:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "the body must have the type application/json")
        if int(self.headers.get("content-length", 0)) > MAX_BODY:  # h11 takes only digits there
            raise _too_large()
        if not hasattr(self, "_body"):
            chunks = bytearray()
            async for chunk in self.stream():
                chunks += chunk
                if len(chunks) > MAX_BODY:
                    raise _too_large()
            self._body = bytes(chunks)
        return self._body

    async def json(self) -> Any:
        text = await self.body()
        try:
            return json.loads(
                text.decode(), object_pairs_hook=_distinct, parse_constant=_no_constant
            )
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"the body is not sound JSON: {error}") from None


class JsonRoute(APIRoute):
    """A route that reads its body, if it takes one, as JsonRequest does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return strict


def _too_large() -> HTTPException:
    return HTTPException(413, f"a body has at most {MAX_BODY} bytes")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
