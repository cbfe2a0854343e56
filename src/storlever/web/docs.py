"""Interactive documentation, whole from this machine: storage networks have no internet.

The assets of Swagger UI come from the installed package fastapi-offline.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>StorLever API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="api"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null,
});
"""

_POLICY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> Response:
    return HTMLResponse(_PAGE, headers=_POLICY)


@router.get("/openapi.json")
async def document(request: Request) -> Response:
    return Response(request.app.state.document(), media_type="application/json")


@router.get("/docs/start.js")
async def start() -> Response:
    return Response(_START, media_type="text/javascript")


class _Whole(StaticFiles):
    """Files in no parts: Starlette has a shape of its own for the refusal of one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def assets() -> Mount:
    folder = Path(str(files("fastapi_offline"))) / "static"
    return Mount("/docs/assets", _Whole(directory=folder))
