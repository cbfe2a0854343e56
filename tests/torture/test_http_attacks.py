"""The HTTP edge under attack: whatever comes to its port, others are served within a second, its
memory stays bounded, nobody holds a connection for longer than 15 s, and tgtd notices nothing."""

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from storlever.web.authentication import BURST
from storlever.web.protocol import MOST_CONNECTIONS
from tests.torture.http import strange
from tests.torture.http.crowd import MANNERS, Manner, crowds
from tests.torture.http.onthewire import STRANGER, exchange, get, head, parsed, sent
from tests.torture.http.siege import Siege
from tests.torture.rig import Torture, runs
from tests.world import folder

PIPELINED = 10_000
GUESSES = 2_000
AUDIT = "/storlever/api/v1/audit"
COMING_AND_GOING = 5_000
AT_ONCE = 8
RESET = struct.pack("ii", 1, 0)
"""socket(7), SO_LINGER: a close is a reset."""


@pytest.fixture(scope="module")
def siege() -> Iterator[Siege]:
    """One service for all attacks: what one of them leaves behind counts against the next."""
    with folder() as root:
        found = Siege.begun(root)
        try:
            yield found
        finally:
            found.storlever.close()


@runs(push=1, release=20)
@pytest.mark.parametrize("what", MANNERS)
def test_crowds_that_keep_the_service_waiting_are_gone_soon(
    siege: Siege, torture: Torture, what: str
) -> None:
    longest = 0.0
    for _ in range(torture.runs):
        with siege.attack(torture), crowds(siege.port, MANNERS[what].values()) as peers:
            longest = max(longest, siege.wait_until_gone(peers))
    torture.figure(connections=len(peers), longest=f"{longest:.1f} s")


@runs(push=1, release=20)
def test_more_connections_than_are_taken_keep_nobody_out(siege: Siege, torture: Torture) -> None:
    """Those that bring nothing make way for those that come."""
    longest = 0.0
    many = Manner(size=MOST_CONNECTIONS + 500)
    for _ in range(torture.runs):
        with siege.attack(torture), crowds(siege.port, [many]) as peers:
            longest = max(longest, siege.wait_until_gone(peers))
    torture.figure(connections=len(peers), longest=f"{longest:.1f} s")


@runs(push=1, release=20)
def test_who_tries_tokens_is_soon_not_heard_and_does_not_fill_the_audit(
    siege: Siege, torture: Torture
) -> None:
    statuses: Counter[int] = Counter()
    for _ in range(torture.runs):
        with siege.attack(torture), socket.create_connection(("127.0.0.1", siege.port)) as one:
            for number in range(GUESSES):
                bad = b"Authorization: Bearer %d" % number
                came = sent(one, head(b"GET /healthz HTTP/1.1", STRANGER, bad))
                statuses[next(parsed(came)).status] += 1
    assert statuses[401] + statuses[429] == torture.runs * GUESSES
    assert statuses[401] <= BURST + torture.runs * GUESSES // 100
    page = siege.storlever.http.get(AUDIT, params={"who": "nobody", "limit": 1000}).json()
    told = [each["outcome"] for each in page["entries"]]
    assert told.count("token-unknown") <= statuses[401]
    torture.figure(heard=statuses[401], not_heard=statuses[429])


@runs(push=1, release=20)
def test_every_strange_request_has_its_answer(siege: Siege, torture: Torture) -> None:
    asked = lost = 0
    for _ in range(torture.runs):
        with siege.attack(torture):
            for group in strange.GROUPS:
                for name, (request, status) in group().items():
                    asked += 1
                    lost += not _answered(siege.port, name, request, status)
    torture.figure(requests=asked, lost=lost)


@runs(push=1, release=20)
def test_bodies_that_are_hard_to_read_are_refused_however_many_come(
    siege: Siege, torture: Torture
) -> None:
    bodies, lost = list(strange.bodies().items()), 0
    for _ in range(torture.runs):
        drawn = torture.chance.choices(bodies, k=5 * AT_ONCE)
        with siege.attack(torture), ThreadPoolExecutor(AT_ONCE) as attackers:
            tried = [
                attackers.submit(_answered, siege.port, name, request, status)
                for name, (request, status) in drawn
            ]
            lost += sum(not each.result() for each in tried)
    torture.figure(requests=torture.runs * 5 * AT_ONCE, lost=lost)


@runs(push=1, release=20)
def test_requests_in_one_go_are_answered_one_by_one(siege: Siege, torture: Torture) -> None:
    for _ in range(torture.runs):
        with siege.attack(torture), socket.create_connection(("127.0.0.1", siege.port)) as one:
            with ThreadPoolExecutor(1) as sender:
                sender.submit(
                    one.sendall, get() * (PIPELINED - 1) + get(b"/healthz", b"Connection: close")
                )
                came = b"".join(iter(lambda: one.recv(1 << 20), b""))
            statuses = [answer.status for answer in parsed(came)]
        assert statuses == [200] * PIPELINED
    torture.figure(requests=PIPELINED)


def _say_nothing(connection: socket.socket) -> None:
    connection.close()


def _break_off(connection: socket.socket) -> None:
    connection.sendall(get()[:-2])
    _reset(connection)


def _break_off_an_answer(connection: socket.socket) -> None:
    connection.sendall(get(b"/openapi.json"))
    assert connection.recv(1)
    _reset(connection)


def _ask_for_the_last_time(connection: socket.socket) -> None:
    connection.sendall(get())
    assert connection.recv(1)
    connection.shutdown(socket.SHUT_WR)
    connection.close()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


PARTINGS: tuple[Callable[[socket.socket], None], ...] = (
    _say_nothing,
    _break_off,
    _break_off_an_answer,
    _ask_for_the_last_time,
)


@runs(push=1, release=20)
def test_those_who_come_and_go_leave_nothing_behind(siege: Siege, torture: Torture) -> None:
    for _ in range(torture.runs):
        with siege.attack(torture):
            for _ in range(COMING_AND_GOING):
                part = torture.chance.choice(PARTINGS)
                part(socket.create_connection(("127.0.0.1", siege.port), 10))
    torture.figure(connections=COMING_AND_GOING)


def _answered(port: int, name: str, request: bytes, status: int) -> bool:
    """Whether it was answered, as it must be, with one answer. It may be lost when so much was
    sent that the service would not read it all."""
    answers = exchange(port, request)
    if not answers and len(request) > 1 << 20:
        return False
    assert [answer.status for answer in answers] == [status], name
    assert status < 400 or answers[0].code, name
    return True
