"""The core, as it is asked by one request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request

from storlever.audit import Json, Link, Search
from storlever.principal import Act
from storlever.service import Service, TargetStatus
from storlever.web.edge import Edge
from storlever.web.gate import act_of
from storlever.web.table import API
from storlever.web.threads import Answer, Given, Method, Threaded


@dataclass(frozen=True, slots=True)
class Asked:
    """`service` for what comes from memory. What it writes is in the name of `act`."""

    core: Threaded
    act: Act

    @property
    def service(self) -> Service:
        return self.core.service

    async def audit(self, search: Search) -> tuple[Link, Sequence[Json]]:
        return await self.core.audit(search)

    async def target(self, name: str) -> TargetStatus:
        return await self.core.target(name)

    async def read(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        return await self.core.read(method, *args, **options)

    async def write(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        return await self.core.write(self.act, method, *args, **options)

    async def write_apart(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        return await self.core.write_apart(self.act, method, *args, **options)


def location(request: Request, *parts: str) -> str:
    """The URL of what a request made. The Host header was checked by then, so it is ours."""
    edge: Edge = request.app.state.edge
    secure = request.url.scheme == "https" or (
        edge.proxied and "peer" not in request.scope["state"]
    )
    path = "/".join((API, *(quote(part, safe=":") for part in parts)))
    return f"{'https' if secure else 'http'}://{request.headers['host']}{path}"


async def _asked(request: Request) -> Asked:
    """Not a plain function: for those, FastAPI takes a thread."""
    return Asked(request.app.state.core, act_of(request.scope))


Core = Annotated[Asked, Depends(_asked)]
