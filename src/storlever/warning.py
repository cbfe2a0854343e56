"""What there is to say of a write that is done all the same. Pure."""

from storlever.inventory import Edit, Inventory
from storlever.model import Account, LogicalUnit
from storlever.names import SHORT_SECRET

SHORT_SECRET_WARNING = (
    f"the password has fewer than {SHORT_SECRET} characters: it is easy to guess, and some "
    "initiators refuse it"
)
AIO_WARNING = (
    "tgtd's aio ignores SYNCHRONIZE CACHE and answers WRITE AND VERIFY without writing: "
    "rdwr is the safe backing type"
)


def of_accounts(*accounts: Account) -> tuple[str, ...]:
    short = any(len(account.secret) < SHORT_SECRET for account in accounts)
    return (SHORT_SECRET_WARNING,) if short else ()


def of_units(*units: LogicalUnit) -> tuple[str, ...]:
    return (AIO_WARNING,) if any(unit.aio for unit in units) else ()


def of_edit(edit: Edit, old: Inventory) -> tuple[str, ...]:
    """Of the accounts and LUNs that an edit of `old` makes or changes, each sentence once."""
    units = [unit for target in edit.targets.values() if target for unit in target.units]
    known = {unit for name in edit.targets for unit in old.units(name)}
    accounts = filter(None, edit.accounts.values())
    return of_accounts(*accounts) + of_units(*(unit for unit in units if unit not in known))
