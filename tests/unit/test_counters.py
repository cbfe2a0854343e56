"""Totals of what went through, of counters that vanish, begin anew and go around."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storlever.counters import AROUND, Counters, since
from storlever.model import Counted, Place, Sample, Traffic

T = "iqn.2026-01.test:one"
SOME = Traffic(4096, 8, 512, 1, 2)


def everywhere(_: Place) -> bool:
    return True


def shown(done: Traffic) -> Traffic:
    """As tgtd has room for it."""
    return replace(
        done, reads=done.reads % AROUND, writes=done.writes % AROUND, errors=done.errors % AROUND
    )


def taken(*samples: dict[Counted, Traffic], life: int = 1) -> Counters:
    counters = Counters()
    for sample in samples:
        counters.take(Sample(life, sample), everywhere)
    return counters


def not_less(one: Traffic, other: Traffic) -> bool:
    names = Traffic.__struct_fields__
    return all(getattr(one, name) >= getattr(other, name) for name in names)


numbers = st.integers(0, 1 << 31)
amounts = st.builds(Traffic, numbers, *[st.integers(0, AROUND // 2 - 1)] * 4).map(
    lambda done: replace(done, written_bytes=done.read_bytes)
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["work", "leave", "sample", "restart"]),
        st.sampled_from([T, "iqn.2026-01.test:two"]),
        st.integers(1, 2),
        st.integers(0, 2),
        amounts,
    ),
    max_size=40,
)


@given(steps)
def test_totals_never_fall_and_are_all_that_was_done_up_to_the_last_sample_of_each_session(
    steps: list[tuple[str, str, int, int, Traffic]],
) -> None:
    counters = Counters()
    counters.take(Sample(0, {}), everywhere)
    life, generation = 1, 0
    live: dict[Counted, Traffic] = {}
    sampled: dict[tuple[int, Counted], Traffic] = {}
    before: dict[Place, Traffic] = {}
    for what, target, lun, session, amount in steps:
        here = (target, lun, session + 10 * generation)
        if what == "work":
            # Between two samples nobody does more than tgtd can tell.
            known = sampled.get((life, here), Traffic())
            live[here] = known.plus(amount)
        elif what == "leave":
            live = {each: done for each, done in live.items() if each[2] != here[2]}
            generation += 1
        elif what == "restart":
            live, life = {}, life + 1
        else:
            counters.take(Sample(life, {at: shown(done) for at, done in live.items()}), everywhere)
            sampled |= {(life, at): done for at, done in live.items()}
            expected: dict[Place, Traffic] = defaultdict(Traffic)
            for (_, (name, number, _)), done in sampled.items():
                expected[name, number] = expected[name, number].plus(done)
            assert counters.units == expected
            assert all(not_less(counters.units[place], old) for place, old in before.items())
            before = dict(counters.units)


def test_what_there_was_at_the_first_sample_counts_for_its_session_and_not_for_the_lun() -> None:
    counters = taken({(T, 1, 5): SOME}, {(T, 1, 5): SOME.plus(SOME)})
    assert counters.units == {(T, 1): SOME}
    assert counters.sessions == {(T, 5): SOME.plus(SOME)}


def test_a_session_has_what_went_through_all_its_luns_but_the_controller() -> None:
    counters = taken({}, {(T, 0, 5): SOME, (T, 1, 5): SOME, (T, 2, 5): SOME, (T, 2, 6): SOME})
    assert counters.sessions == {(T, 5): SOME.plus(SOME), (T, 6): SOME}
    assert counters.units == {(T, 1): SOME, (T, 2): SOME.plus(SOME)}


def test_another_life_of_tgtd_adds_all_it_has_although_its_numbers_are_the_same() -> None:
    counters = taken({}, {(T, 1, 1): SOME})
    counters.take(Sample(2, {(T, 1, 1): SOME}), everywhere)
    assert counters.units == {(T, 1): SOME.plus(SOME)}
    assert counters.sessions == {(T, 1): SOME}


def test_a_lun_that_is_gone_takes_its_series_along() -> None:
    counters = taken({}, {(T, 1, 1): SOME, (T, 2, 1): SOME})
    counters.take(Sample(1, {(T, 1, 1): SOME, (T, 2, 1): SOME}), lambda place: place[1] == 2)
    assert counters.units == {(T, 2): SOME}
    assert counters.sessions == {(T, 1): SOME.plus(SOME)}


@pytest.mark.parametrize("field", ["reads", "writes", "errors"])
def test_commands_and_errors_go_around(field: str) -> None:
    before = replace(SOME, **{field: AROUND - 3})
    assert getattr(since(before, replace(SOME, **{field: 4})), field) == 7


@pytest.mark.parametrize("field", Traffic.__struct_fields__)
def test_a_counter_that_falls_otherwise_began_anew(field: str) -> None:
    now = replace(SOME, **{field: 0})
    assert since(SOME, now) == now
