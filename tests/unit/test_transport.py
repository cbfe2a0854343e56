"""One exchange with a daemon that answers well, badly, late or not at all."""

import gc
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from storlever.errors import Unavailable
from storlever.tgtd.reply import MAX_REPLY, Reply
from storlever.tgtd.transport import AT_ONCE, NotRunning, SocketTransport
from storlever.tgtd.wire import EVERY, Mode, Op, Request

SHOW = Request(Mode.DRIVER, Op.SHOW)
HEADER = 120
TIMEOUT = 0.3
SLACK = 2.0
"""How late an answer may be on a busy machine."""

SEVERAL = 4

Answer = Callable[[socket.socket], None]


def reply(text: bytes, error: int = 0, size: int | None = None) -> bytes:
    return struct.pack("=II", error, 8 + len(text) if size is None else size) + text


def received(connection: socket.socket) -> bytes:
    """The whole request."""
    frame = b""
    while len(frame) < HEADER or len(frame) < int.from_bytes(frame[72:76], sys.byteorder):
        chunk = connection.recv(65536)
        if not chunk:
            break
        frame += chunk
    return frame


@contextmanager
def served(path: Path, *answers: Answer) -> Iterator[list[bytes]]:
    """A daemon that gives one answer a connection, in this order; what it was sent."""
    frames: list[bytes] = []
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    frames.append(received(connection))
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join)
        yield frames


def sends(*pieces: bytes, pause: float = 0.0) -> Answer:
    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)

    return answer


def hangs(*pieces: bytes) -> Answer:
    """Sends the pieces, and then nothing until the other side goes."""

    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
        connection.settimeout(10)
        assert connection.recv(1) == b""

    return answer


def drips(piece: bytes) -> Answer:
    """Goes on sending until the other side goes."""

    def answer(connection: socket.socket) -> None:
        while True:
            connection.sendall(piece)
            time.sleep(TIMEOUT / 10)

    return answer


@pytest.fixture
def path(root: Path) -> Path:
    return root / "socket"


def test_the_request_arrives_whole_and_the_reply_comes_back(path: Path) -> None:
    request = Request(Mode.ACCOUNT, Op.NEW, parameters=(("user", "u"), ("password", "p" * 999)))
    with served(path, sends(reply(b"text\n\0"))) as frames:
        assert SocketTransport(str(path)).exchange(request) == Reply(0, "text\n")
    assert frames == [request.frame]


def test_a_refusal_is_a_reply(path: Path) -> None:
    with served(path, sends(reply(b"", error=17))):
        assert SocketTransport(str(path)).exchange(SHOW) == Reply(17)


def test_a_reply_may_come_in_pieces(path: Path) -> None:
    whole = reply(b"in pieces\0")
    with served(path, sends(*(whole[at : at + 1] for at in range(len(whole))), pause=0.001)):
        assert SocketTransport(str(path)).exchange(SHOW) == Reply(0, "in pieces")


def test_a_reply_of_megabytes_is_read(path: Path) -> None:
    with served(path, sends(reply(b"x" * 3_000_000 + b"\0"))):
        assert len(SocketTransport(str(path)).exchange(SHOW).text) == 3_000_000


def test_every_request_has_a_connection_of_its_own(path: Path) -> None:
    transport = SocketTransport(str(path))
    with served(path, sends(reply(b"1\0")), sends(reply(b"2\0"))):
        assert [transport.exchange(SHOW).text for _ in range(2)] == ["1", "2"]


def test_the_peer_is_the_process_that_answered(path: Path) -> None:
    with served(path, sends(reply(b"\0"))):
        assert SocketTransport(str(path)).peer() == os.getpid()


# -- when nothing good comes


BAD_ANSWERS: dict[str, tuple[Answer, str]] = {
    "closes at once": (sends(), "closed the connection"),
    "half a header": (sends(b"\0\0\0\0"), "closed the connection"),
    "a header alone": (sends(reply(b"", size=20)), "closed the connection"),
    "half a text": (sends(reply(b"half", size=20)), "closed the connection"),
    "a size of nothing": (sends(reply(b"", size=0)), "no sensible answer"),
    "a size within the header": (sends(reply(b"", size=7)), "no sensible answer"),
    "a size beyond reason": (sends(reply(b"", size=MAX_REPLY + 1)), "no sensible answer"),
    "garbage": (sends(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no sensible answer"),
    "hangs": (hangs(), "did not answer within 0.3 s"),
    "hangs in the header": (hangs(b"\0\0"), "did not answer"),
    "hangs in the text": (hangs(reply(b"half", size=20)), "did not answer"),
    "drips the text": (drips(reply(b"", size=MAX_REPLY)[:8]), "did not answer"),
}


@pytest.mark.parametrize("what", BAD_ANSWERS)
def test_a_bad_answer_is_unavailable_within_the_timeout(path: Path, what: str) -> None:
    """One deadline for the whole exchange: bytes that keep coming do not move it."""
    answer, why = BAD_ANSWERS[what]
    transport = SocketTransport(str(path), timeout=TIMEOUT)
    started = time.monotonic()
    with served(path, answer):
        with pytest.raises(Unavailable, match=why) as caught:
            transport.exchange(SHOW)
        assert time.monotonic() - started < TIMEOUT + SLACK
    assert not isinstance(caught.value, NotRunning)


def test_no_socket_and_no_listener_are_told_from_a_bad_answer(path: Path) -> None:
    """tgtd leaves its socket file behind when it ends."""
    transport = SocketTransport(str(path), timeout=TIMEOUT)
    with pytest.raises(NotRunning):
        transport.exchange(SHOW)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with pytest.raises(NotRunning):
        transport.exchange(SHOW)


def test_a_file_that_is_no_socket_is_unavailable(path: Path) -> None:
    path.touch()
    with pytest.raises(Unavailable):
        SocketTransport(str(path), timeout=TIMEOUT).exchange(SHOW)


def test_a_daemon_that_accepts_nobody_is_unavailable_within_the_timeout(path: Path) -> None:
    """As one that hangs with a full queue: connecting is tried again until the deadline."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(str(path))
        started = time.monotonic()
        with pytest.raises(Unavailable, match="did not answer"):
            SocketTransport(str(path), timeout=TIMEOUT).exchange(SHOW)
        assert TIMEOUT <= time.monotonic() - started < TIMEOUT + SLACK


def test_an_answer_that_takes_longer_is_waited_for_where_that_is_said(path: Path) -> None:
    def late(connection: socket.socket) -> None:
        time.sleep(3 * TIMEOUT)
        connection.sendall(reply(b"at last\0"))

    slow = Request(Mode.TARGET, Op.SHOW, tid=EVERY, patience=10.0)
    with served(path, late):
        assert SocketTransport(str(path), timeout=TIMEOUT).exchange(slow).text == "at last"


def test_who_waits_long_sleeps(path: Path) -> None:
    def late(connection: socket.socket) -> None:
        time.sleep(TIMEOUT)
        connection.sendall(reply(b"\0"))

    with served(path, late):
        before = time.thread_time()
        SocketTransport(str(path)).exchange(SHOW)
        assert time.thread_time() - before < TIMEOUT / 3


def test_an_answer_that_came_while_we_were_kept_from_it_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others computed, or the whole machine stood still: tgtd is not to be blamed for it."""
    answered = threading.Event()

    def stands_still() -> None:
        answered.wait(10)
        time.sleep(2 * AT_ONCE)

    def prompt(connection: socket.socket) -> None:
        time.sleep(AT_ONCE / 4)
        connection.sendall(reply(b"there\0"))
        answered.set()

    monkeypatch.setattr(os, "sched_yield", stands_still)
    with served(path, prompt):
        request = Request(Mode.DRIVER, Op.SHOW, hurry=True)
        assert SocketTransport(str(path)).exchange(request).text == "there"


def test_who_is_in_a_hurry_waits_for_milliseconds(path: Path) -> None:
    request = Request(Mode.TARGET, Op.SHOW, tid=EVERY, patience=10.0, hurry=True)
    with served(path, hangs()):
        started = time.monotonic()
        with pytest.raises(Unavailable, match="did not answer"):
            SocketTransport(str(path), timeout=10.0).exchange(request)
        assert time.monotonic() - started < SLACK


@contextmanager
def taking_all(path: Path, answer: Callable[[list[socket.socket]], None]) -> Iterator[None]:
    """A daemon that has taken several requests when it answers any of them."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            taken = [stack.enter_context(listener.accept()[0]) for _ in range(SEVERAL)]
            for each in taken:
                received(each)
            answer(taken)

        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join)
        yield


def test_of_several_requests_only_one_is_waited_for_in_vain(path: Path) -> None:
    """A daemon that hangs is known to after the time of one answer, however many it owes."""
    transport = SocketTransport(str(path), timeout=TIMEOUT)
    with taking_all(path, lambda _: None):
        awaited = [transport.send(SHOW) for _ in range(SEVERAL)]
        started = time.monotonic()
        for each in awaited:
            with pytest.raises(Unavailable, match="did not answer"):
                each()
        assert TIMEOUT <= time.monotonic() - started < (SEVERAL - 1) * TIMEOUT


def test_of_several_requests_each_may_take_its_time(path: Path) -> None:
    """Those that the daemon is at first do not count against the others."""

    def slow(taken: list[socket.socket]) -> None:
        for each in taken:
            time.sleep(TIMEOUT / 3)
            each.sendall(reply(b"done\0"))

    transport = SocketTransport(str(path), timeout=TIMEOUT)
    with taking_all(path, slow):
        awaited = [transport.send(SHOW) for _ in range(SEVERAL)]
        assert [each().text for each in awaited] == ["done"] * SEVERAL


def test_an_answer_that_has_come_already_is_taken_however_late_it_is_looked_for(path: Path) -> None:
    transport = SocketTransport(str(path), timeout=TIMEOUT)
    with served(path, sends(reply(b"early\0"))):
        awaited = transport.send(SHOW)
        time.sleep(2 * TIMEOUT)
        assert awaited().text == "early"


def test_a_full_queue_is_waited_for(path: Path) -> None:
    """tgtd takes one connection at a time out of a queue of 32."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(str(path))

        def serve() -> None:
            time.sleep(0.1)
            listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                received(connection)
                connection.sendall(reply(b"at last\0"))

        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join)
        assert SocketTransport(str(path), timeout=5.0).exchange(SHOW).text == "at last"


def test_no_connection_is_left_open(path: Path) -> None:
    gc.collect()  # what other tests left
    before = len(list(Path("/proc/self/fd").iterdir()))
    for answer in (sends(reply(b"\0")), sends(), sends(b"garbage!")):
        with served(path, answer), suppress(Unavailable):
            SocketTransport(str(path), timeout=TIMEOUT).exchange(SHOW)
        path.unlink()
    with suppress(Unavailable):
        SocketTransport(str(path), timeout=TIMEOUT).exchange(SHOW)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
