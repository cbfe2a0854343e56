"""The audit in the state file: there if and only if the change is, only added to, and limited."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from storlever import audit, journal
from storlever.audit import DONE, Entry, Link, Search
from storlever.errors import StateFailed, StateUnusable
from storlever.failpoint import FailPoint
from storlever.inventory import Edit, Inventory
from storlever.journal import Keep
from storlever.principal import Role
from storlever.store import SqliteStore
from storlever.token import Token
from tests.keys import keys_in
from tests.points import Control
from tests.sql import execute
from tests.unit.core import ACT

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
NAME = "iqn.2026-01.test:one"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextmanager
def opened(path: Path, keep: Keep | None = None) -> Iterator[SqliteStore]:
    store = SqliteStore(path, keys_in(path.parent), keep=keep)
    try:
        yield store
    finally:
        store.close()


def entry(number: int = 0, time: datetime = NOW) -> Entry:
    return audit.entry(replace(ACT, request_id=str(number)), time, DONE)


def numbers(store: SqliteStore) -> list[int]:
    """Of all that is kept, oldest first; the chain of it holds."""
    anchor, entries = store.audit(Search(after=0, limit=10_000))
    assert audit.broken(entries, anchor) is None
    return [each["number"] for each in entries]


def test_entries_are_numbered_and_chained_over_commits_and_lives(path: Path) -> None:
    with opened(path) as store:
        store.commit(Edit(), [entry(1), entry(2)])
        store.commit(store.load().add_target(NAME), [entry(3)])
    with opened(path) as store:
        store.commit(Edit(), [entry(4)])
        assert numbers(store) == [1, 2, 3, 4]
        _, found = store.audit(Search())
        assert [each["request_id"] for each in found] == ["4", "3", "2", "1"]


def test_an_entry_is_there_if_and_only_if_its_change_is(path: Path, control: Control) -> None:
    with opened(path) as store:
        store.commit(Edit(), [entry(1)])
        control.order("store.written exception")
        with pytest.raises(FailPoint):
            store.commit(store.load().add_target(NAME), [entry(2)])
        assert (numbers(store), store.load().targets) == ([1], Inventory().targets)
        store.commit(store.load().add_target(NAME), [entry(3)])
        assert numbers(store) == [1, 2]


def test_nothing_in_it_can_be_altered_by_mistake(path: Path) -> None:
    with opened(path) as store:
        store.commit(Edit(), [entry(1)])
    with pytest.raises(Exception, match="only added to"):
        execute(path, "UPDATE audit SET document = '{}'")


def test_what_was_altered_on_purpose_is_noticed(path: Path) -> None:
    with opened(path) as store:
        store.commit(Edit(), [entry(1), entry(2), entry(3)])
    execute(
        path,
        "DROP TRIGGER audit_is_only_added_to",
        "UPDATE audit SET document = replace(document, 'done', 'gone') WHERE number = 2",
    )
    with pytest.raises(StateUnusable, match="entry 2 is not as it was written"):
        SqliteStore(path, keys_in(path.parent))


def test_the_oldest_go_when_there_are_too_many(path: Path) -> None:
    keep = Keep(entries=3)
    with opened(path, keep) as store:
        store.commit(Edit(), [entry(number) for number in range(5)])
        _, before = store.audit(Search(after=0))
        assert store.forget(NOW)
        assert not store.forget(NOW)
        assert numbers(store) == [3, 4, 5]
        assert store.audit(Search())[0] == Link(2, before[1]["hash"])
    with opened(path, keep) as store:
        store.commit(Edit(), [entry(6)])
        assert numbers(store) == [3, 4, 5, 6], "the chain holds in the next life too"


def test_the_oldest_go_when_they_are_too_old(path: Path) -> None:
    times = [NOW - timedelta(days=days) for days in (40, 31, 29, 0)]
    with opened(path, Keep(age=timedelta(days=30))) as store:
        store.commit(Edit(), [entry(time=time) for time in times])
        store.forget(NOW)
        assert numbers(store) == [3, 4]
        store.forget(NOW + timedelta(days=365))
        assert numbers(store) == []
        store.commit(Edit(), [entry()])
        assert numbers(store) == [5], "numbers are not given twice"


def test_all_may_go_and_the_next_life_goes_on_counting(path: Path) -> None:
    with opened(path, Keep(age=timedelta(days=30))) as store:
        store.commit(Edit(), [entry()])
        store.forget(NOW + timedelta(days=31))
    with opened(path) as store:
        store.commit(Edit(), [entry()])
        assert numbers(store) == [2]


def test_no_change_waits_for_many_to_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "BATCH", 4)
    with opened(path, Keep(entries=1)) as store:
        store.commit(Edit(), [entry(number) for number in range(10)])
        assert store.forget(NOW)
        assert numbers(store) == list(range(5, 11))
        while store.forget(NOW):
            pass
        assert numbers(store) == [10]


def test_a_page_has_a_bound_in_bytes_and_one_entry_at_least(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(audit.document(1, entry(1)))
    with opened(path) as store:
        store.commit(Edit(), [entry(number) for number in range(1, 6)])
        for most, found in ((3 * size, 3), (size // 2, 1)):
            monkeypatch.setattr(journal, "MOST_BYTES", most)
            assert len(store.audit(Search())[1]) == found


def test_what_searches_go_by_cannot_be_altered_beside_the_entry(path: Path) -> None:
    with opened(path) as store:
        store.commit(Edit(), [entry(1)])
    with pytest.raises(Exception, match="generated column"):
        execute(
            path, "DROP TRIGGER audit_is_only_added_to", "UPDATE audit SET who = 'somebody else'"
        )


def test_what_cannot_be_forgotten_stays(path: Path) -> None:
    with opened(path, Keep(entries=1)) as store:
        store.commit(Edit(), [entry(1), entry(2)])
        execution = store._connection
        execution.execute("PRAGMA query_only = on")
        with pytest.raises(StateFailed):
            store.forget(NOW)
        execution.execute("PRAGMA query_only = off")
        assert numbers(store) == [1, 2]


def test_a_file_under_the_log_of_another_time_is_refused(path: Path) -> None:
    """SQLite takes both for one: a backup was put back, and the log was not removed."""
    backup = path.with_name("backup")
    with opened(path) as store:
        store.commit(Edit(), [entry(1)])
    shutil.copy(path, backup)
    with opened(path) as store:
        store.commit(Edit(), [entry(number) for number in range(2, 200)])
    store = SqliteStore(path, keys_in(path.parent))
    store.commit(Edit(), [entry(200)])
    log = path.with_name("state.db-wal")
    newer = log.read_bytes()
    store.close()
    shutil.copy(backup, path)
    log.write_bytes(newer)
    with pytest.raises(StateUnusable, match=r"not of the same time|damaged"):
        SqliteStore(path, keys_in(path.parent)).load()


def test_an_entry_that_was_taken_out_is_noticed_at_the_start(path: Path) -> None:
    with opened(path) as store:
        store.commit(Edit(), [entry(1), entry(2), entry(3)])
    execute(path, "DELETE FROM audit WHERE number = 2")
    with pytest.raises(StateUnusable, match="entry 2 is not there"):
        SqliteStore(path, keys_in(path.parent))
    execute(path, "DELETE FROM audit", "DELETE FROM setting WHERE name LIKE 'audit %'")
    with opened(path) as store:
        store.commit(Edit(), [entry(4)])
        assert numbers(store) == [1], "as the documentation says"


def test_of_a_long_audit_the_newest_part_is_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LOOKED_AT", 3)
    with opened(path) as store:
        store.commit(Edit(), [entry(number) for number in range(6)])
    execute(path, "DELETE FROM audit WHERE number = 2")
    with opened(path) as store:
        store.commit(Edit(), [entry(7)])
    execute(path, "DELETE FROM audit WHERE number = 6")
    with pytest.raises(StateUnusable, match="entry 6 is not there"):
        SqliteStore(path, keys_in(path.parent))


def test_an_end_that_was_cut_off_is_noticed(path: Path) -> None:
    with opened(path) as store:
        store.commit(Edit(), [entry(1), entry(2)])
    execute(path, "DELETE FROM audit WHERE number = 2")
    with pytest.raises(StateUnusable, match="entry 2 is the last, and entry 1 is found"):
        SqliteStore(path, keys_in(path.parent))


def test_tokens_come_back_as_they_were(path: Path) -> None:
    token, _ = Token.new("one", Role.OPERATOR, timedelta(days=1), NOW)
    used = replace(token, name="two", expires=None, last_used=NOW)
    with opened(path) as store:
        store.commit(store.load().add_token(token))
        store.commit(store.load().add_token(used))
    with opened(path) as store:
        assert dict(store.load().tokens) == {"one": token, "two": used}
        store.commit(store.load().remove_token("one"))
        assert dict(store.load().tokens) == {"two": used}
