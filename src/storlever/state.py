"""The state folder in use: by the service, or by a command while that does not run."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta

from storlever import keyfile
from storlever.config import Settings
from storlever.home import Home
from storlever.journal import Keep
from storlever.keyfile import KeyFile
from storlever.notes import FileNotes
from storlever.store import SqliteStore


@dataclass(frozen=True, slots=True)
class State:
    notes: FileNotes
    keys: KeyFile
    store: SqliteStore


@contextmanager
def opened(settings: Settings, home: Home, patience: float = 0.0) -> Iterator[State]:
    """For one program at a time; `patience` as in Home.alone. Raises StateUnusable and
    ConfigError."""
    keys = KeyFile(settings.key_file or keyfile.default(home.folder, os.environ))
    age = timedelta(days=settings.audit_days)
    keep = Keep(settings.audit_entries, age, settings.revisions)
    with (
        home.alone(patience),
        closing(FileNotes(home.runtime)) as notes,
        closing(SqliteStore(home.state_file, keys, notes, keep=keep)) as store,
    ):
        yield State(notes, keys, store)
