"""What others say to tgtd: they have tools of their own, which let through what ours do not."""

from dataclasses import fields
from typing import Any

from storlever.tgtd.wire import Mode, Op, Request


def unchecked(mode: Mode, op: Op, *parameters: tuple[str, str], **said: Any) -> Request:
    """A request that may be one which `Request` refuses to be."""
    request = object.__new__(Request)
    values = {field.name: field.default for field in fields(Request)}
    for name, value in (values | said | {"mode": mode, "op": op, "parameters": parameters}).items():
        object.__setattr__(request, name, value)
    object.__setattr__(request, "frame", request._encoded())
    return request
