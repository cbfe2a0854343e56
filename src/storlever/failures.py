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
from storlever.model import Place

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
        if isinstance(change, CreateAccount):
            self._accounts[change.account.name] = str(error)
        elif isinstance(change, DeleteAccount):
            self._accounts[change.name] = str(error)
        else:
            self._record(change, error)
            return
        self.unsettled = True

    def _record(self, change: TargetChange, error: StorLeverError) -> None:
        name, lun = change.target or DISCOVERY, lun_of(change)
        self.reasons[name, lun] = str(error)
        if lun is None:
            self.unsettled = True
        elif not isinstance(error, Unfit):
            self.refused.add((name, lun))

    def forbid(self, change: Change) -> bool:
        """A target that failed is left closed, and so is one whose user cannot be trusted."""
        if isinstance(change, CreateAccount):
            return change.account.name in self._accounts
        if isinstance(change, DeleteAccount):
            return False
        name, lun = change.target or DISCOVERY, lun_of(change)
        if isinstance(change, BindIncoming | BindOutgoing) and change.name in self._accounts:
            self.reasons[name, None] = self._accounts[change.name]
        return (name, None) in self.reasons or (lun is not None and (name, lun) in self.reasons)


def lun_of(change: Change) -> int | None:
    """The number of the unit that the change is of; None for other changes."""
    if not isinstance(change, UnitChange):
        return None
    return change.lun if isinstance(change, DeleteUnit) else change.unit.lun
