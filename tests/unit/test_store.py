"""The state file: what is written comes back, what cannot be trusted is never taken for empty."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from storlever.audit import Link
from storlever.errors import StateFailed, StateUnusable
from storlever.failpoint import FailPoint
from storlever.inventory import Direction, Edit, Inventory
from storlever.model import (
    Access,
    Account,
    DiscoveryAuth,
    LogicalUnit,
    Pending,
    ScsiProduct,
    Target,
)
from storlever.notes import FileNotes
from storlever.schema import APPLICATION_ID, MIGRATIONS, PAST, PRAGMAS, TABLES
from storlever.seal import Seal
from storlever.store import SqliteStore, Witness
from storlever.token import Token
from storlever.twins import MemoryStore
from tests.keys import keys_in
from tests.points import Control
from tests.sql import bring_back, execute
from tests.unit import strategies as some

ONE, TWO = "iqn.2014-09.com.example:one", "iqn.2014-09.com.example:two"
ALICE = Account("alice", "alice's secret")
UNIT = LogicalUnit(1, "/srv/a.img", "0123456789abcdef", "SN1")
FULL = Inventory.of(
    [Target(ONE, incoming=("alice",), units=(UNIT,)), Target(TWO, online=False)],
    [ALICE],
    DiscoveryAuth("alice"),
)


def whole(inventory: Inventory) -> Edit:
    """The edit that makes an empty inventory this one."""
    return Edit(dict(inventory.targets), dict(inventory.accounts), inventory.discovery)


@contextmanager
def opened(path: Path, witness: Witness | None = None) -> Iterator[SqliteStore]:
    store = SqliteStore(path, keys_in(path.parent), witness)
    try:
        yield store
    finally:
        store.close()


def loaded(path: Path) -> Inventory:
    with opened(path) as store:
        return store.load()


def written(path: Path, inventory: Inventory = FULL) -> Path:
    with opened(path) as store:
        store.commit(whole(inventory))
    return path


def rows(path: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """(table, name) -> (document, digest), with other eyes than the store's."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            (table, name): (document, digest)
            for table in TABLES
            for name, document, digest in connection.execute(f"SELECT * FROM {table}")  # noqa: S608
        }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[FileNotes]:
    with closing(FileNotes(tmp_path)) as notes:
        yield notes


# -- what is written comes back


@given(some.inventories())
@settings(max_examples=30)
def test_any_inventory_comes_back_as_it_was(inventory: Inventory) -> None:
    with TemporaryDirectory() as folder:
        path = written(Path(folder) / "state.db", inventory)
        assert loaded(path) == inventory


@given(some.inventories(), some.inventories())
@settings(max_examples=20)
def test_any_edit_leads_to_the_inventory_after_it(old: Inventory, new: Inventory) -> None:
    """Also on the twin in memory, which makes the same promises."""
    edit = Edit(
        {**dict.fromkeys(old.targets), **new.targets},
        {**dict.fromkeys(old.accounts), **new.accounts},
        new.discovery,
    )
    memory = MemoryStore(old)
    memory.commit(edit)
    assert memory.load() == new == old.after(edit)
    with TemporaryDirectory() as folder:
        path = written(Path(folder) / "state.db", old)
        with opened(path) as store:
            store.commit(edit)
        assert loaded(path) == new


def test_a_new_file_is_an_empty_inventory(path: Path) -> None:
    assert loaded(path) == Inventory() == MemoryStore().load()


def test_a_commit_is_there_without_a_clean_end(path: Path) -> None:
    """As after a kill: nobody closes the store, and another process reads its files."""
    script = (
        "import os, sys; from pathlib import Path; from storlever.store import SqliteStore; "
        "from tests.keys import keys_in; path = Path(sys.argv[1]); "
        "store = SqliteStore(path, keys_in(path.parent)); "
        f"store.commit(store.load().add_target({ONE!r})); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert loaded(path) == Inventory.of([Target(ONE)], [], DiscoveryAuth())


@pytest.mark.parametrize(
    ("edit", "touched"),
    [
        (lambda old: old.edit_target(TWO, online=True), {("target", TWO)}),
        (lambda old: old.remove_unit(ONE, 1), {("target", ONE)}),
        (
            lambda old: old.add_user(TWO, Direction.INCOMING, Account("bob", "bob's secret")),
            {("target", TWO), ("account", "bob")},
        ),
        (
            lambda old: old.set_secret(
                ONE, Direction.INCOMING, Account("alice", "changed"), everywhere=True
            ),
            {("account", "alice")},
        ),
        (lambda old: old.set_discovery({Direction.INCOMING: None}), {("setting", "discovery")}),
        (lambda old: old.remove_target(ONE), {("target", ONE)}),
    ],
    ids=["a target", "a LUN", "a user", "a password", "discovery", "a removal"],
)
def test_a_commit_touches_the_rows_of_its_edit_and_no_others(
    path: Path, edit: Callable[[Inventory], Edit], touched: set[tuple[str, str]]
) -> None:
    """So that a write costs the same whatever else there is. Told by a mark left in every row."""
    written(path)
    with closing(sqlite3.connect(path)) as connection:
        own = "'revision', 'key', 'layout'"
        for table in TABLES:
            connection.execute(f"UPDATE {table} SET digest = 'mark' WHERE name NOT IN ({own})")  # noqa: S608
        connection.commit()
    with opened(path) as store:
        store.commit(edit(FULL))
    after = rows(path)
    assert after.pop(("setting", "revision"))[0] == "2"
    del after["setting", "key"], after["setting", "layout"]
    marked = {key for key, (_, digest) in after.items() if digest == "mark"}
    everything = {("target", ONE), ("target", TWO), ("account", "alice"), ("setting", "discovery")}
    assert marked == everything - touched
    assert after.keys() - everything <= touched


# -- how it is kept


def test_the_pragmas_are_in_force(path: Path) -> None:
    """One connection, one fsync a commit: asked of the very connection that commits."""
    with opened(path) as store:
        for name, value in PRAGMAS.items():
            found = store._connection.execute(f"PRAGMA {name}").fetchone()[0]
            assert found == value, name
    assert PRAGMAS == {
        "locking_mode": "exclusive",
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
    }


def test_the_file_says_whose_it_is_and_of_which_schema(path: Path) -> None:
    written(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)


@pytest.mark.parametrize("fresh", [True, False])
def test_its_files_are_for_the_owner_alone(path: Path, fresh: bool) -> None:
    """-wal is there while the store is open, and no shared memory is."""
    if not fresh:
        written(path)
    with opened(path) as store:
        store.commit(whole(FULL))
        files = set(path.parent.iterdir())
        assert files == {path, path.with_name("state.db-wal"), path.with_name("secret.key")}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_half_made_file_of_an_earlier_start_is_no_obstacle(path: Path) -> None:
    draft = path.with_name("state.db.new")
    draft.write_bytes(b"half")
    assert loaded(path) == Inventory()
    assert not draft.exists()


@pytest.mark.parametrize("separate", [False, True], ids=["here", "another process"])
def test_a_second_opener_is_refused(path: Path, separate: bool) -> None:
    with opened(path) as store:
        store.commit(whole(FULL))
        if separate:
            script = (
                "import sys; from pathlib import Path; from storlever.store import SqliteStore; "
                "from tests.keys import keys_in; path = Path(sys.argv[1]); "
                "SqliteStore(path, keys_in(path.parent))"
            )
            done = subprocess.run(
                [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
            )
            assert "StateUnusable" in done.stderr
            assert "in use by another program" in done.stderr
        else:
            with pytest.raises(StateUnusable, match="in use by another program"):
                SqliteStore(path, keys_in(path.parent))
        assert store.load() == FULL


# -- what cannot be trusted


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _foreign(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE target (name)")


def _newer(path: Path) -> None:
    execute(path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def _without_account(path: Path) -> None:
    execute(path, "DELETE FROM account")


def _edited(path: Path) -> None:
    execute(path, "UPDATE target SET document = replace(document, 'a.img', 'b.img')")


def _renamed(path: Path) -> None:
    execute(path, "UPDATE account SET name = 'alicf'")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero length": (lambda path: path.write_bytes(b""), "not StorLever's"),
    "garbage": (lambda path: path.write_bytes(b"garbage" * 1000), "not a database"),
    "text": (lambda path: path.write_bytes(b'{"targets": []}'), "not a database"),
    "truncated": (_truncated, "."),
    "foreign": (_foreign, "not StorLever's"),
    "newer": (_newer, f"schema {len(MIGRATIONS) + 1}"),
    "a row that went": (_without_account, "alice"),
    "a row edited by hand": (_edited, "not as written"),
    "a row renamed": (_renamed, "not as written"),
    "a folder": (_folder, "."),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, damage: str) -> None:
    spoil, why = DAMAGES[damage]
    spoil(written(path))
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(StateUnusable, match=why):
        loaded(path)
    if before is not None:
        assert path.read_bytes() == before


def test_a_file_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable):
        SqliteStore(tmp_path / "gone" / "state.db", keys_in(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(StateUnusable):
        SqliteStore(tmp_path / "file" / "state.db", keys_in(tmp_path))


# -- commits that fail


def _trap(path: Path, table: str, event: str, when: str = "TRUE") -> None:
    execute(
        path,
        f"CREATE TRIGGER trap BEFORE {event} ON {table} WHEN {when} "
        "BEGIN SELECT RAISE(ABORT, 'no luck'); END",
    )


@pytest.mark.parametrize(
    ("table", "event", "when"),
    [
        ("target", "DELETE", "TRUE"),
        ("account", "DELETE", "TRUE"),
        ("setting", "INSERT", "NEW.name = 'discovery'"),
    ],
)
def test_a_commit_that_fails_half_way_changes_nothing(
    path: Path, table: str, event: str, when: str
) -> None:
    _trap(written(path), table, event, when)
    removal = Edit({TWO: FULL.target(ONE), ONE: None}, {"alice": None}, DiscoveryAuth())
    with opened(path) as store:
        with pytest.raises(StateFailed, match="no luck") as caught:
            store.commit(removal)
        assert caught.value.code == "state-unwritable"
        assert store.load() == FULL
        store.commit(FULL.edit_target(TWO, online=True))
        assert store.load().target(TWO).online
    assert loaded(path).target(TWO).online


def test_a_full_file_system_has_a_code_of_its_own(path: Path) -> None:
    """SQLite says the same of a file that may not grow. Later commits that fit are taken."""
    many = {f"{ONE}.{number}": Target(f"{ONE}.{number}") for number in range(500)}
    with opened(written(path)) as store:
        store._connection.execute("PRAGMA max_page_count = 10")
        with pytest.raises(StateFailed) as caught:
            store.commit(Edit(many))
        assert caught.value.code == "state-full"
        assert store.load() == FULL
        store.commit(FULL.remove_unit(ONE, 1))
    assert loaded(path).target(ONE).units == ()


def test_what_cannot_be_taken_back_is_told_and_settled_by_the_next_commit(
    path: Path, notes: FileNotes
) -> None:
    """Its names stay pending: should the next life find it made, tgtd is not as it should be."""
    names = Pending(frozenset({ONE}), frozenset({"alice"}), "a life of tgtd")
    with opened(path, notes) as store:
        store.commit(whole(FULL))
        store._connection.execute(
            "CREATE TEMP TRIGGER trap BEFORE INSERT ON setting BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        notes.begin(names)
        with pytest.raises(StateFailed, match="A restart may find it made") as caught:
            store.commit(Edit({ONE: None}, {"alice": None}))
        assert caught.value.code == "state-doubtful"
        notes.finish()
        assert notes.pending() == Pending()
        with closing(FileNotes(path.parent)) as next_life:
            assert next_life.pending() == names
        store._connection.execute("DROP TRIGGER trap")
        store.commit(FULL.remove_unit(ONE, 1))
        notes.finish()
    with closing(FileNotes(path.parent)) as next_life:
        assert next_life.pending() == Pending()


# -- a file that lost commits


@contextmanager
def killed(path: Path, notes: FileNotes) -> Iterator[Path]:
    """A copy of a file that holds three commits, and of its log, as a kill leaves them."""
    with opened(path, notes) as store, TemporaryDirectory() as folder:
        inventory = Inventory()
        for edit in (whole(FULL), FULL.remove_unit(ONE, 1), Edit({TWO: None})):
            store.commit(edit)
            inventory = inventory.after(edit)
        for file in path.parent.iterdir():
            shutil.copy(file, folder)
        yield Path(folder) / path.name


def test_a_file_that_lost_its_last_commit_is_refused_and_its_log_is_left(
    path: Path, notes: FileNotes
) -> None:
    with killed(path, notes) as file:
        log = file.with_name("state.db-wal")
        os.truncate(log, log.stat().st_size - 1)
        before = log.read_bytes()
        assert set(loaded(file).targets) == {ONE, TWO}, "SQLite sees nothing"
        log.write_bytes(before)
        for _ in range(2):
            with closing(FileNotes(file.parent)) as next_life:
                said = (
                    f"at revision 2, and revision 3 was committed.*remove {file.parent}/committed"
                )
                with pytest.raises(StateUnusable, match=said):
                    SqliteStore(file, keys_in(file.parent), next_life)
            assert log.read_bytes() == before
        (file.parent / "committed").unlink()
        with closing(FileNotes(file.parent)) as next_life, opened(file, next_life) as store:
            assert set(store.load().targets) == {ONE, TWO}


def test_a_file_that_is_gone_is_not_made_anew(path: Path, notes: FileNotes) -> None:
    with killed(path, notes) as file:
        file.unlink()
        with closing(FileNotes(file.parent)) as next_life:
            with pytest.raises(StateUnusable, match="is gone, and its log is there"):
                SqliteStore(file, keys_in(file.parent), next_life)
            file.with_name("state.db-wal").unlink()
            with pytest.raises(StateUnusable, match="is gone, and revision 3 was committed"):
                SqliteStore(file, keys_in(file.parent), next_life)
        assert not file.exists()


def test_a_commit_that_could_not_be_noted_any_more_counts(path: Path, notes: FileNotes) -> None:
    with killed(path, notes) as file:
        with closing(FileNotes(file.parent)) as earlier:
            earlier.commit(2)
        with closing(FileNotes(file.parent)) as next_life, opened(file, next_life) as store:
            assert set(store.load().targets) == {ONE}


def test_after_a_clean_end_any_file_may_come_next(path: Path, notes: FileNotes) -> None:
    with opened(path, notes) as store:
        store.load()
        store.commit(whole(FULL))
    path.unlink()
    with closing(FileNotes(path.parent)) as next_life, opened(path, next_life) as store:
        assert store.load() == Inventory()


def test_an_end_that_leaves_a_log_is_no_clean_one(path: Path, notes: FileNotes) -> None:
    """As where SQLite cannot remove it."""
    with opened(path, notes) as store:
        store.load()
        store.commit(whole(FULL))
        store._connection.close()
        path.with_name("state.db-wal").touch()
    assert notes.committed() == 1


def test_a_damaged_file_that_is_put_away_is_not_made_anew(path: Path, notes: FileNotes) -> None:
    """The start that refused it is no clean end."""
    with killed(path, notes) as file, closing(FileNotes(file.parent)) as next_life:
        loaded(file)
        _renamed(file)
        with opened(file, next_life) as store, pytest.raises(StateUnusable, match="not as written"):
            store.load()
        file.unlink()
        with pytest.raises(StateUnusable, match="is gone, and revision 3 was committed"):
            SqliteStore(file, keys_in(file.parent), next_life)


# -- schemas


def test_a_file_of_schema_0_is_brought_to_the_newest(path: Path) -> None:
    """Every file starts there, so every migration there is has run."""
    execute(path, f"PRAGMA application_id = {APPLICATION_ID}")
    assert loaded(path) == Inventory()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)


def test_a_document_that_says_more_than_before_is_a_new_schema() -> None:
    """An older program passes over what it does not know, but does not start with a newer schema.
    Who changes these lines adds a migration."""
    said = {
        kind.__name__: " ".join(kind.__struct_fields__)
        for kind in (Target, Access, LogicalUnit, ScsiProduct, Account, DiscoveryAuth, Token, Link)
    }
    assert (len(MIGRATIONS), said) == (
        7,
        {
            "Target": "name online access incoming outgoing units",
            "Access": "names addresses",
            "LogicalUnit": "lun backing_path scsi_id serial_number device_type backing_type "
            "direct_map write_cache readonly online shared product",
            "ScsiProduct": "vendor product revision",
            "Account": "name secret",
            "DiscoveryAuth": "incoming outgoing",
            "Token": "name role digest created expires last_used",
            "Link": "number hash",
        },
    )


def test_a_file_from_before_commits_were_numbered_is_taken_as_it_is(
    path: Path, notes: FileNotes
) -> None:
    bring_back(written(path), schema=1)
    with opened(path, notes) as store:
        assert store.load() == FULL
        store.commit(FULL.remove_unit(ONE, 1))
        assert notes.committed() == 1
    assert rows(path)["setting", "revision"][0] == "1"


def test_each_migration_starts_where_the_one_before_ended() -> None:
    """Number n alone brings a file of schema n on, and it cannot do so twice."""
    seal = Seal(bytes(32))
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in MIGRATIONS:
            migration(connection, seal)
            before = list(connection.iterdump())
            with pytest.raises(sqlite3.Error):
                migration(connection, seal)
            assert list(connection.iterdump()) == before
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        assert {name for (name,) in tables} == {*TABLES, *PAST, "audit"}


def test_a_table_that_begins_where_an_empty_one_does_is_noticed(path: Path) -> None:
    """One bit of SQLite's own table makes it so, and all that was in it would be gone."""
    written(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = on")
        connection.execute(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema "
            "WHERE name = 'receipt') WHERE name = 'target'"
        )
        connection.commit()
    with pytest.raises(StateUnusable, match="its tables are not where they were made"):
        loaded(path)


def test_a_file_of_the_newest_schema_is_not_migrated_again(path: Path) -> None:
    written(path)
    assert loaded(path) == FULL == loaded(path)


@pytest.mark.parametrize("point", ["store.begun", "store.written"])
def test_an_error_that_nobody_expects_leaves_the_file_as_it_was_and_the_next_commit_works(
    tmp_path: Path, control: Control, point: str
) -> None:
    path = written(tmp_path / "state.db")
    control.order(f"{point} exception")
    with opened(path) as store:
        with pytest.raises(FailPoint):
            store.commit(Edit({ONE: None}))
        store.commit(Edit({TWO: None}))
        assert set(store.load().targets) == {ONE}
    assert set(loaded(path).targets) == {ONE}
