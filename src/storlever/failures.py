"""What a pass could not do, and what it must not do in consequence."""

from collections.abc import Mapping

from storlever.change import (
    BindIncoming,
    BindOutgoing,
    Change,
    CreateAccount,
    DeleteAccount,
    DeleteUnit,
    TargetChange,
    UnitChange,
)
from storlever.errors import StorLeverError, Unfit
from storlever.inventory import DISCOVERY
from storlever.model import Account, Place

Failed = tuple[str, int | None]
"""Target name (or DISCOVERY), and the LUN, or None when it is the target as a whole."""


class Failures:
    """`reasons` to start with are those of LUNs that are not tried this time."""

    def __init__(self, reasons: Mapping[Failed, str]) -> None:
        self.reasons: dict[Failed, str] = dict(reasons)
        self.refused: set[Place] = set()
        """The LUNs that tgtd itself refused."""
        self.unsettled = False
        """Something besides a LUN failed, so the state as a whole is not what is desired."""
        self._accounts: dict[str, str] = {}

    def record(self, change: Change, error: StorLeverError) -> None:
        match change:
            case CreateAccount(Account(name)) | DeleteAccount(name):
                self._accounts[name] = str(error)
                self.unsettled = True
            case _:
                self._record(change, error)

    def _record(self, change: TargetChange, error: StorLeverError) -> None:
        name, lun = change.target or DISCOVERY, lun_of(change)
        self.reasons[name, lun] = str(error)
        if lun is None:
            self.unsettled = True
        elif not isinstance(error, Unfit):
            self.refused.add((name, lun))

    def prevent(self, change: Change) -> bool:
        """Whether what failed prevents a change, which then has failed as well: a target that
        failed is left closed, and so is one whose user cannot be trusted."""
        match change:
            case CreateAccount(Account(name)):
                return name in self._accounts
            case DeleteAccount():
                return False
            case BindIncoming(target, name) | BindOutgoing(target, name) if name in self._accounts:
                self.reasons[target or DISCOVERY, None] = self._accounts[name]
        place = change.target or DISCOVERY, lun_of(change)
        return (place[0], None) in self.reasons or place in self.reasons


def lun_of(change: Change) -> int | None:
    """The number of the unit that the change is of; None for other changes."""
    if not isinstance(change, UnitChange):
        return None
    return change.lun if isinstance(change, DeleteUnit) else change.unit.lun
