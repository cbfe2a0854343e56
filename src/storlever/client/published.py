"""What a service says of its own API, in its OpenAPI document: whether it knows of rehearsals.

One that does not know `dry_run` would leave it unheard and do what it should only have told.
"""

import re
from collections.abc import Mapping
from typing import Any

from storlever.client.call import Call

DRY_RUN = "dry_run"


def document() -> Call[Mapping[str, Any]]:
    return Call("GET", "/openapi.json", lambda raw: dict(raw.json()))


def can_rehearse(document: Mapping[str, Any], call: Call[Any]) -> bool:
    """Whether this operation takes a dry run."""
    told = document.get("components", {}).get("parameters", {})
    return any(
        _named(told, parameter) == DRY_RUN
        for template, methods in document.get("paths", {}).items()
        if re.fullmatch(_pattern(template), call.path)
        for parameter in methods.get(call.method.lower(), {}).get("parameters", [])
    )


def _named(told: Mapping[str, Any], parameter: Mapping[str, Any]) -> str | None:
    """It stands there, or in what it refers to (OpenAPI 3.1, reference objects)."""
    name: str = parameter.get("$ref", "").rpartition("/")[2]
    found: str | None = told.get(name, parameter).get("name")
    return found


def _pattern(template: str) -> str:
    """Of the paths that it stands for; `{name}` for a part of one, which may be escaped."""
    parts = re.split(r"\{[^}]*\}", template)
    return "[^/]+".join(map(re.escape, parts))
