"""StorLever's API for Python programs: `Client`, and `AsyncClient` with the same methods.

    from storlever.client import Client

    with Client("http://127.0.0.1:6543") as storlever:
        storlever.create_target("iqn.2026-01.com.example:disk")

It knows nothing of the server but its API. What a method takes and gives is in `operations` and
`shapes`; what it raises, in `errors`. See docs/client.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from storlever.client.errors import (
    ClientError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotUnderstood,
    PreconditionFailed,
    Problem,
    Throttled,
    Unauthenticated,
    Unavailable,
    Unreachable,
)

if TYPE_CHECKING:
    from storlever.client.awaiting import AsyncClient
    from storlever.client.blocking import Client

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "NotUnderstood",
    "PreconditionFailed",
    "Problem",
    "Throttled",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
]
_LATE = {"Client": "blocking", "AsyncClient": "awaiting"}


def __getattr__(name: str) -> Any:
    """The clients bring the HTTP library along, which takes longer to import than all the rest:
    whoever asks for the help of a command need not wait for it."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
