"""The page `reference`: every operation of the API, written from openapi.json when it is built."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

Json = dict[str, Any]
METHODS = ("get", "post", "put", "delete")


def setup(app: Sphinx) -> Json:
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app: Sphinx) -> None:
    """Only where it differs, so that Sphinx sees no change where there is none."""
    folder = Path(app.srcdir)
    document = json.loads((folder / "openapi.json").read_text())
    text, page = "\n".join(_page(document)) + "\n", folder / "reference.md"
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


def _page(document: Json) -> Iterator[str]:
    yield "# API reference"
    yield ""
    yield f"{document['info']['summary']}. Made from `openapi.json`, which the service serves"
    yield "too, and which its `/docs` lets you try. What all operations have in common is in"
    yield "[](api.md), what the errors mean in [](errors.md)."
    tag = None
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                operation = operations[method]
                if operation.get("tags") != tag:
                    tag = operation.get("tags")
                    yield from ("", f"## {(tag or ['other'])[0]}")
                yield from _operation(document, path, method, operation)


def _operation(document: Json, path: str, method: str, operation: Json) -> Iterator[str]:
    yield from ("", f"### {method.upper()} {path}", "")
    if said := operation.get("description"):
        yield from (said, "")
    yield f"`{operation['operationId']}` — takes {operation.get('x-role', 'nobody')}"
    rows = [
        (f"`{each['name']}`", each["in"], _shape(document, each["schema"]), _words(each))
        for each in (_resolved(document, found) for found in operation.get("parameters", []))
    ]
    yield from _table(("parameter", "in", "type", "meaning"), rows)
    if body := operation.get("requestBody"):
        yield from _fields(document, "body", body["content"]["application/json"]["schema"])
    for status, answer in operation["responses"].items():
        content = _resolved(document, answer).get("content", {}).get("application/json")
        if status.startswith("2") and content:
            yield from _fields(document, f"answer {status}", content["schema"])
    statuses = ", ".join(status for status in operation["responses"])
    yield from ("", f"Answers: {statuses}")


def _fields(document: Json, title: str, schema: Json) -> Iterator[str]:
    shape = _resolved(document, schema)
    listed = shape.get("type") == "array"
    if listed:
        shape = _resolved(document, shape["items"])
    if "properties" not in shape:
        yield from ("", f"{title}: {_shape(document, schema)}")
        return
    needed = shape.get("required", ())
    rows = [
        (f"`{name}`", _shape(document, each), _words(each) + ("" if name in needed else " *"))
        for name, each in shape["properties"].items()
    ]
    yield from _table((f"{title}{', a list of' if listed else ''}", "type", "meaning"), rows)


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        yield from ("", f"| {' | '.join(titles)} |", "|" + "---|" * len(titles))
        for row in rows:
            yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _shape(document: Json, schema: Json) -> str:
    schema = _resolved(document, schema)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_shape(document, each) for each in choices)
    if words := schema.get("enum"):
        return " ".join(f"`{word}`" for word in words)
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_shape(document, schema['items'])}"
    if "title" in schema and "properties" in schema:
        return str(schema["title"])
    return str(schema.get("format") or schema.get("type", "anything"))


def _words(each: Json) -> str:
    default = each.get("default", each.get("schema", {}).get("default"))
    said = each.get("description") or each.get("schema", {}).get("description") or ""
    return " ".join(said.split()) + ("" if default in (None, "", []) else f" (`{default}`)")


def _resolved(document: Json, found: Json) -> Json:
    while "$ref" in found:
        place: Any = document
        for step in found["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        found = place
    return found
