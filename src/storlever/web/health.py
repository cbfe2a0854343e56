"""Is the service alive, and does it do what it is for."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from storlever.web.threads import Threaded

router = APIRouter(tags=["health"], generate_unique_id_function=lambda route: route.name)


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`failing`: targets and LUNs that are wished for and not served, with the reason."""

    status: Literal["ready", "unavailable"]
    reason: str | None
    failing: list[str]
    foreign: list[str]


@router.get("/healthz")
async def healthz() -> Alive:
    return Alive()


@router.get("/readyz", responses={503: {"model": Readiness}}, response_model=Readiness)
async def readyz(request: Request) -> JSONResponse:
    """Ready once tgtd has what is desired; single LUNs that fail are told, and do not count."""
    core: Threaded = request.app.state.core
    health = core.service.health()
    body = Readiness(
        status="unavailable" if health.down else "ready",
        reason=health.down,
        failing=[f"{place}: {reason}" for place, reason in health.failing],
        foreign=list(health.foreign),
    )
    return JSONResponse(body.model_dump(), 503 if health.down else 200)
