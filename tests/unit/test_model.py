"""The values themselves: what cannot be said, what follows from what was said."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from storlever.document import UserPart
from storlever.errors import Invalid
from storlever.inventory import Inventory
from storlever.model import (
    FITTING,
    Access,
    Account,
    BackingType,
    DeviceType,
    DiscoveryAuth,
    LogicalUnit,
    ObservedTarget,
    ObservedUnit,
    Session,
    Target,
    sessions_in_the_way,
)
from storlever.names import EVERYONE, GUARD
from storlever.principal import Principal, Role
from tests.unit import strategies as some

UNIT = LogicalUnit(1, "/srv/a.img", "0123456789abcdef", "SN1")


def test_a_secret_is_in_no_repr() -> None:
    account = Account("alice", "hunter2hunter2")
    assert "hunter2" not in repr(account)
    assert "hunter2" not in f"{[account]} {account!s}"
    assert "alice" in repr(account)
    assert "hunter2" not in repr(UserPart("alice", "hunter2hunter2"))
    assert "hunter2" not in repr(Principal("token:alice", Role.ADMIN, "", "hunter2"))


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        UNIT.lun = 2  # type: ignore[misc]


def test_two_empty_lists_admit_everyone() -> None:
    assert Access().entries == (EVERYONE,)


@settings(max_examples=40)
@given(some.access)
def test_a_list_that_is_not_empty_admits_nobody_else(access: Access) -> None:
    said = {*access.names, *access.addresses}
    assert set(access.entries) == (said or {EVERYONE})


@pytest.mark.parametrize("device", DeviceType)
@pytest.mark.parametrize("backing", BackingType)
def test_only_fitting_pairs_of_types_can_be_said(device: DeviceType, backing: BackingType) -> None:
    if backing in FITTING[device]:
        assert replace(UNIT, device_type=device, backing_type=backing).backing_type is backing
        return
    with pytest.raises(Invalid) as caught:
        replace(UNIT, device_type=device, backing_type=backing)
    assert [fault.field for fault in caught.value.faults] == ["backing_type"]


def test_the_pairs_are_those_of_the_contract() -> None:
    """`pt` needs `sg`, `tape` needs `ssc`, the rest take `rdwr` or `aio`."""
    files = (BackingType.RDWR, BackingType.AIO)
    contract = {"disk": files, "tape": ("ssc",), "cd": files, "changer": files, "pt": ("sg",)}
    assert contract == FITTING


@pytest.mark.parametrize("device", sorted(set(DeviceType) - {DeviceType.DISK}))
def test_only_a_disk_can_go_without_write_cache(device: DeviceType) -> None:
    with pytest.raises(Invalid) as caught:
        replace(UNIT, device_type=device, backing_type=FITTING[device][0], write_cache=False)
    assert [fault.field for fault in caught.value.faults] == ["write_cache"]
    assert not replace(UNIT, write_cache=False).write_cache


def test_every_fault_of_a_unit_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        replace(UNIT, device_type=DeviceType.TAPE, write_cache=False)
    assert [fault.field for fault in caught.value.faults] == ["backing_type", "write_cache"]


@given(some.units())
def test_sg_and_a_disk_on_aio_cannot_be_reopened(unit: LogicalUnit) -> None:
    pair = (unit.device_type, unit.backing_type)
    lives_with_its_path = unit.backing_type is BackingType.SG or pair == ("disk", "aio")
    assert unit.reopenable != lives_with_its_path
    assert unit.aio is (pair == ("disk", "aio"))
    assert unit.opened == (unit.online or lives_with_its_path)


@given(some.units())
def test_a_unit_in_force_is_observed_as_wished(unit: LogicalUnit) -> None:
    """But for the path of one that is offline, so that going online opens it anew."""
    observed = ObservedUnit.of(unit)
    path = None if not unit.online and unit.reopenable else unit.backing_path
    wished = {name: getattr(unit, name) for name in ObservedUnit.__struct_fields__}
    assert {name: getattr(observed, name) for name in wished} == {**wished, "backing_path": path}


@settings(max_examples=40)
@given(some.targets(("alice", "bob", "carol")))
def test_the_guard_is_first_where_anybody_must_prove_who_they_are(target: Target) -> None:
    expected = (GUARD, *target.incoming) if target.incoming else ()
    assert target.slots == expected


@settings(max_examples=40)
@given(some.targets(("alice", "bob", "carol")))
def test_the_accounts_of_a_target_are_those_of_both_directions(target: Target) -> None:
    assert target.accounts == {*target.incoming, target.outgoing} - {None}


@pytest.mark.parametrize(
    ("auth", "slots", "accounts"),
    [
        (DiscoveryAuth(), (), frozenset()),
        (DiscoveryAuth("in"), (GUARD, "in"), frozenset({"in"})),
        (DiscoveryAuth(None, "out"), (), frozenset({"out"})),
        (DiscoveryAuth("same", "same"), (GUARD, "same"), frozenset({"same"})),
    ],
)
def test_discovery_has_its_guard_too(
    auth: DiscoveryAuth, slots: tuple[str, ...], accounts: frozenset[str]
) -> None:
    assert (auth.slots, auth.accounts) == (slots, accounts)


@given(some.unit_lists(), st.integers(1, 255))
def test_a_unit_is_found_by_its_number(units: tuple[LogicalUnit, ...], lun: int) -> None:
    expected = {unit.lun: unit for unit in units}.get(lun)
    assert Target("iqn.2014-09.com.example:t", units=units).unit(lun) is expected
    observed = tuple(map(ObservedUnit.of, units))
    seen = ObservedTarget("iqn.2014-09.com.example:t", units=observed).unit(lun)
    assert (seen and seen.lun) == (expected and expected.lun)


def test_sessions_in_the_way_are_named() -> None:
    conflict = sessions_in_the_way("iqn.x", (Session("iqn.me", "10.0.0.1", 7),))
    assert conflict.code == "sessions-active"
    assert conflict.blocking == (("iqn.me", "10.0.0.1"),)
    assert conflict.code == "sessions-active"


@settings(max_examples=40)
@given(some.inventories())
def test_what_the_strategies_draw_keeps_the_rules(inventory: Inventory) -> None:
    """So that tests which draw inventories test what can happen."""
    used = inventory.discovery.accounts.union(
        *(target.accounts for target in inventory.targets.values())
    )
    assert used == set(inventory.accounts) == set(inventory.used_by)
    for target in inventory.targets.values():
        numbers = [unit.lun for unit in target.units]
        assert numbers == sorted(set(numbers))
        assert asdict(target)["name"] == target.name
