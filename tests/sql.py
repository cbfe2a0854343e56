"""A file of SQLite in other hands than the store's."""

import sqlite3
from contextlib import closing
from pathlib import Path


def execute(file: Path, *statements: str) -> None:
    """In one transaction, on a file that nobody has open."""
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
