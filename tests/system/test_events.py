"""Events of a running service: in order, each once, as long as who reads may."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2

from tests.initiator import Initiator
from tests.world import StorLever, image, wait_until

PATH = "/storlever/api/v1/events"
STREAMS = 64
T = "iqn.2026-01.test:one"
HOST = "iqn.2026-01.test:host"


@dataclass
class Told:
    id: str
    kind: str
    data: dict[str, object]


@contextlib.contextmanager
def stream(
    storlever: StorLever, last: str | None = None, token: str | None = None
) -> Iterator[Iterator[Told]]:
    """Of which the first is no event, but where it begins."""
    headers = {"Last-Event-ID": last} if last else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    url = f"http://127.0.0.1:{storlever.port}{PATH}"
    with httpx2.stream("GET", url, headers=headers, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        yield told(answer)


def told(answer: httpx2.Response) -> Iterator[Told]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "id" in fields:
            data = json.loads(fields.get("data", "{}"))
            yield Told(fields["id"], fields.get("event", ""), data)
            fields = {}
        else:
            fields = {}


def test_every_change_is_told_once_and_in_order_to_one_who_keeps_coming_back(
    storlever: StorLever,
) -> None:
    names = [f"iqn.2026-01.test:{number}" for number in range(60)]
    found: list[Told] = []
    ready = threading.Event()

    def read() -> None:
        last = None
        while len(found) < len(names):
            with stream(storlever, last) as told:
                last = next(told).id
                ready.set()
                for count, event in enumerate(told, 1):
                    last = event.id
                    found.append(event)
                    if count == 7 or len(found) == len(names):
                        break

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(10)
    writers = [
        threading.Thread(target=lambda some=some: [storlever.add_target(name) for name in some])
        for some in (names[::2], names[1::2])
    ]
    for writer in writers:
        writer.start()
    for thread in (*writers, reader):
        thread.join(60)
    assert not reader.is_alive()
    assert [event.kind for event in found] == ["target-created"] * len(names)
    asked = storlever.http.get("/storlever/api/v1/audit?limit=1000").json()["entries"]
    committed = [each["target"] for each in reversed(asked) if each["operation"] == "post_target"]
    assert [event.data["iqn"] for event in found] == committed
    numbers = [int(event.id.partition("-")[2]) for event in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(names)))


def test_sessions_and_tgtds_death_are_told(storlever: StorLever) -> None:
    with stream(storlever) as events:
        next(events)
        storlever.add_lun(storlever.add_target(T), 1, image(storlever.root / "a.img", 1))
        kinds = [next(events).kind for _ in range(2)]
        with Initiator(storlever.portal, T, name=HOST):
            opened = next(events)
        closed = next(events)
        assert kinds == ["target-created", "lun-created"]
        assert (opened.kind, closed.kind) == ("session-opened", "session-closed")
        about = {"iqn": T, "initiator": HOST, "addr": "127.0.0.1"}
        assert opened.data.items() >= about.items()
        assert closed.data["id"] == opened.data["id"]
        pid = storlever.tgtd_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert [next(events).kind for _ in range(2)] == ["tgtd-down", "tgtd-up"]


def test_another_life_of_the_service_begins_with_a_reset(storlever: StorLever) -> None:
    with stream(storlever) as events:
        last = next(events).id
    storlever.kill()
    storlever.start()
    with stream(storlever, last) as events:
        next(events)
        assert next(events).kind == "reset"
        storlever.add_target(T)
        assert next(events).data["iqn"] == T


def test_a_service_that_stops_waits_for_no_stream(storlever: StorLever) -> None:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(stream(storlever)) for _ in range(8)]
        for events in streams:
            next(events)
        started = time.monotonic()
        assert storlever.stop() == 0
        assert time.monotonic() - started < 4
        for events in streams:
            assert list(events) == []


def test_the_stream_of_a_token_that_is_revoked_ends(storlever: StorLever) -> None:
    made = storlever.command("token", "create", "--name", "watcher", "--role", "reader")
    with stream(storlever, token=made.stdout.split()[-1]) as events:
        next(events)
        storlever.add_target(T)
        assert next(events).kind == "target-created"
        assert storlever.command("token", "revoke", "watcher").returncode == 0
        storlever.add_target("iqn.2026-01.test:two")
        assert list(events) == []


def test_there_is_room_for_so_many_streams_and_for_others_when_they_leave(
    storlever: StorLever,
) -> None:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(stream(storlever)) for _ in range(STREAMS)]
        for events in streams:
            next(events)
        answer = storlever.http.get(f"{PATH}?follow=false")
        assert (answer.status_code, answer.json()["code"]) == (503, "too-many-streams")
        assert storlever.http.get("/metrics").text.count("storlever_event_streams 64.0") == 1
    wait_until(lambda: "storlever_event_streams 0.0" in storlever.http.get("/metrics").text)
    with stream(storlever) as events:
        next(events)


def test_who_does_not_read_is_dropped_and_holds_up_nobody(storlever: StorLever) -> None:
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        lazy.connect(("127.0.0.1", storlever.port))
        lazy.sendall(f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        wait_until(lambda: "storlever_event_streams 1.0" in storlever.http.get("/metrics").text)
        target = storlever.add_target(T)
        slowest, deadline = 0.0, time.monotonic() + 60

        def dropped() -> bool:
            return "storlever_event_streams 0.0" in storlever.http.get("/metrics").text

        number = 0
        while not dropped() and time.monotonic() < deadline:
            for _ in range(100):  # until what waits for it is more than the kernel takes
                number += 1
                lists = {"initiator_name_list": [f"iqn.2026-01.test:{number}"]}
                started = time.monotonic()
                storlever.api("PUT", target, lists, expect=200)
                slowest = max(slowest, time.monotonic() - started)
        assert dropped()
        assert slowest < 2
