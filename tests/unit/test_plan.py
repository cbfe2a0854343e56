"""The promises of a plan, over random pairs of inventories, checked after every single request."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from storlever.change import (
    Admit,
    BindIncoming,
    Change,
    CreateTarget,
    Deny,
    EndSessions,
    SetReady,
    UnbindIncoming,
)
from storlever.errors import Conflict
from storlever.inventory import Inventory
from storlever.model import (
    Access,
    Account,
    DeviceType,
    DiscoveryAuth,
    LogicalUnit,
    ObservedTarget,
    Target,
)
from storlever.names import EVERYONE, GUARD
from storlever.observed import Observed
from storlever.plan import Plan, Scope, plan
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.conversation import Talk, Talks
from storlever.tgtd.memory import MemoryTgtd
from storlever.tgtd.reply import Reply
from storlever.tgtd.wire import Request
from tests.backends import Exchanging, apply
from tests.world import NOTHING_PRIVATE, folder, image

TARGETS = ("iqn.2026-01.test:one", "iqn.2026-01.test:two")
INITIATORS = ("iqn.2026-01.test:red", "iqn.2026-01.test:blue")
ADDRESSES = ("10.0.0.1", "10.0.0.200", "fd00::1")
ENTRIES = ("10.0.0.1", "10.0.0.0/24", "fd00::/64", EVERYONE)
USERS = ("alice", "bob", "carol")
SECRETS = ("first secret", "other secret")
GUARD_ACCOUNT = Account(GUARD, "nobody knows this one")


@pytest.fixture(scope="module")
def files() -> Iterator[tuple[Path, ...]]:
    with folder() as path:
        yield image(path / "a.img", 1), image(path / "b.img", 1)


def some(*values: str, most: int = 3) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=most).map(tuple)


@st.composite
def units(draw: st.DrawFn, files: tuple[Path, ...]) -> tuple[LogicalUnit, ...]:
    numbers = draw(st.lists(st.sampled_from((1, 2)), unique=True).map(sorted))
    kinds = st.sampled_from((DeviceType.DISK, DeviceType.DISK, DeviceType.CD))
    return tuple(
        LogicalUnit(
            lun,
            str(draw(st.sampled_from(files))),
            draw(st.sampled_from(("a" * 31, "b" * 31))),
            f"SN{lun}",
            device_type=draw(kinds),
            readonly=draw(st.booleans()),
            online=draw(st.booleans()),
        )
        for lun in numbers
    )


@st.composite
def inventories(draw: st.DrawFn, files: tuple[Path, ...]) -> Inventory:
    outgoing = st.none() | st.sampled_from(USERS)
    targets = [
        Target(
            name,
            online=draw(st.sampled_from((True, True, True, False))),
            access=Access(draw(some(*INITIATORS)), draw(some(*ENTRIES))),
            incoming=draw(some(*USERS)),
            outgoing=draw(outgoing),
            units=draw(units(files)),
        )
        for name in draw(some(*TARGETS))
    ]
    discovery = DiscoveryAuth(draw(outgoing), draw(outgoing))
    accounts = [Account(name, draw(st.sampled_from(SECRETS))) for name in USERS]
    used = set(discovery.accounts).union(*(target.accounts for target in targets))
    return Inventory.of(targets, [each for each in accounts if each.name in used], discovery)


Login = tuple[str, str, str, str, str]
LOGINS = tuple(itertools.product(TARGETS, INITIATORS, ADDRESSES, ("nobody", *USERS), SECRETS))


def matches(access: Access, initiator: str, address: str) -> bool:
    """Who an access means, said again and independently of tgtd's entries."""
    if not access.names and not access.addresses:
        return True
    networks = {"10.0.0.0/24": "10.0.0.", "fd00::/64": "fd00::"}
    return initiator in access.names or any(
        entry in (EVERYONE, address) or address.startswith(networks.get(entry, "never"))
        for entry in access.addresses
    )


def proven(inventory: Inventory, names: tuple[str, ...], user: str, secret: str) -> bool:
    return not names or (user in names and inventory.accounts[user].secret == secret)


def granted(inventory: Inventory) -> frozenset[Login]:
    """The logins that an inventory means to admit."""
    found = set()
    for login in LOGINS:
        name, initiator, address, user, secret = login
        target = inventory.targets.get(name)
        if (
            target is not None
            and target.online
            and matches(target.access, initiator, address)
            and proven(inventory, target.incoming, user, secret)
        ):
            found.add(login)
    return frozenset(found)


def discoverers(inventory: Inventory) -> frozenset[tuple[str, str]]:
    names = (inventory.discovery.incoming,) if inventory.discovery.incoming else ()
    pairs = itertools.product(("nobody", *USERS), SECRETS)
    return frozenset(pair for pair in pairs if proven(inventory, names, *pair))


def served(inventory: Inventory) -> frozenset[tuple[str, int, str, bool]]:
    return frozenset(
        (name, unit.lun, unit.backing_path, unit.readonly)
        for name, target in inventory.targets.items()
        for unit in target.units
        if unit.online
    )


class Watched(Exchanging):
    """A transport that looks at the daemon after each request, as an initiator could."""

    def __init__(self) -> None:
        self.tgtd = MemoryTgtd()
        self.allowed: tuple[Inventory, ...] = ()

    def exchange(self, request: Request, *, pid: int | None = None) -> Reply:
        reply = self.tgtd.exchange(request, pid=pid)
        if self.allowed:
            assert self.admitted() <= frozenset().union(*map(granted, self.allowed)), request
            assert self.listing() <= frozenset().union(*map(discoverers, self.allowed)), request
            assert self.serving() <= frozenset().union(*map(served, self.allowed)), request
            for target in self.tgtd.targets.values():
                used = target.bound.slots[: target.bound.count]
                assert None not in used, f"a hole: {target.bound.slots}"
        return reply

    def admitted(self) -> frozenset[Login]:
        return frozenset(login for login in LOGINS if self.tgtd.admits(*login))

    def listing(self) -> frozenset[tuple[str, str]]:
        pairs = itertools.product(("nobody", *USERS), SECRETS)
        return frozenset(pair for pair in pairs if self.tgtd.lists_targets(*pair))

    def serving(self) -> frozenset[tuple[str, int, str, bool]]:
        return frozenset(
            (target.name, lun, unit.path, unit.readonly)
            for target in self.tgtd.targets.values()
            for lun, unit in target.units.items()
            if unit.path and unit.online
        )


def everything(desired: Inventory, observed: Observed) -> Scope:
    return Scope(
        targets=frozenset(desired.targets) | frozenset(observed.targets),
        accounts=frozenset(USERS),
        discovery=True,
    )


def converge(backend: TgtdBackend, observed: Observed, desired: Inventory) -> None:
    """As it is done: with several targets built up at the same time."""

    def talk(change: Change) -> Talk:
        observed.check(change)
        yield from backend.talk(change)
        observed.apply(change)

    def lane(changes: Iterable[Change]) -> Talks:
        return map(talk, changes)

    for lanes in plan(desired, observed, everything(desired, observed), GUARD_ACCOUNT).stages:
        backend.hold(map(lane, lanes))


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_prefix_of_a_plan_admits_whom_neither_inventory_admits(
    data: st.DataObject, files: tuple[Path, ...]
) -> None:
    old, new = data.draw(inventories(files), "old"), data.draw(inventories(files), "new")
    watched = Watched()
    backend, observed = TgtdBackend(watched, watched.tgtd, NOTHING_PRIVATE), Observed()
    converge(backend, observed, old)
    assert watched.admitted() == granted(old)
    watched.allowed = (old, new)
    converge(backend, observed, new)
    assert watched.admitted() == granted(new)
    assert watched.listing() == discoverers(new)
    assert watched.serving() == served(new)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_an_empty_tgtd_admits_nobody_to_a_target_that_has_not_all_its_units(
    data: st.DataObject, files: tuple[Path, ...]
) -> None:
    """Hosts come back while it is being filled; a login that is refused is tried again, but a
    unit that is missing is an I/O error."""
    new = data.draw(inventories(files), "new")
    watched = Watched()
    backend, observed = TgtdBackend(watched, watched.tgtd, NOTHING_PRIVATE), Observed()
    for change in plan(new, observed, everything(new, observed), GUARD_ACCOUNT):
        apply(backend, change)
        observed.apply(change)
        admitting = {login[0] for login in watched.admitted()}
        assert {place for place in served(new) if place[0] in admitting} <= watched.serving()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_what_is_seen_after_a_plan_needs_no_further_one(
    data: st.DataObject, files: tuple[Path, ...]
) -> None:
    old, new = data.draw(inventories(files), "old"), data.draw(inventories(files), "new")
    memory = MemoryTgtd()
    backend, observed = TgtdBackend(memory, memory, NOTHING_PRIVATE), Observed()
    for desired in (old, new):
        converge(backend, observed, desired)
        looked = backend.observe()
        looked.learn(observed)
        assert plan(desired, looked, everything(desired, looked), GUARD_ACCOUNT) == Plan()
        observed = looked


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_an_interrupted_plan_can_be_taken_back(
    data: st.DataObject, files: tuple[Path, ...]
) -> None:
    old, new = data.draw(inventories(files), "old"), data.draw(inventories(files), "new")
    watched = Watched()
    backend, observed = TgtdBackend(watched, watched.tgtd, NOTHING_PRIVATE), Observed()
    converge(backend, observed, old)
    watched.allowed = (old, new)
    changes = tuple(plan(new, observed, everything(new, observed), GUARD_ACCOUNT))
    for change in changes[: data.draw(st.integers(0, len(changes)), "applied")]:
        apply(backend, change)
        observed.apply(change)
    converge(backend, observed, old)
    assert watched.admitted() == granted(old)


# -- single promises, by example


def only(name: str, **scope: object) -> Scope:
    return replace(Scope(frozenset({name})), **scope)


def inventory(*targets: Target) -> Inventory:
    names = {name for target in targets for name in target.accounts}
    return Inventory.of(targets, [Account(name, SECRETS[0]) for name in names], DiscoveryAuth())


ONE = TARGETS[0]


def test_a_target_that_nobody_asked_for_is_not_touched() -> None:
    observed = Observed({"iqn.2026-01.test:foreign": ObservedTarget("iqn.2026-01.test:foreign")})
    desired = inventory(Target(ONE))
    changes = tuple(plan(desired, observed, only(ONE), GUARD_ACCOUNT))
    assert changes == (CreateTarget(ONE), Admit(ONE, EVERYONE))


def test_targets_are_created_two_at_a_time_before_each_is_filled_in_a_lane_of_its_own() -> None:
    """tgtd finds them fast where they were made one after another."""
    names = one, two, three = tuple(f"iqn.2026-01.test:{n}" for n in range(3))
    desired = inventory(*(Target(name, incoming=("alice",)) for name in names))
    creating, filling = plan(desired, Observed(), Scope(frozenset(names)), GUARD_ACCOUNT).stages[1:]
    assert creating == ((CreateTarget(one), CreateTarget(three)), (CreateTarget(two),))
    assert filling == tuple(
        (BindIncoming(name, GUARD), BindIncoming(name, "alice"), Admit(name, EVERYONE))
        for name in names
    )


def test_a_removal_closes_the_target_before_it_ends_sessions() -> None:
    observed = Observed({ONE: ObservedTarget(ONE, acl=("10.0.0.1",))})
    first, second, *_ = plan(inventory(), observed, only(ONE), GUARD_ACCOUNT)
    assert (first, second) == (Deny(ONE, "10.0.0.1"), EndSessions(ONE, force=False))


def test_only_new_lists_widen_before_they_narrow() -> None:
    observed = Observed({ONE: ObservedTarget(ONE, acl=("10.0.0.1",))})
    desired = inventory(Target(ONE, access=Access(addresses=("10.0.0.2",))))
    changes = tuple(plan(desired, observed, only(ONE), GUARD_ACCOUNT))
    assert changes == (Admit(ONE, "10.0.0.2"), Deny(ONE, "10.0.0.1"))


def test_a_target_goes_offline_only_without_sessions_and_closed() -> None:
    observed = Observed({ONE: ObservedTarget(ONE, acl=(EVERYONE,))})
    desired = inventory(Target(ONE, online=False))
    forced = only(ONE, force=frozenset({ONE}))
    assert tuple(plan(desired, observed, forced, GUARD_ACCOUNT)) == (
        Deny(ONE, EVERYONE),
        EndSessions(ONE, force=True),
        SetReady(ONE, False),
        Admit(ONE, EVERYONE),
    )


def test_a_target_that_lost_its_guard_is_closed_while_it_gets_one() -> None:
    watched = Watched()
    backend, observed = TgtdBackend(watched, watched.tgtd, NOTHING_PRIVATE), Observed()
    desired = inventory(Target(ONE, incoming=("alice",)))
    converge(backend, observed, desired)
    apply(backend, UnbindIncoming(ONE, "alice"))
    apply(backend, UnbindIncoming(ONE, GUARD))
    apply(backend, BindIncoming(ONE, "alice"))
    looked = backend.observe()
    looked.learn(observed)
    watched.allowed = (desired,)
    converge(backend, looked, desired)
    assert looked.targets[ONE].bindings.incoming == (GUARD, "alice")


def test_what_is_parked_is_left_as_it_is(files: tuple[Path, ...]) -> None:
    unit = LogicalUnit(1, str(files[0]), "a" * 31, "SN1")
    desired = inventory(Target(ONE, units=(unit,)))
    observed = Observed({ONE: ObservedTarget(ONE, acl=(EVERYONE,))})
    parked = only(ONE, parked=frozenset({(ONE, 1)}))
    assert plan(desired, observed, parked, GUARD_ACCOUNT) == Plan()


def test_sessions_in_the_way_stop_a_removal() -> None:
    memory = MemoryTgtd()
    backend, observed = TgtdBackend(memory, memory, NOTHING_PRIVATE), Observed()
    converge(backend, observed, inventory(Target(ONE)))
    memory.log_in(ONE, INITIATORS[0])
    with pytest.raises(Conflict) as conflict:
        converge(backend, observed, inventory())
    assert conflict.value.blocking == ((INITIATORS[0], "127.0.0.1"),)
    converge(backend, observed, inventory(Target(ONE)))
    assert watched_open(memory)


def watched_open(memory: MemoryTgtd) -> bool:
    return memory.admits(ONE, INITIATORS[0], "10.0.0.1", "", "")
