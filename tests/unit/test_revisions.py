"""Revisions: any state that is kept can be brought back, and what was done is told."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from storlever.audit import MASK
from storlever.clock import now
from storlever.errors import Conflict, NotFound, StateFailed
from storlever.inventory import Direction, Edit, Inventory
from storlever.journal import Keep
from storlever.model import Account, Target
from storlever.store import SqliteStore
from storlever.twins import MemoryStore
from storlever.web.app import create_app
from storlever.web.edge import Edge
from storlever.web.threads import Threaded
from storlever.writer import Store
from tests.keys import keys_in
from tests.unit import strategies as some
from tests.unit.core import Core
from tests.world import folder, image

T, U = "iqn.2026-01.test:one", "iqn.2026-01.test:two"
IN = Direction.INCOMING
REVISIONS = "/storlever/api/v1/revision_list"


@contextmanager
def sqlite(keep: Keep | None = None) -> Iterator[SqliteStore]:
    with TemporaryDirectory() as place:
        path = Path(place, "state.db")
        with closing(SqliteStore(path, keys_in(path.parent), keep=keep)) as store:
            yield store


@contextmanager
def memory() -> Iterator[MemoryStore]:
    yield MemoryStore()


def between(old: Inventory, new: Inventory) -> Edit:
    """All values of both, whether they differ or not."""
    return Edit(
        {name: new.targets.get(name) for name in {*old.targets, *new.targets}},
        {name: new.accounts.get(name) for name in {*old.accounts, *new.accounts}},
        new.discovery,
    )


@pytest.mark.parametrize("opened", [sqlite, memory])
@settings(max_examples=30, deadline=None)
@given(states=st.lists(some.inventories(2), min_size=1, max_size=5))
def test_the_state_after_any_revision_can_be_had_again(
    opened: Callable[[], Any], states: list[Inventory]
) -> None:
    with opened() as found:
        store: Store = found
        there = Inventory()
        for state in states:
            store.commit(between(there, state))
            there = there.after(between(there, state))
        numbers = [told["revision"] for told in store.revisions(None, 100)][::-1]
        assert len(numbers) == len(states)
        before = Inventory()
        for number, state in zip(numbers, states, strict=True):
            assert there.after(store.since(number)) == state
            _, old, new = store.revision(number)
            assert before.after(new) == state
            assert state.after(old) == before
            before = state


def test_as_many_revisions_are_kept_as_was_said() -> None:
    with sqlite(Keep(revisions=3)) as store:
        for number in range(60):
            store.commit(Edit({f"{T}.{number}": Target(f"{T}.{number}")}))
        while store.forget(now()):
            pass
        told = store.revisions(None, 100)
        assert [each["revision"] for each in told] == [60, 59, 58]
        assert [each["revision"] for each in store.revisions(60, 1)] == [59]
        assert set(store.since(58).targets) == {f"{T}.58", f"{T}.59"}
        for gone in (57, 61, 0):
            with pytest.raises(NotFound) as caught:
                store.since(gone)
            assert caught.value.code == "revision-not-kept"


def test_of_revisions_that_changed_much_fewer_are_kept_but_the_newest_always(
    tmp_path: Path,
) -> None:
    """The next life of the service goes on counting."""

    def kept(store: SqliteStore) -> list[int]:
        while store.forget(now()):
            pass
        return [each["revision"] for each in store.revisions(None, 100)]

    def many(number: int) -> Edit:
        return Edit({f"{T}.{each}": Target(f"{T}.{each}") for each in range(number)})

    path, keys, keep = tmp_path / "state.db", keys_in(tmp_path), Keep(replaced=10)
    with closing(SqliteStore(path, keys, keep=keep)) as store:
        for _ in range(8):
            store.commit(many(3))
        assert kept(store) == [8, 7, 6]
    with closing(SqliteStore(path, keys, keep=keep)) as store:
        store.commit(many(4))
        assert kept(store) == [9, 8, 7]
        store.commit(many(50))
        assert kept(store) == [10]


def test_what_is_nothing_to_tgtd_is_no_revision() -> None:
    with sqlite() as store:
        store.commit(Edit())
        assert not store.revisions(None, 100)


def test_none_are_kept_where_none_are_wanted() -> None:
    with sqlite(Keep(revisions=0)) as store:
        store.commit(Edit({T: Target(T)}, {"alice": Account("alice", "a")}))
        assert not store.revisions(None, 100)
        assert not store.forget(now())


def test_what_was_kept_goes_with_the_first_change_that_is_not(tmp_path: Path) -> None:
    """Else a later life that keeps revisions again would bring back a state that never was."""
    path, keys = tmp_path / "state.db", keys_in(tmp_path)
    with closing(SqliteStore(path, keys)) as store:
        store.commit(Edit({T: Target(T)}))
    with closing(SqliteStore(path, keys, keep=Keep(revisions=0))) as store:
        store.commit(Edit({T: None}))
    with closing(SqliteStore(path, keys)) as store:
        assert not store.revisions(None, 100)
        with pytest.raises(NotFound):
            store.since(1)


@pytest.mark.parametrize("spoilt", ["past", "revision"])
def test_a_revision_that_is_not_as_written_is_not_brought_back(tmp_path: Path, spoilt: str) -> None:
    path = tmp_path / "state.db"
    with closing(SqliteStore(path, keys_in(tmp_path))) as store:
        store.commit(Edit({T: Target(T)}))
        store.commit(Edit({T: Target(T, online=False)}))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE {spoilt} SET digest = 'x' WHERE digest IS NOT NULL")  # noqa: S608
        connection.commit()
    with closing(SqliteStore(path, keys_in(tmp_path))) as store:
        assert set(store.load().targets) == {T}
        with pytest.raises(StateFailed) as caught:
            store.since(1)
        assert caught.value.code == "state-unreadable"


# -- restoring, over HTTP and down to tgtd


@pytest.fixture
def core() -> Iterator[Core]:
    with folder() as path:
        image(path / "1.img", 1)
        core = Core(path)
        core.settle()
        yield core


@pytest.fixture
def client(core: Core) -> TestClient:
    app = create_app(Threaded(core.service), Edge())
    return TestClient(app, "http://localhost", raise_server_exceptions=False)


def furnish(core: Core) -> list[str]:
    """What tgtd shows after each revision."""
    service, shown = core.service, []
    steps: list[Callable[[], object]] = [
        lambda: service.add_target(T),
        lambda: service.add_user(T, IN, Account("alice", "alice's secret")),
        lambda: service.add_unit(T, 1, {"backing_path": f"{core.folder}/1.img"}),
        lambda: service.set_secret(T, IN, "alice", "another secret"),
        lambda: service.set_discovery({IN: Account("bob", "bob's secret")}),
        lambda: service.remove_target(T),
        lambda: service.add_target(U),
    ]
    for step in steps:
        core.together([step])
        shown.append(core.shown())
    return shown


def test_each_state_is_brought_back_with_its_secrets_and_restoring_is_a_revision(
    core: Core, client: TestClient
) -> None:
    shown = furnish(core)
    numbers = [each["revision"] for each in client.get(REVISIONS).json()][::-1]
    for number, expected in [*zip(numbers, shown, strict=True)][::-1]:
        before = client.get(REVISIONS).json()[0]["revision"]
        answer = client.post(f"{REVISIONS}/{number}/restore", params={"force": True})
        assert answer.status_code == 200, answer.text
        assert core.shown() == expected
        assert core.settle() == 0
        newest = client.get(REVISIONS).json()[0]
        assert newest["revision"] == before or newest["operation"] == "restore_revision"
    assert client.post(f"{REVISIONS}/{numbers[0]}/restore").status_code == 200


def test_a_revision_tells_who_did_what_with_secrets_masked(core: Core, client: TestClient) -> None:
    furnish(core)
    told = client.get(REVISIONS, params={"limit": 4}).json()
    assert told[3]["changes"] == ["user alice"]
    assert (told[3]["who"], told[3]["operation"]) == ("tester", "test")
    one = client.get(f"{REVISIONS}/{told[3]['revision']}").json()
    assert one["before"] == one["after"] == {"users": {"alice": MASK}}
    assert client.get(f"{REVISIONS}/{told[1]['revision']}").json()["after"]["targets"] == {T: None}
    for number in ("0", "x", "1000"):
        answer = client.get(f"{REVISIONS}/{number}")
        assert (answer.status_code, answer.json()["code"]) == (404, "revision-not-kept")


def test_writes_that_share_a_commit_are_one_revision_that_names_them_all(core: Core) -> None:
    core.together([partial(core.service.add_target, T), partial(core.service.add_target, U)])
    (told,) = core.service.revisions(None, 10)
    assert told["changes"] == [f"target {T}", f"target {U}"]
    assert told["who"] == "tester"


def test_restoring_undoes_what_shares_its_commit_too(core: Core) -> None:
    core.together([partial(core.service.add_target, T)])
    (told,) = core.service.revisions(None, 10)
    restore = partial(core.service.restore, told["revision"], force=True)
    assert core.together([partial(core.service.add_target, U), restore]) == [(), ()]
    assert core.service.target_names() == [T]
    assert core.settle() == 0


def test_a_state_whose_files_are_gone_is_not_restored_by_half(core: Core) -> None:
    furnish(core)
    (core.folder / "1.img").unlink()
    before = core.shown()
    with pytest.raises(Conflict) as caught:
        core.service.restore(4, force=True)
    assert caught.value.code == "backing-store-missing"
    assert core.shown() == before


def test_restoring_asks_before_it_takes_much_away(core: Core) -> None:
    furnish(core)
    with pytest.raises(Conflict) as caught:
        core.service.restore(5)
    assert caught.value.code == "too-much-removed"
