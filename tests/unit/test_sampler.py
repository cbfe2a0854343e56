"""Who came and went, and what went through, as samples tell."""

from pathlib import Path

import pytest

from storlever import sampler
from storlever.errors import Unavailable
from storlever.inventory import DISCOVERY, Direction
from storlever.model import Account, Traffic
from storlever.tgtd.reply import Reply
from storlever.tgtd.wire import EVERY, Mode, Op, Request, TgtError
from tests.unit.core import FOREIGN, Core
from tests.world import image, wait_until

T, U = "iqn.2026-01.test:one", "iqn.2026-01.test:two"
HOST = "iqn.2026-01.test:host"
SOME = Traffic(4096, 8, 512, 1, 2)


@pytest.fixture
def core(tmp_path: Path) -> Core:
    core = Core(tmp_path)
    core.settle()
    for name in (T, U):
        core.service.add_target(name)
        core.service.add_unit(name, 1, {"backing_path": str(image(tmp_path / f"{name}.img", 1))})
    return core


def told(core: Core) -> list[tuple[str, object, object]]:
    """The sessions' events: kind, target, number."""
    events = core.service.events.after(0, 10_000) or []
    return [
        (event.kind, event.about["target"], event.about["session"])
        for event in events
        if event.kind.startswith("session-")
    ]


def test_a_session_is_told_when_it_comes_and_when_it_goes(core: Core) -> None:
    look = core.service.sampler.look
    look()
    first, second = core.tgtd.log_in(T, HOST), core.tgtd.log_in(U, HOST, "10.0.0.7")
    look()
    look()
    assert core.service.sampler.visits(T)[first].session.initiator_name == HOST
    assert core.service.sampler.visits(U)[second].session.address == "10.0.0.7"
    core.tgtd.log_out(T, first)
    look()
    assert core.service.sampler.visits(T) == {}
    assert told(core) == [
        ("session-opened", T, first),
        ("session-opened", U, second),
        ("session-closed", T, first),
    ]


def test_when_it_came_is_when_it_was_first_seen(core: Core) -> None:
    number = core.tgtd.log_in(T, HOST)
    core.service.sampler.look()
    since = core.service.sampler.visits(T)[number].since
    core.tgtd.log_in(T, HOST)
    core.service.sampler.look()
    assert core.service.sampler.visits(T)[number].since == since


def test_a_session_of_another_life_of_tgtd_is_another_one(core: Core) -> None:
    number = core.tgtd.log_in(T, HOST)
    core.service.sampler.look()
    core.tgtd.restart()
    core.settle()
    assert core.tgtd.log_in(T, HOST) == number
    core.service.sampler.look()
    kinds = [kind for kind, _, _ in told(core)]
    assert kinds == ["session-opened", "session-closed", "session-opened"]


def test_nothing_is_told_of_targets_that_are_not_ours(core: Core) -> None:
    core.add_foreign()
    core.settle()
    core.tgtd.log_in(FOREIGN, HOST)
    core.service.sampler.look()
    assert told(core) == []
    assert core.service.sampler.visits(FOREIGN) == {}
    assert core.service.sampler.counters.units == {}


def test_a_sample_costs_tgtd_one_request_while_nobody_comes(core: Core) -> None:
    core.tgtd.log_in(T, HOST)
    core.service.sampler.look()
    before = core.tgtd.requests
    core.service.sampler.look()
    assert core.tgtd.requests == before + 1


def test_many_that_come_at_once_are_asked_for_bit_by_bit(core: Core) -> None:
    names = [f"iqn.2026-01.test:many{number}" for number in range(sampler.MOST_ASKED + 1)]
    for name in names:
        core.service.add_target(name)
        core.tgtd.log_in(name, HOST)
    core.service.sampler.look()
    assert sum(bool(core.service.sampler.visits(name)) for name in names) == sampler.MOST_ASKED
    core.service.sampler.look()
    assert all(core.service.sampler.visits(name) for name in names)


def test_what_goes_through_a_lun_is_counted(core: Core) -> None:
    core.service.sampler.look()
    number = core.tgtd.log_in(T, HOST)
    core.tgtd.work(T, 1, number, SOME)
    core.service.sampler.look()
    counters = core.service.sampler.counters
    assert counters.units == {(T, 1): SOME}
    assert counters.sessions == {(T, number): SOME}
    core.service.remove_unit(T, 1)
    core.service.sampler.look()
    assert counters.units == {}


def test_what_a_session_did_last_counts_when_it_is_ended_here(core: Core) -> None:
    core.service.sampler.look()
    number = core.tgtd.log_in(T, HOST)
    core.tgtd.work(T, 1, number, SOME)
    core.service.end_session(T, number)
    assert core.service.sampler.counters.units == {(T, 1): SOME}


def test_a_tgtd_that_is_down_leaves_what_was_known_and_the_thread_goes_on(core: Core) -> None:
    number = core.tgtd.log_in(T, HOST)
    core.service.sampler.look()
    core.tgtd.dead = True
    with pytest.raises(Unavailable):
        core.service.sampler.look()
    assert number in core.service.sampler.visits(T)


def test_nobody_knows_of_sessions_while_tgtd_is_down(core: Core) -> None:
    core.known.down = "tgtd has died"
    with pytest.raises(Unavailable):
        core.service.visits(T)


def test_drift_is_what_a_pass_put_right_in_the_same_life_of_tgtd(core: Core) -> None:
    core.settle()
    core.tgtd.restart()
    core.settle()
    assert (core.known.tally.drift, core.known.tally.restarts) == (0, 1)
    core.tgtd.targets.clear()
    changes = core.settle()
    assert core.known.tally.drift == changes > 0
    events = core.service.events.after(0, 1000) or []
    assert [event.about for event in events if event.kind == "drift"] == [{"changes": changes}]


def test_a_lun_that_is_tried_again_and_again_is_no_drift(core: Core) -> None:
    core.tgtd.restart()
    (core.folder / f"{T}.img").unlink()
    for _ in range(3):
        core.settle()
    assert core.known.failures
    image(core.folder / f"{T}.img", 1)
    wait_until(lambda: core.settle() >= 0 and not core.known.failures)
    assert core.known.tally.drift == 0


def test_discovery_that_is_tried_again_is_no_drift(core: Core) -> None:
    core.service.set_discovery({Direction.INCOMING: Account("dora", "twelve chars")})
    core.tgtd.restart()

    def refuse_discovery(request: Request) -> Reply:
        core.flaky.hit = (request.mode, request.op, request.tid) == (Mode.ACCOUNT, Op.BIND, EVERY)
        core.flaky.countdown = 1
        return Reply(TgtError.UNKNOWN) if core.flaky.hit else core.tgtd.exchange(request)

    core.flaky.fail(1, refuse_discovery)
    core.settle()
    assert (DISCOVERY, None) in core.known.failures
    assert core.settle() > 0
    assert not core.known.failures
    assert core.known.tally.drift == 0
