"""What tgtd tells of sessions and what went through them, and whom it admits."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from storlever.admission import Asking, Rule, admission
from storlever.change import (
    Admit,
    BindIncoming,
    Change,
    CreateAccount,
    CreateTarget,
    CreateUnit,
    SetReady,
)
from storlever.model import Access, Account, LogicalUnit, Target, Traffic
from storlever.names import GUARD
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.memory import MemoryTgtd
from storlever.tgtd.process import AttachedTgtd
from storlever.tgtd.transport import SocketTransport
from storlever.tgtd.wire import Mode, Op, Request
from tests.backends import apply
from tests.initiator import Initiator, LoginError
from tests.pdu import RawInitiator
from tests.world import NOTHING_PRIVATE, Tgtd, folder, image

T, U = "iqn.2026-01.test:one", "iqn.2026-01.test:two"
HOST, OTHER = "iqn.2026-01.test:host", "iqn.2026-01.test:other"
FORGED = (
    b"none\n            Connection: 0\n                IP Address: 10.6.6.6\n"
    b"        I_T nexus: %d\n            Initiator: %s alias: evil"
)


def furnished(backend: TgtdBackend, folder: Path) -> None:
    backend.ensure()
    unit = LogicalUnit(1, str(image(folder / "a.img", 1)), "1" * 31, "SN1")
    changes: list[Change] = [CreateTarget(T), CreateUnit(T, unit), Admit(T, "ALL"), CreateTarget(U)]
    apply(backend, *changes)
    backend.observe()


@dataclass
class Real:
    tgtd: Tgtd
    backend: TgtdBackend
    transport: SocketTransport


@pytest.fixture
def real(tgtd: Tgtd) -> Real:
    transport = SocketTransport(tgtd.socket_path)
    backend = TgtdBackend(transport, AttachedTgtd(transport), NOTHING_PRIVATE)
    furnished(backend, tgtd.root)
    return Real(tgtd, backend, transport)


def statistics(transport: SocketTransport | MemoryTgtd) -> str:
    return transport.exchange(Request(Mode.SYSTEM, Op.STATS)).text


def test_the_twin_prints_statistics_as_tgtd_does(real: Real, tmp_path: Path) -> None:
    """With and without sessions; and both are read to what was really done."""
    memory = MemoryTgtd()
    twin = TgtdBackend(memory, memory, NOTHING_PRIVATE)
    furnished(twin, tmp_path)
    assert statistics(real.transport) == statistics(memory)
    assert real.backend.sample().traffic == twin.sample().traffic == {}
    with Initiator(real.tgtd.portal, T, name=HOST) as disk:
        disk.ready()
        before = real.backend.sample()
        (number,) = {session for _, _, session in before.traffic}
        assert disk.write(0, b"x" * 1024).status == 0
        assert disk.read(0, 3).status == 0
        after = real.backend.sample()
        old = before.traffic[T, 1, number]
        done = Traffic(old.read_bytes + 1536, old.reads + 1, 1024, 1, old.errors)
        assert after.traffic[T, 1, number] == done
        memory.log_in(T, HOST)
        for (target, lun, session), traffic in after.traffic.items():
            memory.work(target, lun, session, traffic)
        assert statistics(memory) == statistics(real.transport)
        assert twin.sample().traffic == after.traffic


def test_every_session_has_the_controllers_counters_and_its_own_number(real: Real) -> None:
    with ExitStack() as stack:
        for number in range(3):
            raw = RawInitiator(real.tgtd.portal, T, HOST.encode(), isid=number + 1)
            stack.enter_context(raw)
        found = real.backend.sample().traffic
        numbers = {session for _, lun, session in found if lun == 0}
        assert len(numbers) == 3
        assert {each.sid for each in real.backend.sessions(T)} == numbers


def test_an_alias_is_told_unless_somebody_else_could_have_said_it(real: Real) -> None:
    portal = real.tgtd.portal
    with ExitStack() as stack:

        def log_in(name: bytes, alias: bytes | None, isid: int) -> int:
            before = {each.sid for each in real.backend.sessions(T)}
            stack.enter_context(RawInitiator(portal, T, name, alias, isid=isid))
            (new,) = {each.sid for each in real.backend.sessions(T)} - before
            return new

        honest = log_in(HOST.encode(), b"host-a", 1)
        silent = log_in(HOST.encode(), None, 2)
        victim = log_in(OTHER.encode(), b"host-b", 3)
        liar = log_in(b"x", FORGED % (victim, OTHER.encode()), 4)
        double = log_in(b"iqn.2026-01.test:x alias: y", b"z", 5)
        real.backend.observe()
        aliases = real.backend.aliases(T, real.backend.sessions(T))
        assert aliases == {honest: "host-a"}, (silent, victim, liar, double)


def test_a_session_is_closed_and_no_other(real: Real) -> None:
    with Initiator(real.tgtd.portal, T, name=HOST) as one:
        (mine,) = real.backend.sessions(T)
        with Initiator(real.tgtd.portal, T, name=OTHER) as other:
            real.backend.close(T, mine.sid)
            assert [each.initiator_name for each in real.backend.sessions(T)] == [OTHER]
            assert other.ready().status == 0
            assert not one.alive


# -- whom it admits


SECRET = "a long enough secret"


@dataclass(frozen=True)
class Case:
    target: Target
    name: str
    source: str
    user: str | None
    rule: Rule

    def __str__(self) -> str:
        return f"{self.rule} {self.target.access} {self.source} {self.user}"


def cases() -> Iterator[Case]:
    names, here, there = (HOST,), "127.0.0.1", "127.0.0.2"
    for user in (None, "alice", "bob"):
        for incoming in ((), ("alice",)):
            let_in = not incoming or user == "alice"
            for access, name, source, rule in (
                (Access(), HOST, here, Rule.EVERYBODY),
                (Access(names), HOST, here, Rule.NAMES),
                (Access(names), OTHER, here, Rule.UNLISTED),
                (Access(names, (there,)), OTHER, there, Rule.ADDRESSES),
                (Access(names, (there,)), OTHER, here, Rule.UNLISTED),
                (Access((), ("127.0.0.2/31",)), OTHER, there, Rule.ADDRESSES),
                (Access((), ("127.0.0.2/31",)), OTHER, here, Rule.UNLISTED),
                (Access((), ("ALL",)), OTHER, here, Rule.ADDRESSES),
            ):
                found = rule if let_in or rule is Rule.UNLISTED else Rule.USERS
                yield Case(Target(U, True, access, incoming), name, source, user, found)
    yield Case(Target(U, online=False), HOST, here, None, Rule.STATE)


def opening(target: Target) -> Iterator[Change]:
    for name in ("alice", "bob", GUARD):
        yield CreateAccount(Account(name, SECRET))
    for name in target.slots:
        yield BindIncoming(U, name)
    for entry in target.access.entries:
        yield Admit(U, entry)
    yield SetReady(U, target.online)


def logs_in(case: Case, portal: str) -> bool:
    login: dict[str, str] = {"user": case.user, "password": SECRET} if case.user else {}
    try:
        with Initiator(portal, U, name=case.name, source=case.source, **login):  # type: ignore[arg-type]
            return True
    except LoginError:
        return False


@pytest.fixture(scope="module")
def answers() -> Iterator[Callable[[Case], bool]]:
    """Whether a real tgtd, made as the case says, lets its initiator in."""
    with ExitStack() as stack:
        daemon = Tgtd(stack.enter_context(folder()))
        stack.callback(daemon.kill)
        daemon.start()
        transport = SocketTransport(daemon.socket_path)
        backend = TgtdBackend(transport, AttachedTgtd(transport), NOTHING_PRIVATE)

        def asked(case: Case) -> bool:
            daemon.kill()
            daemon.start()
            backend.ensure()
            backend.observe()
            apply(backend, CreateTarget(U), *opening(case.target))
            return logs_in(case, daemon.portal)

        yield asked


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_the_answer_who_is_admitted_is_what_a_login_gets(
    answers: Callable[[Case], bool], case: Case
) -> None:
    found = admission(case.target, Asking(case.name, case.source, case.user), None)
    assert found.rule is case.rule
    assert found.admitted == answers(case)


def test_tgtd_counts_nothing_where_nobody_is(real: Real) -> None:
    assert re.fullmatch(r"tgt lun sid [^\n]*\n", statistics(real.transport))
