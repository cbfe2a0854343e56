"""The OpenAPI document as it stands in docs/openapi.json; as a program, prints it."""

import json
from typing import Any

from storlever.web.app import TABLES
from storlever.web.edge import Edge
from storlever.web.openapi import document


def published() -> dict[str, Any]:
    routes = [route for table in TABLES for route in table.router.routes]
    made: dict[str, Any] = json.loads(document(routes, Edge()))
    return made


if __name__ == "__main__":
    print(json.dumps(published(), indent=1, ensure_ascii=False))
