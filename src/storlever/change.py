"""The changes that can be asked of tgtd, each as small as can be.

`target` is the target's iSCSI name; in the bindings None stands for discovery.
"""

from dataclasses import dataclass

from storlever.model import Account, LogicalUnit


@dataclass(frozen=True, slots=True)
class Admit:
    """Let whoever matches the ACL entry log in."""

    target: str
    entry: str


@dataclass(frozen=True, slots=True)
class Deny:
    """Remove an ACL entry; sessions that are there stay."""

    target: str
    entry: str


@dataclass(frozen=True, slots=True)
class EndSessions:
    """Have no session left: close them when forced, else raise Conflict if there is one."""

    target: str
    force: bool


@dataclass(frozen=True, slots=True)
class SetReady:
    target: str
    ready: bool


@dataclass(frozen=True, slots=True)
class CreateTarget:
    """Create it ready, with an empty ACL: closed to everyone."""

    target: str


@dataclass(frozen=True, slots=True)
class DeleteTarget:
    target: str


@dataclass(frozen=True, slots=True)
class CreateAccount:
    account: Account


@dataclass(frozen=True, slots=True)
class DeleteAccount:
    """Delete an account that is bound nowhere."""

    name: str


@dataclass(frozen=True, slots=True)
class BindIncoming:
    """Bind to the first free slot, which is the one after the last."""

    target: str | None
    name: str


@dataclass(frozen=True, slots=True)
class UnbindIncoming:
    """Unbind the account in the last slot."""

    target: str | None
    name: str


@dataclass(frozen=True, slots=True)
class BindOutgoing:
    target: str | None
    name: str


@dataclass(frozen=True, slots=True)
class UnbindOutgoing:
    target: str | None
    name: str


@dataclass(frozen=True, slots=True)
class CreateUnit:
    """Create the unit so that initiators first see it with everything in place."""

    target: str
    unit: LogicalUnit


@dataclass(frozen=True, slots=True)
class UpdateUnit:
    """Bring the named fields of a live unit to the values they have in `unit`."""

    target: str
    unit: LogicalUnit
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteUnit:
    target: str
    lun: int


AccountChange = CreateAccount | DeleteAccount
BindingChange = BindIncoming | UnbindIncoming | BindOutgoing | UnbindOutgoing
UnitChange = CreateUnit | UpdateUnit | DeleteUnit
TargetChange = (
    Admit | Deny | EndSessions | SetReady | CreateTarget | DeleteTarget | BindingChange | UnitChange
)
Change = AccountChange | TargetChange
