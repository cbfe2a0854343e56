"""The checker of histories, on histories of a register that is 0 at first."""

from tests.torture.truth.linearizability import Call, unexplained

Ask = tuple[str, int]


def register(value: int, ask: Ask) -> tuple[int, int]:
    """A write is answered with what it wrote."""
    kind, number = ask
    return (number, number) if kind == "write" else (value, value)


def wrote(start: float, end: float, value: int) -> Call[Ask]:
    return Call(start, end, ("write", value), value)


def read(start: float, end: float, value: int) -> Call[Ask]:
    return Call(start, end, ("read", 0), value)


def unanswered(start: float, end: float, value: int) -> Call[Ask]:
    return Call(start, end, ("write", value), None)


def legal(*calls: Call[Ask]) -> bool:
    return unexplained(calls, 0, register) == ()


def test_one_call_after_another_reads_what_was_written_last() -> None:
    assert legal(wrote(1, 2, 7), read(3, 4, 7), wrote(5, 6, 8), read(7, 8, 8))


def test_a_read_beside_a_write_may_find_old_or_new() -> None:
    assert legal(wrote(1, 4, 7), read(2, 3, 0))
    assert legal(wrote(1, 4, 7), read(2, 3, 7))


def test_a_stale_read_after_an_answered_write_is_illegal() -> None:
    stale = read(3, 4, 0)
    assert unexplained([wrote(1, 2, 7), stale], 0, register) == (stale,)


def test_a_value_that_nobody_wrote_is_illegal() -> None:
    assert not legal(wrote(1, 2, 7), read(1, 3, 8))


def test_what_one_reader_saw_the_next_one_cannot_unsee() -> None:
    writing = wrote(1, 9, 7)
    assert legal(writing, read(2, 3, 0), read(4, 5, 7))
    assert not legal(writing, read(2, 3, 7), read(4, 5, 0))


def test_two_writes_at_once_have_one_order_for_all_readers() -> None:
    writes = wrote(1, 9, 7), wrote(1, 9, 8)
    assert legal(*writes, read(2, 3, 7), read(4, 5, 8), read(6, 7, 8))
    assert not legal(*writes, read(2, 3, 7), read(4, 5, 8), read(6, 7, 7))


def test_a_lost_write_is_illegal() -> None:
    assert not legal(wrote(1, 2, 7), wrote(3, 6, 8), read(7, 8, 7))


def test_a_write_that_was_not_answered_was_done_or_not() -> None:
    assert legal(unanswered(1, 2, 7), read(3, 4, 7), read(5, 6, 7))
    assert legal(unanswered(1, 2, 7), read(3, 4, 0), read(5, 6, 0))


def test_a_write_that_was_not_answered_is_not_done_after_its_end() -> None:
    assert not legal(unanswered(1, 2, 7), read(3, 4, 0), read(5, 6, 7))
    assert legal(unanswered(1, 4.5, 7), read(3, 4, 0), read(5, 6, 7))


def test_a_write_that_was_not_answered_is_not_done_before_its_start() -> None:
    assert not legal(read(1, 2, 7), unanswered(3, 4, 7))


def test_many_calls_at_once_are_decided() -> None:
    """Every order of the writes is possible; only the last read is not."""
    writes = [wrote(1, 9, value) for value in range(1, 9)]
    reads = [read(2 + value / 10, 9, value) for value in range(1, 9)]
    assert legal(*writes, *reads)
    impossible = read(10, 11, 99)
    assert unexplained([*writes, *reads, impossible], 0, register) == (impossible,)
