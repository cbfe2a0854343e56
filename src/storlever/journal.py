"""The audit in the state file: a table that only grows at its end and goes at its beginning.

Its methods are steps of the store's transactions, so an entry is there if and only if the change
that it tells of is.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from storlever.audit import Entry, Json, Link, Search, broken, document, stamp

ANCHOR = "audit anchor"
"""The name of the setting that holds the link before the oldest entry."""
HEAD = "audit head"
"""The name of the setting that holds the newest link, once there is any."""
LOOKED_AT = 2000
MOST_BYTES = 256 << 10
"""Of a page: there may be many who ask for one and do not take it."""
Row = tuple[str, str]
"""An entry's canonical JSON, and its hash."""
BATCH = 1000
"""Entries that go at once, at most: whoever has something to commit waits for that."""

_INSERT = "INSERT INTO audit (number, document, hash) VALUES (?, ?, ?)"
_LAST = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1"
_OLDEST = "SELECT number FROM audit ORDER BY number LIMIT 1"
_EXPIRED = (
    "SELECT max(number) FROM (SELECT number, time FROM audit ORDER BY number LIMIT ?) "
    "WHERE time < ?"
)
_SINCE = "SELECT number FROM audit WHERE time >= ? ORDER BY time, number LIMIT 1"
_BEYOND = 2**63 - 1
_NEWEST = "SELECT document, hash FROM audit ORDER BY number DESC LIMIT ?"
_HASH = "SELECT hash FROM audit WHERE number = ?"
_REMOVE = "DELETE FROM audit WHERE number <= ?"


class Keep(Struct, frozen=True):
    """How many entries are kept at most, and for how long; how many revisions, and how many rows
    they may have replaced together."""

    entries: int = 200_000
    age: timedelta = timedelta(days=365)
    revisions: int = 1000
    replaced: int = 100_000


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
        rows = self._connection.execute(_NEWEST, (LOOKED_AT,)).fetchall()
        newest = records(rows[::-1])
        if not newest:
            return None
        if len(newest) == LOOKED_AT:
            anchor = Link(newest[0]["number"], newest[0]["hash"])
            newest = newest[1:]
        return broken(newest, anchor)

    def append(self, link: Link, entries: Iterable[Entry]) -> Link:
        """Write them after `link`; the last of them."""
        for entry in entries:
            text = document(link.number + 1, entry)
            link = link.next(text)
            self._connection.execute(_INSERT, (link.number, text, link.hash))
        return link

    def due(self, last: Link, now: datetime) -> Link | None:
        """The last of those, up to BATCH, that were kept long enough; None where none was."""
        oldest = self._connection.execute(_OLDEST).fetchone()
        if oldest is None:
            return None
        of_old = (BATCH, stamp(now - self._keep.age))
        expired = self._connection.execute(_EXPIRED, of_old).fetchone()[0] or 0
        until = min(max(expired, last.number - self._keep.entries), oldest[0] + BATCH - 1)
        if until < oldest[0]:
            return None
        return Link(until, self._connection.execute(_HASH, (until,)).fetchone()[0])

    def forget(self, until: Link) -> None:
        """Remove all up to this one, which becomes the anchor."""
        self._connection.execute(_REMOVE, (until.number,))

    def page(self, search: Search) -> Sequence[Row]:
        """Up to `limit` entries, and MOST_BYTES of them.

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
        return list(_up_to(MOST_BYTES, rows))

    def _first(self, time: str) -> int:
        """The first entry of that time or later; beyond all of them where there is none."""
        row = self._connection.execute(_SINCE, (time,)).fetchone()
        return row[0] if row else _BEYOND


def records(rows: Iterable[Row]) -> list[Json]:
    """Entries, each with its hash."""
    return [{**json.loads(document), "hash": found} for document, found in rows]


def _up_to(most: int, rows: Iterable[Row]) -> Iterator[Row]:
    """As many as have so many bytes together; the first in any case."""
    size = 0
    for row in rows:
        size += len(row[0])
        if size > most and size > len(row[0]):
            return
        yield row
