"""A file of SQLite in other hands than the store's."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from storlever.schema import PAST, digest, place
from tests.keys import keys_in


def execute(file: Path, *statements: str) -> None:
    """In one transaction, on a file that nobody has open."""
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def bring_back(file: Path, schema: int) -> None:
    """As a StorLever left it that knew schema 1 or 2: secrets were plain, and what was removed
    stayed in the file."""
    seal = keys_in(file.parent).read()
    assert seal is not None
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA secure_delete = off")
        for name, text, _ in connection.execute("SELECT * FROM account").fetchall():
            document = json.loads(text)
            document["secret"] = seal.open(document["secret"], place("account", name))
            plain = json.dumps(document)
            row = (name, plain, digest(name, plain))
            connection.execute("REPLACE INTO account VALUES (?, ?, ?)", row)
        connection.execute("DELETE FROM setting WHERE name IN ('key', 'layout')")
        for table in ("token", "audit", "receipt", *PAST):
            connection.execute(f"DROP TABLE {table}")
        if schema == 1:
            connection.execute("DELETE FROM setting WHERE name = 'revision'")
        connection.execute(f"PRAGMA user_version = {schema}")
        connection.commit()
