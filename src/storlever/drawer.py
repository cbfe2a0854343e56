"""The receipts in the state file. Its methods are steps of the store's transactions."""

import json
import sqlite3
from datetime import datetime

from storlever import schema
from storlever.audit import stamp
from storlever.encoding import encoded
from storlever.receipt import LASTS, MOST, Key, Receipt
from storlever.schema import RECEIPT_TIME, SQL
from storlever.seal import Seal

TABLE = "receipt"

_COUNT = "SELECT count(*) FROM receipt"
_OLD = f"SELECT max({RECEIPT_TIME}) FROM receipt WHERE {RECEIPT_TIME} < ?"  # noqa: S608
_BEYOND = f"SELECT {RECEIPT_TIME} FROM receipt ORDER BY {RECEIPT_TIME} DESC LIMIT 1 OFFSET ?"  # noqa: S608
_FORGET = f"DELETE FROM receipt WHERE {RECEIPT_TIME} <= ?"  # noqa: S608


class Drawer:
    """A row has a receipt's time, by which it is forgotten, and all else sealed."""

    def __init__(self, connection: sqlite3.Connection, seal: Seal) -> None:
        self._connection = connection
        self._seal = seal

    def put(self, receipt: Receipt) -> None:
        name = receipt.key.name
        inside = encoded([receipt.key.request, receipt.outcome])
        sealed = self._seal.seal(inside, schema.place(TABLE, name))
        text = encoded({"time": stamp(receipt.time), "sealed": sealed})
        self._connection.execute(SQL[TABLE].replace, (name, text, schema.digest(name, text)))

    def find(self, name: str) -> Receipt | None:
        """Raises ValueError, TypeError or KeyError for one that is not as written."""
        row = self._connection.execute(SQL[TABLE].select_one, (name,)).fetchone()
        if row is None:
            return None
        _, text, digest = row
        if digest != schema.digest(name, text):
            raise ValueError(f"{name} is not as written")
        document = json.loads(text)
        inside = self._seal.open(document["sealed"], schema.place(TABLE, name))
        request, outcome = json.loads(inside)
        return Receipt(Key(name, request), datetime.fromisoformat(document["time"]), outcome)

    def due(self, now: datetime) -> str | None:
        """The time of the newest that need not be kept any longer; None where none is."""
        (count,) = self._connection.execute(_COUNT).fetchone()
        too_many = None
        if count > MOST:  # to look takes 10 ms, while nobody can commit
            too_many = self._connection.execute(_BEYOND, (MOST,)).fetchone()
        too_old = self._connection.execute(_OLD, (stamp(now - LASTS),)).fetchone()
        return max((row[0] for row in (too_many, too_old) if row and row[0]), default=None)

    def forget(self, until: str) -> None:
        """All of that time and before."""
        self._connection.execute(_FORGET, (until,))
