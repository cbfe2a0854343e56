"""Secrets in the state file: sealed with the key beside it, and in plain text nowhere."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from storlever import schema
from storlever.clock import now
from storlever.errors import StateUnusable
from storlever.inventory import Direction, Edit, Inventory
from storlever.journal import Keep
from storlever.keyfile import KeyFile
from storlever.model import Account
from storlever.notes import FileNotes
from storlever.store import SqliteStore
from tests.keys import keys_in
from tests.sql import bring_back, execute

ONE = "iqn.2014-09.com.example:one"
MARK = b"S3CRET"
"""Every secret of these tests begins with it."""
USERS = {name: Account(name, f"S3CRET of {name}") for name in ("alice", "bob", "dora")}
Wish = Callable[[Inventory], Edit]

WISHES: dict[str, Wish] = {
    "a target": lambda old: old.add_target(ONE),
    "a user": lambda old: old.add_user(ONE, Direction.INCOMING, USERS["alice"]),
    "one that proves us": lambda old: old.add_user(ONE, Direction.OUTGOING, USERS["bob"]),
    "discovery": lambda old: old.set_discovery({Direction.INCOMING: USERS["dora"]}),
    "another password": lambda old: old.set_secret(
        ONE, Direction.INCOMING, Account("alice", "S3CRET again"), everywhere=True
    ),
    "a user goes": lambda old: old.remove_user(ONE, Direction.OUTGOING, "bob"),
    "discovery goes": lambda old: old.set_discovery({Direction.INCOMING: None}),
    "and comes again": lambda old: old.set_discovery({Direction.OUTGOING: USERS["dora"]}),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextmanager
def opened(
    path: Path, keys: KeyFile | None = None, keep: Keep | None = None
) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path, keys or keys_in(path.parent), keep=keep)) as store:
        yield store


def written(path: Path) -> Inventory:
    with opened(path) as store:
        inventory = store.load()
        for wish in WISHES.values():
            edit = wish(inventory)
            store.commit(edit)
            inventory = inventory.after(edit)
    return inventory


def loaded(path: Path) -> Inventory:
    with opened(path) as store:
        return store.load()


def telling(folder: Path) -> list[str]:
    """The files that hold a plain secret."""
    return [file.name for file in folder.iterdir() if MARK in file.read_bytes()]


def read(folder: Path) -> dict[str, bytes]:
    """Of files that are not empty."""
    return {file.name: content for file in folder.iterdir() if (content := file.read_bytes())}


# -- what is there


def test_no_file_ever_holds_a_plain_secret_nor_the_state_the_key(path: Path) -> None:
    inventory = Inventory()
    with opened(path) as store:
        key = path.with_name("secret.key").read_bytes().strip()
        for name, wish in WISHES.items():
            edit = wish(inventory)
            store.commit(edit)
            inventory = inventory.after(edit)
            files = read(path.parent)
            assert telling(path.parent) == [], name
            state = files["state.db"] + files["state.db-wal"]
            assert key not in state
            assert bytes.fromhex(key.decode()) not in state
    assert telling(path.parent) == []
    assert loaded(path) == inventory


def test_what_was_removed_leaves_not_even_its_sealed_text_once_no_revision_keeps_it(
    path: Path,
) -> None:
    with opened(path) as store:
        store.commit(Edit(accounts={"alice": USERS["alice"]}))
    with closing(sqlite3.connect(path)) as connection:
        (document,) = connection.execute("SELECT document FROM account").fetchone()
    assert document.encode() in path.read_bytes()
    with opened(path) as store:
        store.commit(Edit(accounts={"alice": None}))
    assert document.encode() in path.read_bytes()
    with opened(path, keep=Keep(revisions=0)) as store:
        assert store.forget(now())
        assert not store.forget(now())
    assert document.encode() not in path.read_bytes()


# -- what cannot be opened


def _another_key(path: Path) -> None:
    path.with_name("secret.key").unlink()
    keys_in(path.parent).first()


def _swapped_secrets(path: Path) -> None:
    """With digests that fit, as whoever swaps them could make."""
    _rewrite(path, lambda rows: {"alice": rows["dora"], "dora": rows["alice"]})


def _swapped_texts(path: Path) -> None:
    def swapped(rows: dict[str, str]) -> dict[str, str]:
        return {
            "alice": rows["dora"].replace("dora", "alice"),
            "dora": rows["alice"].replace("alice", "dora"),
        }

    _rewrite(path, swapped)


def _plain(path: Path) -> None:
    _rewrite(path, lambda _: {"alice": '{"name": "alice", "secret": "S3CRET"}'})


def _rewrite(path: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        rows = dict(connection.execute("SELECT name, document FROM account").fetchall())
        for name, text in change(rows).items():
            row = (text, schema.digest(name, text), name)
            connection.execute("UPDATE account SET document = ?, digest = ? WHERE name = ?", row)
        connection.commit()


def _no_text(path: Path) -> None:
    _rewrite(path, lambda _: {"alice": '{"name": "alice", "secret": 1}'})


def _another_mark(path: Path) -> None:
    execute(path, "UPDATE setting SET document = '\"0123\"' WHERE name = 'key'")


Damage = tuple[Callable[[Path], object], str]
DAMAGES: dict[str, Damage] = {
    "another key": (_another_key, r"key file .*/secret\.key is not the one that the state file"),
    "no key": (
        lambda path: path.with_name("secret.key").unlink(),
        r"key file .*/secret\.key is not there, and the state file .* was sealed with key \w{16}",
    ),
    "half a key": (
        lambda path: path.with_name("secret.key").write_bytes(b"ab" * 16),
        r"key file .*/secret\.key is damaged",
    ),
    "rows swapped": (_swapped_secrets, "the secret of account '(alice|dora)' cannot be opened"),
    "secrets swapped": (_swapped_texts, "the secret of account '(alice|dora)' cannot be opened"),
    "a plain secret": (_plain, "the secret of account 'alice' cannot be opened"),
    "no text": (_no_text, "cannot read the state file"),
    "a mark of another key": (_another_mark, "setting 'key' is not as written"),
    "no mark": (
        lambda path: execute(path, "DELETE FROM setting WHERE name = 'key'"),
        "damaged: it names no key",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_opened_is_refused_and_left_as_it_is(path: Path, damage: str) -> None:
    spoil, why = DAMAGES[damage]
    written(path)
    spoil(path)
    before = read(path.parent)
    with pytest.raises(StateUnusable, match=why) as caught:
        loaded(path)
    assert MARK.decode() not in str(caught.value)
    assert read(path.parent) == before


def test_a_secret_is_that_of_the_row_s_name_and_not_of_another_that_its_document_says(
    path: Path,
) -> None:
    inventory = written(path)

    def renamed(rows: dict[str, str]) -> dict[str, str]:
        return {
            "alice": rows["alice"].replace("alice", "dora"),
            "dora": rows["dora"].replace("dora", "alice"),
        }

    _rewrite(path, renamed)
    assert loaded(path) == inventory


def test_with_its_key_put_back_everything_is_there(path: Path) -> None:
    inventory = written(path)
    key = path.with_name("secret.key")
    aside = key.rename(key.with_name("aside"))
    with pytest.raises(StateUnusable, match="Put it back"):
        loaded(path)
    aside.rename(key)
    assert loaded(path) == inventory


def test_the_key_may_lie_elsewhere(path: Path, tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "elsewhere.key")
    with opened(path, keys) as store:
        store.commit(Edit(accounts=USERS))
    assert not path.with_name("secret.key").exists()
    with opened(path, KeyFile((tmp_path / "elsewhere.key").rename(tmp_path / "moved"))) as store:
        assert dict(store.load().accounts) == USERS


# -- files from before secrets were sealed


def of_old(path: Path, number: int, *, killed: bool) -> dict[str, Account]:
    """The accounts in a file of an old schema. Their plain secrets stand in it, and those of many
    that were removed; where the service was `killed`, they stand in its log as well."""
    written(path)
    bring_back(path, number)
    path.with_name("secret.key").unlink()
    log = path.with_name("state.db-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = off")
        gone = [(f"zoe{number}", '{"secret": "S3CRET of zoe"}', "any") for number in range(500)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO account VALUES (?, ?, ?)", gone)
        connection.execute("DELETE FROM account WHERE digest = 'any'")
        connection.execute("COMMIT")
        left = log.read_bytes()
    if killed:
        log.write_bytes(left)
    assert b"S3CRET of zoe" in path.read_bytes()
    assert (log.name in telling(path.parent)) == killed
    return {"alice": Account("alice", "S3CRET again"), "dora": USERS["dora"]}


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
@pytest.mark.parametrize("number", [1, 2])
def test_an_old_file_is_sealed_and_no_plain_secret_is_left_in_any_file(
    path: Path, number: int, killed: bool
) -> None:
    old = of_old(path, number, killed=killed)
    with opened(path) as store:
        assert telling(path.parent) == []
        assert dict(store.load().accounts) == old
    assert telling(path.parent) == []
    assert dict(loaded(path).accounts) == old
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM setting")}
    assert names == {"discovery", "revision", "key", "layout"}


def test_sealing_an_old_file_is_no_commit(path: Path) -> None:
    """So that a note of what was committed last is as true after it as before."""
    of_old(path, 2, killed=False)
    with closing(FileNotes(path.parent)) as notes:
        notes.commit(len(WISHES))
    with closing(FileNotes(path.parent)) as notes:
        store = SqliteStore(path, keys_in(path.parent), notes)
        store.close()
        assert notes.committed() == len(WISHES)


def test_what_was_sealed_and_not_yet_purged_when_it_ended_is_purged_by_the_next_start(
    path: Path, tmp_path: Path
) -> None:
    """As a kill leaves it between the two, with the log."""
    old = of_old(path, 2, killed=True)
    seal = keys_in(tmp_path).first()
    (tmp_path / "killed").mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.configure(connection)
        schema.migrate(connection, seal)
        for file in ("state.db", "state.db-wal", "secret.key"):
            shutil.copy(tmp_path / file, tmp_path / "killed")
    assert set(telling(tmp_path / "killed")) == {"state.db", "state.db-wal"}
    for _ in range(2):
        assert dict(loaded(tmp_path / "killed" / "state.db").accounts) == old
        assert telling(tmp_path / "killed") == []


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("UPDATE account SET document = replace(document, 'S3', 'S4')", "'alice' is not as wr"),
        ("INSERT INTO setting VALUES ('key', '\"\"', '')", "UNIQUE"),
    ],
)
def test_an_old_file_that_is_damaged_is_not_sealed(path: Path, spoil: str, why: str) -> None:
    """Its new digests would hide the damage."""
    of_old(path, 2, killed=False)
    execute(path, spoil)
    before = path.read_bytes()
    with pytest.raises(StateUnusable, match=why):
        loaded(path)
    assert path.read_bytes() == before


def test_an_old_file_is_left_alone_while_no_key_can_be_made(path: Path, tmp_path: Path) -> None:
    old = of_old(path, 2, killed=False)
    before = path.read_bytes()
    with (
        pytest.raises(StateUnusable, match="cannot be made"),
        opened(path, KeyFile(tmp_path / "gone" / "key")),
    ):
        pass
    assert path.read_bytes() == before
    assert dict(loaded(path).accounts) == old


def test_the_key_of_a_start_that_got_no_further_is_the_one_that_counts(path: Path) -> None:
    made = keys_in(path.parent).first()
    written(path)
    again = keys_in(path.parent).read()
    assert again is not None
    assert again.mark == made.mark
