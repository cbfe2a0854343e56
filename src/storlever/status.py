"""What is wished for, and how it is: ready, offline, or error with a reason. Pure."""

from collections.abc import Mapping

from msgspec import Struct

from storlever.failures import Failed
from storlever.model import LogicalUnit, Session, Target


class UnitStatus(Struct, frozen=True):
    """`size`: bytes, where it is known; `reason`: why its state is error."""

    unit: LogicalUnit
    state: str
    reason: str | None
    size: int | None


class TargetStatus(Struct, frozen=True):
    """`reason`: why its state is error."""

    target: Target
    state: str
    reason: str | None
    sessions: tuple[Session, ...]


class Health(Struct, frozen=True):
    """`down`: why nothing can be changed now; `failing`: (place, reason) of what is not served;
    `foreign`: the targets in tgtd that are not ours; `hole`: what tgtd is known to be vulnerable
    to."""

    down: str | None
    failing: tuple[tuple[str, str], ...]
    foreign: tuple[str, ...]
    hole: str | None


def trouble(
    down: str | None, failures: Mapping[Failed, str], name: str, lun: int | None = None
) -> str | None:
    """Why a target, or a LUN of it, is not served; None where nothing is known against it. `down`:
    why tgtd cannot be used."""
    return down or failures.get((name, lun)) or failures.get((name, None))


def state(online: bool, reason: str | None) -> str:
    """What is known of tgtd does not count: it may be that of a write that is not done yet."""
    if reason is not None:
        return "error"
    return "ready" if online else "offline"
