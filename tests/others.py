"""What others say to tgtd: they have tools of their own, which let through what ours do not."""

from typing import Any

from msgspec.structs import force_setattr

from storlever.tgtd.wire import Mode, Op, Request


def unchecked(mode: Mode, op: Op, *parameters: tuple[str, str], **said: Any) -> Request:
    """A request that may be one which `Request` refuses to be."""
    request = Request(Mode.SYSTEM, Op.SHOW)
    for name, value in (said | {"mode": mode, "op": op, "parameters": parameters}).items():
        force_setattr(request, name, value)
    return request
