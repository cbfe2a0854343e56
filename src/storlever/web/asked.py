"""The core, as it is asked by one request that changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Header, Request

from storlever.audit import Json, Link, Search
from storlever.inventory import Inventory
from storlever.principal import Principal
from storlever.receipt import Done
from storlever.sampler import Visit
from storlever.service import Service
from storlever.status import TargetStatus
from storlever.web.edge import Edge
from storlever.web.etag import View, listed
from storlever.web.gate import act_of
from storlever.web.table import API, say
from storlever.web.threads import Answer, Given, Method, Threaded
from storlever.writer import Write


class Unchanged(Exception):
    """The client has what it asks for: 304."""

    def __init__(self, tag: str) -> None:
        self.tag = tag


@dataclass(frozen=True, slots=True)
class Asked:
    """`service` for what comes from memory."""

    core: Threaded
    request: Request

    @property
    def service(self) -> Service:
        return self.core.service

    @property
    def principal(self) -> Principal:
        found: Principal = self.request.state.principal
        return found

    async def audit(self, search: Search) -> tuple[Link, Sequence[Json]]:
        return await self.core.audit(search)

    async def target(self, name: str) -> TargetStatus:
        return await self.core.target(name)

    async def visits(self, name: str) -> list[Visit]:
        return await self.core.visits(name)

    async def read(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        return await self.core.read(method, *args, **options)

    async def with_secrets(self) -> Inventory:
        """All that is durable, once the audit tells durably who took it."""
        hand_out = partial(Service.hand_out_secrets, self.service)
        outcome = await self.core.write_apart(Write(act_of(self.request.scope), hand_out))
        assert isinstance(outcome, Done)
        inventory: Inventory = outcome.answer
        return inventory


@dataclass(frozen=True, slots=True)
class AskedOfOne(Asked):
    """Of a resource that has a tag; `known`: what If-None-Match says."""

    known: str | None

    def tag(self, view: View) -> None:
        """Say the tag of what is asked for: before it is read, so that a tag is never newer than
        what it is of. Raises NotFound, and Unchanged where the client has it."""
        found = self.core.tags.of(view(self.service.inventory))
        if self.known is not None and found in listed(self.known):
            raise Unchanged(found)
        say(self.request, "ETag", found)


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
    return Asked(request.app.state.core, request)


IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="tags of what the client has: then 304"),
]


async def _asked_of_one(request: Request, known: IfNoneMatch = None) -> AskedOfOne:
    return AskedOfOne(request.app.state.core, request, known)


Core = Annotated[Asked, Depends(_asked)]
Tagged = Annotated[AskedOfOne, Depends(_asked_of_one)]
