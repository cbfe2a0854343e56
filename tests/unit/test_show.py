"""tgtd's text, read: real samples, forged ones, and garbage."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storlever.model import BackingType, Bindings, DeviceType, ObservedTarget, ObservedUnit, Session
from storlever.names import printable
from storlever.tgtd import show
from storlever.tgtd.show import Forged, Nexus, Seen, TargetReader

ONE, TWO = "iqn.2014-09.com.example:t1", "iqn.2014-09.com.example:t2"
IDS = {ONE: 1, TWO: 2}

SAMPLE = """\
Target 1: iqn.2014-09.com.example:t1
    System information:
        Driver: iscsi
        State: ready
        Nop interval: 1
        Nop count: 3
    I_T nexus information:
        I_T nexus: 2
            Initiator: iqn.2014-09.com.example:client1 alias: host-a
            Connection: 0
                IP Address: 127.0.0.1
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00010000
            SCSI SN: beaf10
            Size: 0 MB, Block size: 1
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: null
            Backing store path: None
            Backing store flags: 
        LUN: 1
            Type: disk
            SCSI ID: IET     00010001
            SCSI SN: beaf11
            Size: 67 MB, Block size: 512
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: rdwr
            Backing store path: /x/a b: c.img
            Backing store flags: sync:direct 
        LUN: 12
            Type: cd/dvd
            SCSI ID: IET     0001000c
            SCSI SN: beaf112
            Size: 0 MB, Block size: 1
            Online: No
            Removable media: Yes
            Prevent removal: No
            Readonly: Yes
            SWP: No
            Thin-provisioning: No
            Backing store type: mmc
            Backing store path: None
            Backing store flags: 
    Account information:
        storlever.guard
        u1
        o1 (outgoing)
    ACL information:
        127.0.0.1
        iqn.2014-09.com.example:client1
Target 2: iqn.2014-09.com.example:t2
    System information:
        Driver: iscsi
        State: offline
    I_T nexus information:
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00020000
            SCSI SN: beaf20
            Size: 0 MB, Block size: 1
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: null
            Backing store path: None
            Backing store flags: 
    Account information:
    ACL information:
"""  # noqa: W291  the blanks are tgtd's

DISK = ObservedUnit(
    lun=1,
    device_type=DeviceType.DISK,
    backing_type=BackingType.RDWR,
    backing_path="/x/a b: c.img",
    scsi_id="IET     00010001",
    serial_number="beaf11",
    readonly=False,
    online=True,
)
CD = ObservedUnit(
    lun=12,
    device_type=DeviceType.CD,
    backing_type=BackingType.RDWR,
    backing_path=None,
    scsi_id="IET     0001000c",
    serial_number="beaf112",
    readonly=True,
    online=False,
)
FIRST = ObservedTarget(
    ONE,
    ready=True,
    acl=("127.0.0.1", "iqn.2014-09.com.example:client1"),
    bindings=Bindings(("storlever.guard", "u1"), "o1"),
    units=(DISK, CD),
)
SECOND = ObservedTarget(TWO, ready=False)
BOTH = {ONE: (FIRST, {0: 0, 1: 67, 12: 0}), TWO: (SECOND, {0: 0})}


def changed(*pairs: tuple[str, str]) -> str:
    """The sample with each first text, which occurs in it once, replaced by the second."""
    text = SAMPLE
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def targets(text: str, ids: dict[str, int]) -> dict[str, Seen]:
    return TargetReader().read(text, ids)


# -- what tgtd really prints


def test_everything_of_every_target_is_read() -> None:
    assert targets(SAMPLE, IDS) == BOTH


def test_a_target_that_is_not_listed_is_not_made_up() -> None:
    """Its header is text like any other, and its lines belong to the target before it."""
    assert targets(SAMPLE, {TWO: 2}) == {TWO: BOTH[TWO]}
    assert targets(SAMPLE, {**IDS, "iqn.2014-09.com.example:gone": 3}) == BOTH
    assert targets(SAMPLE, {ONE: 7, TWO: 2}) == {TWO: BOTH[TWO]}


def test_no_target_is_no_text() -> None:
    assert targets("", {}) == {}


@pytest.mark.parametrize(
    ("online", "removable", "meaning"),
    [("Yes", "No", True), ("No", "Yes", False), ("Yes", "Yes", None), ("No", "No", None)],
)
def test_a_disk_is_offline_when_its_medium_is_out(
    online: str, removable: str, meaning: bool | None
) -> None:
    """Any other mix is one we never make, and unknown so that it is put right."""
    before, unit, after = SAMPLE.partition("            Type: disk")
    after = after.replace("Online: Yes", f"Online: {online}", 1)
    after = after.replace("Removable media: No", f"Removable media: {removable}", 1)
    text = before + unit + after
    seen, _ = targets(text, IDS)[ONE]
    disk = seen.unit(1)
    assert disk is not None
    assert disk.online is meaning


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("tape", None), ("cd/dvd", None), ("changer", None), ("passthrough", True)],
)
def test_other_media_are_always_removable(word: str, meaning: bool | None) -> None:
    """But for a device that says itself what it is."""
    text = changed(("            Type: disk\n", f"            Type: {word}\n"))
    fixed = targets(text, IDS)[ONE][0].unit(1)
    assert fixed is not None
    assert fixed.online is meaning


@pytest.mark.parametrize(
    ("word", "device"),
    [
        ("disk", DeviceType.DISK),
        ("tape", DeviceType.TAPE),
        ("cd/dvd", DeviceType.CD),
        ("changer", DeviceType.CHANGER),
        ("passthrough", DeviceType.PASSTHROUGH),
        ("osd", None),
        ("", None),
    ],
)
def test_device_types_have_tgtds_words(word: str, device: DeviceType | None) -> None:
    text = changed(("            Type: disk\n", f"            Type: {word}\n"))
    unit = targets(text, IDS)[ONE][0].unit(1)
    assert unit is not None
    assert unit.device_type is device


def test_what_tgtd_does_not_tell_is_unknown() -> None:
    """A unit of which only the number is left."""
    start, end = SAMPLE.index("            Type: disk"), SAMPLE.index("        LUN: 12")
    unit = targets(SAMPLE[:start] + SAMPLE[end:], IDS)[ONE][0].unit(1)
    assert unit == ObservedUnit(1, *[None] * 7)


def test_target_numbers_are_those_of_the_driver() -> None:
    text = (
        "iscsi: ready\n    iscsi:\n        Target 1: iqn.2014-09.com.example:t1\n"
        "        Target -7: iqn.2014-09.com.example:t2\niser: error\n"
    )
    assert show.target_ids(text) == {ONE: 1, TWO: -7}
    assert show.target_ids("iscsi: ready\niser: error\n") == {}


def test_discovery_accounts_are_those_of_the_system() -> None:
    before = "System:\n    State: ready\n    debug: off\nDevice types:\n    disk\n"
    accounts = "    Account information:\n\n    storlever.guard\n    d1\n    do (outgoing)\n"
    after = "iSNS:\n    iSNS=Off\n    iSNSServerIP=\n"
    assert show.discovery(before + accounts + after) == Bindings(("storlever.guard", "d1"), "do")
    assert show.discovery(before + after) == Bindings()
    assert show.discovery("") == Bindings()


def test_accounts_are_listed_one_a_line() -> None:
    assert show.accounts("Account list:\n    u2\n    u1\n") == ("u2", "u1")
    assert show.accounts("") == ()


def test_portals_are_listed_with_their_group_left_out() -> None:
    text = "Portal: 127.0.0.1:3260,1\nPortal: [::1]:3260,1\n"
    assert show.portals(text) == {"127.0.0.1:3260", "[::1]:3260"}


# -- what an initiator can make of it: it chooses its name and its alias, newlines and all

FORGED_UNIT = "        LUN: 1\n            Type: tape\n            Readonly: Yes\n"
PIECES = (
    "\n",
    "        I_T nexus: 9\n",
    "Target 1: iqn.2014-09.com.example:t1\n",
    "Target 2: iqn.2014-09.com.example:t2\n",
    "Target 3: iqn.2014-09.com.example:t3\n",
    "    System information:\n",
    "        State: offline\n",
    "    LUN information:\n",
    FORGED_UNIT,
    "    Account information:\n",
    "        evil\n",
    "        evil (outgoing)\n",
    "    ACL information:\n",
    "        ALL\n",
    "x",
)
NAMES = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=20)
REAL_NEXUS = """\
            Initiator: iqn.2014-09.com.example:client1 alias: host-a
            Connection: 0
                IP Address: 127.0.0.1
"""


def with_nexus(name: str, alias: str, room: int = 1023) -> str:
    """The sample with an initiator of this name; tgtd cuts what it says of a session."""
    said = f"            Initiator: {name} alias: {alias}\n            Connection: 0\n"
    return changed((REAL_NEXUS, f"{said}                IP Address: 127.0.0.1\n"[:room]))


@given(name=NAMES, alias=NAMES, room=st.just(1023) | st.integers(30, 200))
@example(name="x\nTarget 2: iqn.2014-09.com.example:t2\n", alias="", room=1023)
@example(name="x\n    LUN information:\n" + FORGED_UNIT, alias="none", room=1023)
@example(name="x\n    ACL information:\n        ALL\n", alias="none", room=1023)
@example(name="x\n    Account information:\n        evil\n", alias="none", room=1023)
@example(name="x" * 1100, alias="none", room=1023)
@settings(max_examples=200)
def test_no_name_changes_what_is_read(name: str, alias: str, room: int) -> None:
    """Either the truth is read, or the text is seen to be forged."""
    try:
        found = targets(with_nexus(name, alias, room), IDS)
    except Forged:
        return
    assert found == BOTH


@pytest.mark.parametrize("header", ["Target 1: " + ONE, "Target 2: " + TWO])
def test_a_forged_header_makes_the_text_worthless(header: str) -> None:
    with pytest.raises(Forged, match="listed twice"):
        targets(with_nexus(f"x\n{header}\n", "y"), IDS)


@pytest.mark.parametrize(
    "section",
    [
        "    LUN information:\n" + FORGED_UNIT,
        "    Account information:\n        evil\n",
        "    ACL information:\n        ALL\n",
        "    System information:\n        Driver: iscsi\n        State: offline\n",
        "Target 3: iqn.2014-09.com.example:t3\n    ACL information:\n        ALL\n",
    ],
    ids=["LUNs", "accounts", "ACL", "state", "a target that is not"],
)
def test_a_forged_section_is_not_the_one_that_counts(section: str) -> None:
    assert targets(with_nexus(f"x\n{section}", "y"), IDS) == BOTH


def test_a_forged_state_does_not_make_an_offline_target_ready() -> None:
    text = with_nexus("x\n        State: ready\n", "y").replace("State: ready", "State: offline", 1)
    seen, _ = targets(text, IDS)[ONE]
    assert not seen.ready


def test_the_title_after_a_name_that_was_cut_is_found() -> None:
    """tgtd cuts the newline too, so the title ends the line of the name."""
    text = with_nexus("x" * 2000, "y")
    assert "xxx    LUN information:\n" in text
    assert targets(text, IDS) == BOTH


def test_names_full_of_headers_cost_no_more_than_their_length() -> None:
    """They took seconds of every look once, from an initiator with a thousand sessions."""
    name = "x" + "\nTarget x" * 100_000
    started = time.process_time()
    assert targets(with_nexus(name, "y", room=len(name)), IDS) == BOTH
    assert time.process_time() - started < 1


def test_a_reader_that_has_read_before_sees_what_changed() -> None:
    reader = TargetReader()
    first = reader.read(SAMPLE, IDS)[ONE]
    assert reader.read(SAMPLE, IDS)[ONE] is first
    text = SAMPLE.replace("/x/a b: c.img", "/y")
    assert reader.read(text, IDS) == targets(text, IDS) != BOTH
    assert reader.read(SAMPLE, {TWO: 2}) == {TWO: BOTH[TWO]}
    assert reader.read(SAMPLE, IDS) == BOTH


def test_a_target_that_lacks_a_section_is_forged() -> None:
    with pytest.raises(Forged, match="ACL information"):
        targets(SAMPLE[: SAMPLE.rindex("    ACL information")], IDS)


# -- connections


@dataclass(frozen=True)
class Connection:
    """As tgtd prints it."""

    sid: int
    cid: int
    name: str = "iqn.2014-09.com.example:client1"
    address: str = "IP Address: 127.0.0.1"

    def __str__(self) -> str:
        return (
            f"Session: {self.sid}\n    Connection: {self.cid}\n        Initiator: {self.name}\n"
            f"        {self.address}\n"
        )


def listed(connections: Sequence[Connection]) -> str:
    return "".join(map(str, connections))


CLIENT = "iqn.2014-09.com.example:client1"


def test_every_connection_of_every_session_is_read() -> None:
    text = listed((Connection(2, 0), Connection(2, 1), Connection(1, 0)))
    assert show.nexuses(text) == (Nexus(2, 0), Nexus(2, 1), Nexus(1, 0))
    assert show.nexuses("") == ()


def told(*connections: Connection) -> tuple[Session, ...]:
    """What is told of these sessions, which are all that there are."""
    numbers = frozenset(str(each.sid) for each in connections)
    return show.sessions(listed(connections), numbers)


def test_every_session_is_told_with_its_initiator() -> None:
    found = told(Connection(2, 0, address="IP Address: ::1"), Connection(1, 0, name="x"))
    assert found == (Session(CLIENT, "::1", 2), Session("x", "127.0.0.1", 1))
    assert show.sessions("", frozenset()) == ()


@pytest.mark.parametrize("address", ["", "RDMA IP Address: 127.0.0.1"])
def test_a_connection_without_the_usual_address_does_not_swallow_the_next(address: str) -> None:
    """tgtd prints a blank one when the peer is gone already, and another one for iSER."""
    first, second = told(Connection(1, 0, address=address), Connection(2, 0))
    assert first in (Session(CLIENT, "", 1), Session(CLIENT, "127.0.0.1", 1))
    assert second == Session(CLIENT, "127.0.0.1", 2)


def test_a_name_that_tgtd_cut_ends_where_the_address_begins() -> None:
    """Its newline was cut too."""
    text = listed((Connection(1, 0, "x" * 900), Connection(2, 0)))
    text = text.replace("x\n        IP", "x        IP")
    found = show.sessions(text, {"1", "2"})
    assert found == (Session("x" * 900, "127.0.0.1", 1), Session(CLIENT, "127.0.0.1", 2))
    assert show.nexuses(text) == (Nexus(1, 0), Nexus(2, 0))


FORGED_SESSION = (
    "x\n        IP Address: 10.0.0.1\nSession: {}\n    Connection: 0\n        Initiator: innocent"
)


def test_a_session_that_a_name_makes_up_is_not_told() -> None:
    """All of it is a name, newlines included, and the address is the true one."""
    name = FORGED_SESSION.format(77)
    found = told(Connection(2, 0), Connection(1, 0, name))
    assert found[0] == Session(CLIENT, "127.0.0.1", 2)
    assert (found[1].sid, found[1].address) == (1, "127.0.0.1")
    assert found[1].initiator_name == name.replace("\n", "\\n")


@pytest.mark.parametrize("forger_first", [True, False])
def test_a_session_that_a_name_lies_about_is_told_as_unknown(forger_first: bool) -> None:
    forger, victim = Connection(1, 0, FORGED_SESSION.format(2)), Connection(2, 0)
    found = told(*((forger, victim) if forger_first else (victim, forger)), Connection(3, 0))
    by_number = {each.sid: each for each in found}
    assert by_number[2] == Session("?", "?", 2)
    assert by_number[3] == Session(CLIENT, "127.0.0.1", 3)


def test_the_numbers_of_sessions_are_read_from_the_statistics() -> None:
    text = (
        "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) errs\n"
        "  1   0   1            0      0            0      0            0      0    0\n"
        "  1   0 12345678901234567890   0      0    0      0            0      0    0\n"
    )
    assert show.session_numbers(text) == {"1", "12345678901234567890"}
    assert show.session_numbers("") == frozenset()


FORGED_LINES = (
    "\n",
    "\nSession: 7\n",
    "    Connection: 0\n",
    "        Initiator: x",
    "\n        IP Address: 10.0.0.1",
    "\n        IP Address: 10.0.0.1\nSession: 7\n    Connection: 0\n        Initiator: x",
    "\n        ",
    "x",
)
CONNECTIONS = st.builds(
    Connection,
    st.integers(1, 5),
    st.integers(0, 3),
    st.lists(st.sampled_from(FORGED_LINES), max_size=6).map("".join) | st.text(max_size=20),
    st.sampled_from(("IP Address: 127.0.0.1", "")),
)


@given(st.lists(CONNECTIONS, max_size=4))
def test_a_name_cannot_hide_a_connection(connections: list[Connection]) -> None:
    """It can make some up; closing those finds nothing."""
    found = {(nexus.sid, nexus.cid) for nexus in show.nexuses(listed(connections))}
    assert {(each.sid, each.cid) for each in connections} <= found


def test_a_number_that_tgtd_does_not_count_to_is_made_up() -> None:
    """By an initiator, so that closing its sessions fails."""
    forged = listed((Connection(2**64, 0), Connection(1, 2**32)))
    assert show.nexuses(forged) == ()
    assert show.target_ids("        Target 2147483648: iqn.2014-09.com.example:t1\n") == {}
    assert [nexus.cid for nexus in show.nexuses(listed((Connection(2**64 - 1, 2**32 - 1),)))]


@given(st.lists(CONNECTIONS, max_size=4, unique_by=lambda each: each.sid))
def test_whatever_the_names_exactly_the_sessions_that_are_there_are_told(
    connections: list[Connection],
) -> None:
    """Each with the name and address that tgtd printed, or as unknown; all of it printable."""
    truth = {
        each.sid: (printable(each.name), each.address.removeprefix("IP Address: "))
        for each in connections
    }
    found = {each.sid: (each.initiator_name, each.address) for each in told(*connections)}
    assert found.keys() == truth.keys()
    for sid, said in found.items():
        assert said in (truth[sid], ("?", "?"))
        assert "".join(said).isprintable()
    if not any("Session: " in each.name for each in connections):
        assert found == truth


# -- garbage


def _all(text: str) -> None:
    for read in (show.target_ids, show.discovery, show.accounts, show.portals, show.nexuses):
        read(text)
    show.sessions(text, show.session_numbers(text) | {"1"})
    targets(text, IDS)


LINES = (
    *dict.fromkeys(SAMPLE.splitlines()),
    "Session: 1",
    "    Connection: 0",
    "        Initiator: x",
    "        IP Address: 127.0.0.1",
    "        Target 1: x",
    "Portal: 127.0.0.1:3260,1",
    "        LUN: x",
    "        LUN: ²",
    "            Size: MB",
    "            :",
)


@given(st.lists(st.sampled_from(LINES) | st.text(max_size=20), max_size=30).map("\n".join))
@example("        LUN: " + "9" * 5000)
@example("Target 1: " + ONE + SAMPLE.partition(ONE)[2].replace("LUN: 12", "LUN: " + "9" * 5000))
@example("Session: " + "9" * 5000 + "\n    Connection: 0\n        Initiator: x\n        x")
@example("        Target " + "9" * 5000 + ": x")
def test_garbage_is_nothing_worse_than_forged(text: str) -> None:
    try:
        _all(text)
    except Forged:
        return


SPOILERS: tuple[Callable[[str], str], ...] = (str.upper, str.strip, lambda _: "", lambda x: x * 2)


@given(st.integers(0, SAMPLE.partition("Target 2")[0].count("\n") - 1), st.sampled_from(SPOILERS))
def test_a_spoilt_line_is_the_trouble_of_its_target(at: int, spoil: Callable[[str], str]) -> None:
    lines = SAMPLE.splitlines()
    lines[at] = spoil(lines[at])
    try:
        found = targets("\n".join(lines), IDS)
    except Forged:
        return
    assert found[TWO] == BOTH[TWO]
