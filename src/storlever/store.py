"""The inventory on stable storage: SQLite, one connection, one writer.

WAL with synchronous=FULL makes a commit one fsync; Python's default journal lost commits in power
cuts on xfs. One connection for life, because SQLite before 3.51.3 can lose commits when two
checkpoint. A row a target and a row an account, each with a digest, so that a write costs the
same whatever else there is and a flipped bit is noticed.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from storlever.errors import StateFailed, StateUnusable, StorLeverError
from storlever.inventory import Edit, Inventory
from storlever.model import (
    Access,
    Account,
    BackingType,
    DeviceType,
    DiscoveryAuth,
    LogicalUnit,
    ScsiProduct,
    Target,
)

APPLICATION_ID = 0x53746C76  # "Stlv"
PRAGMAS = {"locking_mode": "exclusive", "journal_mode": "wal", "synchronous": 2}

_DISCOVERY = "discovery"
_MALFORMED = (StorLeverError, ValueError, TypeError, KeyError)
"""What a document raises that is no target, account or setting."""


def _fields(value: Any) -> dict[str, Any]:
    """What json asks of a value that is none of its own; asdict would copy it all."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


_DOCUMENTS = json.JSONEncoder(separators=(",", ":"), default=_fields)

TABLES = ("target", "account", "setting")


class _Statements:
    """The statements of one table; a table's name cannot be a parameter of SQL."""

    def __init__(self, table: str) -> None:
        self.select = f"SELECT name, document, digest FROM {table}"  # noqa: S608  one of TABLES
        self.replace = f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)"  # noqa: S608
        self.delete = f"DELETE FROM {table} WHERE name = ?"  # noqa: S608


_SQL = {table: _Statements(table) for table in TABLES}


def _first_schema(connection: sqlite3.Connection) -> None:
    for table in TABLES:
        connection.execute(
            f"CREATE TABLE {table} (name TEXT PRIMARY KEY, document TEXT NOT NULL, "
            "digest TEXT NOT NULL) STRICT, WITHOUT ROWID"
        )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first_schema,)
"""Number n brings a file from schema n to n + 1. Old ones are never edited."""


class SqliteStore:
    """The file at `path`, made when it is not there. Raises StateUnusable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._reading():
            if not path.exists():
                _create(path)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=0
            )
            _configure(self._connection)
            _migrate(self._connection)

    def load(self) -> Inventory:
        """Everything. Raises StateUnusable when any of it cannot be trusted."""
        with self._reading():
            verdict = self._connection.execute("PRAGMA quick_check").fetchone()[0]
            if verdict != "ok":
                raise StateUnusable(f"the state file {self._path} is damaged: {verdict}")
            targets = [_target(document) for document in self._documents("target")]
            accounts = [Account(**document) for document in self._documents("account")]
            settings = list(self._documents("setting"))
            discovery = DiscoveryAuth(**settings[0]) if settings else DiscoveryAuth()
            return Inventory.of(targets, accounts, discovery)

    def commit(self, edit: Edit) -> None:
        """Raises StateFailed, and then nothing has changed."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for name, target in edit.targets.items():
                self._write("target", name, target)
            for name, account in edit.accounts.items():
                self._write("account", name, account)
            if edit.discovery is not None:
                self._write("setting", _DISCOVERY, edit.discovery)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise _failure(error) from error

    def close(self) -> None:
        self._connection.close()

    def _write(self, table: str, name: str, value: Target | Account | DiscoveryAuth | None) -> None:
        if value is None:
            self._connection.execute(_SQL[table].delete, (name,))
            return
        text = _DOCUMENTS.encode(value)
        self._connection.execute(_SQL[table].replace, (name, text, _digest(name, text)))

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise _failure(error) from error

    def _documents(self, table: str) -> Iterator[Any]:
        rows = self._connection.execute(_SQL[table].select)
        for name, text, digest in rows:
            if digest != _digest(name, text):
                raise StateUnusable(
                    f"the state file {self._path} is damaged: {table} {name!r} is not as written"
                )
            yield json.loads(text)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except StateUnusable:
            raise
        except sqlite3.OperationalError as error:
            if _number(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StateUnusable(
                    f"the state file {self._path} is in use by another program"
                ) from error
            raise StateUnusable(f"cannot read the state file {self._path}: {error}") from error
        except (OSError, sqlite3.Error, *_MALFORMED) as error:
            raise StateUnusable(f"cannot read the state file {self._path}: {error}") from error


class MemoryStore:
    """The same promises but durability."""

    def __init__(self, inventory: Inventory | None = None) -> None:
        self._inventory = inventory or Inventory()

    def load(self) -> Inventory:
        return self._inventory

    def commit(self, edit: Edit) -> None:
        self._inventory = self._inventory.after(edit)


def _create(path: Path) -> None:
    """A whole empty file or none: an empty one at `path` would be a damaged one."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    finally:
        connection.close()
    for made in (draft, path.parent):
        descriptor = os.open(made, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        if made is draft:
            draft.rename(path)


def _configure(connection: sqlite3.Connection) -> None:
    # Before the first look: else SQLite makes a file of shared memory, for which a full file
    # system has no room.
    connection.execute("PRAGMA locking_mode = exclusive")
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    if found != APPLICATION_ID:
        raise StateUnusable("the state file is not StorLever's")
    for name, value in PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")
        said = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if said != value:
            raise StateUnusable(f"the state file does not take {name}={value}, it says {said}")


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        connection.execute("ROLLBACK")
        raise StateUnusable(
            f"the state file has schema {version}, this StorLever knows up to {len(MIGRATIONS)}: "
            "start the newer one"
        )
    for migration in MIGRATIONS[version:]:
        migration(connection)
    if version != len(MIGRATIONS):
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _digest(name: str, text: str) -> str:
    return hashlib.blake2b(f"{name}\0{text}".encode(), digest_size=16).hexdigest()


def _failure(error: sqlite3.Error) -> StateFailed:
    full = _number(error) == sqlite3.SQLITE_FULL
    return StateFailed(
        f"cannot make the change durable: {error}",
        code="state-full" if full else "state-unwritable",
    )


def _number(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of Python's own, as for text that is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _target(document: dict[str, Any]) -> Target:
    access = document.pop("access")
    units = document.pop("units")
    document["incoming"] = tuple(document["incoming"])
    return Target(
        **document,
        access=Access(tuple(access["names"]), tuple(access["addresses"])),
        units=tuple(map(_unit, units)),
    )


def _unit(document: dict[str, Any]) -> LogicalUnit:
    document["device_type"] = DeviceType(document["device_type"])
    document["backing_type"] = BackingType(document["backing_type"])
    if document["product"] is not None:
        document["product"] = ScsiProduct(**document["product"])
    return LogicalUnit(**document)
