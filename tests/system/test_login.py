"""Who may discover, who may log in, and what becomes of those who have."""

import ctypes
import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

import pytest

from tests.initiator import Initiator, Login, LoginError, discover
from tests.world import WIKI_TARGET, StorLever, Tgtd, free_port, image

ALICE = "iqn.2014-09.com.example:alice"
BOB = "iqn.2014-09.com.example:bob_s"
OTHER_TARGET = "iqn.2014-09.com.example:other"
SECRET, NEW_SECRET = "secret-number-1", "secret-number-2"
AWKWARD_SECRETS = [
    "comma,separated,words",
    "user=joe,password=x",
    "=",
    "with blanks inside",
    "  blanks around  ",
    "a:colon",
    "quotes \" and ' both",
]
CLONE_NEWNET = 0x40000000


@pytest.fixture
def storlever(emptied: StorLever) -> StorLever:
    return emptied


def admitted(portal: str, target: str = WIKI_TARGET, **login: Unpack[Login]) -> bool:
    """Whether a login is let in; one that is not is refused, not left hanging."""
    try:
        with Initiator(portal, target, **login) as session:
            return session.alive
    except LoginError as error:
        require_refusal(error)
        return False


def discovered(portal: str, **login: Unpack[Login]) -> list[str] | None:
    """The targets a discovery tells; None when it is refused."""
    try:
        return discover(portal, **login)
    except LoginError as error:
        require_refusal(error)
        return None


def require_refusal(error: LoginError) -> None:
    """Raise again what is no refusal, be it the target's or the initiator's."""
    if not re.search(r"Status: |Authentication failed|Wrong CHAP", str(error)):
        raise error


def add_user(
    storlever: StorLever, target: str, user: str, password: str, direction: str = "incoming"
) -> str:
    """The path of the new user in the API."""
    body = {"username": user, "password": password}
    storlever.api("POST", f"{target}/{direction}user_list", body, expect=201)
    return f"{target}/{direction}user_list/{user}"


# -- discovery


def test_discovery_without_a_user_lists_every_target(storlever: StorLever) -> None:
    storlever.add_target()
    storlever.add_target(OTHER_TARGET)
    assert sorted(discover(storlever.portal)) == [OTHER_TARGET, WIKI_TARGET]


def test_discovery_lists_only_targets_that_admit_the_initiator(storlever: StorLever) -> None:
    storlever.add_target(initiator_name_list=[ALICE])
    storlever.add_target(OTHER_TARGET, initiator_name_list=[BOB])
    assert discover(storlever.portal, name=ALICE) == [WIKI_TARGET]
    assert discover(storlever.portal, name=BOB) == [OTHER_TARGET]


def test_discovery_user_is_asked_for_from_the_answer_on(storlever: StorLever) -> None:
    storlever.add_target()
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": f"disco:{SECRET}"}, expect=200)
    assert discovered(storlever.portal, user="disco", password=SECRET) == [WIKI_TARGET]
    assert discovered(storlever.portal, user="disco", password=NEW_SECRET) is None
    assert discovered(storlever.portal, user="other", password=SECRET) is None
    assert discovered(storlever.portal) is None


def test_discovery_user_is_no_user_of_a_target(storlever: StorLever) -> None:
    target = storlever.add_target()
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": f"disco:{SECRET}"}, expect=200)
    assert admitted(storlever.portal)
    add_user(storlever, target, "joe", SECRET)
    assert not admitted(storlever.portal, user="disco", password=SECRET)


def test_discovery_password_and_name_change_at_once(storlever: StorLever) -> None:
    storlever.add_target()
    for user, password in [("disco", SECRET), ("disco", NEW_SECRET), ("other", SECRET)]:
        storlever.api("PUT", "/conf", {"incomingdiscoveryuser": f"{user}:{password}"}, expect=200)
        for login in itertools.product(["disco", "other"], [SECRET, NEW_SECRET]):
            found = discovered(storlever.portal, user=login[0], password=login[1])
            assert (found is not None) == (login == (user, password)), (login, user, password)


def test_discovery_opens_again_when_its_user_is_taken_away(storlever: StorLever) -> None:
    storlever.add_target()
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": f"disco:{SECRET}"}, expect=200)
    assert discovered(storlever.portal) is None
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": ""}, expect=200)
    assert discovered(storlever.portal) == [WIKI_TARGET]


def test_mutual_discovery_proves_the_target_too(storlever: StorLever) -> None:
    storlever.add_target()
    conf = {"incomingdiscoveryuser": f"disco:{SECRET}", "outgoingdiscoveryuser": "me:also-secret-1"}
    storlever.api("PUT", "/conf", conf, expect=200)
    login = {"user": "disco", "password": SECRET}
    good = {**login, "target_user": "me", "target_password": "also-secret-1"}
    assert discovered(storlever.portal, **login) == [WIKI_TARGET]
    assert discovered(storlever.portal, **good) == [WIKI_TARGET]
    assert discovered(storlever.portal, **(good | {"target_password": "other-secret"})) is None
    assert discovered(storlever.portal, **(good | {"target_user": "you"})) is None


def test_outgoing_discovery_user_changes_and_goes_at_once(storlever: StorLever) -> None:
    storlever.add_target()
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": f"disco:{SECRET}"}, expect=200)
    login = {"user": "disco", "password": SECRET, "target_user": "me"}
    for password in ("also-secret-1", "also-secret-2"):
        storlever.api("PUT", "/conf", {"outgoingdiscoveryuser": f"me:{password}"}, expect=200)
        for claimed in ("also-secret-1", "also-secret-2"):
            found = discovered(storlever.portal, **login, target_password=claimed)
            assert (found is not None) == (claimed == password)
    storlever.api("PUT", "/conf", {"outgoingdiscoveryuser": ""}, expect=200)
    assert discovered(storlever.portal, **login, target_password="also-secret-2") is None


@pytest.mark.parametrize("secret", AWKWARD_SECRETS)
def test_discovery_password_may_hold_any_printable_character(
    storlever: StorLever, secret: str
) -> None:
    storlever.add_target()
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": f"disco:{secret}"}, expect=200)
    assert discovered(storlever.portal, user="disco", password=secret) == [WIKI_TARGET]
    assert discovered(storlever.portal, user="disco", password=secret.strip() + "x") is None


# -- CHAP of a target


def test_one_way_chap_admits_the_right_password_only(storlever: StorLever) -> None:
    add_user(storlever, storlever.add_target(), "joe", SECRET)
    assert admitted(storlever.portal, user="joe", password=SECRET)
    assert not admitted(storlever.portal, user="joe", password=NEW_SECRET)
    assert not admitted(storlever.portal, user="jim", password=SECRET)
    assert not admitted(storlever.portal)


def test_mutual_chap_proves_the_target_too(storlever: StorLever) -> None:
    target = storlever.add_target()
    add_user(storlever, target, "joe", SECRET)
    add_user(storlever, target, "me", "also-secret-1", "outgoing")
    login = {"user": "joe", "password": SECRET}
    good = {**login, "target_user": "me", "target_password": "also-secret-1"}
    assert admitted(storlever.portal, **good)
    assert admitted(storlever.portal, **login)
    assert not admitted(storlever.portal, **(good | {"target_password": "other-secret"}))
    assert not admitted(storlever.portal, **(good | {"target_user": "you"}))
    assert not admitted(storlever.portal, **(good | {"password": NEW_SECRET}))


def test_mutual_chap_without_an_outgoing_user_is_refused(storlever: StorLever) -> None:
    add_user(storlever, storlever.add_target(), "joe", SECRET)
    login = {"user": "joe", "password": SECRET}
    assert admitted(storlever.portal, **login)
    assert not admitted(
        storlever.portal, **login, target_user="me", target_password="also-secret-1"
    )


@pytest.mark.parametrize("direction", ["incoming", "outgoing"])
def test_password_change_is_in_force_for_new_logins_and_keeps_sessions(
    storlever: StorLever, direction: str
) -> None:
    target = storlever.add_target()
    storlever.add_lun(target, 1, image(storlever.root / "disk.img"))
    secrets = {"incoming": SECRET, "outgoing": "also-secret-1"}
    paths = {way: add_user(storlever, target, way, secrets[way], way) for way in secrets}

    def login(secrets: dict[str, str]) -> dict[str, str]:
        return {
            "user": "incoming",
            "password": secrets["incoming"],
            "target_user": "outgoing",
            "target_password": secrets["outgoing"],
        }

    with Initiator(storlever.portal, WIKI_TARGET, **login(secrets)) as session:  # type: ignore[arg-type]
        session.ready()
        before = storlever.get(target)["session_list"]
        storlever.api("PUT", paths[direction], {"password": "changed-secret"}, expect=200)
        assert not admitted(storlever.portal, **login(secrets))
        assert admitted(storlever.portal, **login(secrets | {direction: "changed-secret"}))
        assert session.write(0, bytes(512)).status == 0
        assert storlever.get(target)["session_list"] == before


def test_one_user_of_several_can_be_removed(storlever: StorLever) -> None:
    target = storlever.add_target()
    paths = {user: add_user(storlever, target, user, SECRET) for user in ("a", "b", "c", "d")}
    for gone in ("b", "d", "a"):
        storlever.api("DELETE", paths.pop(gone), expect=200)
        for user in ("a", "b", "c", "d"):
            allowed = admitted(storlever.portal, user=user, password=SECRET)
            assert allowed == (user in paths), (user, gone)
        assert not admitted(storlever.portal)
        assert storlever.get(target)["incominguser_list"] == sorted(paths)


def test_last_incoming_user_removed_opens_and_first_one_added_closes(storlever: StorLever) -> None:
    target = storlever.add_target()
    for _ in range(2):
        assert admitted(storlever.portal)
        user = add_user(storlever, target, "joe", SECRET)
        assert not admitted(storlever.portal)
        assert admitted(storlever.portal, user="joe", password=SECRET)
        storlever.api("DELETE", user, expect=200)


def test_outgoing_user_alone_asks_nobody_for_a_password(storlever: StorLever) -> None:
    add_user(storlever, storlever.add_target(), "me", SECRET, "outgoing")
    assert admitted(storlever.portal)


@pytest.mark.parametrize("secret", AWKWARD_SECRETS)
def test_password_may_hold_any_printable_character(storlever: StorLever, secret: str) -> None:
    target = storlever.add_target()
    user = add_user(storlever, target, "joe", secret)
    add_user(storlever, target, "me", secret[::-1] + "/", "outgoing")
    login = {
        "user": "joe",
        "password": secret,
        "target_user": "me",
        "target_password": secret[::-1] + "/",
    }
    assert admitted(storlever.portal, **login)
    assert not admitted(storlever.portal, **(login | {"password": secret.strip() + "x"}))
    storlever.api("PUT", user, {"password": secret + ","}, expect=200)
    assert not admitted(storlever.portal, **login)
    assert admitted(storlever.portal, **(login | {"password": secret + ","}))


def test_names_and_passwords_of_255_characters_log_in(storlever: StorLever) -> None:
    user, password = "u" * 255, "p" * 255
    add_user(storlever, storlever.add_target(), user, password)
    assert admitted(storlever.portal, user=user, password=password)
    assert not admitted(storlever.portal, user=user, password=password[1:])


# -- one account in several places: the wiki's own examples give the same one everywhere


SHARED: Login = {"user": "test", "password": "123456"}
MUTUAL: Login = {**SHARED, "target_user": "test", "target_password": "123456"}


def share_the_wikis_account(storlever: StorLever) -> str:
    """test:123456 as discovery, incoming and outgoing user; the target's path in the API."""
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": "test:123456"}, expect=200)
    target = storlever.add_target()
    add_user(storlever, target, "test", "123456")
    add_user(storlever, target, "test", "123456", "outgoing")
    return target


def test_one_account_serves_discovery_and_both_directions(storlever: StorLever) -> None:
    share_the_wikis_account(storlever)
    assert discovered(storlever.portal, **SHARED) == [WIKI_TARGET]
    assert discovered(storlever.portal) is None
    assert admitted(storlever.portal, **MUTUAL)
    assert not admitted(storlever.portal)


@pytest.mark.parametrize("order", list(itertools.permutations(["conf", "incoming", "outgoing"])))
def test_shared_account_goes_from_one_place_and_stays_in_the_others(
    storlever: StorLever, order: tuple[str, ...]
) -> None:
    target = share_the_wikis_account(storlever)
    left = set(order)
    for place in order:
        if place == "conf":
            storlever.api("PUT", "/conf", {"incomingdiscoveryuser": ""}, expect=200)
        else:
            storlever.api("DELETE", f"{target}/{place}user_list/test", expect=200)
        left.discard(place)
        assert (discovered(storlever.portal) is None) == ("conf" in left)
        assert discovered(storlever.portal, **SHARED) == [WIKI_TARGET]
        assert admitted(storlever.portal) == ("incoming" not in left)
        if "incoming" in left:
            assert admitted(storlever.portal, **SHARED)
            assert admitted(storlever.portal, **MUTUAL) == ("outgoing" in left)


def test_shared_account_goes_with_one_target_and_stays_on_the_other(storlever: StorLever) -> None:
    target = share_the_wikis_account(storlever)
    add_user(storlever, storlever.add_target(OTHER_TARGET), "test", "123456")
    storlever.api("DELETE", target, expect=200)
    assert discovered(storlever.portal, **SHARED) == [OTHER_TARGET]
    assert admitted(storlever.portal, OTHER_TARGET, **SHARED)
    assert not admitted(storlever.portal, OTHER_TARGET)


def test_shared_password_changes_everywhere_or_not_at_all(storlever: StorLever) -> None:
    target = share_the_wikis_account(storlever)
    add_user(storlever, storlever.add_target(OTHER_TARGET), "test", "123456")
    user = f"{target}/incominguser_list/test"
    refusal = storlever.api("PUT", user, {"password": SECRET}, expect=409).json()
    assert "discovery" in refusal["detail"]
    assert "everywhere=true" in refusal["detail"]
    assert discovered(storlever.portal, **SHARED) is not None
    assert admitted(storlever.portal, **MUTUAL)
    assert admitted(storlever.portal, OTHER_TARGET, **SHARED)

    storlever.api("PUT", f"{user}?everywhere=true", {"password": SECRET}, expect=200)
    changed: Login = {**MUTUAL, "password": SECRET, "target_password": SECRET}
    new: Login = {**SHARED, "password": SECRET}
    assert discovered(storlever.portal, **new) is not None
    assert admitted(storlever.portal, **changed)
    assert admitted(storlever.portal, OTHER_TARGET, **new)
    assert discovered(storlever.portal, **SHARED) is None
    assert not admitted(storlever.portal, **SHARED)
    assert not admitted(storlever.portal, OTHER_TARGET, **SHARED)


@pytest.mark.parametrize("everywhere", ["false", "true"])
def test_user_of_one_place_changes_without_a_word(storlever: StorLever, everywhere: str) -> None:
    user = add_user(storlever, storlever.add_target(), "joe", SECRET)
    change = {"password": NEW_SECRET}
    storlever.api("PUT", f"{user}?everywhere={everywhere}", change, expect=200)
    assert admitted(storlever.portal, user="joe", password=NEW_SECRET)


def test_name_with_another_password_elsewhere_is_409_and_says_where(storlever: StorLever) -> None:
    add_user(storlever, storlever.add_target(), "joe", SECRET)
    other = storlever.add_target(OTHER_TARGET)
    body = {"username": "joe", "password": NEW_SECRET}
    refusal = storlever.api("POST", f"{other}/incominguser_list", body, expect=409).json()
    assert WIKI_TARGET in refusal["detail"]
    assert NEW_SECRET not in str(refusal)
    assert admitted(storlever.portal, OTHER_TARGET)
    assert admitted(storlever.portal, user="joe", password=SECRET)
    conf = {"incomingdiscoveryuser": f"joe:{NEW_SECRET}"}
    assert WIKI_TARGET in storlever.api("PUT", "/conf", conf, expect=409).json()["detail"]
    assert discovered(storlever.portal) is not None


# -- the lists of initiators


def test_target_with_empty_lists_admits_everyone(storlever: StorLever) -> None:
    target = storlever.add_target()
    assert admitted(storlever.portal, name=ALICE, source="127.0.0.9")
    storlever.api("PUT", target, {"initiator_name_list": [BOB]}, expect=200)
    assert not admitted(storlever.portal, name=ALICE, source="127.0.0.9")
    storlever.api("PUT", target, {"initiator_name_list": []}, expect=200)
    assert admitted(storlever.portal, name=ALICE, source="127.0.0.9")


def test_address_list_admits_those_addresses_and_nobody_else(storlever: StorLever) -> None:
    storlever.add_target(initiator_addr_list=["127.0.0.2", "127.0.0.4"])
    assert [admitted(storlever.portal, source=f"127.0.0.{last}") for last in (1, 2, 3, 4, 24)] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_name_list_admits_those_names_and_nobody_else(storlever: StorLever) -> None:
    storlever.add_target(initiator_name_list=[ALICE])
    assert admitted(storlever.portal, name=ALICE)
    assert not admitted(storlever.portal, name=BOB)
    assert not admitted(storlever.portal, name=ALICE + "x")
    assert not admitted(storlever.portal, name=ALICE[:-1])


def test_initiator_name_may_have_an_underscore(storlever: StorLever) -> None:
    name = "iqn.2014-09.com.example:test_initiator"
    target = storlever.add_target(initiator_name_list=[name])
    with Initiator(storlever.portal, WIKI_TARGET, name=name):
        assert storlever.get(target)["session_list"][0]["initiator"] == name
    assert not admitted(storlever.portal, name=name.replace("_", "-"))


@pytest.mark.parametrize("number", ["eui.0123456789abcdef", "naa.60000000000000000000000000000001"])
def test_initiator_name_may_be_a_number(storlever: StorLever, number: str) -> None:
    storlever.add_target(initiator_name_list=[number])
    assert admitted(storlever.portal, name=number)
    assert not admitted(storlever.portal, name=ALICE)


def test_either_list_admits(storlever: StorLever) -> None:
    storlever.add_target(initiator_name_list=[ALICE], initiator_addr_list=["127.0.0.2"])
    assert admitted(storlever.portal, name=ALICE, source="127.0.0.3")
    assert admitted(storlever.portal, name=BOB, source="127.0.0.2")
    assert admitted(storlever.portal, name=ALICE, source="127.0.0.2")
    assert not admitted(storlever.portal, name=BOB, source="127.0.0.3")


def test_lists_are_edited_one_without_the_other(storlever: StorLever) -> None:
    target = storlever.add_target(initiator_name_list=[ALICE], initiator_addr_list=["127.0.0.2"])
    storlever.api("PUT", target, {"initiator_addr_list": ["127.0.0.3"]}, expect=200)
    assert admitted(storlever.portal, name=ALICE, source="127.0.0.9")
    assert admitted(storlever.portal, name=BOB, source="127.0.0.3")
    assert not admitted(storlever.portal, name=BOB, source="127.0.0.2")
    storlever.api("PUT", target, {"initiator_name_list": []}, expect=200)
    assert not admitted(storlever.portal, name=ALICE, source="127.0.0.9")
    assert admitted(storlever.portal, name=ALICE, source="127.0.0.3")


def test_lists_do_not_stand_in_for_a_password(storlever: StorLever) -> None:
    target = storlever.add_target(initiator_name_list=[ALICE])
    add_user(storlever, target, "joe", SECRET)
    assert admitted(storlever.portal, name=ALICE, user="joe", password=SECRET)
    assert not admitted(storlever.portal, name=ALICE)
    assert not admitted(storlever.portal, name=BOB, user="joe", password=SECRET)


def test_list_edit_that_locks_a_session_out_keeps_it(storlever: StorLever) -> None:
    target = storlever.add_target(initiator_name_list=[ALICE])
    storlever.add_lun(target, 1, image(storlever.root / "disk.img"))
    with Initiator(storlever.portal, WIKI_TARGET, name=ALICE) as session:
        storlever.api("PUT", target, {"initiator_name_list": [BOB]}, expect=200)
        assert not admitted(storlever.portal, name=ALICE)
        assert session.ready().status == 0


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("127.0.1.0/24", "127.0.1.77", "127.0.2.77"),
        ("127.0.1.77/24", "127.0.1.5", "127.0.0.5"),
        ("127.0.1.7/32", "127.0.1.7", "127.0.1.6"),
        ("127.0.1.8/31", "127.0.1.9", "127.0.1.10"),
        ("127.128.0.0/9", "127.129.0.1", "127.0.0.1"),
        ("::ffff:127.0.1.7", "127.0.1.7", "127.0.1.6"),
    ],
)
def test_network_admits_its_addresses(
    storlever: StorLever, entry: str, inside: str, outside: str
) -> None:
    storlever.add_target(initiator_addr_list=[entry])
    assert admitted(storlever.portal, source=inside)
    assert not admitted(storlever.portal, source=outside)


@pytest.mark.parametrize("entry", ["ALL", "0.0.0.0/0", "::/0"])
def test_word_for_all_admits_every_address(storlever: StorLever, entry: str) -> None:
    target = storlever.add_target(initiator_addr_list=[entry], initiator_name_list=[ALICE])
    assert storlever.get(target)["initiator_addr_list"] == ["ALL"]
    assert admitted(storlever.portal, name=BOB, source="127.9.9.9")


@contextmanager
def own_network() -> Iterator[None]:
    """A network of this thread's own, with loopback only, and IPv6 addresses on that."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for address in ("2001:db8::1/128", "2001:db8::2/128", "2001:db8:0:1::1/128"):
                subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
            yield
        finally:
            assert libc.setns(home, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(home)


@pytest.fixture
def portals() -> tuple[str, str]:
    """One for IPv4, one for IPv6."""
    return f"127.0.0.1:{free_port()}", f"[::1]:{free_port('::1')}"


@pytest.fixture
def both_families(root: Path, portals: tuple[str, str]) -> Iterator[StorLever]:
    service = StorLever(root, portal=" ".join(portals))
    with own_network():
        try:
            yield service.start()
        finally:
            service.close()


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("2001:db8::2", "2001:db8::2", "2001:db8::1"),
        ("2001:DB8:0::2/128", "2001:db8::2", "2001:db8::1"),
        ("2001:db8::/64", "2001:db8::1", "2001:db8:0:1::1"),
        ("2001:db8:0:1::1/64", "2001:db8:0:1::1", "2001:db8::1"),
    ],
)
def test_ipv6_entry_admits_its_addresses_and_no_ipv4_one(
    both_families: StorLever, portals: tuple[str, str], entry: str, inside: str, outside: str
) -> None:
    both_families.add_target(initiator_addr_list=[entry])
    assert admitted(portals[1], source=inside)
    assert not admitted(portals[1], source=outside)
    assert not admitted(portals[0])


def test_ipv4_entry_admits_no_ipv6_address(
    both_families: StorLever, portals: tuple[str, str]
) -> None:
    both_families.add_target(initiator_addr_list=["127.0.0.0/8", "10.0.0.0/8", "128.0.0.0/1"])
    assert admitted(portals[0])
    assert not admitted(portals[1])


def test_ipv6_session_is_shown_with_its_address(
    both_families: StorLever, portals: tuple[str, str]
) -> None:
    target = both_families.add_target()
    with Initiator(portals[1], WIKI_TARGET, source="2001:db8::2"):
        assert [each["addr"] for each in both_families.get(target)["session_list"]] == [
            "2001:db8::2"
        ]
    assert discover(portals[1]) == [WIKI_TARGET]


@pytest.mark.parametrize(
    "entry",
    [
        *("0.0.0.0/1", "0.0.0.0", "0.1.2.3/8", "::/16", "::", "::1/127", "::1", "::2/96"),
        *("::ffff:10.0.0.0/104", "2001:db8::1%lo", "10.0.0.0/33", "10.0.0.0/255.255.255.0 "),
        *("all", "localhost", "127.0.0.1 ", "127.1", "[::1]", ""),
    ],
)
def test_entry_that_tgtd_would_read_otherwise_is_refused(storlever: StorLever, entry: str) -> None:
    target = storlever.add_target(initiator_addr_list=["127.0.0.2"])
    problem = storlever.api("PUT", target, {"initiator_addr_list": [entry]}, expect=422).json()
    assert [fault["field"] for fault in problem["errors"]] == ["initiator_addr_list"]
    assert storlever.get(target)["initiator_addr_list"] == ["127.0.0.2"]
    assert not admitted(storlever.portal)


@pytest.mark.parametrize(
    ("entry", "stranger", "first"),
    [("0.0.0.0/1", 1, None), ("::/16", 0, None), ("::1", 0, 1)],
    ids=["IPv4 entry, IPv6 client", "IPv6 entry, IPv4 client", "::1, IPv4 client after IPv6 one"],
)
def test_tgtd_itself_admits_the_other_family_for_such_an_entry(
    root: Path, portals: tuple[str, str], entry: str, stranger: int, first: int | None
) -> None:
    """Why `names.initiator_address` refuses them: no rule of ours, a fault of tgtd's."""
    tgtd = Tgtd(root, portal=",portal=".join(portals))
    try:
        tgtd.start()
        tgtd.admin("new", "target", "--tid", "1", "-T", WIKI_TARGET)
        assert not admitted(portals[stranger])
        tgtd.admin("bind", "target", "--tid", "1", "-I", entry)
        if first is not None:
            assert admitted(portals[first])
        assert admitted(portals[stranger])
    finally:
        tgtd.kill()


# -- offline


def test_offline_target_refuses_logins_until_it_is_ready_again(storlever: StorLever) -> None:
    target = storlever.add_target()
    storlever.api("PUT", target, {"state": "offline"}, expect=200)
    assert storlever.get(target)["state"] == "offline"
    assert not admitted(storlever.portal)
    storlever.api("PUT", target, {"state": "ready"}, expect=200)
    assert storlever.get(target)["state"] == "ready"
    assert admitted(storlever.portal)


def test_offline_target_is_still_found_by_discovery(storlever: StorLever) -> None:
    storlever.api("PUT", storlever.add_target(), {"state": "offline"}, expect=200)
    assert discover(storlever.portal) == [WIKI_TARGET]


def test_offline_target_can_be_edited_and_stays_closed(storlever: StorLever) -> None:
    target = storlever.add_target()
    storlever.api("PUT", target, {"state": "offline"}, expect=200)
    storlever.api("PUT", target, {"initiator_name_list": [ALICE]}, expect=200)
    user = add_user(storlever, target, "joe", SECRET)
    storlever.add_lun(target, 1, image(storlever.root / "disk.img"))
    assert not admitted(storlever.portal, name=ALICE, user="joe", password=SECRET)
    storlever.api("DELETE", user, expect=200)
    assert not admitted(storlever.portal, name=ALICE)
    storlever.api("PUT", target, {"state": "ready"}, expect=200)
    assert admitted(storlever.portal, name=ALICE)
    assert not admitted(storlever.portal, name=BOB)


@pytest.mark.parametrize(
    ("method", "body"),
    [("PUT", {"state": "offline", "initiator_name_list": [BOB]}), ("DELETE", None)],
    ids=["offline", "delete"],
)
def test_session_in_the_way_is_409_and_nothing_changes(
    storlever: StorLever, method: str, body: dict[str, object] | None
) -> None:
    target = storlever.add_target()
    storlever.add_lun(target, 1, image(storlever.root / "disk.img"))
    with Initiator(storlever.portal, WIKI_TARGET, name=ALICE, source="127.0.0.5") as session:
        session.ready()
        before = storlever.get(target)
        problem = storlever.api(method, target, body, expect=409).json()
        assert problem["code"] == "sessions-active"
        assert problem["blocking"] == [{"initiator": ALICE, "addr": "127.0.0.5"}]
        assert storlever.get(target) == before
        assert session.write(0, bytes(512)).status == 0
        assert admitted(storlever.portal, name=ALICE)


def test_forced_offline_closes_the_sessions(storlever: StorLever) -> None:
    target = storlever.add_target()
    storlever.add_lun(target, 1, image(storlever.root / "disk.img"))
    with (
        Initiator(storlever.portal, WIKI_TARGET) as one,
        Initiator(storlever.portal, WIKI_TARGET, name=ALICE) as two,
    ):
        two.ready()
        storlever.api("PUT", f"{target}?force=true", {"state": "offline"}, expect=200)
        assert not one.alive
        assert not two.alive
    shown = storlever.get(target)
    assert (shown["state"], shown["session_list"]) == ("offline", [])
    assert not admitted(storlever.portal)
    storlever.api("PUT", target, {"state": "ready"}, expect=200)
    assert admitted(storlever.portal)


def test_forced_delete_closes_the_sessions_and_leaves_nothing(storlever: StorLever) -> None:
    target = storlever.add_target()
    add_user(storlever, target, "joe", SECRET)
    storlever.add_lun(target, 1, image(storlever.root / "disk.img"))
    with Initiator(storlever.portal, WIKI_TARGET, user="joe", password=SECRET) as session:
        session.ready()
        storlever.api("DELETE", f"{target}?force=true", expect=200)
        assert not session.alive
    assert storlever.get("/target_list") == []
    assert storlever.show() == ""
    assert storlever.add_target() == target
    assert admitted(storlever.portal)


def test_target_without_sessions_is_deleted_without_force(storlever: StorLever) -> None:
    storlever.add_target(OTHER_TARGET)
    target = storlever.add_target()
    assert admitted(storlever.portal)
    storlever.api("DELETE", target, expect=200)
    storlever.api("GET", target, expect=404)
    assert not admitted(storlever.portal)
    assert admitted(storlever.portal, OTHER_TARGET)
