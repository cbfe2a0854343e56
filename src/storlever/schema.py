"""The state file as SQLite sees it: how it is made, set up, and brought to the newest schema.

It has five tables of documents, each with a digest, two of what was replaced in them, and the
audit. What a document says is the store's affair, but for the old ones that a migration rewrites;
what an entry of the audit says is that of `journal`, and what a revision says that of `history`.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from storlever.durable import sync
from storlever.errors import StateUnusable
from storlever.seal import Seal

APPLICATION_ID = 0x53746C76  # "Stlv"
PRAGMAS = {
    "locking_mode": "exclusive",
    "journal_mode": "wal",
    "synchronous": 2,
    "secure_delete": 1,  # what is removed is written over
}
TABLES = ("target", "account", "setting", "token", "receipt")
PAST = ("past", "revision")
"""Tables of what was replaced, and by which commits."""
AUDITED = ("time", "who", "target")
"""What entries are searched by: of their documents, so that it cannot be altered beside them."""
REVISION = "revision"
"""The name of the setting that counts commits."""
KEY_MARK = "key"
"""The name of the setting that tells which key the secrets are sealed with."""
LAYOUT = "layout"
"""The name of the setting that tells where in the file the tables begin: with one bit flipped, one
of them would begin where another does that is empty, and all that is in it would be gone."""
RESIDUE = "residue"
"""The name of the setting that is there as long as plain secrets may be left between the rows."""


class Statements:
    """The statements of one table; a table's name cannot be a parameter of SQL."""

    def __init__(self, table: str) -> None:
        self.select = f"SELECT name, document, digest FROM {table}"  # noqa: S608  one of TABLES
        self.select_one = f"{self.select} WHERE name = ?"
        self.replace = f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)"  # noqa: S608
        self.delete = f"DELETE FROM {table} WHERE name = ?"  # noqa: S608


RECEIPT_TIME = "json_extract(document, '$.time')"
"""What receipts are forgotten by; there is an index of it."""

SQL = {table: Statements(table) for table in TABLES}


def digest(name: str, text: str) -> str:
    return hashlib.blake2b(f"{name}\0{text}".encode(), digest_size=16).hexdigest()


def place(table: str, name: str) -> str:
    """What a secret in this row is bound to."""
    return f"{table}\0{name}"


def _first_schema(connection: sqlite3.Connection, _: Seal) -> None:
    for table in ("target", "account", "setting"):
        _create_documents(connection, table)


def _numbered_commits(connection: sqlite3.Connection, _: Seal) -> None:
    _insert_setting(connection, REVISION, 0)


def _sealed_secrets(connection: sqlite3.Connection, seal: Seal) -> None:
    """Raises StateUnusable, ValueError or KeyError for what is damaged: its new digest would
    hide that."""
    _insert_setting(connection, KEY_MARK, seal.mark)
    if version_of(connection):  # one that was just made has none
        _insert_setting(connection, RESIDUE, True)
    for name, text, found in connection.execute(SQL["account"].select).fetchall():
        if found != digest(name, text):
            raise StateUnusable(f"the state file is damaged: account {name!r} is not as written")
        document = json.loads(text)
        document["secret"] = seal.seal(document["secret"], place("account", name))
        sealed = json.dumps(document)
        connection.execute(SQL["account"].replace, (name, sealed, digest(name, sealed)))


def _insert_setting(connection: sqlite3.Connection, name: str, value: object) -> None:
    connection.execute("INSERT INTO setting VALUES (?, ?, ?)", _setting(name, value))


def _setting(name: str, value: object) -> tuple[str, str, str]:
    text = json.dumps(value)
    return name, text, digest(name, text)


def _tokens_and_audit(connection: sqlite3.Connection, _: Seal) -> None:
    _create_documents(connection, "token")
    create_audit(connection)


def _receipts(connection: sqlite3.Connection, _: Seal) -> None:
    _create_documents(connection, "receipt")
    connection.execute(f"CREATE INDEX receipt_time ON receipt ({RECEIPT_TIME})")


def _create_documents(connection: sqlite3.Connection, table: str) -> None:
    connection.execute(
        f"CREATE TABLE {table} (name TEXT PRIMARY KEY, document TEXT NOT NULL, "
        "digest TEXT NOT NULL) STRICT, WITHOUT ROWID"
    )


def create_audit(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE audit (number INTEGER PRIMARY KEY, document TEXT NOT NULL, "
        "hash TEXT NOT NULL, "
        + ", ".join(
            f"{name} TEXT NOT NULL AS (json_extract(document, '$.{name}'))" for name in AUDITED
        )
        + ") STRICT"
    )
    connection.execute(
        "CREATE TRIGGER audit_is_only_added_to BEFORE UPDATE ON audit "
        "BEGIN SELECT raise(ABORT, 'the audit is only added to'); END"
    )
    for column in AUDITED:
        connection.execute(f"CREATE INDEX audit_{column} ON audit ({column})")


def _revisions(connection: sqlite3.Connection, _: Seal) -> None:
    create_past(connection)


def create_past(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE past (number INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, "
        "document TEXT, digest TEXT, PRIMARY KEY (number, kind, name)) STRICT, WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE revision (number INTEGER PRIMARY KEY, document TEXT NOT NULL, "
        "digest TEXT NOT NULL) STRICT"
    )


def _noted_layout(connection: sqlite3.Connection, _: Seal) -> None:
    """Whatever comes later is noted as well, at the end of all migrations."""
    _insert_setting(connection, LAYOUT, _layout(connection))


Migration = Callable[[sqlite3.Connection, Seal], None]
MIGRATIONS: tuple[Migration, ...] = (
    _first_schema,
    _numbered_commits,
    _sealed_secrets,
    _tokens_and_audit,
    _receipts,
    _revisions,
    _noted_layout,
)
"""Number n brings a file from schema n to n + 1, in one transaction with the others. Old ones are
never edited. A document that says more than before needs one, if it changes nothing else: an older
program does not start with it."""
NUMBERED = 2
"""The first schema that has a revision."""
SEALED = 3
"""The first schema whose secrets are sealed."""
LAID_OUT = 7
"""The first schema that has its layout noted."""


def create(path: Path) -> None:
    """Leaves a whole database without rows at `path`, or nothing: a file of no bytes would be a
    damaged one."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    finally:
        connection.close()
    sync(draft)
    draft.rename(path)
    sync(path.parent)


def configure(connection: sqlite3.Connection) -> None:
    """Set it up as it must be, or raise: first of all, it must be a file of ours."""
    # Before the first look: else SQLite makes a file of shared memory, for which a full file
    # system has no room.
    connection.execute("PRAGMA locking_mode = exclusive")
    found = connection.execute("PRAGMA application_id").fetchone()[0]
    if found != APPLICATION_ID:
        raise StateUnusable("the state file is not StorLever's")
    for name, value in PRAGMAS.items():
        # To its end: a switch to WAL says "wal" before it fails, and that is what is read back.
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
        said = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if said != value:
            raise StateUnusable(f"the state file does not take {name}={value}, it says {said}")


def tables_of(connection: sqlite3.Connection) -> list[str]:
    """Those of documents, and of past ones, that it has, whatever its schema."""
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return [name for (name,) in found if name in (*TABLES, *PAST)]


def version_of(connection: sqlite3.Connection) -> int:
    """The number of its schema, which is none that we do not know."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= len(MIGRATIONS):
        raise StateUnusable(
            f"the state file has schema {version}, this StorLever knows up to {len(MIGRATIONS)}: "
            "start the newer one"
        )
    return version


def migrate(connection: sqlite3.Connection, seal: Seal) -> None:
    version = version_of(connection)
    connection.execute("BEGIN IMMEDIATE")
    for migration in MIGRATIONS[version:]:
        migration(connection, seal)
    if version != len(MIGRATIONS):
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        _note_layout(connection)
    connection.execute("COMMIT")


def _note_layout(connection: sqlite3.Connection) -> None:
    connection.execute(SQL["setting"].replace, _setting(LAYOUT, _layout(connection)))


def _layout(connection: sqlite3.Connection) -> str:
    """A digest of all that SQLite knows of its tables and indices, with their first pages."""
    found = connection.execute(
        "SELECT name, tbl_name, rootpage, sql FROM sqlite_schema WHERE rootpage > 0 ORDER BY name"
    )
    return digest(LAYOUT, json.dumps(found.fetchall()))


def require_layout(connection: sqlite3.Connection) -> None:
    """Raises StateUnusable where a table is not what or where it was made; where the file is yet to
    be purged, it may have moved."""
    if version_of(connection) < LAID_OUT or has_residue(connection):
        return
    row = connection.execute(SQL["setting"].select_one, (LAYOUT,)).fetchone()
    if row is None or json.loads(row[1]) != _layout(connection):
        raise StateUnusable("the state file is damaged: its tables are not where they were made")


def has_residue(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute(SQL["setting"].select_one, (RESIDUE,)).fetchall())


def purge(connection: sqlite3.Connection) -> None:
    """Leave nothing in the file and its log but the rows. Where it ends halfway, residue stays
    noted, and the next start does it again."""
    connection.execute("PRAGMA temp_store = memory")  # not into a file elsewhere
    connection.execute("VACUUM")
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StateUnusable("the state file's log cannot be emptied: it is in use")
    _note_layout(connection)
    connection.execute(SQL["setting"].delete, (RESIDUE,))
