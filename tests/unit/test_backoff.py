"""When a LUN that tgtd refuses is tried again."""

from storlever.backoff import FIRST, LONGEST, Backoff

PLACE = ("iqn.2026-01.test:one", 1)


def test_a_failed_lun_rests_twice_as_long_each_time() -> None:
    backoff, now, rests = Backoff(), 0.0, []
    for _ in range(10):
        assert backoff.resting(now) == frozenset()
        backoff.note({PLACE}, now)
        start = now
        while backoff.resting(now):
            now += 1.0
        rests.append(now - start)
    assert rests[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert rests[-1] == LONGEST


def test_a_lun_that_is_well_again_starts_anew() -> None:
    backoff = Backoff()
    backoff.note({PLACE}, 0.0)
    backoff.note(set(), FIRST)
    backoff.note({PLACE}, FIRST)
    assert backoff.resting(FIRST + FIRST - 0.1) == {PLACE}
    assert backoff.resting(FIRST + FIRST) == frozenset()


def test_a_resting_lun_is_not_forgotten_by_a_pass_that_leaves_it_out() -> None:
    backoff = Backoff()
    backoff.note({PLACE}, 0.0)
    backoff.note(set(), 1.0)
    assert backoff.resting(1.0) == {PLACE}
    backoff.clear()
    assert backoff.resting(1.0) == frozenset()


def test_a_lun_that_a_write_mended_does_not_rest() -> None:
    backoff = Backoff()
    other = (PLACE[0], 2)
    backoff.note({PLACE, other}, 0.0)
    backoff.forget(PLACE)
    assert backoff.resting(1.0) == {other}
    backoff.note({PLACE}, 1.0)
    assert PLACE not in backoff.resting(1.0 + FIRST)
