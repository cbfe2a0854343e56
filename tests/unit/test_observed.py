"""What is known of tgtd, moved along change by change, and what is never sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storlever.change import (
    Admit,
    BindIncoming,
    BindOutgoing,
    Change,
    CreateAccount,
    CreateTarget,
    CreateUnit,
    DeleteAccount,
    DeleteTarget,
    DeleteUnit,
    Deny,
    EndSessions,
    SetReady,
    UnbindIncoming,
    UnbindOutgoing,
    UpdateUnit,
)
from storlever.errors import Refused
from storlever.model import (
    Account,
    Bindings,
    LogicalUnit,
    ObservedTarget,
    ObservedUnit,
    Pending,
    ScsiProduct,
)
from storlever.observed import ANY, Observed, rebound
from tests.unit import strategies as some

NAME, OTHER = "iqn.2014-09.com.example:one", "iqn.2014-09.com.example:two"
UNIT = LogicalUnit(2, "/srv/a.img", "0123456789abcdef", "SN1", write_cache=False)
SEEN = ObservedUnit.of(UNIT)
BARE = ObservedTarget(NAME)


def seen(**changes: object) -> ObservedTarget:
    return replace(BARE, **changes)


def observed(target: ObservedTarget = BARE, discovery: Bindings | None = None) -> Observed:
    """With another target beside the one, which no change may touch."""
    targets = {NAME: target, OTHER: ObservedTarget(OTHER, acl=("ALL",))}
    return Observed(targets, {"alice": "known", "bob": None}, discovery or Bindings())


BEFORE = seen(
    acl=("10.0.0.1", "ALL"),
    bindings=Bindings(("guard", "alice"), "bob"),
    units=(replace(SEEN, lun=1), SEEN),
)

OF_A_TARGET: list[tuple[ObservedTarget, Change, ObservedTarget]] = [
    (BARE, Admit(NAME, "10.0.0.1"), seen(acl=("10.0.0.1",))),
    (BEFORE, Deny(NAME, "10.0.0.1"), replace(BEFORE, acl=("ALL",))),
    (BEFORE, EndSessions(NAME, True), BEFORE),
    (BARE, SetReady(NAME, False), seen(ready=False)),
    (seen(ready=False), SetReady(NAME, True), BARE),
    (
        BEFORE,
        BindIncoming(NAME, "carol"),
        replace(BEFORE, bindings=Bindings(("guard", "alice", "carol"), "bob")),
    ),
    (
        BEFORE,
        UnbindIncoming(NAME, "alice"),
        replace(BEFORE, bindings=Bindings(("guard",), "bob")),
    ),
    (BARE, BindOutgoing(NAME, "bob"), seen(bindings=Bindings((), "bob"))),
    (
        BEFORE,
        UnbindOutgoing(NAME, "bob"),
        replace(BEFORE, bindings=Bindings(("guard", "alice"))),
    ),
    (BARE, CreateUnit(NAME, UNIT), seen(units=(SEEN,))),
    (
        seen(units=(replace(SEEN, lun=3),)),
        CreateUnit(NAME, UNIT),
        seen(units=(SEEN, replace(SEEN, lun=3))),
    ),
    (
        BEFORE,
        UpdateUnit(NAME, replace(UNIT, readonly=True), ("readonly",)),
        replace(BEFORE, units=(replace(SEEN, lun=1), replace(SEEN, readonly=True))),
    ),
    (BEFORE, DeleteUnit(NAME, 1), replace(BEFORE, units=(SEEN,))),
]


@pytest.mark.parametrize(
    ("before", "change", "after"), OF_A_TARGET, ids=lambda case: type(case).__name__
)
def test_a_change_of_a_target_moves_that_target_only(
    before: ObservedTarget, change: Change, after: ObservedTarget
) -> None:
    known = observed(before)
    known.apply(change)
    assert known == observed(after)


def test_a_new_target_is_ready_and_admits_nobody() -> None:
    known = Observed()
    known.apply(CreateTarget(NAME))
    assert known.targets == {NAME: ObservedTarget(NAME, ready=True, acl=())}


def test_a_target_that_is_deleted_is_known_no_more() -> None:
    known = observed()
    known.apply(DeleteTarget(NAME))
    assert list(known.targets) == [OTHER]


def test_what_was_not_known_can_be_known_to_be_gone() -> None:
    """tgtd says of what is not there that it is gone, and that is as good as done."""
    known = observed()
    for change in (DeleteTarget("iqn.2014-09.com.example:three"), DeleteAccount("nobody")):
        known.check(change)
        known.apply(change)
    assert known == observed()


def test_accounts_come_with_their_secret_and_go() -> None:
    known = Observed()
    known.apply(CreateAccount(Account("alice", "her secret")))
    assert known.accounts == {"alice": "her secret"}
    known.apply(DeleteAccount("alice"))
    assert known.accounts == {}


def test_bindings_without_a_target_are_those_of_discovery() -> None:
    known = observed()
    for change in (BindIncoming(None, "alice"), BindOutgoing(None, "bob")):
        known.apply(change)
    assert known == observed(discovery=Bindings(("alice",), "bob"))
    for undo in (UnbindOutgoing(None, "bob"), UnbindIncoming(None, "alice")):
        known.apply(undo)
    assert known == observed()


# -- what would kill tgtd


@given(st.lists(st.sampled_from("abcd"), unique=True).map(tuple), st.sampled_from("abcd"))
def test_only_the_last_slot_is_ever_unbound(slots: tuple[str, ...], name: str) -> None:
    """tgtd dies of a hole in the slots."""
    known = observed(seen(bindings=Bindings(slots)))
    change = UnbindIncoming(NAME, name)
    if slots[-1:] == (name,):
        known.check(change)
        assert rebound(Bindings(slots), change) == Bindings(slots[:-1])
        return
    with pytest.raises(Refused) as caught:
        known.check(change)
    assert caught.value.drift


@pytest.mark.parametrize(
    "bound",
    [
        Observed({NAME: seen(bindings=Bindings(("guard", "alice", "bob")))}),
        Observed({NAME: seen(bindings=Bindings((), "alice"))}),
        Observed(discovery=Bindings(("guard", "alice"))),
        Observed(discovery=Bindings((), "alice")),
    ],
    ids=["a target's user", "its outgoing user", "a user of discovery", "its outgoing user too"],
)
def test_an_account_that_is_bound_anywhere_is_never_deleted(bound: Observed) -> None:
    """tgtd would unbind it everywhere, and leave a hole."""
    bound.accounts["alice"] = bound.accounts["carol"] = None
    with pytest.raises(Refused):
        bound.check(DeleteAccount("alice"))
    bound.check(DeleteAccount("carol"))


def test_discovery_gets_no_more_users_than_it_has_room_for() -> None:
    users = tuple(f"user{number}" for number in range(16))
    observed(discovery=Bindings(users[1:])).check(BindIncoming(None, "alice"))
    with pytest.raises(Refused):
        observed(discovery=Bindings(users)).check(BindIncoming(None, "alice"))
    observed(seen(bindings=Bindings(users))).check(BindIncoming(NAME, "alice"))


@pytest.mark.parametrize("change", [change for _, change, _ in OF_A_TARGET])
def test_a_target_that_is_not_there_is_not_changed(change: Change) -> None:
    with pytest.raises(Refused) as caught:
        Observed().check(change)
    assert caught.value.drift


@pytest.mark.parametrize(
    "change", [change for _, change, _ in OF_A_TARGET if not isinstance(change, UnbindIncoming)]
)
def test_other_changes_are_none_of_the_check(change: Change) -> None:
    observed(BEFORE).check(change)


# -- what is not known


def test_an_update_is_in_doubt_until_it_is_in_force() -> None:
    """tgtd may take part of it before it refuses the rest."""
    known = observed(BEFORE)
    known.doubt(UpdateUnit(NAME, UNIT, ("readonly", "write_cache")))
    doubtful = replace(SEEN, readonly=None, write_cache=None)
    assert known == observed(replace(BEFORE, units=(replace(SEEN, lun=1), doubtful)))


@pytest.mark.parametrize(
    "change", [change for _, change, _ in OF_A_TARGET if not isinstance(change, UpdateUnit)]
)
def test_nothing_but_an_update_is_in_doubt(change: Change) -> None:
    known = observed(BEFORE)
    known.doubt(change)
    assert known == observed(BEFORE)


PRODUCT = ScsiProduct("ACME", "Disk", "1.0")
UNTOLD = replace(SEEN, write_cache=None, product=None)
"""A unit as `show` tells of it: neither the write cache nor the product."""


def told() -> Observed:
    return Observed({NAME: seen(units=(UNTOLD,))}, {"alice": None, "bob": None})


def known_before() -> Observed:
    unit = replace(SEEN, write_cache=False, product=PRODUCT)
    return Observed({NAME: seen(units=(unit,))}, {"alice": "her secret", "gone": "x"})


def test_what_tgtd_does_not_tell_is_learned_from_before() -> None:
    fresh = told()
    fresh.learn(known_before())
    assert fresh.accounts == {"alice": "her secret", "bob": None}
    assert fresh.targets[NAME].units == (replace(UNTOLD, write_cache=False, product=PRODUCT),)


ALONE = Bindings((), "alice")
"""Discovery with an outgoing account alone, of which tgtd shows nothing."""


def test_an_outgoing_account_of_discovery_that_stands_alone_is_learned() -> None:
    fresh = told()
    fresh.learn(Observed(discovery=ALONE))
    assert fresh.discovery == ALONE


@pytest.mark.parametrize(
    ("fresh", "in_doubt"),
    [
        (Observed(accounts={"bob": None}), Pending()),
        (Observed(accounts={"alice": None}, discovery=Bindings(("guard", "bob"))), Pending()),
    ],
    ids=["the account is gone", "an incoming one makes tgtd tell"],
)
def test_else_discovery_is_what_tgtd_shows(fresh: Observed, in_doubt: Pending) -> None:
    shown = fresh.discovery
    fresh.learn(Observed(discovery=ALONE), in_doubt)
    assert fresh.discovery == shown


def test_an_outgoing_account_of_discovery_that_is_in_doubt_may_be_any() -> None:
    fresh = Observed(accounts={"alice": None})
    fresh.learn(Observed(discovery=ALONE), Pending(discovery=True))
    assert fresh.discovery == Bindings((), ANY)


def test_what_is_in_doubt_is_not_learned() -> None:
    fresh = told()
    fresh.learn(known_before(), Pending(frozenset({NAME}), secrets=frozenset({"alice"})))
    assert fresh == told()


def test_of_an_account_that_was_only_going_the_secret_is_as_it_was() -> None:
    fresh = told()
    fresh.learn(known_before(), Pending(accounts=frozenset({"alice"})))
    assert fresh.accounts["alice"] == "her secret"


def test_what_tgtd_does_tell_is_believed() -> None:
    """The path above all: None is an answer there, not a lack of one."""
    fresh = told()
    unit = replace(UNTOLD, readonly=True, backing_path=None)
    fresh.targets[NAME] = seen(units=(unit,))
    fresh.learn(known_before())
    learned = fresh.targets[NAME].units[0]
    assert (learned.readonly, learned.backing_path) == (True, None)


def test_a_medium_that_somebody_has_taken_out_is_not_believed_to_be_in() -> None:
    """`show` gives None for a mix that we never make, and that must be put right."""
    fresh = told()
    fresh.targets[NAME] = seen(units=(replace(UNTOLD, online=None),))
    fresh.learn(known_before())
    assert fresh.targets[NAME].units[0].online is None


def test_of_a_unit_that_somebody_put_in_place_of_ours_nothing_is_known() -> None:
    fresh = told()
    theirs = replace(UNTOLD, scsi_id="IET     00010001")
    fresh.targets[NAME] = seen(units=(theirs,))
    fresh.learn(known_before())
    assert fresh.targets[NAME].units == (theirs,)


def test_a_unit_that_is_new_has_nothing_to_be_learned() -> None:
    fresh = told()
    fresh.targets[NAME] = seen(units=(replace(UNTOLD, lun=9),))
    fresh.learn(known_before())
    assert fresh.targets[NAME].units == (replace(UNTOLD, lun=9),)


@given(some.units(), st.sets(st.sampled_from(ObservedUnit.__struct_fields__[1:])))
def test_an_update_in_force_leaves_no_doubt(unit: LogicalUnit, doubtful: set[str]) -> None:
    update = UpdateUnit(NAME, unit, tuple(doubtful))
    known = observed(seen(units=(ObservedUnit.of(unit),)))
    known.doubt(update)
    known.apply(update)
    assert known.targets[NAME].units == (ObservedUnit.of(unit),)
