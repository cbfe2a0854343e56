"""Talks of several lanes, held at the same time."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storlever.errors import Conflict, Refused, Unavailable
from storlever.tgtd.conversation import ABREAST, ALONE, Conversation, Talk, Talks
from storlever.tgtd.refusal import TgtRefusal
from storlever.tgtd.reply import Reply
from storlever.tgtd.transport import Awaited
from storlever.tgtd.wire import Mode, Op, Request

Told = tuple[int, int, int]
"""Lane, talk and request, by number."""


def request(tid: int) -> Request:
    return Request(Mode.TARGET, Op.SHOW, tid=tid)


class Daemon:
    """Answers each request by its number; `awaited` are those whose answers were not taken yet."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.awaited: set[int] = set()
        self.most = 0
        self.refused: dict[int, int] = {}
        self.lost: set[int] = set()
        """Whose answer never comes."""
        self.gone = False

    def send(self, request: Request) -> Awaited:
        if self.gone:
            raise Unavailable("gone")
        self.asked.append(request.tid)
        self.awaited.add(request.tid)
        self.most = max(self.most, len(self.awaited))
        return lambda: self._reply(request.tid)

    def _reply(self, tid: int) -> Reply:
        self.awaited.remove(tid)
        if tid in self.lost:
            raise Unavailable("lost")
        return Reply(self.refused.get(tid, 0), str(tid))

    def hold(self, *lanes: Talks) -> None:
        Conversation(self.send).hold(lanes)


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def asking(*tids: int) -> Talk:
    for tid in tids:
        assert (yield request(tid)) == str(tid)


def raising(error: Exception) -> Talk:
    yield from ()
    raise error


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=9))
def test_all_is_asked_with_the_order_of_each_lane_and_few_at_a_time(
    sizes: list[list[int]],
) -> None:
    daemon, ended = Daemon(), list[tuple[int, int]]()
    told: dict[int, Told] = {}

    def talk(lane: int, number: int, size: int) -> Talk:
        assert sum(1 for each in ended if each[0] == lane) == number
        for at in range(size):
            told[len(told)] = lane, number, at
            yield from asking(len(told) - 1)
        ended.append((lane, number))

    def lane(number: int, talks: list[int]) -> Talks:
        return (talk(number, at, size) for at, size in enumerate(talks))

    daemon.hold(*(lane(number, talks) for number, talks in enumerate(sizes)))
    assert len(ended) == sum(map(len, sizes))
    assert Counter(told[tid] for tid in daemon.asked) == Counter(
        (at, number, part)
        for at, talks in enumerate(sizes)
        for number, size in enumerate(talks)
        for part in range(size)
    )
    for at in range(len(sizes)):
        own = [told[tid] for tid in daemon.asked if told[tid][0] == at]
        assert own == sorted(own)
    busy = sum(any(talks) for talks in sizes)
    assert daemon.most <= min(ABREAST, busy)
    if all(talks and talks[0] for talks in sizes):
        assert daemon.most == min(ABREAST, busy)


def test_who_must_be_alone_is(daemon: Daemon) -> None:
    def lonely(tid: int) -> Talk:
        yield ALONE
        for number in (tid, tid + 1):
            assert not daemon.awaited
            yield request(number)
            assert not daemon.awaited

    daemon.hold(
        iter([asking(1, 2, 3)]),
        iter([lonely(10), asking(12)]),
        iter([lonely(20)]),
        iter([asking(4, 5)]),
    )
    assert sorted(daemon.asked) == [1, 2, 3, 4, 5, 10, 11, 12, 20, 21]


def test_after_an_error_what_is_under_way_goes_on_to_its_end(daemon: Daemon) -> None:
    daemon.refused[1] = 17
    with pytest.raises(TgtRefusal):
        daemon.hold(
            iter([asking(1, 2), asking(3)]),
            iter([asking(10, 11, 12), asking(13)]),
            iter([asking(20)]),
            *(iter([asking(number)]) for number in range(30, 40)),
        )
    assert {2, 3, 13}.isdisjoint(daemon.asked)
    assert {10, 11, 12, 20} <= set(daemon.asked)
    assert len(daemon.asked) == 1 + 3 + 1 + (ABREAST - 3)
    assert not daemon.awaited


def test_after_an_error_nobody_is_held_alone(daemon: Daemon) -> None:
    """What it was to make is not begun."""
    closed = []

    def lonely() -> Talk:
        try:
            yield ALONE
            yield request(2)
        except GeneratorExit:
            closed.append(True)
            raise

    daemon.refused[1] = 17
    with pytest.raises(TgtRefusal):
        daemon.hold(iter([asking(1)]), iter([lonely()]))
    assert daemon.asked == [1]
    assert closed == [True]


def test_a_talk_may_go_on_after_a_refusal(daemon: Daemon) -> None:
    def stubborn() -> Talk:
        try:
            yield request(1)
        except TgtRefusal as refusal:
            yield request(refusal.number)

    daemon.refused[1] = 9
    daemon.hold(iter([stubborn(), asking(3)]))
    assert daemon.asked == [1, 9, 3]


@pytest.mark.parametrize("gone", [False, True])
def test_a_talk_hears_that_no_answer_comes(daemon: Daemon, *, gone: bool) -> None:
    """Whether that shows when it is asked or when the answer is awaited."""
    heard = []

    def listening() -> Talk:
        try:
            yield request(1)
        except Unavailable:
            heard.append(True)
            raise

    daemon.gone, daemon.lost = gone, {1}
    with pytest.raises(Unavailable):
        daemon.hold(iter([listening(), asking(2)]))
    assert heard == [True]
    assert 2 not in daemon.asked


def test_a_daemon_that_gave_no_answer_is_asked_nothing_more(daemon: Daemon) -> None:
    """It would be waited for in vain again."""
    daemon.lost = {1}
    with pytest.raises(Unavailable):
        daemon.hold(iter([asking(1)]), iter([asking(2, 3)]), iter([asking(4, 5)]))
    assert daemon.asked == [1, 2, 4]
    assert not daemon.awaited


def test_of_several_errors_the_one_that_leaves_most_unknown_is_raised(daemon: Daemon) -> None:
    """A request whose answer never came may be done yet: only another look at tgtd tells."""

    def first(error: Exception) -> Callable[[int], Talk]:
        def talk(tid: int) -> Talk:
            yield request(tid)
            raise error

        return talk

    refused, odd = Refused("no"), RuntimeError("odd")
    daemon.lost = {3}
    with pytest.raises(Unavailable):
        daemon.hold(iter([first(refused)(1)]), iter([first(odd)(2)]), iter([asking(3)]))
    with pytest.raises(RuntimeError):
        daemon.hold(iter([first(refused)(1)]), iter([first(odd)(2)]))
    with pytest.raises(Conflict, match="earlier"):
        daemon.hold(iter([first(Conflict("earlier"))(1)]), iter([first(refused)(2)]))


def test_what_a_lane_raises_between_two_talks_is_an_error_as_well(daemon: Daemon) -> None:
    def broken() -> Iterator[Talk]:
        yield asking(1)
        raise RuntimeError("between")

    with pytest.raises(RuntimeError, match="between"):
        daemon.hold(broken())
    with pytest.raises(Refused):
        daemon.hold(iter([raising(Refused("at once"))]))
