"""Writes that share a commit: each is in force or undone by itself, all are durable or none is."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from storlever.audit import Entry
from storlever.errors import Conflict, Refused, StateFailed, Unavailable
from storlever.inventory import Direction, Edit, Inventory
from storlever.model import Account
from storlever.receipt import Done, Receipt
from storlever.service import Service
from storlever.tgtd.memory import MemoryTgtd
from storlever.tgtd.reply import Reply
from storlever.tgtd.wire import Mode, Op, Request, TgtError
from storlever.web import threads
from storlever.web.threads import Threaded
from storlever.writer import Write
from tests.unit.core import ACT, Core, Crash, FlakyStore
from tests.world import folder, image

T, U, NEW = "iqn.2026-01.test:one", "iqn.2026-01.test:two", "iqn.2026-01.test:new"
IN = Direction.INCOMING
MOST_REQUESTS = 60
ALICE, BOB = Account("alice", "alice's secret"), Account("bob", "bob's secret")


class CountingStore(FlakyStore):
    commits = 0

    def commit(
        self, edit: Edit, entries: Sequence[Entry] = (), receipts: Sequence[Receipt] = ()
    ) -> None:
        super().commit(edit, entries, receipts)
        self.commits += 1


class Fixed(Core):
    store: CountingStore


@pytest.fixture
def core() -> Iterator[Fixed]:
    """Two targets, the first with a user and a LUN, and a foreign one."""
    with folder() as path:
        for number in range(1, 4):
            image(path / f"{number}.img", number)
        core = Fixed(path, MemoryTgtd(), CountingStore())
        core.settle()
        core.service.add_target(T)
        core.service.add_target(U)
        core.service.add_user(T, IN, ALICE)
        core.service.add_unit(T, 1, {"backing_path": f"{path}/1.img"})
        core.add_foreign()
        core.settle()
        yield core


Evidence = Callable[[Inventory], bool]


def _writes(core: Core) -> list[tuple[Callable[[], object], Evidence]]:
    """Writes, each with what shows that it was made. Later ones build on earlier ones."""
    service, path = core.service, core.folder
    return [
        (lambda: service.add_user(U, IN, BOB), lambda now: "bob" in now.targets[U].incoming),
        (
            lambda: service.remove_unit(T, 1),
            lambda now: now.targets[T].unit(1) is None,
        ),
        (
            lambda: service.add_unit(U, 5, {"backing_path": f"{path}/2.img"}),
            lambda now: now.targets[U].unit(5) is not None,
        ),
        (lambda: service.add_target(NEW), lambda now: NEW in now.targets),
        (
            lambda: service.add_user(NEW, IN, ALICE),
            lambda now: NEW in now.targets and "alice" in now.targets[NEW].incoming,
        ),
        (
            lambda: service.edit_target(T, addresses=("10.0.0.1",)),
            lambda now: now.targets[T].access.addresses == ("10.0.0.1",),
        ),
    ]


def together(core: Core) -> list[object]:
    return core.together([write for write, _ in _writes(core)])


def require_as_told(core: Core, outcomes: list[object]) -> None:
    """Made is what was told so, and nothing else."""
    evidence = [shows(core.service.inventory) for _, shows in _writes(core)]
    assert evidence == [not isinstance(outcome, Exception) for outcome in outcomes]
    assert core.store.load() == core.service.inventory


def require_in_force(core: Core) -> None:
    """tgtd has what it would have if it were told everything anew."""
    shown = core.shown()
    core.tgtd.restart()
    core.add_foreign()
    core.settle()
    assert core.shown() == shown


def test_writes_together_build_on_each_other_and_share_a_commit(core: Fixed) -> None:
    commits = core.store.commits
    outcomes = together(core)
    assert outcomes == [()] * len(outcomes)
    assert core.store.commits == commits + 1
    require_as_told(core, outcomes)
    assert core.settle() == 0
    require_in_force(core)


def test_nobody_sees_what_is_not_durable(core: Fixed) -> None:
    before, seen = core.service.inventory, []
    together = [lambda: core.service.add_target(NEW), lambda: seen.append(core.service.inventory)]
    core.together(together)
    assert seen == [before]
    assert NEW in core.service.inventory.targets


def test_one_that_is_refused_leaves_the_others_alone(core: Fixed) -> None:
    def refused() -> None:
        core.service.add_user(T, IN, Account("alice", "not alice's secret"))

    def broken() -> None:
        raise ZeroDivisionError

    first, *rest = [write for write, _ in _writes(core)]
    outcomes = core.together([first, refused, *rest, broken])
    assert isinstance(outcomes.pop(), ZeroDivisionError)
    assert isinstance(outcomes.pop(1), Conflict)
    require_as_told(core, outcomes)
    assert core.settle() == 0


def test_without_a_commit_all_of_them_are_undone(core: Fixed) -> None:
    before, inventory = core.shown(), core.service.inventory
    core.store.full = True
    outcomes = together(core)
    assert all(isinstance(outcome, StateFailed) for outcome in outcomes)
    assert core.service.inventory is inventory
    assert core.shown() == before
    assert core.settle() == 0
    core.store.full = False
    require_as_told(core, together(core))
    assert core.settle() == 0


def test_a_refusal_that_stood_on_what_was_undone_is_no_answer(core: Fixed) -> None:
    core.store.full = True
    twice = core.together([lambda: core.service.add_target(NEW)] * 2)
    assert [type(outcome) for outcome in twice] == [StateFailed, StateFailed]


@pytest.mark.parametrize("fault", ["refuse", "die", "time_out_after"])
def test_a_fault_anywhere_costs_no_more_than_was_told(core: Fixed, fault: str) -> None:
    inventory = core.service.inventory
    for number in range(1, MOST_REQUESTS):
        core.flaky.fail(number, getattr(core.flaky, fault))
        outcomes = together(core)
        core.flaky.mend()
        if not core.flaky.hit:
            assert number > len(outcomes)
            return
        failed = [each for each in outcomes if isinstance(each, Exception)]
        assert failed
        assert fault == "refuse" or any(isinstance(each, Unavailable) for each in failed)
        require_as_told(core, outcomes)
        if core.tgtd.dead:
            core.tgtd.restart()
            core.add_foreign()
        core.settle()
        assert core.settle() == 0
        require_in_force(core)
        core = _anew(core, inventory)
    raise AssertionError("the writes never end")


def _anew(core: Fixed, inventory: Inventory) -> Fixed:
    store = CountingStore(inventory)
    new = Fixed(core.folder, MemoryTgtd(), store)
    new.settle()
    new.add_foreign()
    new.settle()
    return new


@pytest.mark.parametrize("fault", ["crash_before", "crash_after"])
def test_a_kill_before_the_commit_is_as_if_nobody_had_asked(core: Fixed, fault: str) -> None:
    before, life = core.shown(), core
    for number in range(1, MOST_REQUESTS):
        life.flaky.fail(number, getattr(life.flaky, fault))
        try:
            together(life)
        except Crash:
            life = Fixed(life.folder, life.tgtd, life.store, life.notes)
            life.settle()
            assert life.shown() == before
            assert life.settle() == 0
        else:
            assert number > 1
            return
    raise AssertionError("the writes never end")


def test_a_refused_write_leaves_the_note_of_the_others_in_place(core: Fixed) -> None:
    """Should the service be killed before the commit, they are undone by its next life."""

    def refused() -> None:
        core.flaky.fail(1, core.flaky.refuse)
        with pytest.raises(Refused):
            core.service.edit_target(U, addresses=("10.0.0.1",))

    def killed() -> None:
        raise Crash

    before = core.shown()
    with pytest.raises(Crash):
        core.together([lambda: core.service.add_target(NEW), refused, killed])
    next_life = Fixed(core.folder, core.tgtd, CountingStore(core.service.inventory), core.notes)
    next_life.settle()
    assert next_life.service.health().foreign == ("iqn.2026-01.test:foreign",)
    assert next_life.shown() == before


def test_what_is_lost_in_the_middle_is_undone_even_if_the_commit_fails(core: Fixed) -> None:
    def timed_out() -> None:
        core.flaky.fail(1, core.flaky.time_out_after)
        core.service.add_target(f"{NEW}2")

    before = core.shown()
    core.store.full = True
    outcomes = core.together([lambda: core.service.add_target(NEW), timed_out])
    assert [type(outcome) for outcome in outcomes] == [StateFailed, StateFailed]
    core.flaky.mend()
    core.settle()
    assert core.shown() == before
    assert core.settle() == 0


def test_what_could_not_be_undone_is_not_forgotten_over_the_next_write(
    core: Fixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stubborn(request: Request, *, pid: int | None = None) -> Reply:
        if (request.mode, request.op) == (Mode.TARGET, Op.DELETE):
            return Reply(TgtError.UNKNOWN)
        return exchange(request, pid=pid)

    before, exchange = core.shown(), core.flaky.exchange
    monkeypatch.setattr(core.flaky, "exchange", stubborn)
    core.store.full = True
    with pytest.raises(StateFailed):
        core.service.add_target(NEW)
    core.store.full = False
    core.settle()
    core.service.edit_target(U, addresses=("10.0.0.1",))
    core.service.edit_target(U, addresses=("ALL",))
    monkeypatch.undo()
    core.settle()
    assert core.shown() == before
    assert core.settle() == 0


def test_an_initiator_whose_name_forges_tgtds_words_stops_no_group(core: Fixed) -> None:
    core.service.add_user(U, IN, BOB)
    core.tgtd.log_in(T, f"evil\nTarget 2: {U}\n    System information:", "10.0.0.1")
    writes = [
        lambda: core.service.add_target(NEW),
        lambda: core.service.remove_user(U, IN, "bob"),
        lambda: core.service.add_target(f"{NEW}2"),
    ]
    assert core.together(writes) == [()] * 3


def test_what_others_took_meanwhile_is_not_put_back_under_them(core: Fixed) -> None:
    """tgtd dies of an account that is deleted while another one stands behind it."""

    def others() -> None:
        core.raw(Mode.ACCOUNT, Op.UNBIND, ("user", "stranger"), tid=99)
        core.raw(Mode.ACCOUNT, Op.BIND, ("user", "bob"), tid=99)
        core.raw(Mode.ACCOUNT, Op.BIND, ("user", "stranger"), tid=99)

    core.store.full = True
    core.together([lambda: core.service.add_user(U, IN, BOB), others])
    core.settle()
    assert core.tgtd.targets[99].bound.slots[:2] == ["bob", "stranger"]


def test_a_refused_write_does_not_forget_the_secret_of_a_user_that_others_took(core: Fixed) -> None:
    """An account that others use can be made anew only once they let go of it."""
    core.raw(Mode.ACCOUNT, Op.BIND, ("user", "alice"), tid=99)
    for number in range(1, MOST_REQUESTS):
        core.flaky.fail(number, core.flaky.refuse)
        try:
            core.service.remove_target(T)
        except (Refused, Unavailable):
            core.settle()
            assert core.settle() == 0
        else:
            assert number > 1
            return
    raise AssertionError("the write never ends")


def test_a_failure_after_a_write_is_in_force_undoes_it_and_all_others(
    core: Fixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    before = core.shown()

    def fails() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(core.service, "_claim", broken)
            core.service.add_unit(U, 3, {"backing_path": f"{core.folder}/3.img"})

    outcomes = core.together([lambda: core.service.add_target(NEW), fails])
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2
    assert core.shown() == before
    assert core.settle() == 0


def test_what_a_write_lets_go_of_is_free_when_that_is_durable(core: Fixed) -> None:
    """Until then it may have to be put back, and nobody else may have written there."""
    first, path = str(core.folder / "1.img"), str(core.folder / "3.img")
    take = {"backing_path": first}
    moves: list[Callable[[Service], object]] = [
        lambda service: service.edit_unit(T, 1, {"backing_path": path}),
        lambda service: service.remove_unit(T, 1),
    ]
    for move in moves:
        outcomes = core.together(
            [lambda: move(core.service), lambda: core.service.add_unit(U, 5, take)]  # noqa: B023
        )
        assert isinstance(outcomes[1], Conflict)
        take = {"backing_path": path}
        core.service.add_unit(U, 6, {"backing_path": first})
        core.service.remove_unit(U, 6)
    core.service.add_unit(U, 5, take)
    assert core.settle() == 0


# -- reads that ask tgtd


def test_a_target_is_asked_for_again_in_a_thread_when_tgtd_does_not_answer_at_once(
    core: Fixed,
) -> None:
    threaded, asked = Threaded(core.service), core.tgtd.requests
    assert asyncio.run(threaded.target(T)).state == "ready"
    assert core.tgtd.requests == asked + 1
    core.flaky.fail(1, core.flaky.time_out_after)
    assert asyncio.run(threaded.target(T)).state == "ready"
    assert core.tgtd.requests == asked + 3
    core.tgtd.hung = True
    assert asyncio.run(threaded.target(T)).state == "error"


def test_nobody_tries_in_the_loop_while_tgtd_keeps_somebody_waiting(core: Fixed) -> None:
    in_loop: list[bool] = []

    def slow(_: Request, **__: int | None) -> Reply:
        in_loop.append(threading.current_thread() is threading.main_thread())
        if not in_loop[-1]:
            time.sleep(0.1)
        raise Unavailable("tgtd did not answer")

    async def ask() -> None:
        threaded = Threaded(core.service)
        core.flaky.exchange = slow  # type: ignore[assignment, method-assign]
        await asyncio.gather(*(threaded.target(T) for _ in range(5)))

    asyncio.run(ask())
    assert in_loop.count(True) == 1
    assert in_loop.count(False) == 5


# -- the thread that takes what waits


async def written(threaded: Threaded, method: Callable[..., object], *arguments: object) -> object:
    """What it returned."""
    done = await threaded.write(Write(ACT, partial(method, threaded.service, *arguments)))
    assert isinstance(done, Done)
    return done.answer


def test_what_waits_is_done_together(core: Fixed) -> None:
    commits, names = core.store.commits, [f"{NEW}{number}" for number in range(10)]

    async def ask() -> None:
        threaded = Threaded(core.service)
        with core.lock:
            asked = [asyncio.create_task(written(threaded, Service.add_target, x)) for x in names]
            await asyncio.sleep(0.05)
            assert not any(each.done() for each in asked)
        assert await asyncio.gather(*asked) == [()] * len(names)
        with pytest.raises(Conflict):
            await written(threaded, Service.add_target, names[0])

    asyncio.run(ask())
    assert set(core.service.inventory.targets) >= set(names)
    assert core.store.commits - commits == 1


def test_a_group_is_over_in_time_and_the_rest_is_the_next(
    core: Fixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these would have the first wait for all of them."""
    monkeypatch.setattr("storlever.writer.TOGETHER", 0.0)
    commits, names = core.store.commits, [f"{NEW}{number}" for number in range(3)]

    async def ask() -> None:
        threaded = Threaded(core.service)
        with core.lock:
            asked = [asyncio.create_task(written(threaded, Service.add_target, x)) for x in names]
            await asyncio.sleep(0.05)
        assert await asyncio.gather(*asked) == [()] * len(names)

    asyncio.run(ask())
    assert set(core.service.inventory.targets) >= set(names)
    assert core.store.commits - commits == len(names)


def test_a_write_that_waits_too_long_is_never_made(
    core: Fixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.05)
    busy, go_on = threading.Event(), threading.Event()

    def slow(_: Service) -> None:
        busy.set()
        assert go_on.wait(10)

    async def ask() -> None:
        threaded = Threaded(core.service)
        first = asyncio.create_task(written(threaded, slow))
        await asyncio.to_thread(busy.wait, 10)
        with pytest.raises(Unavailable, match="waiting"):
            await written(threaded, Service.add_target, NEW)
        go_on.set()
        await first
        assert await written(threaded, Service.target_names) == sorted([T, U])

    asyncio.run(ask())


def test_a_write_that_is_left_out_waits_no_longer_than_others(
    core: Fixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storlever.writer.TOGETHER", 0.0)
    monkeypatch.setattr(threads, "PATIENCE", 0.05)

    async def ask() -> list[object]:
        threaded = Threaded(core.service)
        with core.lock:
            asked = [
                asyncio.create_task(written(threaded, Service.add_target, f"{NEW}{number}"))
                for number in range(3)
            ]
            await asyncio.sleep(0.2)
        return await asyncio.gather(*asked, return_exceptions=True)

    first, *rest = asyncio.run(ask())
    assert first == ()
    assert [getattr(each, "code", each) for each in rest] == ["too-busy", "too-busy"]


def test_a_cancelled_request_that_waits_is_never_made(core: Fixed) -> None:
    async def ask() -> None:
        threaded = Threaded(core.service)
        with core.lock:
            first = asyncio.create_task(written(threaded, Service.add_target, f"{NEW}1"))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(written(threaded, Service.add_target, f"{NEW}2"))
            await asyncio.sleep(0.05)
            second.cancel()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await written(threaded, Service.target_names) == sorted([T, U, f"{NEW}1"])
        threaded.close()

    asyncio.run(ask())
