"""What tgtd's error numbers mean: one table, and the errors they become."""

from storlever.change import (
    Admit,
    BindIncoming,
    BindOutgoing,
    Change,
    CreateAccount,
    CreateTarget,
    CreateUnit,
    DeleteAccount,
    DeleteTarget,
    DeleteUnit,
    Deny,
    SetReady,
    UnbindIncoming,
    UnbindOutgoing,
    UpdateUnit,
)
from storlever.errors import Conflict, Refused, StorLeverError
from storlever.names import printable
from storlever.tgtd.reply import Reply
from storlever.tgtd.wire import TgtError

_MEANINGS: dict[TgtError, str] = {
    TgtError.UNKNOWN: "tgtd met an error it has no name for",
    TgtError.NO_MEMORY: "tgtd is out of memory",
    TgtError.NO_DRIVER: "tgtd's iSCSI driver is stopped",
    TgtError.NO_TARGET: "tgtd does not have the target",
    TgtError.NO_LUN: "tgtd does not have the LUN",
    TgtError.NO_SESSION: "tgtd does not have the session",
    TgtError.NO_CONNECTION: "tgtd does not have the connection",
    TgtError.NO_BINDING: "tgtd does not have the binding",
    TgtError.TARGET_EXISTS: "tgtd has a target of this name that is not StorLever's",
    TgtError.LUN_EXISTS: "tgtd has this LUN already",
    TgtError.BINDING_EXISTS: "tgtd has this binding already",
    TgtError.ACL_EXISTS: "tgtd has this ACL entry already",
    TgtError.NO_ACL: "tgtd does not have this ACL entry",
    TgtError.USER_EXISTS: "tgtd has this user already, and it is not StorLever's to change",
    TgtError.NO_USER: "tgtd does not have this user, or not here",
    TgtError.TOO_MANY_USERS: "tgtd has no room for another user",
    TgtError.INVALID_REQUEST: "tgtd does not accept it",
    TgtError.OUTGOING_EXISTS: "tgtd has another outgoing user here",
    TgtError.TARGET_ACTIVE: "the target has sessions",
    TgtError.LUN_ACTIVE: "the LUN has commands in flight",
    TgtError.DRIVER_ACTIVE: "tgtd's iSCSI driver has targets",
    TgtError.UNSUPPORTED: "tgtd does not know this operation",
    TgtError.UNKNOWN_PARAMETER: "tgtd does not know this parameter",
    TgtError.REMOVAL_PREVENTED: "an initiator prevents the removal of the medium",
}

# What tells that tgtd is not in the state we last knew.
_DRIFT = frozenset(
    {
        TgtError.NO_TARGET,
        TgtError.NO_LUN,
        TgtError.TARGET_EXISTS,
        TgtError.LUN_EXISTS,
        TgtError.USER_EXISTS,
        TgtError.NO_USER,
        TgtError.OUTGOING_EXISTS,
    }
)

# A change whose end is there already, whoever brought it about, is done.
ALREADY: dict[type[Change], TgtError] = {
    Admit: TgtError.ACL_EXISTS,
    DeleteTarget: TgtError.NO_TARGET,
    DeleteUnit: TgtError.NO_LUN,
    DeleteAccount: TgtError.NO_USER,
    UnbindOutgoing: TgtError.NO_USER,
}


class TgtRefusal(Exception):
    """tgtd answered with an error number; it never leaves this package."""

    def __init__(self, number: int) -> None:
        super().__init__(f"error {number}")
        self.number = number


def text_of(reply: Reply) -> str:
    """Raises TgtRefusal."""
    if reply.error:
        raise TgtRefusal(reply.error)
    return reply.text


def translated(number: int, change: Change | None) -> StorLeverError:
    try:
        error = TgtError(number)
    except ValueError:
        return Refused(f"tgtd answered with the unknown error {number}")
    meaning = _MEANINGS[error]
    if error is TgtError.LUN_ACTIVE:
        return Conflict(f"cannot change the LUN: {meaning}", code="lun-busy")
    if error is TgtError.TARGET_ACTIVE:
        return Conflict(f"cannot remove the target: {meaning}", code="target-busy")
    if error is TgtError.REMOVAL_PREVENTED:
        return Conflict(f"cannot take the LUN offline: {meaning}", code="removal-prevented")
    what = _spoken(change)
    return Refused(f"cannot {what}: {meaning}", drift=error in _DRIFT)


def unspeakable(change: Change, why: ValueError) -> Refused:
    """There is no request that says this change."""
    return Refused(f"cannot {_spoken(change)}: {why}")


def _spoken(change: Change | None) -> str:
    """The change in words, without a secret, and fit to print whoever chose the names in it."""
    return printable(_worded(change))


def _worded(change: Change | None) -> str:
    match change:
        case CreateUnit(target, unit) | UpdateUnit(target, unit):
            return f"serve {unit.backing_path} as LUN {unit.lun} of {target}"
        case DeleteUnit(target, lun):
            return f"remove LUN {lun} of {target}"
        case Admit(target, entry):
            return f"admit {entry} to {target}"
        case Deny(target, entry):
            return f"remove {entry} from the ACL of {target}"
        case CreateAccount(account):
            return f"create user {account.name}"
        case DeleteAccount(name):
            return f"delete user {name}"
        case BindIncoming(_, name) | UnbindIncoming(_, name):
            return f"change incoming user {name}"
        case BindOutgoing(_, name) | UnbindOutgoing(_, name):
            return f"change outgoing user {name}"
        case CreateTarget(target):
            return f"create target {target}"
        case DeleteTarget(target):
            return f"delete target {target}"
        case SetReady(target, ready):
            return f"take target {target} {'online' if ready else 'offline'}"
        case _:
            return "list sessions"
