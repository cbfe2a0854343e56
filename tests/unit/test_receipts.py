"""Receipts in the state file: durable with the change, sealed, bounded, and whole or noticed."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storlever import drawer, receipt, twins
from storlever.errors import StateFailed, StateUnusable
from storlever.inventory import Edit
from storlever.principal import Role
from storlever.receipt import LASTS, Done, Key, Receipt
from storlever.schema import digest as digest_of
from storlever.store import SqliteStore
from storlever.token import Token
from storlever.twins import MemoryStore
from tests.keys import keys_in
from tests.sql import bring_back, execute

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
NAME = "iqn.2026-01.test:one"
SECRET = "S3CRET of a token"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextmanager
def opened(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path, keys_in(path.parent))) as found:
        yield found


def made(number: int = 0, time: datetime = NOW) -> Receipt:
    token = Token("mine", Role.READER, "digest", NOW, NOW + timedelta(days=90))
    return Receipt.of(Key(f"name {number}", "request"), time, Done((token, SECRET)))


def test_a_receipt_is_durable_with_the_change_and_says_what_was_answered(path: Path) -> None:
    with opened(path) as found:
        found.commit(found.load().add_target(NAME), (), [made()])
    with opened(path) as found:
        assert NAME in found.load().targets
        kept = found.receipt("name 0")
        assert kept == made()
        assert kept is not None
        token, secret = kept.again(kept.key, NOW).answer  # type: ignore[union-attr]
        assert (token.name, token.role, token.expires) == ("mine", Role.READER, token.expires)
        assert secret == SECRET
        assert found.receipt("another") is None


def test_a_receipt_of_a_change_that_failed_is_not_there(path: Path) -> None:
    with opened(path) as found:
        found.load()
        with pytest.raises(TypeError):
            found.commit(Edit({NAME: object()}), (), [made()])  # type: ignore[dict-item]
        assert found.receipt("name 0") is None


def test_nothing_of_an_answer_or_a_request_can_be_read_in_the_file(path: Path) -> None:
    """Nor later, when it is gone."""
    with opened(path) as found:
        found.load()
        found.commit(Edit(), (), [made()])
    content = path.read_bytes()
    for text in (SECRET, "request", "mine"):
        assert text.encode() not in content.replace(b"CREATE", b"")


def test_receipts_are_kept_for_a_day(path: Path) -> None:
    with opened(path) as found:
        found.load()
        found.commit(Edit(), (), [made(1), made(2, NOW + timedelta(hours=1))])
        assert not found.forget(NOW + LASTS)
        assert found.forget(NOW + LASTS + timedelta(seconds=1))
        assert (found.receipt("name 1"), found.receipt("name 2") is None) == (None, False)
        assert not found.forget(NOW + LASTS + timedelta(seconds=2))


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_so_many_receipts_are_kept_and_the_oldest_go(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for module in (drawer, twins):
        monkeypatch.setattr(module, "MOST", 3)
    with opened(path) as file:
        found = file if kind == "file" else MemoryStore()
        found.load()
        found.commit(Edit(), (), [made(each, NOW + timedelta(seconds=each)) for each in range(5)])
        found.forget(NOW)
        kept = [each for each in range(5) if found.receipt(f"name {each}")]
        assert kept == [2, 3, 4]


def test_a_receipt_that_is_damaged_ends_the_start(path: Path) -> None:
    with opened(path) as found:
        found.load()
        found.commit(Edit(), (), [made()])
    execute(path, "UPDATE receipt SET document = replace(document, '2026', '2027')")
    with (
        pytest.raises(StateUnusable, match="receipt 'name 0' is not as written"),
        opened(path) as f,
    ):
        f.load()


def test_one_that_is_damaged_later_is_no_answer(path: Path) -> None:
    with opened(path) as found:
        found.load()
        found.commit(Edit(), (), [made()])
        found._connection.execute("UPDATE receipt SET digest = 'another'")
        with pytest.raises(StateFailed) as failed:
            found.receipt("name 0")
        assert failed.value.code == "state-unreadable"


def test_a_receipt_is_of_its_own_row(path: Path) -> None:
    """Moved to another key, it does not open."""
    with opened(path) as found:
        found.load()
        found.commit(Edit(), (), [made()])
        document = found._connection.execute("SELECT document FROM receipt").fetchone()[0]
        digest = digest_of("another", document)
        found._connection.execute("UPDATE receipt SET name = 'another', digest = ?", (digest,))
        with pytest.raises(StateFailed, match="receipt"):
            found.receipt("another")


def test_a_file_from_before_there_were_receipts_takes_them(path: Path) -> None:
    with opened(path) as found:
        found.load()
    bring_back(path, 2)
    with opened(path) as found:
        found.load()
        found.commit(Edit(), (), [made()])
        assert found.receipt("name 0") == made()


def test_the_key_of_tags_lasts_as_long_as_the_key_of_the_state(tmp_path: Path) -> None:
    found = []
    for folder in ("a", "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        with opened(tmp_path / folder / "state.db") as file:
            found.append(file.tag_key)
    assert found[0] == found[1] != found[2]
    assert all(len(key) == 32 for key in found)


def test_limits_are_what_the_documentation_says() -> None:
    assert (timedelta(hours=24), 10_000) == (receipt.LASTS, receipt.MOST)
