"""Is the service alive, and does it do what it is for."""

from collections.abc import Iterator
from typing import Literal

from fastapi import Request
from starlette.responses import JSONResponse

from storlever.principal import Role
from storlever.status import Health
from storlever.web.edge import Edge
from storlever.web.table import Table
from storlever.web.threads import Threaded
from storlever.web.wire import Shown

table = Table(tag="health")


class Alive(Shown):
    status: Literal["ok"] = "ok"


class Readiness(Shown):
    """`failing`: targets and LUNs that are wished for and not served, with the reason. `warnings`:
    what should not be as it is. The rest is told only to who may read the state."""

    status: Literal["ready", "unavailable"]
    reason: str | None
    failing: list[str]
    foreign: list[str]
    warnings: list[str]


@table.get("/healthz", Role.NOBODY)
async def healthz() -> Alive:
    return Alive()


@table.get("/readyz", Role.NOBODY, responses={503: {"model": Readiness}}, response_model=Readiness)
async def readyz(request: Request) -> JSONResponse:
    """Ready once tgtd has what is desired; single LUNs that fail are told, and do not count."""
    core: Threaded = request.app.state.core
    edge: Edge = request.app.state.edge
    health = core.service.health()
    told = request.state.principal.role >= Role.READER
    body = Readiness(
        status="unavailable" if health.down else "ready",
        reason=health.down if told else None,
        failing=[f"{place}: {reason}" for place, reason in health.failing] if told else [],
        foreign=list(health.foreign) if told else [],
        warnings=[*edge.warnings, *(_warnings(request, health) if told else ())],
    )
    return JSONResponse(body.model_dump(), 503 if health.down else 200)


def _warnings(request: Request, health: Health) -> Iterator[str]:
    if health.hole:
        yield health.hole
    yield from request.app.state.warnings()
