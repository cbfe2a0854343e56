"""Who is admitted, by which rule; and what it takes to shut somebody out."""

import pytest

from storlever.admission import Admission, Asking, Rule, admission, matches, shutting_out
from storlever.errors import Conflict
from storlever.model import Access, Session, Target

HOST, OTHER = "iqn.2026-01.test:host", "iqn.2026-01.test:other"
T = "iqn.2026-01.test:one"


def asked(target: Target, *asking: str | None, closed: str | None = None) -> Admission:
    return admission(target, Asking(*asking), closed)


@pytest.mark.parametrize(
    ("names", "addresses", "name", "address", "rule"),
    [
        ((), (), HOST, "10.0.0.1", Rule.EVERYBODY),
        ((), (), None, None, Rule.EVERYBODY),
        ((HOST,), (), HOST, "10.0.0.1", Rule.NAMES),
        ((HOST,), (), HOST.upper(), "10.0.0.1", Rule.UNLISTED),
        ((HOST,), (), None, "10.0.0.1", Rule.UNLISTED),
        ((HOST,), ("10.0.0.0/8",), OTHER, "10.0.0.1", Rule.ADDRESSES),
        ((HOST,), ("10.0.0.0/8",), HOST, "11.0.0.1", Rule.NAMES),
        ((), ("10.0.0.1",), HOST, "10.0.0.1", Rule.ADDRESSES),
        ((), ("10.0.0.1",), HOST, "10.0.0.11", Rule.UNLISTED),
        ((), ("10.0.0.1",), HOST, None, Rule.UNLISTED),
        ((), ("ALL",), HOST, "2001:db8::1", Rule.ADDRESSES),
        ((), ("2001:db8::/32",), HOST, "2001:db8::1", Rule.ADDRESSES),
        ((), ("2001:db8::/32",), HOST, "10.0.0.1", Rule.UNLISTED),
    ],
)
def test_either_list_admits_and_two_empty_ones_admit_everybody(
    names: tuple[str, ...],
    addresses: tuple[str, ...],
    name: str | None,
    address: str | None,
    rule: Rule,
) -> None:
    found = asked(Target(T, access=Access(names, addresses)), name, address)
    assert (found.admitted, found.rule) == (rule is not Rule.UNLISTED, rule)


def test_a_target_with_incoming_users_admits_them_alone_whatever_the_lists_say() -> None:
    target = Target(T, incoming=("alice",))
    assert asked(target, HOST, "10.0.0.1", "alice").admitted
    for user in ("bob", None, ""):
        found = asked(target, HOST, "10.0.0.1", user)
        assert (found.admitted, found.rule) == (False, Rule.USERS)


def test_a_target_without_incoming_users_asks_nobody() -> None:
    assert asked(Target(T, outgoing="tim"), HOST, "10.0.0.1", "whoever").admitted


def test_who_is_on_no_list_is_not_even_asked_for_a_user() -> None:
    target = Target(T, access=Access((OTHER,)), incoming=("alice",))
    assert asked(target, HOST, "10.0.0.1", "alice").rule is Rule.UNLISTED


def test_a_target_that_is_offline_or_closed_admits_nobody_and_says_why() -> None:
    assert asked(Target(T, online=False), HOST).rule is Rule.STATE
    found = asked(Target(T), HOST, closed="tgtd is not running")
    assert found == Admission(False, Rule.STATE, "tgtd is not running")


def test_an_address_that_is_not_known_matches_everyone_alone() -> None:
    assert matches("ALL", "?")
    assert not matches("10.0.0.0/8", "?")


SESSION = Session(HOST, "10.0.0.1", 3)


@pytest.mark.parametrize(
    ("access", "left"),
    [
        (Access((HOST, OTHER)), Access((OTHER,))),
        (Access((HOST,), ("10.0.0.2",)), Access((), ("10.0.0.2",))),
        (Access((HOST, OTHER), ("10.0.0.1",)), Access((OTHER,))),
        (Access((OTHER,)), Access((OTHER,))),
    ],
)
def test_shutting_out_takes_away_what_admits_the_session_alone(
    access: Access, left: Access
) -> None:
    assert shutting_out(access, SESSION) == left


@pytest.mark.parametrize(
    ("access", "named"),
    [
        (Access(), "both lists are empty"),
        (Access((HOST, OTHER), ("10.0.0.0/24",)), "10.0.0.0/24"),
        (Access((OTHER,), ("ALL",)), "ALL"),
        (Access((HOST,)), HOST),
        (Access((HOST,), ("10.0.0.1",)), HOST),
    ],
)
def test_it_is_refused_where_others_would_go_too_or_everybody_would_be_let_in(
    access: Access, named: str
) -> None:
    with pytest.raises(Conflict, match="cannot shut") as refused:
        shutting_out(access, SESSION)
    assert refused.value.code == "cannot-block"
    assert named in str(refused.value)
