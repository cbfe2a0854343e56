"""Interactive documentation, whole from this machine: storage networks have no internet.

The assets of Swagger UI come from the installed package fastapi-offline.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from storlever.principal import Role
from storlever.web.table import Table

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

table = Table(in_schema=False)


@table.get("/docs", Role.NOBODY)
async def page() -> Response:
    return HTMLResponse(_PAGE, headers=_POLICY)


@table.get("/openapi.json", Role.NOBODY)
async def document(request: Request) -> Response:
    return Response(request.app.state.document(), media_type="application/json")


@table.get("/docs/start.js", Role.NOBODY)
async def start() -> Response:
    return Response(_START, media_type="text/javascript")


class _Whole(StaticFiles):
    """Files in no parts: Starlette has a shape of its own for the refusal of one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


class _Assets(Mount):
    may = Role.NOBODY


def assets() -> Mount:
    folder = Path(str(files("fastapi_offline"))) / "static"
    return _Assets("/docs/assets", _Whole(directory=folder))
