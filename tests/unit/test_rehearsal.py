"""A rehearsal tells what a write would do, fails as the write would, and leaves nothing behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from storlever.audit import Search
from storlever.errors import Conflict
from storlever.inventory import Direction
from storlever.model import Account, BackingType, DeviceType
from storlever.principal import Role
from storlever.receipt import Done
from storlever.rehearsal import Rehearsal, Step
from storlever.service import Service
from storlever.tgtd.wire import Mode, Op, Request
from storlever.warning import SHORT_SECRET_WARNING
from storlever.writer import Write
from tests.unit.core import ACT, FOREIGN, Core
from tests.world import folder, image

T, U, NEW = (f"iqn.2026-01.test:{name}" for name in ("one", "two", "new"))
IN, OUT = Direction.INCOMING, Direction.OUTGOING
INITIATOR = "iqn.2026-01.test:host"
LONG = "a secret that is long"

Call = Callable[[Service], object]


@contextmanager
def furnished() -> Iterator[Core]:
    """Two targets that share a user, each with LUNs, and a foreign target with a user."""
    with folder() as path:
        for number in range(1, 5):
            image(path / f"{number}.img", number)
        core = Core(path)
        core.settle()
        service = core.service
        for name in (T, U):
            service.add_target(name)
            service.add_user(name, IN, Account("shared", LONG))
            service.add_unit(name, 1, {"backing_path": f"{path}/{1 + (name == U)}.img"})
        service.add_user(T, OUT, Account("target", LONG))
        service.add_token("old", Role.READER, None)
        core.add_foreign()
        core.settle()
        yield core


@pytest.fixture
def core() -> Iterator[Core]:
    with furnished() as core:
        yield core


def rehearsed(core: Core, call: Call, *, drift: bool = False) -> Any:
    """What came of it; and that nothing else did. `drift`: it may find what others did to tgtd."""
    before = _everything(core, drift)
    write = Write(ACT, lambda: call(core.service), rehearsed=True)
    (outcome,) = core.service.together([write])
    assert _everything(core, drift) == before
    return outcome


def _everything(core: Core, drift: bool) -> tuple[object, ...]:
    """All that a write could leave behind."""
    known, service = core.known, core.service
    service.keep()
    service._claim_opened()  # by passes, as every write does first
    return (
        core.shown(),
        None if drift else deepcopy(known.observed),
        (known.down, dict(known.failures), set(known.opened)),
        (vars(known.doubts).copy(), core.notes.pending()),
        core.store.load(),
        service.inventory,
        service._latest,
        deepcopy(service._shelf._claims._keys),
        dict(service._used),
        service.audit(Search()),
    )


def told(core: Core, call: Call) -> list[tuple[str, str]]:
    outcome = rehearsed(core, call)
    assert isinstance(outcome, Rehearsal), outcome
    return [(each.step, each.effect) for each in outcome.steps]


# -- random writes

names = st.sampled_from([T, T, T, T, U, U, NEW, FOREIGN])
accounts = st.builds(
    Account,
    st.sampled_from(["shared", "shared", "target", "alice", "stranger"]),
    st.sampled_from([LONG, "another long secret", "short"]),
)
directions = st.sampled_from([IN, OUT])
luns = st.integers(1, 2)
fields = st.fixed_dictionaries(
    {},
    optional={
        "backing_path": st.sampled_from(["1.img", "2.img", "3.img", "none.img"]),
        "device_type": st.sampled_from([DeviceType.DISK, DeviceType.CD]),
        "backing_type": st.sampled_from([BackingType.RDWR, BackingType.AIO]),
        "readonly": st.booleans(),
        "online": st.booleans(),
        "shared": st.booleans(),
        "write_cache": st.booleans(),
        "scsi_id": st.just("an id"),
    },
)


def _placed(given: dict[str, Any], path: Path) -> dict[str, Any]:
    file = given.get("backing_path")
    return {**given, "backing_path": f"{path}/{file}"} if file else given


Made = Callable[[Core], object]


def _made(method: str, *arguments: Any, **options: Any) -> Made:
    def call(core: Core) -> object:
        placed = [_placed(each, core.folder) if type(each) is dict else each for each in arguments]
        return getattr(core.service, method)(*placed, **options)

    call.__qualname__ = f"{method}{arguments}{options}"
    return call


def _drifted(core: Core) -> None:
    """Somebody binds a user of ours to a target of theirs, or removes a target of ours."""
    bind = Request(Mode.ACCOUNT, Op.BIND, tid=99, parameters=(("user", "shared"),))
    core.tgtd.exchange(bind)


def _logged_in(core: Core) -> None:
    for name in (T, U):
        if any(each.name == name for each in core.tgtd.targets.values()):
            core.tgtd.log_in(name, INITIATOR)


writes = st.one_of(
    st.builds(lambda name: _made("add_target", name), names),
    st.builds(
        lambda n, force: _made("remove_target", n, force=force),
        st.sampled_from([U, NEW]),
        st.booleans(),
    ),
    st.builds(
        lambda n, online, addresses, force: _made(
            "edit_target", n, online=online, addresses=addresses, force=force
        ),
        names,
        st.sampled_from([None, True, False]),
        st.sampled_from([None, (), ("10.0.0.1",), ("ALL",)]),
        st.booleans(),
    ),
    st.builds(lambda n, d, a: _made("add_user", n, d, a), names, directions, accounts),
    st.builds(
        lambda n, d, a, everywhere: _made(
            "set_secret", n, d, a.name, a.secret, everywhere=everywhere
        ),
        names,
        directions,
        accounts,
        st.booleans(),
    ),
    st.builds(lambda n, d, a: _made("remove_user", n, d, a.name), names, directions, accounts),
    st.builds(lambda d, a: _made("set_discovery", {d: a}), directions, st.none() | accounts),
    st.builds(
        lambda n, lun, given, path: _made("add_unit", n, lun, {"backing_path": path, **given}),
        names,
        luns,
        fields,
        st.sampled_from(["3.img", "4.img"]),
    ),
    st.builds(lambda n, lun, given: _made("edit_unit", n, lun, given), names, luns, fields),
    st.builds(lambda n, lun: _made("remove_unit", n, lun), names, luns),
    st.builds(lambda n: _made("remove_token", n), st.sampled_from(["old", "new"])),
)
EVENTS: list[Made] = [_logged_in, Core.log_out, _drifted, Core.settle]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(writes | st.sampled_from(EVENTS), min_size=1, max_size=8))
def test_a_rehearsal_foretells_what_the_write_then_does(steps: list[Made]) -> None:
    """It fails as the write does, has steps if and only if the write changes anything, and leaves
    nothing behind."""
    with furnished() as core:
        for step in steps:
            if step in EVENTS:
                step(core)
            else:
                _require_foretold(core, step)


def _require_foretold(core: Core, call: Made) -> None:
    foretold = rehearsed(core, lambda _: call(core), drift=True)
    before = core.shown(), core.store.load()
    (outcome,) = core.service.together([Write(ACT, lambda: call(core))])
    event(f"{call.__qualname__.partition('(')[0]} {getattr(outcome, 'code', 'done')}")
    if isinstance(outcome, Exception):
        assert (type(foretold), str(foretold)) == (type(outcome), str(outcome))
    else:
        assert isinstance(outcome, Done)
        assert isinstance(foretold, Rehearsal), foretold
        assert foretold.warnings == outcome.answer
        after = core.shown(), core.store.load()
        assert bool(foretold.steps) == (after != before), foretold


# -- what is told


def test_a_new_lun_is_told_of_and_not_made(core: Core) -> None:
    given = {"backing_path": f"{core.folder}/3.img"}
    assert told(core, lambda s: s.add_unit(T, 2, given)) == [
        (f"add LUN 2 ({core.folder}/3.img) to {T}", "none")
    ]


def test_a_password_is_one_sentence_without_it(core: Core) -> None:
    outcome = rehearsed(core, lambda s: s.set_secret(T, IN, "shared", "new", everywhere=True))
    step = Step("change the password of user 'shared'", "counts at the next login")
    assert outcome == Rehearsal((step,), (SHORT_SECRET_WARNING,))


def test_the_last_user_that_goes_is_told_to_leave_a_target_open(core: Core) -> None:
    steps = told(core, lambda s: s.remove_user(T, IN, "shared"))
    assert (f"ask nobody for a password at target {T}", "counts at the next login") in steps


@pytest.mark.parametrize(
    ("given", "effect"),
    [
        ({"online": False}, "LUN without medium for 2 sessions until it is online"),
        ({"readonly": True}, "LUN refuses writes of 2 sessions"),
        ({"backing_path": "3.img"}, "LUN not ready for milliseconds"),
        ({"device_type": DeviceType.CD}, "LUN not ready for milliseconds"),
        ({"write_cache": False}, "a write in flight may fail"),
        ({"scsi_id": "x", "shared": True}, "none"),
    ],
)
def test_what_hosts_notice_of_a_lun_is_told_where_there_are_any(
    core: Core, given: dict[str, Any], effect: str
) -> None:
    def edit(service: Service) -> object:
        return service.edit_unit(T, 1, _placed(given, core.folder))

    assert [each for _, each in told(core, edit)] == ["none"]
    core.tgtd.log_in(T, INITIATOR)
    core.tgtd.log_in(T, INITIATOR + "2")
    assert [each for _, each in told(core, edit)] == [effect]


def test_a_lun_that_goes_is_gone_for_its_hosts(core: Core) -> None:
    core.tgtd.log_in(T, INITIATOR)
    assert told(core, lambda s: s.remove_unit(T, 1)) == [
        (f"remove LUN 1 from {T}", "LUN 1 is gone for 1 session")
    ]


def test_a_target_that_goes_or_goes_offline_closes_its_sessions(core: Core) -> None:
    core.tgtd.log_in(T, INITIATOR)
    closes = f"closes 1 session of {T}"
    assert told(core, lambda s: s.remove_target(T, force=True)) == [
        (f"remove target {T} and its LUNs: 1", closes)
    ]
    assert told(core, lambda s: s.edit_target(T, online=False, force=True)) == [
        (f"take target {T} offline", closes)
    ]
    refused = rehearsed(core, lambda s: s.remove_target(T))
    assert isinstance(refused, Conflict)
    assert refused.blocking == ((INITIATOR, "127.0.0.1"),)


def test_sessions_are_only_asked_for_where_they_matter(core: Core) -> None:
    core.tgtd.log_in(T, INITIATOR)
    asked = core.tgtd.requests
    told(core, lambda s: s.add_unit(T, 2, {"backing_path": f"{core.folder}/3.img"}))
    told(core, lambda s: s.edit_target(T, addresses=("10.0.0.1",)))
    assert core.tgtd.requests == asked


def test_a_token_is_told_of_without_its_secret(core: Core) -> None:
    made = rehearsed(core, lambda s: s.add_token("new", Role.ADMIN, timedelta(days=1)))
    assert made == Rehearsal((Step("make token new as admin"),), ())
    core.service.note_use("old")
    assert told(core, lambda s: s.remove_token("old")) == [("revoke token old", "none")]


def test_a_file_that_is_gone_fails_a_rehearsal_as_it_would_the_write(core: Core) -> None:
    """A new unit has to open it, and nobody looked at it before."""
    (core.folder / "1.img").unlink()
    outcome = rehearsed(core, lambda s: s.edit_unit(T, 1, {"online": False}))
    assert isinstance(outcome, Rehearsal)
    core.service.edit_unit(T, 1, {"online": False})
    outcome = rehearsed(core, lambda s: s.edit_unit(T, 1, {"online": True}))
    assert outcome.code == "backing-store-missing"


def test_what_is_refused_without_asking_tgtd_is_refused_in_a_rehearsal(core: Core) -> None:
    """The next tgtd does without a file that is gone, and an edit of its LUN would open it."""
    (core.folder / "1.img").unlink()
    core.tgtd.restart()
    core.settle()
    foretold = rehearsed(core, lambda s: s.edit_unit(T, 1, {"scsi_id": "x"}))
    (outcome,) = core.together([lambda: core.service.edit_unit(T, 1, {"scsi_id": "x"})])
    assert (foretold.code, str(foretold)) == (outcome.code, str(outcome))
    assert foretold.code == "backing-store-missing"


def test_a_rehearsal_among_writes_stands_on_those_before_it(core: Core) -> None:
    service = core.service
    made, foretold, other = service.together(
        [
            Write(ACT, lambda: service.add_target(NEW)),
            Write(ACT, lambda: service.remove_target(NEW), rehearsed=True),
            Write(ACT, lambda: service.add_user(NEW, IN, Account("bob", LONG))),
        ]
    )
    assert made == other == Done(())
    assert foretold == Rehearsal((Step(f"remove target {NEW}"),))
    assert service.inventory.target(NEW).incoming == ("bob",)
    assert core.settle() == 0
