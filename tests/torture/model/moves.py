"""What a request asks for, as a user sees it: what may be said against it, and what it changes."""

from collections.abc import Callable
from dataclasses import dataclass

from storlever.errors import NotFound, StorLeverError

Refusal = tuple[type[StorLeverError], str]
"""The kind of an error and its code."""


def nothing() -> None: ...


@dataclass(frozen=True)
class Move:
    """`refusals`: one of them must come, or none where there is none. `done`: makes it so.

    `names`: targets and users that it makes or changes. `closes`: whose sessions it may end.
    """

    refusals: frozenset[Refusal] = frozenset()
    done: Callable[[], None] = nothing
    names: frozenset[str] = frozenset()
    closes: str | None = None


NO_TARGET = Move(frozenset({(NotFound, "target-not-found")}))
NO_USER = Move(frozenset({(NotFound, "user-not-found")}))
NO_LUN = Move(frozenset({(NotFound, "lun-not-found")}))


def against(*reasons: tuple[bool, type[StorLeverError], str]) -> frozenset[Refusal]:
    """The refusals that hold."""
    return frozenset((kind, code) for holds, kind, code in reasons if holds)
