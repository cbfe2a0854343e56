"""What every Backend does with every change, and the facts about tgtd that it builds on."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from storlever.backing import Machine
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
    BackingType,
    Bindings,
    DeviceType,
    LogicalUnit,
    ObservedTarget,
    ObservedUnit,
    ScsiProduct,
)
from storlever.territory import Territory
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.conversation import ABREAST
from storlever.tgtd.reply import Reply
from storlever.tgtd.show import session_numbers, target_ids
from storlever.tgtd.transport import Awaited, Transport
from storlever.tgtd.wire import EVERY, MAX_TID, Mode, Op, Request, TgtError
from tests import backends
from tests.contract.conftest import Rig
from tests.others import unchecked
from tests.world import Credulous, image

T = "iqn.2026-01.test:one"
U = "iqn.2026-01.test:two"
ALICE = Account("alice", "alice's secret")
BOB = Account("bob", "a,b=c, d")


def unit(rig: Rig, lun: int = 1, **fields: object) -> LogicalUnit:
    path = rig.folder / f"disk{lun}.img"
    if not path.exists():
        image(path, 4)
    base = LogicalUnit(lun, str(path), f"{lun:031x}", f"SN{lun}")
    return replace(base, **fields)


def apply(rig: Rig, *changes: Change) -> None:
    backends.apply(rig.backend, *changes)


def seen(rig: Rig, target: str = T) -> ObservedTarget:
    return rig.observe().targets[target]


def seen_unit(rig: Rig, lun: int = 1) -> ObservedUnit:
    found = seen(rig).unit(lun)
    assert found is not None
    return found


def ask(rig: Rig, mode: Mode, op: Op, *parameters: tuple[str, str], tid: int = 0) -> Reply:
    return rig.transport.exchange(Request(mode, op, tid=tid, parameters=parameters))


# -- targets and their ACL


def test_a_new_target_is_ready_and_admits_nobody(rig: Rig) -> None:
    apply(rig, CreateTarget(T))
    assert rig.observe().targets == {T: ObservedTarget(T)}


def test_a_new_target_takes_long_writes_in_long_pieces(rig: Rig) -> None:
    apply(rig, CreateTarget(T))
    tid = target_ids(ask(rig, Mode.DRIVER, Op.SHOW).text)[T]
    shown = ask(rig, Mode.TARGET, Op.SHOW, tid=tid).text
    assert "MaxRecvDataSegmentLength=262144\n" in shown


def test_the_controllers_statistics_tell_no_session_where_there_is_none(rig: Rig) -> None:
    """And a target that is not there is refused, whatever its number."""
    apply(rig, CreateTarget(T))
    tid = target_ids(ask(rig, Mode.DRIVER, Op.SHOW).text)[T]
    text = rig.transport.exchange(Request(Mode.UNIT, Op.STATS, tid=tid, lun=0)).text
    assert text.startswith("tgt lun sid")
    assert session_numbers(text) == frozenset()
    for nobodys in (-1, 0, tid + 1, MAX_TID):
        request = Request(Mode.UNIT, Op.STATS, tid=nobodys, lun=0)
        assert rig.transport.exchange(request).error in (TgtError.NO_TARGET, TgtError.NO_LUN)
    assert rig.alive


@pytest.mark.parametrize("length", ["0", "511", "16777216", "long"])
def test_a_piece_has_a_length_that_the_standard_allows(rig: Rig, length: str) -> None:
    ask(rig, Mode.TARGET, Op.NEW, ("targetname", T), tid=1)
    asked = ask(rig, Mode.TARGET, Op.UPDATE, ("MaxRecvDataSegmentLength", length), tid=1)
    assert asked.error == TgtError.INVALID_REQUEST
    assert "MaxRecvDataSegmentLength=8192\n" in ask(rig, Mode.TARGET, Op.SHOW, tid=1).text


def test_targets_are_found_by_name_whatever_number_they_have(rig: Rig) -> None:
    ask(rig, Mode.TARGET, Op.NEW, ("targetname", "iqn.2026-01.test:foreign"), tid=1)
    rig.observe()
    apply(rig, CreateTarget(T), CreateTarget(U), DeleteTarget(T), Admit(U, "10.0.0.1"))
    assert seen(rig, U).acl == ("10.0.0.1",)
    assert T not in rig.observe().targets


def test_a_number_that_somebody_took_meanwhile_is_no_obstacle(rig: Rig) -> None:
    rig.observe()
    ask(rig, Mode.TARGET, Op.NEW, ("targetname", "iqn.2026-01.test:foreign"), tid=1)
    apply(rig, CreateTarget(T))
    assert T in rig.observe().targets


def test_a_name_that_is_taken_is_refused(rig: Rig) -> None:
    ask(rig, Mode.TARGET, Op.NEW, ("targetname", T), tid=4)
    with pytest.raises(Refused, match="not StorLever's") as refusal:
        apply(rig, CreateTarget(T))
    assert refusal.value.drift


def test_acl_entries_come_and_go(rig: Rig) -> None:
    entries = ("10.0.0.0/24", "::1", "ALL", "iqn.2026-01.test:a_b", "eui.0123456789abcdef")
    apply(rig, CreateTarget(T), *(Admit(T, entry) for entry in entries))
    assert seen(rig).acl == entries
    apply(rig, *(Deny(T, entry) for entry in entries))
    assert seen(rig).acl == ()


def test_an_entry_that_is_there_or_gone_already_is_as_wished(rig: Rig) -> None:
    apply(rig, CreateTarget(T), Admit(T, "ALL"), Admit(T, "ALL"))
    apply(rig, Deny(T, "ALL"), Deny(T, "ALL"), Deny(T, T))
    assert seen(rig).acl == ()


def test_a_target_goes_offline_and_ready(rig: Rig) -> None:
    apply(rig, CreateTarget(T), SetReady(T, False))
    assert not seen(rig).ready
    apply(rig, SetReady(T, True))
    assert seen(rig).ready


def test_a_target_without_sessions_has_none_to_end(rig: Rig) -> None:
    apply(rig, CreateTarget(T), EndSessions(T, force=False), EndSessions(T, force=True))
    assert rig.backend.sessions(T) == ()


def test_a_change_of_a_target_that_is_gone_is_drift(rig: Rig) -> None:
    with pytest.raises(Refused) as refusal:
        apply(rig, Admit(T, "ALL"))
    assert refusal.value.drift


@pytest.mark.parametrize("entry", ["", "a\tb", "\x1b[2J", "x" * 2000])
def test_an_entry_that_only_others_would_make_goes_as_any_other(rig: Rig, entry: str) -> None:
    apply(rig, CreateTarget(T), Admit(T, "10.0.0.1"))
    theirs = unchecked(Mode.TARGET, Op.BIND, ("initiator-address", entry), tid=1)
    assert rig.transport.exchange(theirs).error == 0
    assert seen(rig).acl == ("10.0.0.1", entry)
    apply(rig, Deny(T, entry))
    assert seen(rig).acl == ("10.0.0.1",)


def test_a_target_is_made_when_somebody_has_taken_the_last_number_there_is(rig: Rig) -> None:
    ask(rig, Mode.TARGET, Op.NEW, ("targetname", "iqn.2026-01.test:foreign"), tid=2**31 - 1)
    rig.observe()
    apply(rig, CreateTarget(T), CreateTarget(U))
    assert rig.observe().targets.keys() >= {T, U}
    ask(rig, Mode.TARGET, Op.NEW, ("targetname", "iqn.2026-01.test:third"), tid=3)
    apply(rig, CreateTarget("iqn.2026-01.test:fourth"), Admit("iqn.2026-01.test:fourth", "ALL"))
    assert seen(rig, "iqn.2026-01.test:fourth").acl == ("ALL",)


@pytest.mark.parametrize("last", [False, True], ids=["usual", "last number taken"])
def test_many_targets_are_made_at_the_same_time(rig: Rig, *, last: bool) -> None:
    if last:
        foreign = "iqn.2026-01.test:foreign"
        ask(rig, Mode.TARGET, Op.NEW, ("targetname", foreign), tid=MAX_TID)
        rig.observe()
    make_many(rig)


def test_many_targets_are_made_at_the_same_time_where_others_can_change_the_paths(rig: Rig) -> None:
    """Of each LUN it is seen what tgtd opened for it, and nothing else is opened meanwhile."""
    rig.backend.ensure()
    rig.folder.chmod(0o777)
    make_many(rig)


def test_whether_there_is_room_for_aio_is_asked_while_nothing_else_is_under_way(rig: Rig) -> None:
    """Else what is being made would take it."""
    transport = Unanswered(rig.transport)
    rig.backend = TgtdBackend(transport, rig.backend._daemon, Asked(transport))
    make_many(rig, BackingType.AIO)
    assert transport.most == ABREAST


class Unanswered(Transport):
    """Counts the requests whose answers were not taken yet."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.number = self.most = 0

    def send(self, request: Request, *, pid: int | None = None) -> Awaited:
        awaited = self._transport.send(request, pid=pid)
        self.number += 1
        self.most = max(self.most, self.number)
        return lambda: self._taken(awaited)

    def _taken(self, awaited: Awaited) -> Reply:
        self.number -= 1
        return awaited()


class Asked(Machine):
    def __init__(self, transport: Unanswered) -> None:
        super().__init__(Territory(Path("/nowhere")))
        self._transport = transport

    def room_for_aio(self) -> bool:
        assert self._transport.number == 0
        return True


def make_many(rig: Rig, store: BackingType = BackingType.RDWR) -> None:
    paths = {f"iqn.2026-01.test:{n}": image(rig.folder / f"{n}.img", 4) for n in range(3 * ABREAST)}
    lanes: list[tuple[Change, ...]] = [
        (
            CreateTarget(target),
            CreateUnit(target, unit(rig, backing_path=str(path), backing_type=store)),
            Admit(target, "ALL"),
        )
        for target, path in paths.items()
    ]
    rig.backend.hold(map(rig.backend.talk, lane) for lane in lanes)
    for target, path in paths.items():
        assert seen(rig, target).acl == ("ALL",)
        assert [each.backing_path for each in seen(rig, target).units] == [str(path)]


def test_a_change_that_cannot_be_said_is_refused_in_printable_words(rig: Rig) -> None:
    apply(rig, CreateTarget(T))
    for change in (Admit(T, "a,\x1b"), BindIncoming(T, "a,\x1b"), CreateTarget("a,\x1b")):
        with pytest.raises(Refused) as refusal:
            apply(rig, change)
        assert str(refusal.value).isprintable()
    assert rig.alive


# -- accounts


@pytest.mark.parametrize("name", ["", "a\tb", "x" * 2000])
def test_a_user_of_a_name_that_only_others_would_give_is_unbound(rig: Rig, name: str) -> None:
    apply(rig, CreateTarget(T))
    for op, more in ((Op.NEW, (("password", "theirs"),)), (Op.BIND, ())):
        theirs = unchecked(Mode.ACCOUNT, op, ("user", name), *more, tid=1)
        assert rig.transport.exchange(theirs).error == 0
    assert seen(rig).bindings.incoming == (name,)
    apply(rig, UnbindIncoming(T, name))
    assert seen(rig).bindings.incoming == ()


def test_accounts_are_created_and_deleted(rig: Rig) -> None:
    apply(rig, CreateAccount(ALICE), CreateAccount(BOB))
    assert rig.observe().accounts == {"alice": None, "bob": None}
    apply(rig, DeleteAccount("alice"), DeleteAccount("alice"))
    assert rig.observe().accounts == {"bob": None}


def test_an_account_has_one_secret(rig: Rig) -> None:
    apply(rig, CreateAccount(ALICE))
    with pytest.raises(Refused, match="not StorLever's to change") as refusal:
        apply(rig, CreateAccount(Account("alice", "another secret")))
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("place", [T, None], ids=["target", "discovery"])
def test_incoming_accounts_fill_the_slots_in_order(rig: Rig, place: str | None) -> None:
    apply(rig, CreateTarget(T), CreateAccount(ALICE), CreateAccount(BOB))
    apply(rig, BindIncoming(place, "bob"), BindIncoming(place, "alice"))
    apply(rig, BindOutgoing(place, "alice"))
    assert rig.observe().bindings(place) == Bindings(("bob", "alice"), "alice")
    apply(rig, UnbindIncoming(place, "alice"), UnbindIncoming(place, "bob"))
    apply(rig, UnbindOutgoing(place, "alice"))
    assert rig.alive
    assert rig.observe().bindings(place) == Bindings()


def test_room_is_made_for_the_outgoing_account_of_discovery(rig: Rig) -> None:
    """tgtd does not show one that stands alone, so it can be there without our knowing."""
    apply(rig, CreateAccount(ALICE), CreateAccount(BOB), BindOutgoing(None, "alice"))
    assert rig.observe().discovery == Bindings()
    apply(rig, BindOutgoing(None, "bob"), BindIncoming(None, "alice"))
    assert rig.observe().discovery == Bindings(("alice",), "bob")


def test_the_outgoing_account_of_a_target_is_not_replaced_unasked(rig: Rig) -> None:
    apply(rig, CreateTarget(T), CreateAccount(ALICE), CreateAccount(BOB), BindOutgoing(T, "bob"))
    with pytest.raises(Refused):
        apply(rig, BindOutgoing(T, "alice"))


@pytest.mark.parametrize("tid", [1, EVERY], ids=["target", "discovery"])
def test_tgtd_dies_of_a_hole_in_the_slots(rig: Rig, tid: int) -> None:
    """Why accounts are unbound from the last; were it mended, the plan could be simpler."""
    apply(rig, CreateTarget(T), CreateAccount(ALICE), CreateAccount(BOB))
    place = None if tid == EVERY else T
    apply(rig, BindIncoming(place, "alice"), BindIncoming(place, "bob"))
    assert rig.alive
    ask(rig, Mode.ACCOUNT, Op.UNBIND, ("user", "alice"), tid=tid)
    assert not rig.alive


def test_tgtd_dies_of_a_seventeenth_account_for_discovery(rig: Rig) -> None:
    for number in range(17):
        apply(rig, CreateAccount(Account(f"user{number}", "a secret")))
    for number in range(16):
        apply(rig, BindIncoming(None, f"user{number}"))
    assert rig.alive
    with pytest.raises(Exception, match="tgtd"):
        apply(rig, BindIncoming(None, "user16"))
    assert not rig.alive


def test_a_target_takes_more_accounts_than_it_has_slots_at_first(rig: Rig) -> None:
    apply(rig, CreateTarget(T))
    names = tuple(f"user{number}" for number in range(40))
    for name in names:
        apply(rig, CreateAccount(Account(name, "a secret")), BindIncoming(T, name))
    assert seen(rig).bindings.incoming == names
    for name in reversed(names):
        apply(rig, UnbindIncoming(T, name))
    assert rig.alive


# -- logical units


def makeable(rig: Rig) -> list[LogicalUnit]:
    """Each kind that can be made without a device, with its path where it is opened."""
    disc = rig.folder / "disc.iso"
    image(disc, 3)
    return [
        unit(rig, 1),
        unit(rig, 2, readonly=True, write_cache=False),
        unit(rig, 3, backing_type=BackingType.AIO),
        unit(rig, 4, device_type=DeviceType.CD, backing_path=str(disc)),
        unit(rig, 5, device_type=DeviceType.CHANGER),
        unit(rig, 6, product=ScsiProduct("Vendor", "A product", "1.0")),
    ]


@pytest.mark.parametrize("online", [True, False], ids=["online", "offline"])
def test_a_unit_is_made_as_wished(rig: Rig, online: bool) -> None:
    apply(rig, CreateTarget(T))
    for wished in makeable(rig):
        unit_ = replace(wished, online=online)
        apply(rig, CreateUnit(T, unit_))
        expected = replace(ObservedUnit.of(unit_), write_cache=None, product=None)
        assert seen_unit(rig, unit_.lun) == expected


def test_a_unit_goes_offline_and_comes_back(rig: Rig) -> None:
    apply(rig, CreateTarget(T))
    for wished in makeable(rig):
        apply(rig, CreateUnit(T, wished), UpdateUnit(T, replace(wished, online=False), ("online",)))
        assert seen_unit(rig, wished.lun).online is False
        path = seen_unit(rig, wished.lun).backing_path
        back = ("online",) if path else ("online", "backing_path")
        apply(rig, UpdateUnit(T, wished, back))
        assert seen_unit(rig, wished.lun).online is True
        assert seen_unit(rig, wished.lun).backing_path == wished.backing_path


def test_a_medium_that_somebody_else_made_fixed_or_removable_is_put_right(rig: Rig) -> None:
    apply(rig, CreateTarget(T))
    for wished in makeable(rig):
        apply(rig, CreateUnit(T, wished))
        changed = "1" if wished.device_type is DeviceType.DISK else "0"
        request = Request(
            *(Mode.UNIT, Op.UPDATE), tid=1, lun=wished.lun, parameters=(("removable", changed),)
        )
        assert rig.transport.exchange(request).error == 0
        assert seen_unit(rig, wished.lun).online is None
        apply(rig, UpdateUnit(T, wished, ("online",)))
        assert seen_unit(rig, wished.lun).online is True


def test_fields_change_in_place(rig: Rig) -> None:
    old = unit(rig)
    new = replace(old, scsi_id="f" * 31, serial_number="other", readonly=True, write_cache=False)
    apply(rig, CreateTarget(T), CreateUnit(T, old))
    apply(rig, UpdateUnit(T, new, ("scsi_id", "serial_number", "readonly", "write_cache")))
    assert seen_unit(rig) == replace(ObservedUnit.of(new), write_cache=None)


def test_a_live_unit_moves_to_another_file(rig: Rig) -> None:
    other = image(rig.folder / "other.img", 9)
    apply(rig, CreateTarget(T), CreateUnit(T, unit(rig)))
    apply(rig, UpdateUnit(T, unit(rig, backing_path=str(other)), ("backing_path",)))
    assert (seen_unit(rig).backing_path, seen_unit(rig).online) == (str(other), True)
    assert rig.backend.unit_size(T, 1) == 9 << 20


def test_a_grown_file_is_served_whole_once_it_is_opened_anew(rig: Rig) -> None:
    apply(rig, CreateTarget(T), CreateUnit(T, unit(rig)))
    image(rig.folder / "disk1.img", 12)
    rig.observe()
    assert rig.backend.unit_size(T, 1) == 4 << 20
    apply(rig, UpdateUnit(T, unit(rig), ("backing_path",)))
    rig.observe()
    assert rig.backend.unit_size(T, 1) == 12 << 20


def test_a_unit_without_its_file_is_refused_and_leaves_nothing(rig: Rig) -> None:
    apply(rig, CreateTarget(T))
    with pytest.raises(Refused, match="does not exist"):
        apply(rig, CreateUnit(T, unit(rig, backing_path=str(rig.folder / "missing"))))
    assert seen(rig).units == ()


def test_a_unit_that_tgtd_will_not_open_is_refused_and_leaves_nothing(rig: Rig) -> None:
    rig.backend._openings._files = Credulous(Territory(Path("/nowhere")))
    apply(rig, CreateTarget(T))
    with pytest.raises(Refused, match="does not accept"):
        apply(rig, CreateUnit(T, unit(rig, backing_path=str(rig.folder))))
    assert seen(rig).units == ()


def test_a_move_that_fails_can_be_taken_back(rig: Rig) -> None:
    apply(rig, CreateTarget(T), CreateUnit(T, unit(rig)))
    rig.backend._openings._files = Credulous(Territory(Path("/nowhere")))
    with pytest.raises(Refused):
        apply(rig, UpdateUnit(T, unit(rig, backing_path=str(rig.folder)), ("backing_path",)))
    assert seen_unit(rig).online is not True
    apply(rig, UpdateUnit(T, unit(rig), ("backing_path",)))
    assert seen_unit(rig) == replace(ObservedUnit.of(unit(rig)), write_cache=None)


def test_a_unit_is_deleted_and_stays_so(rig: Rig) -> None:
    apply(rig, CreateTarget(T), CreateUnit(T, unit(rig)), DeleteUnit(T, 1), DeleteUnit(T, 1))
    assert seen(rig).units == ()


@pytest.mark.parametrize("lun", [256, 300, 16384])
def test_a_unit_of_a_number_that_only_others_would_give_is_deleted(rig: Rig, lun: int) -> None:
    apply(rig, CreateTarget(T))
    assert rig.transport.exchange(unchecked(Mode.UNIT, Op.NEW, tid=1, lun=lun)).error == 0
    assert seen_unit(rig, lun).lun == lun
    apply(rig, DeleteUnit(T, lun))
    assert seen(rig).units == ()


def test_a_lun_that_is_taken_is_drift(rig: Rig) -> None:
    apply(rig, CreateTarget(T), CreateUnit(T, unit(rig)))
    with pytest.raises(Refused) as refusal:
        apply(rig, CreateUnit(T, unit(rig)))
    assert refusal.value.drift


def test_only_the_last_verdict_counts(rig: Rig) -> None:
    """Why what can fail stands last in a request."""
    apply(rig, CreateTarget(T), CreateUnit(T, unit(rig)))
    request = Request(
        Mode.UNIT,
        Op.UPDATE,
        tid=1,
        lun=1,
        parameters=(("path", str(rig.folder / "missing")), ("online", "0")),
    )
    assert rig.transport.exchange(request).error == 0


# -- error numbers


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        (Request(Mode.TARGET, Op.DELETE, tid=9), TgtError.NO_TARGET),
        (Request(Mode.UNIT, Op.DELETE, tid=9, lun=1), TgtError.NO_LUN),
        (Request(Mode.UNIT, Op.DELETE, tid=1, lun=1), TgtError.NO_LUN),
        (Request(Mode.CONNECTION, Op.SHOW, tid=9), TgtError.NO_TARGET),
        (Request(Mode.CONNECTION, Op.DELETE, tid=1, sid=9), TgtError.NO_SESSION),
        (Request(Mode.ACCOUNT, Op.DELETE, parameters=(("user", "x"),)), TgtError.NO_USER),
        (Request(Mode.ACCOUNT, Op.BIND, tid=1, parameters=(("user", "x"),)), TgtError.NO_USER),
        (Request(Mode.ACCOUNT, Op.BIND, tid=9, parameters=(("user", "x"),)), TgtError.NO_TARGET),
        (Request(Mode.SYSTEM, Op.DELETE), TgtError.INVALID_REQUEST),
    ],
)
def test_error_numbers_mean_what_we_take_them_for(
    rig: Rig, request_: Request, number: TgtError
) -> None:
    apply(rig, CreateTarget(T))
    assert rig.transport.exchange(request_).error == number
    assert rig.alive
