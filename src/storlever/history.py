"""The past in the state file: what each commit replaced, so that it can be brought back.

Its methods are steps of the store's transactions. The old rows are copied within SQLite: nothing is
encoded, and secrets stay sealed to the places that they had and would have again.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from storlever import schema
from storlever.audit import DONE, Entry, Json
from storlever.encoding import encoded
from storlever.inventory import Edit

DISCOVERY = "discovery"
"""The name of the setting that is kept besides targets and accounts."""
MOST_NAMED = 20
"""Names that a page tells of each revision."""
BATCH = 20
"""Revisions that go at once, at most: whoever has something to commit waits for that."""

Row = tuple[str, str, str | None, str | None]
"""Table, name, and the document that stood there, with its digest; None where there was none."""

_KEEP = {
    table: f"INSERT INTO past SELECT ?1, '{table}', ?2, "  # noqa: S608  one of three words
    f"(SELECT document FROM {table} WHERE name = ?2), (SELECT digest FROM {table} WHERE name = ?2)"
    for table in ("target", "account", "setting")
}
_INSERT = "INSERT INTO revision VALUES (?, ?, ?)"
_PAGE = (
    "SELECT number, document, digest FROM revision WHERE number < ? ORDER BY number DESC LIMIT ?"
)
_ONE = "SELECT number, document, digest FROM revision WHERE number = ?"
_BEFORE = "SELECT kind, name, document, digest FROM past WHERE number = ?"
_SINCE = (  # a bare column is of the row that has the minimum
    "SELECT kind, name, document, digest, min(number) FROM past WHERE number > ? "
    "GROUP BY kind, name"
)
_SURPLUS = "SELECT number FROM revision ORDER BY number DESC LIMIT 1 OFFSET ?"
_OLDEST = "SELECT number FROM revision ORDER BY number LIMIT ?"
_COUNT = "SELECT count(*) FROM past"
_BEYOND = 2**63 - 1


class History:
    """Of `most` revisions, and of fewer where they replaced more than `most_replaced` rows; 0 keeps
    none."""

    def __init__(self, connection: sqlite3.Connection, most: int, most_replaced: int) -> None:
        self._connection = connection
        self._most = most
        self._most_replaced = most_replaced
        self._replaced: int = connection.execute(_COUNT).fetchone()[0]
        """Rows that are kept, or were to be in a commit that failed."""

    def keep(self, number: int, edit: Edit, entries: Iterable[Entry]) -> None:
        """What the edit is about to replace; `entries` tell of it. Where nothing is to be kept,
        what there is goes: with a gap behind it, it leads nowhere."""
        if not edit.for_tgtd:
            return
        if not self._most:
            self.forget(number)
            return
        touched = list(touched_by(edit))
        for table, name in touched:
            self._connection.execute(_KEEP[table], (number, name))
        self._replaced += len(touched)
        text = encoded(record(changes(touched), entries))
        self._connection.execute(_INSERT, (number, text, schema.digest(str(number), text)))

    def page(self, before: int | None, limit: int) -> list[Json]:
        """The newest first."""
        until = _BEYOND if before is None else before
        return [_told(*row) for row in self._connection.execute(_PAGE, (until, limit))]

    def one(self, number: int) -> Json | None:
        row = self._connection.execute(_ONE, (number,)).fetchone()
        return _told(*row) if row else None

    def before(self, number: int) -> list[Row]:
        """What the revision replaced."""
        return self._connection.execute(_BEFORE, (number,)).fetchall()

    def after(self, number: int, replaced: Iterable[Row]) -> list[Row]:
        """What it put in place of that, as it was replaced in its turn, or is now."""
        later = {row[:2]: row for row in self.since(number)}
        return [later.get(row[:2]) or self._live(*row[:2]) for row in replaced]

    def since(self, number: int) -> list[Row]:
        """Of all that was touched after the revision, what there was then."""
        return [row[:4] for row in self._connection.execute(_SINCE, (number,))]

    def _live(self, table: str, name: str) -> Row:
        found = self._connection.execute(schema.SQL[table].select_one, (name,)).fetchone()
        return table, name, *(found[1:] if found else (None, None))

    def due(self) -> int | None:
        """The last of those, up to BATCH, that are more than are kept; the oldest, where it is not
        the only one, while too many rows are; else None."""
        surplus: tuple[int] | None
        surplus = self._connection.execute(_SURPLUS, (self._most,)).fetchone()
        if surplus is None and self._replaced <= self._most_replaced:
            return None
        oldest: Sequence[tuple[int]] = self._connection.execute(_OLDEST, (BATCH,)).fetchall()
        if surplus is not None:
            return min(surplus[0], oldest[-1][0])
        return oldest[0][0] if len(oldest) > 1 else None

    def forget(self, until: int) -> None:
        gone = self._connection.execute("DELETE FROM past WHERE number <= ?", (until,))
        self._replaced -= gone.rowcount
        self._connection.execute("DELETE FROM revision WHERE number <= ?", (until,))


def touched_by(edit: Edit) -> Iterator[tuple[str, str]]:
    """Table and name of each row."""
    yield from (("target", name) for name in edit.targets)
    yield from (("account", name) for name in edit.accounts)
    if edit.discovery is not None:
        yield "setting", DISCOVERY


def changes(touched: Sequence[tuple[str, str]]) -> list[str]:
    """In words; of many, the first, and how many more there are."""
    words = {"target": "target {}", "account": "user {}", "setting": "discovery"}
    named = [words[table].format(name) for table, name in touched[:MOST_NAMED]]
    more = len(touched) - MOST_NAMED
    return [*named, f"and {more} more"] if more > 0 else named


def record(said: list[str], entries: Iterable[Entry]) -> Json:
    """Who made a revision, and how: several, where their writes shared the commit."""
    made = [each for each in entries if each.outcome == DONE and _changes_tgtd(each)]
    return {
        "time": made[-1].time if made else "",
        "who": ", ".join(dict.fromkeys(each.who for each in made)),
        "request_id": ", ".join(dict.fromkeys(each.request_id for each in made)),
        "operation": ", ".join(dict.fromkeys(each.operation for each in made)),
        "changes": said,
    }


def _changes_tgtd(entry: Entry) -> bool:
    return not {"targets", "users", "discovery"}.isdisjoint(entry.after)


def _told(number: int, text: str, digest: str) -> Json:
    """Raises ValueError for one that is not as written."""
    if digest != schema.digest(str(number), text):
        raise ValueError(f"revision {number} is not as written")
    return {"revision": number, **json.loads(text)}
