"""The inventory on stable storage: SQLite, one connection, one writer.

WAL with synchronous=FULL makes a commit one fsync; Python's default journal lost commits in power
cuts on xfs. One connection for life, because SQLite before 3.51.3 can lose commits when two
checkpoint. A row a target, an account, and a token, each with a digest, so that a write costs the
same whatever else there is and a flipped bit is noticed. Commits are numbered, so that it is
noticed as well when SQLite takes damage in its log for the log's end. Secrets are sealed, each to
its row (docs/decisions/0018).
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from storlever import failpoint, schema
from storlever.audit import Entry, Json, Link, Search
from storlever.drawer import Drawer
from storlever.encoding import decoded, encoded
from storlever.errors import ConfigError, NotFound, StateFailed, StateUnusable, StorLeverError
from storlever.history import DISCOVERY, History, Row
from storlever.inventory import Edit, Inventory
from storlever.journal import ANCHOR, HEAD, Journal, Keep, records
from storlever.model import (
    Account,
    DiscoveryAuth,
    Target,
)
from storlever.receipt import Receipt
from storlever.schema import KEY_MARK, REVISION, SQL
from storlever.seal import Seal, Unsealable
from storlever.token import Token

_UNMARKED = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
"""How COMMIT fails where it did not get to write, last of all, the mark that makes it count."""
_MALFORMED = (StorLeverError, ValueError, TypeError, KeyError)
"""What a document raises that is no target, account or setting."""


class Witness(Protocol):
    """Knows from outside of the file how far it got, and what in it is in doubt."""

    committed_file: Path
    """What to remove where its word shall not count."""

    def committed(self) -> int:
        """The revision that was committed last, as far as is known; never more than that."""

    def commit(self, revision: int) -> None:
        """It is durable. Never raises."""

    def doubt(self) -> None:
        """What was tried last failed, and may be found in the file until a commit succeeds."""

    def forget(self) -> None:
        """Any file may come next. Never raises."""


class Keys(Protocol):
    """Keeps the key that secrets are sealed with. Raises StateUnusable and ConfigError."""

    path: Path

    def read(self) -> Seal | None:
        """None where there is none."""

    def first(self) -> Seal:
        """The one there is, or a new one; on stable storage."""


class SqliteStore:
    """The file at `path`, made when it is not there. Raises StateUnusable, also where the file
    lacks commits that `witness` knows of, and where `keys` has not the key to its secrets; then it
    is left as it is."""

    def __init__(
        self,
        path: Path,
        keys: Keys,
        witness: Witness | None = None,
        *,
        keep: Keep | None = None,
    ) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._witness = witness or _Nobody()
        self._sound = False
        """Whether it was all read once."""
        self._lock = threading.Lock()
        """Of the connection, which shows whoever uses it what is not committed yet."""
        with self._reading():
            if not path.exists():
                self._require_new()
                schema.create(path)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=0
            )
            try:
                schema.configure(self._connection)
                schema.require_layout(self._connection)
                self._revision = self._found_revision()
                self._require_nothing_lost()
                self._seal = self._unlocked(keys)
                self._bring_up_to_date()
                kept = keep or Keep()
                self._journal = Journal(self._connection, kept)
                self._history = History(self._connection, kept.revisions, kept.replaced)
                self._drawer = Drawer(self._connection, self._seal)
                self._anchor = self._found_link(ANCHOR) or Link()
                self._require_whole_audit()
                self._link = self._journal.last(self._anchor)
            except BaseException:
                self._connection.close()
                raise

    @property
    def tag_key(self) -> bytes:
        """A secret that lasts as long as the key to the state does."""
        return self._seal.derived("tags")

    def load(self) -> Inventory:
        """Everything. Raises StateUnusable when any of it cannot be trusted."""
        with self._reading():
            self._require_whole_pages()
            targets = [decoded(text, Target) for _, text in self._texts("target")]
            accounts = [self._opened(*row) for row in self._texts("account")]
            settings = dict(self._texts("setting"))
            discovery = _discovery(settings.get(DISCOVERY))
            tokens = [decoded(text, Token) for _, text in self._texts("token")]
            inventory = Inventory.of(targets, accounts, discovery, tokens)
            for _ in self._texts("receipt"):
                pass  # it is as written
        self._sound = True
        return inventory

    def commit(
        self, edit: Edit, entries: Sequence[Entry] = (), receipts: Sequence[Receipt] = ()
    ) -> None:
        """The edit, what the audit has to tell, and receipts. Raises StateFailed, and then nothing
        has changed, unless its code is `state-doubtful`: then the edit may be found in the file by
        the next start, until a commit succeeds."""
        revision = self._revision + 1
        try:
            with self._lock, self._transaction():
                failpoint.reached("store.begun")
                self._history.keep(revision, edit, entries)
                for name, target in edit.targets.items():
                    self._write("target", name, target)
                for name, account in edit.accounts.items():
                    self._write("account", name, account and self._sealed(account))
                for name, token in edit.tokens.items():
                    self._write("token", name, token)
                if edit.discovery is not None:
                    self._write("setting", DISCOVERY, edit.discovery)
                for receipt in receipts:
                    self._drawer.put(receipt)
                link = self._journal.append(self._link, entries)
                if entries:
                    self._write("setting", HEAD, link)
                self._write("setting", REVISION, revision)
                failpoint.reached("store.written")
        except Exception as error:
            self._take_back(error)
            if isinstance(error, sqlite3.Error):
                raise _failure(error) from error
            raise
        self._revision, self._link = revision, link
        self._witness.commit(revision)

    def forget(self, now: datetime) -> bool:
        """Remove entries of the audit and receipts that were kept long enough, and revisions that
        are more than are kept; whether there may be more. Raises StateFailed."""
        try:
            with self._lock:
                anchor, expired = self._journal.due(self._link, now), self._drawer.due(now)
                revision = self._history.due()
                if anchor is None and expired is None and revision is None:
                    return False
                with self._transaction():
                    if expired is not None:
                        self._drawer.forget(expired)
                    if anchor is not None:
                        self._journal.forget(anchor)
                        self._write("setting", ANCHOR, anchor)
                    if revision is not None:
                        self._history.forget(revision)
                self._anchor = anchor or self._anchor
        except sqlite3.Error as error:
            raise _failure(error) from error
        return True

    def receipt(self, name: str) -> Receipt | None:
        """Raises StateFailed."""
        try:
            with self._lock:
                return self._drawer.find(name)
        except (sqlite3.Error, *_MALFORMED) as error:
            raise StateFailed(f"cannot read a receipt: {error}", code="state-unreadable") from error

    def revisions(self, before: int | None, limit: int) -> Sequence[Json]:
        """A page of those that are kept, the newest first. Raises StateFailed."""
        with self._looking_back():
            return self._history.page(before, limit)

    def revision(self, number: int) -> tuple[Json, Edit, Edit]:
        """One that is kept; what stood where it changed something, and what it put there. Raises
        NotFound and StateFailed."""
        with self._looking_back():
            found = self._require_kept(number)
            replaced = self._history.before(number)
            return (
                found,
                self._made_of(replaced),
                self._made_of(self._history.after(number, replaced)),
            )

    def since(self, number: int) -> Edit:
        """What leads back to the state after a revision that is kept. Raises NotFound and
        StateFailed."""
        with self._looking_back():
            self._require_kept(number)
            return self._made_of(self._history.since(number))

    def _require_kept(self, number: int) -> Json:
        found = self._history.one(number)
        if found is None:
            raise not_kept(number)
        return found

    def _made_of(self, rows: Iterable[Row]) -> Edit:
        targets: dict[str, Target | None] = {}
        accounts: dict[str, Account | None] = {}
        discovery = None
        for table, name, text, digest in rows:
            there = text and self._checked(table, name, text, digest or "")
            if table == "target":
                targets[name] = decoded(there, Target) if there else None
            elif table == "account":
                accounts[name] = self._opened(name, there) if there else None
            else:
                discovery = _discovery(there)
        return Edit(targets, accounts, discovery)

    @contextmanager
    def _looking_back(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except NotFound:
            raise
        except (sqlite3.Error, *_MALFORMED) as error:
            raise StateFailed(
                f"cannot read the revisions: {error}", code="state-unreadable"
            ) from error

    def audit(self, search: Search) -> tuple[Link, Sequence[Json]]:
        """The link before the oldest entry that is kept, and a page of entries. Raises
        StateFailed."""
        try:
            with self._lock:
                anchor, rows = self._anchor, self._journal.page(search)
        except sqlite3.Error as error:
            raise StateFailed(f"cannot read the audit: {error}", code="state-unreadable") from error
        return anchor, records(rows)

    def _take_back(self, error: Exception) -> None:
        """Make sure that what `error` kept from being committed is not in the file.

        A COMMIT that fails when it syncs is in the log all the same, and would count at the next
        start. The next one is written over it, so one that changes nothing follows at once.
        Raises StateFailed where not even that can be written.
        """
        try:
            with self._lock, self._transaction():
                self._write("setting", REVISION, self._revision)
        except Exception as another:
            if getattr(error, "sqlite_errorcode", 0) in _UNMARKED:
                return
            self._witness.doubt()
            raise StateFailed(
                f"cannot make the change durable: {error}; nor take it back: {another}. A restart "
                "may find it made, unless another change succeeds before",
                code="state-doubtful",
            ) from error

    def close(self) -> None:
        """Then all is in the one file, if that can be written; and any may come next, if it was
        sound."""
        self._connection.close()
        with suppress(OSError):  # a dying disk does not even tell what is there
            if self._sound and not self._log.exists():
                self._witness.forget()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite ends it by itself after the worst errors
                self._connection.execute("ROLLBACK")
            raise

    def _write(
        self,
        table: str,
        name: str,
        value: Target | Account | DiscoveryAuth | Token | Link | int | None,
    ) -> None:
        if value is None:
            self._connection.execute(SQL[table].delete, (name,))
            return
        text = encoded(value)
        self._connection.execute(SQL[table].replace, (name, text, schema.digest(name, text)))

    def _found_revision(self) -> int:
        if schema.version_of(self._connection) < schema.NUMBERED:
            return 0
        row = self._connection.execute(SQL["setting"].select_one, (REVISION,)).fetchone()
        if row is None:
            raise StateUnusable(f"the state file {self._path} is damaged: it has no revision")
        return decoded(self._checked("setting", *row), int)

    def _found_link(self, name: str) -> Link | None:
        row = self._connection.execute(SQL["setting"].select_one, (name,)).fetchone()
        return decoded(self._checked("setting", *row), Link) if row else None

    def _require_whole_audit(self) -> None:
        """SQLite lays the pages of a log over whatever file is there: over an older one that was
        put in its place, too. Nearly every commit has an entry, so those in between are missing."""
        head = self._found_link(HEAD) or self._anchor
        if fault := self._journal.fault(self._anchor, head):
            raise StateUnusable(
                f"the state file {self._path} and its log, {self._log.name}, are not of the same "
                f"time, or somebody altered the audit: {fault}. Put both back from one backup, or "
                f"the state file alone with {self._log.name} removed"
            )

    def _unlocked(self, keys: Keys) -> Seal:
        """With the key that its secrets are sealed with; any where none can be sealed yet."""
        if schema.version_of(self._connection) < schema.SEALED:
            return keys.first()
        row = self._connection.execute(SQL["setting"].select_one, (KEY_MARK,)).fetchone()
        if row is None:
            raise StateUnusable(f"the state file {self._path} is damaged: it names no key")
        wanted = decoded(self._checked("setting", *row), str)
        seal = keys.read()
        if seal is None:
            raise StateUnusable(
                f"the key file {keys.path} is not there, and the state file {self._path} was "
                f"sealed with key {wanted}. Put it back, or name it with --key-file"
            )
        if seal.mark != wanted:
            raise StateUnusable(
                f"the key file {keys.path} is not the one that the state file {self._path} was "
                f"sealed with: it holds key {seal.mark}, and key {wanted} is needed"
            )
        return seal

    def _bring_up_to_date(self) -> None:
        """Looks for damage first, of which a file that is written anew would show nothing."""
        if schema.version_of(self._connection) < schema.SEALED:
            self._require_whole_pages()
        schema.migrate(self._connection, self._seal)
        if schema.has_residue(self._connection):
            self._require_whole_pages()
            schema.purge(self._connection)

    def _sealed(self, account: Account) -> Account:
        where = schema.place("account", account.name)
        return replace(account, secret=self._seal.seal(account.secret, where))

    def _opened(self, name: str, text: str) -> Account:
        """Of the row's name, whatever the text says: its secret is bound to the row."""
        try:
            sealed = decoded(text, Account).secret
            secret = self._seal.open(sealed, schema.place("account", name))
        except Unsealable as error:
            raise StateUnusable(
                f"the state file {self._path} is damaged: the secret of account {name!r} "
                f"cannot be opened: {error}"
            ) from None
        return Account(name, secret)

    def _require_whole_pages(self) -> None:
        """But for the audit, which may be large, and is looked at elsewhere."""
        for table in schema.tables_of(self._connection):
            verdict = self._connection.execute(f"PRAGMA quick_check({table})").fetchone()[0]
            if verdict != "ok":
                raise StateUnusable(f"the state file {self._path} is damaged: {verdict}")

    def _require_new(self) -> None:
        """Where there is no file, there never was one, as far as can be known."""
        if self._log.exists():
            raise StateUnusable(f"the state file {self._path} is gone, and its log is there")
        if self._witness.committed():
            raise self._lost("is gone")

    def _require_nothing_lost(self) -> None:
        if self._revision < self._witness.committed():
            self._close_beside_the_log()
            raise self._lost(f"has lost changes: it is at revision {self._revision}")

    def _close_beside_the_log(self) -> None:
        """SQLite removes the log as it closes, with all of it that it could not read."""
        aside = self._log.with_name(self._log.name + ".aside")
        if self._log.stat().st_size:
            self._log.rename(aside)
            self._connection.close()
            aside.rename(self._log)

    def _lost(self, what: str) -> StateUnusable:
        return StateUnusable(
            f"the state file {self._path} {what}, and revision {self._witness.committed()} was "
            f"committed. It or its log, {self._log.name}, is damaged, or an older one. To start "
            "with what is there, as with a backup that was put there on purpose, remove "
            f"{self._witness.committed_file}"
        )

    def _texts(self, table: str) -> Iterator[tuple[str, str]]:
        for name, text, digest in self._connection.execute(SQL[table].select):
            yield name, self._checked(table, name, text, digest)

    def _checked(self, table: str, name: str, text: str, digest: str) -> str:
        """The text, which is as it was written. Raises StateUnusable."""
        if digest != schema.digest(name, text):
            raise StateUnusable(
                f"the state file {self._path} is damaged: {table} {name!r} is not as written"
            )
        return text

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (StateUnusable, ConfigError):
            raise
        except sqlite3.OperationalError as error:
            if _number(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StateUnusable(
                    f"the state file {self._path} is in use by another program"
                ) from error
            raise StateUnusable(f"cannot read the state file {self._path}: {error}") from error
        except (OSError, sqlite3.Error, *_MALFORMED) as error:
            raise StateUnusable(f"cannot read the state file {self._path}: {error}") from error


class _Nobody:
    """A witness of nothing."""

    committed_file = Path()

    def committed(self) -> int:
        return 0

    def commit(self, revision: int) -> None: ...

    def doubt(self) -> None: ...

    def forget(self) -> None: ...


def _discovery(text: str | None) -> DiscoveryAuth:
    return decoded(text, DiscoveryAuth) if text else DiscoveryAuth()


def not_kept(number: int) -> NotFound:
    return NotFound(f"revision {number} is not kept, or there is none", code="revision-not-kept")


def _failure(error: sqlite3.Error) -> StateFailed:
    full = _number(error) == sqlite3.SQLITE_FULL
    return StateFailed(
        f"cannot make the change durable: {error}",
        code="state-full" if full else "state-unwritable",
    )


def _number(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of Python's own, as for text that is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
