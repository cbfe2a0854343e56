"""Notes for the next life: the same cases on files and in memory, and files that are garbage."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storlever.errors import StateFailed, StateUnusable
from storlever.model import Pending
from storlever.notes import FileNotes
from storlever.protocols import Notes
from storlever.twins import MemoryNotes


@pytest.fixture(params=["files", "memory"])
def notes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Notes]:
    if request.param == "memory":
        yield MemoryNotes()
        return
    with closing(FileNotes(tmp_path)) as notes:
        yield notes


LINES = [f"{name}.{number}" for name in ("settled", "pending") for number in (0, 1)]


def targets(*names: str) -> Pending:
    return Pending(frozenset(names))


def test_at_first_nothing_is_noted(notes: Notes) -> None:
    assert notes.settled() is None
    assert notes.pending() == Pending()


def test_the_life_that_was_settled_is_the_last_one_said(notes: Notes) -> None:
    notes.settle("Peer(pid=10, started=100)")
    notes.settle("Peer(pid=9, started=1)")
    notes.settle("Peer(pid=9, started=1)")
    assert notes.settled() == "Peer(pid=9, started=1)"


def test_names_are_pending_until_the_write_is_finished(notes: Notes) -> None:
    names = Pending(
        frozenset({"iqn.2014-09.com.example:a,b"}),
        frozenset({'user "x"\n', "bob"}),
        secrets=frozenset({"bob"}),
    )
    notes.begin(names)
    assert notes.pending() == names
    notes.finish()
    assert notes.pending() == Pending()


def test_a_write_replaces_the_names_of_the_one_before(notes: Notes) -> None:
    notes.begin(targets("a rather long name", "another one"))
    notes.begin(targets("b"))
    assert notes.pending() == targets("b")


def test_a_user_and_a_target_of_one_name_are_two(notes: Notes) -> None:
    """Else a user's name could make a target of somebody else's look like one of ours."""
    notes.begin(Pending(accounts=frozenset({"iqn.2014-09.com.example:a"})))
    assert notes.pending().targets == frozenset()


def test_the_two_kinds_of_notes_do_not_mix(notes: Notes) -> None:
    notes.settle("peer")
    notes.begin(targets("name"))
    notes.finish()
    assert notes.settled() == "peer"


# -- files alone


def test_the_next_life_reads_what_the_last_one_noted(tmp_path: Path) -> None:
    with closing(FileNotes(tmp_path)) as before:
        before.settle("peer")
        before.begin(targets("one", "two"))
    with closing(FileNotes(tmp_path)) as after:
        assert after.settled() == "peer"
        assert after.pending() == targets("one", "two")


def test_nobody_else_may_read_the_notes(tmp_path: Path) -> None:
    with closing(FileNotes(tmp_path)):
        assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}


@given(st.lists(st.text(), unique=True), st.lists(st.text(), unique=True))
def test_what_is_left_of_a_longer_note_does_not_count(long: list[str], short: list[str]) -> None:
    with TemporaryDirectory() as folder, closing(FileNotes(Path(folder))) as notes:
        notes.begin(targets(*long))
        notes.begin(targets(*short))
        with closing(FileNotes(Path(folder))) as next_life:
            assert next_life.pending() == targets(*short)


@given(
    st.lists(st.text(), unique=True),
    st.lists(st.text(), unique=True),
    st.integers(0, 1000),
    st.booleans(),
)
def test_a_kill_within_a_write_leaves_the_note_before(
    old: list[str], new: list[str], written: int, over: bool
) -> None:
    """A long one is written page by page; what it announces has not begun yet."""
    with TemporaryDirectory() as folder:
        with closing(FileNotes(Path(folder))) as notes:
            if over:
                notes.begin(targets("what", "stood", "there"))
            notes.begin(targets(*old))
            before = {name: (Path(folder) / name).read_bytes() for name in LINES}
            notes.begin(targets(*new))
        found = old
        for name in LINES:
            after = (Path(folder) / name).read_bytes()
            if after != before[name]:
                cut = min(written, after.index(b"\n"))
                left = after[:cut] + before[name][cut:]
                (Path(folder) / name).write_bytes(left)
                found = new if left == after else old  # where the rest was there already
        with closing(FileNotes(Path(folder))) as next_life:
            assert next_life.pending() == targets(*found)


@given(
    st.binary()
    | st.sampled_from(
        (b"{}", b"1", b"null", b'"text"', b'{"targets": [1, null], "accounts": 3}', b"[", b"NaN")
    )
)
def test_garbage_is_never_an_error(garbage: bytes) -> None:
    """A power cut may leave anything; whatever is read then, its type is right."""
    with TemporaryDirectory() as folder:
        for name in (*LINES, "committed"):
            (Path(folder) / name).write_bytes(garbage)
        with closing(FileNotes(Path(folder))) as notes:
            assert notes.committed() == 0
            assert isinstance(notes.settled(), str | None)
            said = notes.pending()
            assert all(isinstance(name, str) for name in said.targets | said.accounts)
            notes.begin(targets("name"))
            notes.settle("peer")
            assert (notes.pending(), notes.settled()) == (targets("name"), "peer")


def test_garbage_names_nothing(tmp_path: Path) -> None:
    for name in LINES:
        (tmp_path / name).write_bytes(b"\0\0\0\0")
    with closing(FileNotes(tmp_path)) as notes:
        assert (notes.settled(), notes.pending()) == (None, Pending())


def test_a_note_that_cannot_be_written_fails_the_write_before_it_begins(tmp_path: Path) -> None:
    with closing(FileNotes(tmp_path)) as notes:
        notes.begin(targets("name"))
        with broken(notes), pytest.raises(StateFailed):
            notes.begin(targets("other"))


def test_a_note_that_stays_too_long_is_no_error(tmp_path: Path) -> None:
    with closing(FileNotes(tmp_path)) as notes:
        with broken(notes):
            notes.finish()
            notes.settle("peer")
        notes.finish()


# -- the last commit


def test_the_next_life_knows_what_was_committed_last(tmp_path: Path) -> None:
    with closing(FileNotes(tmp_path)) as notes:
        assert notes.committed() == 0
        for revision in (9, 10, 11):
            notes.commit(revision)
    with closing(FileNotes(tmp_path)) as next_life:
        assert next_life.committed() == 11
        next_life.forget()
    with closing(FileNotes(tmp_path)) as another:
        assert another.committed() == 0


@given(st.integers(1, 10**9), st.integers(0, 40), st.binary(max_size=40))
def test_a_note_of_a_commit_that_is_not_whole_claims_nothing(
    revision: int, at: int, garbage: bytes
) -> None:
    with TemporaryDirectory() as folder:
        with closing(FileNotes(Path(folder))) as notes:
            notes.commit(revision)
        file = Path(folder) / "committed"
        whole = file.read_bytes()
        spoilt = whole[:at] + garbage
        file.write_bytes(spoilt)
        with closing(FileNotes(Path(folder))) as notes:
            assert notes.committed() == (revision if spoilt == whole else 0)


def test_a_commit_that_cannot_be_noted_is_no_error(tmp_path: Path) -> None:
    with closing(FileNotes(tmp_path)) as notes, broken(notes):
        notes.commit(1)
        notes.forget()


def test_names_in_doubt_stay_pending_for_the_next_life_until_a_commit(tmp_path: Path) -> None:
    with closing(FileNotes(tmp_path)) as notes:
        notes.begin(targets("doubtful"))
        notes.doubt()
        notes.finish()
        assert notes.pending() == Pending()
        notes.begin(targets("other"))
        assert notes.pending() == targets("other")
        with closing(FileNotes(tmp_path)) as next_life:
            assert next_life.pending() == targets("doubtful", "other")
        notes.finish()
        with closing(FileNotes(tmp_path)) as next_life:
            assert next_life.pending() == targets("doubtful")
        notes.begin(targets("other"))
        notes.commit(1)
        notes.finish()
        with closing(FileNotes(tmp_path)) as next_life:
            assert next_life.pending() == Pending()


def test_no_tgtd_has_what_is_stored_while_a_commit_is_in_doubt(tmp_path: Path) -> None:
    """The next life may find stored what no tgtd was brought to."""
    with closing(FileNotes(tmp_path)) as notes:
        notes.settle("peer")
        notes.begin(targets("new"))
        notes.doubt()
        notes.finish()
        notes.settle("the next one")
        with closing(FileNotes(tmp_path)) as next_life:
            assert next_life.settled() == ""
            assert next_life.pending() == Pending(frozenset({"new"}), peer="the next one")
        notes.commit(1)
        notes.settle("the next one")
        with closing(FileNotes(tmp_path)) as next_life:
            assert next_life.settled() == "the next one"


def test_names_in_doubt_are_of_one_life_of_tgtd(tmp_path: Path) -> None:
    with closing(FileNotes(tmp_path)) as notes:
        notes.begin(Pending(frozenset({"doubtful"}), peer="old"))
        notes.doubt()
        notes.begin(Pending(frozenset({"other"}), peer="new"))
        with closing(FileNotes(tmp_path)) as next_life:
            assert next_life.pending() == Pending(frozenset({"other"}), peer="new")


def test_a_folder_that_takes_no_notes_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="cannot use the notes in"):
        FileNotes(tmp_path / "gone")


@contextmanager
def broken(notes: FileNotes) -> Iterator[None]:
    """Notes whose files take no writes, as on a file system that turned read-only."""
    whole = (notes._names, notes._peer, notes._number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    lines: list[Any] = [copy(each) for each in whole]
    for line in lines:
        line._file, line._files = nothing, (nothing, nothing)
    notes._names, notes._peer, notes._number = lines
    try:
        yield
    finally:
        notes._names, notes._peer, notes._number = whole
        os.close(nothing)
