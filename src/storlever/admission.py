"""Who is admitted to a target, and why: in tgtd's order, state, then lists, then users. Pure."""

from enum import StrEnum
from ipaddress import ip_address, ip_network

from msgspec import Struct

from storlever.errors import Conflict
from storlever.model import Access, Session, Target
from storlever.names import EVERYONE


class Rule(StrEnum):
    """What decided."""

    STATE = "state"
    NAMES = "names"
    ADDRESSES = "addresses"
    EVERYBODY = "everybody"
    UNLISTED = "unlisted"
    USERS = "users"


class Asking(Struct, frozen=True):
    """An initiator that would log in; what is not known of it is None."""

    name: str | None = None
    address: str | None = None
    user: str | None = None


class Admission(Struct, frozen=True):
    """`reason` is a sentence."""

    admitted: bool
    rule: Rule
    reason: str


def admission(target: Target, asking: Asking, closed: str | None) -> Admission:
    """Whether a login would be granted, with the right password where one is asked for. `closed`:
    why the target takes nobody, if it does not."""
    if closed is not None:
        return Admission(False, Rule.STATE, closed)
    if not target.online:
        return Admission(False, Rule.STATE, "the target is offline")
    admitting = _admitting(target.access, asking)
    if not admitting.admitted or not target.incoming:
        return admitting
    if asking.user is None:
        why = "the target asks for a user and a password, and no user is named"
        return Admission(False, Rule.USERS, why)
    if asking.user not in target.incoming:
        why = f"user {asking.user!r} is no incoming user of the target"
        return Admission(False, Rule.USERS, why)
    why = f"{admitting.reason}, and user {asking.user!r} is let in with the right password"
    return Admission(True, admitting.rule, why)


def _admitting(access: Access, asking: Asking) -> Admission:
    if access == Access():
        return Admission(True, Rule.EVERYBODY, "both lists are empty, which admits everybody")
    if asking.name in access.names:
        return Admission(True, Rule.NAMES, f"its name, {asking.name}, is in the list")
    for entry in access.addresses:
        if matches(entry, asking.address):
            return Admission(True, Rule.ADDRESSES, f"its address is admitted by {entry}")
    return Admission(False, Rule.UNLISTED, "no list has its name or its address")


def matches(entry: str, address: str | None) -> bool:
    """Whether an entry of an address list, in the form of `names`, admits an address."""
    if address is None:
        return False
    try:
        return entry == EVERYONE or ip_address(address) in ip_network(entry)
    except ValueError:  # of a session whose address is not known
        return False


def shutting_out(access: Access, session: Session) -> Access:
    """The lists without what admits this session alone. Raises Conflict where others are admitted
    by the same, or where everybody would be without it."""
    if access == Access():
        raise _cannot("both lists are empty, which admits everybody")
    for entry in access.addresses:
        if matches(entry, session.address) and (entry == EVERYONE or "/" in entry):
            raise _cannot(f"{entry} in the list of addresses admits it, and others with it")
    left = Access(
        tuple(name for name in access.names if name != session.initiator_name),
        tuple(each for each in access.addresses if not matches(each, session.address)),
    )
    if left == Access():
        only = " and ".join(access.entries)
        raise _cannot(f"without {only} both lists are empty, which admits everybody")
    return left


def _cannot(why: str) -> Conflict:
    return Conflict(f"cannot shut the initiator out: {why}", code="cannot-block")
