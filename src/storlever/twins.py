"""The store and the notes without files: the same promises, but durability."""

import secrets
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from storlever import schema
from storlever.audit import Entry, Json, Link, Search
from storlever.history import changes, record, touched_by
from storlever.inventory import Edit, Inventory
from storlever.journal import Journal, Keep, records
from storlever.model import NOTHING_PENDING, Pending
from storlever.receipt import LASTS, MOST, Receipt
from storlever.store import not_kept


class MemoryStore:
    """The twin of SqliteStore."""

    def __init__(self, inventory: Inventory | None = None) -> None:
        self._inventory = inventory or Inventory()
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        schema.create_audit(connection)
        self._journal = Journal(connection, Keep())
        self._link = self._anchor = Link()
        self._past: list[tuple[Json, Inventory, Edit]] = []
        """Of each revision: what there is to tell, what was before, and what it made of that."""
        self._revision = 0
        self._receipts: dict[str, Receipt] = {}
        self.tag_key = secrets.token_bytes(32)

    def load(self) -> Inventory:
        return self._inventory

    def commit(
        self, edit: Edit, entries: Sequence[Entry] = (), receipts: Sequence[Receipt] = ()
    ) -> None:
        self._revision += 1
        if edit.for_tgtd:
            told = record(changes(list(touched_by(edit))), entries)
            self._past.append(({"revision": self._revision, **told}, self._inventory, edit))
        self._inventory = self._inventory.after(edit)
        self._link = self._journal.append(self._link, entries)
        self._receipts |= {each.key.name: each for each in receipts}

    def receipt(self, name: str) -> Receipt | None:
        return self._receipts.get(name)

    def forget(self, now: datetime) -> bool:
        kept = sorted(self._receipts.values(), key=lambda each: each.time)[-MOST:]
        self._receipts = {each.key.name: each for each in kept if each.time >= now - LASTS}
        anchor = self._journal.due(self._link, now)
        if anchor is not None:
            self._journal.forget(anchor)
            self._anchor = anchor
        return anchor is not None

    def audit(self, search: Search) -> tuple[Link, Sequence[Json]]:
        return self._anchor, records(self._journal.page(search))

    def revisions(self, before: int | None, limit: int) -> Sequence[Json]:
        found = [told for told, _, _ in reversed(self._past)]
        return [told for told in found if before is None or told["revision"] < before][:limit]

    def revision(self, number: int) -> tuple[Json, Edit, Edit]:
        told, before, edit = self._past[self._at(number)]
        return told, before.as_before(edit), edit

    def since(self, number: int) -> Edit:
        at = self._at(number) + 1
        later = Edit()
        for _, _, edit in self._past[at:]:
            later = later.joined(edit)
        before = self._past[at][1] if at < len(self._past) else self._inventory
        return before.as_before(later)

    def _at(self, number: int) -> int:
        for at, (told, _, _) in enumerate(self._past):
            if told["revision"] == number:
                return at
        raise not_kept(number)


class MemoryNotes:
    """The twin of FileNotes."""

    def __init__(self) -> None:
        self._peer: str | None = None
        self._pending = NOTHING_PENDING

    def settled(self) -> str | None:
        return self._peer

    def settle(self, peer: str) -> None:
        self._peer = peer

    def pending(self) -> Pending:
        return self._pending

    def begin(self, pending: Pending) -> None:
        self._pending = pending

    def finish(self) -> None:
        self._pending = NOTHING_PENDING
