"""What is wished of the resources that paths name, and whether it is what a client asked for."""

from collections.abc import Callable, Mapping, Sequence
from hmac import compare_digest
from typing import Any

from msgspec.structs import replace

from storlever.document import TargetPart, UnitPart
from storlever.errors import NotFound
from storlever.inventory import Direction, Inventory, users_of
from storlever.model import Account, Target
from storlever.unit import as_new
from storlever.web.etag import View

Same = Callable[[Inventory], bool]
"""Whether what is there is what a client wants to make. Raises NotFound where it is not there."""


def conf(inventory: Inventory) -> object:
    return inventory.discovery, _accounts(inventory, inventory.discovery.accounts)


def config(inventory: Inventory) -> object:
    return conf(inventory), targets(inventory)


def target_names(inventory: Inventory) -> object:
    return sorted(inventory.targets)


def targets(inventory: Inventory) -> object:
    return tuple(_target(inventory, inventory.targets[name]) for name in sorted(inventory.targets))


def target(name: str) -> View:
    """With its users' passwords and its LUNs."""
    return lambda inventory: _target(inventory, inventory.target(name))


def users(name: str, direction: Direction) -> View:
    return lambda inventory: tuple(sorted(users_of(inventory.target(name), direction)))


def user(name: str, direction: Direction, user: str) -> View:
    def view(inventory: Inventory) -> object:
        inventory.require_user(name, direction, user)
        return inventory.accounts[user]

    return view


def units(name: str) -> View:
    return lambda inventory: inventory.target(name).units


def unit(name: str, lun: int) -> View:
    return lambda inventory: inventory.unit(name, lun)


def tokens(inventory: Inventory) -> object:
    return [token(name)(inventory) for name in sorted(inventory.tokens)]


def token(name: str) -> View:
    """When it was used last is no wish."""

    def view(inventory: Inventory) -> object:
        found = inventory.token(name)
        return replace(found, last_used=None).as_document()

    return view


def _target(inventory: Inventory, target: Target) -> object:
    return target, _accounts(inventory, target.accounts)


def _accounts(inventory: Inventory, names: frozenset[str]) -> tuple[Account, ...]:
    return tuple(inventory.accounts[name] for name in sorted(names))


# -- is it the same?


def same_target(part: TargetPart, accounts: Sequence[Account]) -> Same:
    """In what of it is given. `accounts`: the users it names."""

    def same(inventory: Inventory) -> bool:
        found = inventory.target(part.name)
        return (
            all(map(_alike, _said(part), _had(found)))
            and all(_has(found, unit) for unit in part.units or ())
            and all(_known(inventory, account) for account in accounts)
        )

    return same


def _said(part: TargetPart) -> tuple[object, ...]:
    numbers = None if part.units is None else [unit.lun for unit in part.units]
    return part.online, part.names, part.addresses, part.incoming, part.outgoing, numbers


def _had(target: Target) -> tuple[object, ...]:
    incoming, outgoing = (users_of(target, direction) for direction in Direction)
    numbers = [unit.lun for unit in target.units]
    access = target.access
    return target.online, access.names, access.addresses, incoming, outgoing, numbers


def _alike(said: Any, had: Any) -> bool:
    """The order of a list says nothing."""
    if said is None:
        return True
    return bool(said == had) if isinstance(said, bool) else sorted(said) == sorted(had)


def _has(target: Target, part: UnitPart) -> bool:
    unit = target.unit(part.lun)
    return unit is not None and as_new(unit, part.given)


def _known(inventory: Inventory, account: Account) -> bool:
    known = inventory.accounts.get(account.name)
    return known is not None and compare_digest(known.secret, account.secret)


def same_user(name: str, direction: Direction, account: Account) -> Same:
    def same(inventory: Inventory) -> bool:
        inventory.require_user(name, direction, account.name)
        return _known(inventory, account)

    return same


def same_unit(name: str, lun: int, given: Mapping[str, Any]) -> Same:
    """`given`: fields of LogicalUnit; those left out have their defaults, or were generated."""
    return lambda inventory: as_new(inventory.unit(name, lun), given)


def excused(same: Same | None, *, missing_ok: bool) -> Callable[[Exception, Inventory], bool]:
    """Whether an error means that all is as it would have been made."""

    def excuses(error: Exception, inventory: Inventory) -> bool:
        if isinstance(error, NotFound):
            return missing_ok
        try:
            return same is not None and same(inventory)
        except NotFound:
            return False

    return excuses
