"""The audit in the state file: a table that only grows at its end and goes at its beginning.

Its methods are steps of the store's transactions, so an entry is there if and only if the change
that it tells of is.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from storlever.audit import Entry, Json, Link, Search, broken, canonical, stamp

ANCHOR = "audit anchor"
"""The name of the setting that holds the link before the oldest entry."""
HEAD = "audit head"
"""The name of the setting that holds the newest link, once there is any."""
LOOKED_AT = 2000
BATCH = 1000
"""Entries that go at once, at most: whoever has something to commit waits for that."""

_INSERT = "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)"
_LAST = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1"
_OLDEST = "SELECT number FROM audit ORDER BY number LIMIT 1"
_EXPIRED = (
    "SELECT max(number) FROM (SELECT number, time FROM audit ORDER BY number LIMIT ?) "
    "WHERE time < ?"
)
_SINCE = "SELECT number FROM audit WHERE time >= ? ORDER BY time, number LIMIT 1"
_BEYOND = 2**63 - 1
_HASH = "SELECT hash FROM audit WHERE number = ?"
_REMOVE = "DELETE FROM audit WHERE number <= ?"


@dataclass(frozen=True, slots=True)
class Keep:
    """How many entries are kept at most, and for how long."""

    entries: int = 200_000
    age: timedelta = timedelta(days=365)


class Journal:
    def __init__(self, connection: sqlite3.Connection, keep: Keep) -> None:
        self._connection = connection
        self._keep = keep

    def last(self, anchor: Link) -> Link:
        """The newest entry, or `anchor` where there is none."""
        row = self._connection.execute(_LAST).fetchone()
        return Link(*row) if row else anchor

    def fault(self, anchor: Link, head: Link) -> str | None:
        """Where the chain does not hold among the newest entries, or does not end at `head`. Only
        those are looked at: as many as SQLite's log can have, for there may be a million."""
        if (last := self.last(anchor)) != head:
            return f"entry {head.number} is the last, and entry {last.number} is found"
        newest = self.page(Search(limit=LOOKED_AT))[::-1]
        if not newest:
            return None
        if len(newest) == LOOKED_AT:
            anchor = Link(newest[0]["number"], newest[0]["hash"])
            newest = newest[1:]
        return broken(newest, anchor)

    def append(self, link: Link, entries: Iterable[Entry]) -> Link:
        """Write them after `link`; the last of them."""
        for entry in entries:
            document = canonical(link.number + 1, entry)
            link = link.next(document)
            row = (link.number, entry.time, entry.who, entry.target, document, link.hash)
            self._connection.execute(_INSERT, row)
        return link

    def forget(self, last: Link, now: datetime) -> Link | None:
        """Remove what is kept long enough, up to BATCH; the new anchor, if any went."""
        oldest = self._connection.execute(_OLDEST).fetchone()
        if oldest is None:
            return None
        of_old = (BATCH, stamp(now - self._keep.age))
        expired = self._connection.execute(_EXPIRED, of_old).fetchone()[0] or 0
        until = min(max(expired, last.number - self._keep.entries), oldest[0] + BATCH - 1)
        if until < oldest[0]:
            return None
        gone = Link(until, self._connection.execute(_HASH, (until,)).fetchone()[0])
        self._connection.execute(_REMOVE, (until,))
        return gone

    def page(self, search: Search) -> Sequence[Json]:
        """Up to `limit` entries, each with its hash.

        Numbers and times grow together, but for a clock that is set back: so times are looked up as
        numbers first, and only what lies between those is looked at.
        """
        conditions: list[tuple[str, Any]] = [
            ("number >= ?", self._first(search.since) if search.since else None),
            ("number < ?", self._first(search.until) if search.until else None),
            ("who = ?", search.who),
            ("target = ?", search.target),
            ("number > ?", search.after),
            ("number < ?", search.before),
        ]
        said = [(text, value) for text, value in conditions if value is not None]
        where = " AND ".join(text for text, _ in said) or "true"
        order = "DESC" if search.after is None else "ASC"
        rows = self._connection.execute(
            f"SELECT document, hash FROM audit WHERE {where} ORDER BY number {order} LIMIT ?",  # noqa: S608  of the texts above
            (*(value for _, value in said), search.limit),
        )
        return [{**json.loads(document), "hash": found} for document, found in rows]

    def _first(self, time: str) -> int:
        """The first entry of that time or later; beyond all of them where there is none."""
        row = self._connection.execute(_SINCE, (time,)).fetchone()
        return row[0] if row else _BEYOND
