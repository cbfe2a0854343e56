"""The application: routes, the gate before them, the errors after them."""

from collections.abc import Callable
from datetime import datetime
from functools import cache

from anyio import CapacityLimiter
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import to_builtins
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from storlever.errors import StorLeverError
from storlever.web import (
    audit,
    config,
    docs,
    events,
    foreign,
    health,
    metrics,
    openapi,
    portals,
    revisions,
    san,
    sessions,
    tokens,
)
from storlever.web.asked import Unchanged
from storlever.web.authentication import Authentication
from storlever.web.body import HUGE_BODIES, LARGE_BODIES
from storlever.web.edge import Edge
from storlever.web.events import Streams
from storlever.web.gate import Gate, marks
from storlever.web.meter import Meter
from storlever.web.metrics import Metrics
from storlever.web.problem import CODES, of_error, of_faults, problem
from storlever.web.table import LARGE_ANSWERS, require_rights
from storlever.web.threads import Threaded
from storlever.web.writing import Rehearsed

TABLES = (
    san.table,
    config.table,
    revisions.table,
    foreign.table,
    portals.table,
    sessions.table,
    metrics.table,
    events.table,
    tokens.table,
    audit.table,
    health.table,
    docs.table,
)


def create_app(
    core: Threaded,
    edge: Edge,
    warnings: Callable[[], tuple[str, ...]] = tuple,
    valid_until: Callable[[], datetime | None] = lambda: None,
) -> FastAPI:
    """`warnings`: what somebody should see to, at the moment. `valid_until`: when the TLS
    certificate ends."""
    authentication = Authentication(edge, core.service)
    streams = Streams(core.service.events)
    measured = Metrics(core, edge, warnings, valid_until, streams)
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(edge, authentication, core, measured.meter),
        exception_handlers={
            StorLeverError: _on_error,
            Rehearsed: _on_rehearsed,
            Unchanged: _on_unchanged,
            RequestValidationError: _on_faults,
            HTTPException: _on_http,
            Exception: _on_anything,
        },
    )
    app.state.core = core
    app.state.edge = edge
    app.state.warnings = warnings
    app.state.metrics = measured
    app.state.streams = streams
    app.state.authentication = authentication
    app.state.large_bodies = CapacityLimiter(LARGE_BODIES)
    app.state.huge_bodies = CapacityLimiter(HUGE_BODIES)
    app.state.large_answers = CapacityLimiter(LARGE_ANSWERS)
    app.state.document = cache(lambda: openapi.document(app.routes, edge))
    for table in TABLES:
        app.router.routes.extend(table.router.routes)  # an included router is matched twice
    app.router.routes.append(docs.assets())
    require_rights(app.routes)
    return app


def _middleware(
    edge: Edge, authentication: Authentication, core: Threaded, meter: Meter
) -> list[Middleware]:
    gate = Middleware(
        Gate, edge=edge, authentication=authentication, service=core.service, meter=meter
    )
    if not edge.origins:
        return [gate]
    pages = Middleware(
        CORSMiddleware,
        allow_origins=edge.origins,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "X-Request-Id",
        ],
        expose_headers=["ETag", "Idempotency-Replayed", "Location", "Warning", "X-Request-Id"],
    )
    return [pages, gate]


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StorLeverError)
    return of_error(request.scope, error)


async def _on_rehearsed(_: Request, error: Exception) -> Response:
    assert isinstance(error, Rehearsed)
    return JSONResponse(to_builtins(error.rehearsal))


async def _on_unchanged(_: Request, error: Exception) -> Response:
    assert isinstance(error, Unchanged)
    return Response(status_code=304, headers={"ETag": error.tag})


async def _on_faults(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_faults(request, error.errors())


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, detail = error.status_code, str(error.detail)
    headers = dict(error.headers or {})
    if status == 404:
        detail = "there is nothing at this path"
    if status == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
        detail = f"this path takes {headers['Allow']}"
    return problem(request.scope, status, CODES.get(status, "http"), detail, headers=headers)


async def _on_anything(request: Request, _error: Exception) -> Response:
    """The last resort: the log has the traceback, the answer has the request's id.

    It does not pass the gate on its way out, so it brings its marks along; and uvicorn closes the
    connection after it, which a client that keeps it for its next request has to know.
    """
    headers = {**marks(request.state.request_id), "Connection": "close"}
    detail = "an error in StorLever itself; see its log"
    return problem(request.scope, 500, "internal", detail, headers=headers)


def _methods(request: Request) -> set[str]:
    """Every method of a path, whichever of its routes was met first."""
    return {
        method
        for table in TABLES
        for route in table.router.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    } or {"GET", "HEAD"}  # those of the static files
