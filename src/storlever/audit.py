"""The audit: what was asked for, by whom, and what came of it; each entry chained to the last.

The hash of an entry is SHA-256 over the hash of the one before it, as hexadecimal digits, and the
entry's canonical JSON: keys sorted, no blanks, ASCII alone. So whoever has a page of it can check
it, and an entry that was altered or taken out is noticed.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from storlever.encoding import canonical
from storlever.inventory import Edit, Inventory
from storlever.model import Account, Target
from storlever.principal import Act
from storlever.token import Token

DONE = "done"
MASK = "********"
"""Stands for a secret, whichever."""
MOST = 1000
"""Entries of a page."""
START = "0" * 64
"""Stands for the hash before the first entry."""

Json = dict[str, Any]


class Entry(Struct, frozen=True):
    """`time` is in UTC; `outcome` is `done` or the code of the error; `before` and `after` hold
    what changed, with secrets masked."""

    time: str
    who: str
    role: str
    address: str
    request_id: str
    operation: str
    path: str
    target: str
    outcome: str
    before: Json
    after: Json


class Link(Struct, frozen=True):
    """Where the chain is: an entry's number, from 1, and its hash."""

    number: int = 0
    hash: str = START

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    def next(self, document: str) -> "Link":
        text = self.hash + document
        return Link(self.number + 1, hashlib.sha256(text.encode()).hexdigest())


class Search(Struct, frozen=True):
    """`since` and `until` are times, `after` and `before` numbers; all leave out what they name but
    `since`. With `after` the oldest come first, else the newest."""

    since: str | None = None
    until: str | None = None
    who: str | None = None
    target: str | None = None
    after: int | None = None
    before: int | None = None
    limit: int = 100


def stamp(now: datetime) -> str:
    """ISO 8601 with milliseconds; texts of times sort as the times do."""
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> str:
    """A time with its zone, in the form of the entries'. Raises ValueError."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None or "T" not in text:
            raise ValueError
        return stamp(found.astimezone(UTC))
    except (ValueError, OverflowError):
        raise ValueError("must be a time with its zone, like 2026-01-31T00:00:00Z") from None


def entry(
    act: Act, now: datetime, outcome: str, edit: Edit | None = None, old: Inventory | None = None
) -> Entry:
    """`edit` is what was made of `old`."""
    before, after = difference(edit, old) if edit and old else ({}, {})
    target = next(iter(edit.targets), "") if edit else ""
    return Entry(
        time=stamp(now),
        who=act.principal.name,
        role=str(act.principal.role),
        address=act.principal.address,
        request_id=act.request_id,
        operation=act.operation,
        path=act.path,
        target=target or act.target,
        outcome=outcome,
        before=before,
        after=after,
    )


def document(number: int, entry: Entry) -> str:
    return canonical({"number": number, **asdict(entry)})


def broken(records: Iterable[Json], link: Link) -> str | None:
    """Where a chain of records, oldest first, does not follow from `link`; None if it does."""
    for record in records:
        content = {key: value for key, value in record.items() if key != "hash"}
        link = link.next(canonical(content))
        if content.get("number") != link.number:
            return f"entry {link.number} is not there"
        if record.get("hash") != link.hash:
            return f"entry {link.number} is not as it was written"
    return None


def difference(edit: Edit, old: Inventory) -> tuple[Json, Json]:
    """What the edit changed of `old`, before and after."""
    before: Json = {}
    after: Json = {}
    kinds: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any], Callable[[Any], Any]], ...] = (
        ("targets", old.targets, edit.targets, _target),
        ("users", old.accounts, edit.accounts, _account),
        ("tokens", old.tokens, edit.tokens, _token),
    )
    for kind, known, changed, shown in kinds:
        for name, new in changed.items():
            was, became = _parted(shown(known.get(name)), shown(new))
            before.setdefault(kind, {})[name] = was
            after.setdefault(kind, {})[name] = became
    if edit.discovery is not None:
        before["discovery"], after["discovery"] = map(asdict, (old.discovery, edit.discovery))
    return before, after


def _parted(was: Any, became: Any) -> tuple[Any, Any]:
    """What differs of two documents. Most of a target is the very same."""
    if was is None or became is None or not isinstance(was, dict):
        return was, became
    common = {key for key, value in was.items() if value is became.get(key)}
    keys = [
        key for key in {**was, **became} if key not in common and was.get(key) != became.get(key)
    ]
    return {key: was.get(key) for key in keys}, {key: became.get(key) for key in keys}


def _target(target: Target | None) -> Json | None:
    if target is None:
        return None
    return {
        "online": target.online,
        "initiator_names": target.access.names,
        "initiator_addresses": target.access.addresses,
        "incoming": target.incoming,
        "outgoing": target.outgoing,
        **{f"lun {unit.lun}": unit for unit in target.units},
    }


def _account(account: Account | None) -> str | None:
    return MASK if account else None


def _token(token: Token | None) -> Json | None:
    if token is None:
        return None
    return {"role": str(token.role), "expires": token.expires and stamp(token.expires)}
