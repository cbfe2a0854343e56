"""The grammar of names, and the one promise of address entries: tgtd admits just what was meant."""

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storlever import names
from tests.unit import strategies as some

Check = Callable[[str], str]

LONGEST = "iqn.2014-09.com.example:" + "a" * 199

ACCEPTED = [
    (names.target_name, "iqn.2014-09.com.example:test"),
    (names.target_name, "iqn.2014-09.com.example"),
    (names.target_name, "iqn.1991-05.com.microsoft:a.b-c:d"),
    (names.target_name, LONGEST),
    (names.target_name, "eui.02004567a425678d"),
    (names.target_name, "naa.52004567ba64678d"),
    (names.target_name, "naa.62004567ba64678d0123456789abcdef"),
    (names.initiator_name, "iqn.2014-09.com.example:test_initiator"),
    (names.initiator_name, LONGEST),
    (names.chap_name, "test"),
    (names.chap_name, "a"),
    (names.chap_name, "u" * 255),
    (names.chap_name, "iqn.2014-09.com.example:a/b%c=d(e)#?&;\\"),
    (names.chap_secret, "123456"),
    (names.chap_secret, " with, comma = and blank "),
    (names.chap_secret, "p" * 255),
    (names.backing_path, "/root/test.img"),
    (names.backing_path, "/srv/my disk=1/ä☃..img"),
    (names.backing_path, "/" + "a" * 999),
    (names.scsi_id, ""),
    (names.scsi_id, "x" * 36),
    (names.scsi_id, "IET     00010001"),
    (names.serial_number, ""),
    (names.serial_number, "beaf11"),
]

REFUSED = [
    (names.target_name, ""),
    (names.target_name, "iqn.2014-09.com.example:test_target"),
    (names.target_name, "iqn.2014-09.com.example:Test"),
    (names.target_name, "IQN.2014-09.com.example:test"),
    (names.target_name, "iqn.2014-13.com.example:test"),
    (names.target_name, "iqn.2014-00.com.example:test"),
    (names.target_name, "iqn.14-09.com.example:test"),
    (names.target_name, "iqn.２０１４-09.com.example:test"),  # noqa: RUF001  digits, but not ours
    (names.target_name, "iqn.2014-09.com.example:"),
    (names.target_name, "iqn.2014-09.com.example.:x"),
    (names.target_name, "iqn.2014-09.-example:x"),
    (names.target_name, "iqn.2014-09.com.example:te st"),
    (names.target_name, "iqn.2014-09.com.example:test\n"),
    (names.target_name, "iqn.2014-09.com.example:a,b"),
    (names.target_name, "iqn.2014-09.com.example:t\u00e9st"),
    (names.target_name, "iqn.2014-09.com.example:\ud800"),
    (names.target_name, LONGEST + "a"),
    (names.target_name, "eui.02004567a425678"),
    (names.target_name, "eui.02004567A425678D"),
    (names.target_name, "naa.52004567ba64678d0"),
    (names.target_name, "other.2014-09.com.example:test"),
    (names.initiator_name, "iqn.2014-09.com.example:Test"),
    (names.initiator_name, "ALL"),
    (names.initiator_name, "iqn.2014-09.com.example:x\x00"),
    (names.initiator_name, LONGEST + "a"),
    (names.initiator_address, ""),
    (names.initiator_address, "all"),
    (names.initiator_address, "host.example.com"),
    (names.initiator_address, " 10.0.0.1"),
    (names.initiator_address, "10.0.0.1\n"),
    (names.initiator_address, "10.0.0.1,10.0.0.2"),
    (names.initiator_address, "10.0.0"),
    (names.initiator_address, "10.0.0.256"),
    (names.initiator_address, "010.0.0.1"),
    (names.initiator_address, "0x0a.0.0.1"),
    (names.initiator_address, "10.0.0.0/33"),
    (names.initiator_address, "10.0.0.0/"),
    (names.initiator_address, "10.0.0.0/-1"),
    (names.initiator_address, "[2001:db8::1]"),
    (names.initiator_address, "fe80::1%eth0"),
    (names.initiator_address, "fe80::1%eth0/64"),
    (names.initiator_address, "0.0.0.0"),
    (names.initiator_address, "0.0.0.0/8"),
    (names.initiator_address, "0.0.0.0/1"),
    (names.initiator_address, "0.0.0.5/29"),
    (names.initiator_address, "::"),
    (names.initiator_address, "::/1"),
    (names.initiator_address, "::1"),
    (names.initiator_address, "::5:0:0:1/80"),
    (names.initiator_address, "::ffff:10.0.0.0/104"),
    (names.chap_name, ""),
    (names.chap_name, "a,b"),
    (names.chap_name, "a b"),
    (names.chap_name, "it's"),
    (names.chap_name, 'say"'),
    (names.chap_name, "a\nb"),
    (names.chap_name, "a\x00"),
    (names.chap_name, "t\u00e9st"),
    (names.chap_name, "u" * 256),
    (names.chap_name, "."),
    (names.chap_name, ".."),
    (names.chap_name, names.GUARD),
    (names.chap_secret, ""),
    (names.chap_secret, "tab\t"),
    (names.chap_secret, "line\n"),
    (names.chap_secret, "nul\x00"),
    (names.chap_secret, "p\u00e4ssword"),
    (names.chap_secret, "p" * 256),
    (names.backing_path, ""),
    (names.backing_path, "relative.img"),
    (names.backing_path, "/a,b.img"),
    (names.backing_path, "/a\nb.img"),
    (names.backing_path, "/a\x00b.img"),
    (names.backing_path, "/a\x7fb.img"),
    (names.backing_path, "/a\x85b.img"),
    (names.backing_path, "/srv/../etc/shadow"),
    (names.backing_path, "/.."),
    (names.backing_path, "/" + "a" * 1000),
    (names.backing_path, "/" + "ä" * 500),
    (names.backing_path, "/\ud800"),
    (names.scsi_id, "x" * 37),
    (names.scsi_id, " x"),
    (names.scsi_id, "x "),
    (names.scsi_id, "a,b"),
    (names.scsi_id, "a\nb"),
    (names.scsi_id, "\u00e9"),
    (names.serial_number, "x" * 37),
    (names.serial_number, "a,b"),
    (names.serial_number, " "),
]

CANONICAL = [
    ("ALL", "ALL"),
    ("192.168.1.10", "192.168.1.10"),
    ("192.168.1.10/32", "192.168.1.10"),
    ("192.168.1.10/24", "192.168.1.0/24"),
    ("192.168.1.10/255.255.255.0", "192.168.1.0/24"),
    ("0.0.0.0/0", "ALL"),
    ("10.1.2.3/0", "ALL"),
    ("::/0", "ALL"),
    ("2001:DB8:0:0::1", "2001:db8::1"),
    ("2001:db8::1/128", "2001:db8::1"),
    ("2001:db8::1/64", "2001:db8::/64"),
    ("::ffff:10.0.0.1", "10.0.0.1"),
]


def _case(case: tuple[Check, str]) -> str:
    return f"{case[0].__name__}-{ascii(case[1])[:50]}"


@pytest.mark.parametrize("case", ACCEPTED, ids=_case)
def test_what_keeps_the_rules_is_taken_as_it_is(case: tuple[Check, str]) -> None:
    check, text = case
    assert check(text) == text


@pytest.mark.parametrize("case", REFUSED, ids=_case)
def test_what_breaks_a_rule_is_refused_with_the_rule(case: tuple[Check, str]) -> None:
    check, text = case
    with pytest.raises(ValueError, match=r"^(must|an iSCSI name has|this name is)"):
        check(text)


@given(some.target_names)
def test_every_target_name_would_do_for_an_initiator(name: str) -> None:
    assert names.initiator_name(names.target_name(name)) == name


@given(
    st.sampled_from(
        (
            names.target_name,
            names.initiator_name,
            names.initiator_address,
            names.chap_name,
            names.backing_path,
            names.scsi_id,
            names.serial_number,
        )
    ),
    st.text(),
)
def test_no_accepted_text_can_break_out_of_a_request(check: Check, text: str) -> None:
    """A comma, a NUL or a newline would end a value, a body or a line of tgtd's."""
    try:
        accepted = check(text)
    except ValueError:
        return
    assert not set(accepted) & set(",\0\n\r")


# -- addresses


@pytest.mark.parametrize(("written", "canonical"), CANONICAL)
def test_an_address_has_one_form(written: str, canonical: str) -> None:
    assert names.initiator_address(written) == canonical


@given(some.accepted_addresses)
def test_the_canonical_form_is_its_own(written: str) -> None:
    canonical = names.initiator_address(written)
    assert names.initiator_address(canonical) == canonical


@given(some.accepted_addresses, st.data())
def test_tgtd_admits_just_the_addresses_that_were_meant(written: str, data: st.DataObject) -> None:
    meant = ip_network(written, strict=False)
    assume(meant.prefixlen > 0)
    mapped = getattr(meant.network_address, "ipv4_mapped", None)
    if mapped is not None:
        meant = ip_network(mapped)
    client = data.draw(some.within(meant) | some.addresses)
    assert tgtd_admits(names.initiator_address(written), client) == (client in meant)


@given(some.accepted_addresses, some.addresses, st.binary(min_size=8, max_size=8))
def test_no_entry_admits_the_other_family(written: str, client: some.Address, stack: bytes) -> None:
    """Whatever an earlier client left on tgtd's stack. Only a network of all addresses, which
    tgtd can say in no other way than ALL, means both families."""
    meant = ip_network(written, strict=False)
    entry = names.initiator_address(written)
    assume(entry != names.EVERYONE)
    assume(not some.same_family(some.parsed(entry), client))
    assert meant.prefixlen > 0
    assert not tgtd_admits(entry, client, stack)


@given(st.text("0123456789abcdef.:/%[] x", max_size=45))
def test_an_address_that_is_nonsense_is_refused_as_such(text: str) -> None:
    try:
        entry = names.initiator_address(text)
    except ValueError:
        return
    some.parsed(entry)


# A model of ip_match and what it calls (tgtd 1.0.85, usr/iscsi/target.c): it compares the bytes
# of two socket addresses as if the client's were of the family of the entry's.


def tgtd_admits(entry: str, client: some.Address, stack: bytes = bytes(8)) -> bool:
    """`stack`: what stands behind an IPv4 client's address where an IPv6 one would go on."""
    if entry == "ALL":
        return True
    host, slash, length = entry.partition("/")
    known = ip_address(host)
    bits = known.max_prefixlen
    ours, theirs = int(known), _client_read_as(known, client, stack)
    if not slash:
        return ours == theirs
    prefix = int(length, 0)
    if prefix > bits - 1:
        return False
    if known.version == 4:
        mask = ~((1 << (32 - prefix) % 32) - 1) & 0xFFFFFFFF
        return not ~mask & ours and not (mask & theirs) ^ (mask & ours)
    return ours >> (bits - prefix) == theirs >> (bits - prefix)


def _client_read_as(known: some.Address, client: some.Address, stack: bytes) -> int:
    if known.version == client.version:
        return int(client)
    if isinstance(known, IPv4Address):
        return 0  # the flow label of an IPv6 client's socket address
    return int.from_bytes(bytes(8) + stack)


def test_the_model_knows_what_tgtd_never_matches() -> None:
    """The traps seen on the running daemon; without them the canonical form proves nothing."""
    client = ip_address("127.0.0.1")
    never = ["127.0.0.1/32", "127.0.0.1/8", "0.0.0.0/0", "::1/128"]
    assert not any(tgtd_admits(entry, client) for entry in never)
    assert tgtd_admits("127.0.0.0/8", client)
    assert tgtd_admits("0.0.0.0", ip_address("2001:db8::1"))


# -- an initiator's own words


def test_printable_text_stays_as_it_is() -> None:
    assert names.printable("iqn.2014-09.com.example:ä ☃") == "iqn.2014-09.com.example:ä ☃"


def test_unprintable_text_is_escaped() -> None:
    assert names.printable("a\nb\x1b[2J\u202e\ud800") == "a\\nb\\x1b[2J\\u202e\\ud800"


@given(st.text())
def test_whatever_comes_can_be_printed_on_one_line(text: str) -> None:
    shown = names.printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
