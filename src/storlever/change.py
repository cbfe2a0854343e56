"""The changes that can be asked of tgtd, each as small as can be.

`target` is the target's iSCSI name; in the bindings None stands for discovery.
"""

from msgspec import Struct

from storlever.model import Account, LogicalUnit


class Admit(Struct, frozen=True):
    """Let whoever matches the ACL entry log in."""

    target: str
    entry: str


class Deny(Struct, frozen=True):
    """Remove an ACL entry; sessions that are there stay."""

    target: str
    entry: str


class EndSessions(Struct, frozen=True):
    """Have no session left: close them when forced, else raise Conflict if there is one."""

    target: str
    force: bool


class SetReady(Struct, frozen=True):
    target: str
    ready: bool


class CreateTarget(Struct, frozen=True):
    """Create it ready, with an empty ACL: closed to everyone."""

    target: str


class DeleteTarget(Struct, frozen=True):
    target: str


class CreateAccount(Struct, frozen=True):
    account: Account


class DeleteAccount(Struct, frozen=True):
    """Delete an account that is bound nowhere."""

    name: str


class BindIncoming(Struct, frozen=True):
    """Bind to the first free slot, which is the one after the last."""

    target: str | None
    name: str


class UnbindIncoming(Struct, frozen=True):
    """Unbind the account in the last slot."""

    target: str | None
    name: str


class BindOutgoing(Struct, frozen=True):
    target: str | None
    name: str


class UnbindOutgoing(Struct, frozen=True):
    target: str | None
    name: str


class CreateUnit(Struct, frozen=True):
    """Create the unit so that initiators first see it with everything in place."""

    target: str
    unit: LogicalUnit


class UpdateUnit(Struct, frozen=True):
    """Bring the named fields of a live unit to the values they have in `unit`."""

    target: str
    unit: LogicalUnit
    fields: tuple[str, ...]


class DeleteUnit(Struct, frozen=True):
    target: str
    lun: int


AccountChange = CreateAccount | DeleteAccount
BindingChange = BindIncoming | UnbindIncoming | BindOutgoing | UnbindOutgoing
UnitChange = CreateUnit | UpdateUnit | DeleteUnit
TargetChange = (
    Admit | Deny | EndSessions | SetReady | CreateTarget | DeleteTarget | BindingChange | UnitChange
)
Change = AccountChange | TargetChange
