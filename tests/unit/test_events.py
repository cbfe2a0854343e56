"""Events: what edits are told as, the ring that keeps them, and the streams that read it."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from starlette.testclient import TestClient

from storlever.errors import StateFailed, Unavailable
from storlever.events import Events, of_edit
from storlever.inventory import Direction, Edit, Inventory
from storlever.model import Access, Account, DiscoveryAuth, LogicalUnit, Target
from storlever.principal import Role
from storlever.web import events as web
from storlever.web.app import create_app
from storlever.web.edge import Edge
from storlever.web.events import BATCH, Streams
from storlever.web.threads import Threaded
from tests.unit.core import Core
from tests.world import folder, image

T, U = "iqn.2026-01.test:one", "iqn.2026-01.test:two"
IN = Direction.INCOMING
UNIT = LogicalUnit(1, "/x", "1", "1")
PATH = "/storlever/api/v1/events"


# -- what edits are told as


@pytest.mark.parametrize(
    ("was", "became", "told"),
    [
        (None, Target(T), [("target-created", None)]),
        (None, Target(T, units=(UNIT,)), [("target-created", None), ("lun-created", 1)]),
        (Target(T), None, [("target-deleted", None)]),
        (Target(T, units=(UNIT,)), None, [("lun-deleted", 1), ("target-deleted", None)]),
        (Target(T), Target(T, access=Access(("x",))), [("target-changed", None)]),
        (Target(T), Target(T, online=False), [("target-changed", None)]),
        (Target(T), Target(T, units=(UNIT,)), [("lun-created", 1)]),
        (
            Target(T, units=(UNIT,)),
            Target(T, units=(replace(UNIT, readonly=True),)),
            [("lun-changed", 1)],
        ),
        (Target(T, units=(UNIT,)), Target(T), [("lun-deleted", 1)]),
        (None, None, []),
        (Target(T), Target(T), []),
    ],
)
def test_a_targets_edit_is_told_as_what_it_did(
    was: Target | None, became: Target | None, told: list[tuple[str, int | None]]
) -> None:
    old = Inventory.of([was] if was else [], [], DiscoveryAuth())
    found = list(of_edit(Edit({T: became}), old))
    assert [(kind, about.get("lun")) for kind, about in found] == told
    assert all(about["target"] == T for _, about in found)


def test_users_and_discovery_are_told_without_a_secret() -> None:
    edit = Edit(accounts={"alice": Account("alice", "S3CRET")}, discovery=DiscoveryAuth("alice"))
    found = list(of_edit(edit, Inventory()))
    assert found == [("user-changed", {"user": "alice"}), ("conf-changed", {})]


# -- the ring


@given(st.integers(1, 20), st.lists(st.integers(0, 7), max_size=20), st.integers(-3, 200))
def test_the_ring_tells_all_that_came_after_or_that_it_does_not_know(
    most: int, publications: list[int], number: int
) -> None:
    events = Events(most)
    for count in publications:
        events.publish(*[("drift", {"changes": count})] * count)
    found = events.after(number, 1000)
    kept = range(max(events.last - most, 0), events.last + 1)
    assert events.last == sum(publications)
    if number in kept:
        assert found is not None
        assert [event.number for event in found] == list(range(number + 1, events.last + 1))
    else:
        assert found is None


def test_who_listens_and_fails_keeps_nobody_from_publishing() -> None:
    events, heard = Events(), threading.Event()

    def gone() -> None:
        raise RuntimeError("Event loop is closed")

    events.listen(gone)
    events.listen(heard.set)
    events.publish(("drift", {}))
    assert heard.is_set()
    assert events.last == 1


# -- what the core tells


@pytest.fixture
def core() -> Iterator[Core]:
    with folder() as path:
        core = Core(path)
        core.settle()
        yield core


def kinds(core: Core, after: int = 0) -> list[str]:
    return [event.kind for event in core.service.events.after(after, 1000) or []]


def test_commits_are_told_in_their_order_and_those_that_failed_are_not(core: Core) -> None:
    service = core.service
    start = service.events.last
    core.together([lambda: service.add_target(T), lambda: service.add_target(U)])
    service.add_user(T, IN, Account("alice", "a long secret"))
    core.store.full = True
    with pytest.raises(StateFailed):
        service.remove_target(U)
    core.store.full = False
    service.remove_target(T)
    assert kinds(core, start) == [
        "target-created",
        "target-created",
        "target-changed",
        "user-changed",
        "target-deleted",
        "user-changed",
    ]


def test_what_came_and_went_within_a_commit_is_not_told(core: Core) -> None:
    service = core.service
    start = service.events.last
    core.together([lambda: service.add_target(T), lambda: service.remove_target(T)])
    assert kinds(core, start) == []


def test_it_is_told_when_tgtd_goes_and_when_it_is_back(core: Core) -> None:
    assert kinds(core) == ["tgtd-up"]
    core.known.down = "tgtd has died"
    core.known.down = "tgtd is not running"
    core.tgtd.restart()
    core.settle()
    assert kinds(core) == ["tgtd-up", "tgtd-down", "tgtd-up"]


# -- streams


def blocks(content: bytes) -> list[dict[str, str]]:
    """Fields of each block, as the standard reads them; comments are left out."""
    found = []
    for block in content.decode().split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n")]
        if fields := {name: value for name, _, value in lines if name}:
            found.append(fields)
    return found


class Reading:
    """A stream that is read piece by piece."""

    def __init__(self, streams: Streams, last: str | None, follow: bool, valid: Any) -> None:
        position = web._position(streams.events, last)
        self.reader = web._Reader(streams, position, follow, valid)
        self.last: str | None = last
        self.told: list[dict[str, str]] = []

    async def until(self, done: Callable[[], bool]) -> None:
        with self.reader.streams.joined() as wake:
            async for piece in self.reader.told(wake):
                for block in blocks(piece):
                    self.last = block["id"]
                    if "event" in block:
                        self.told.append(block)
                if done():
                    break


def reading(
    streams: Streams,
    last: str | None = None,
    *,
    follow: bool = False,
    valid: Callable[[], bool] = lambda: True,
) -> Reading:
    return Reading(streams, last, follow, valid)


def run(what: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await what

    asyncio.run(bounded())


def changes(told: list[dict[str, str]]) -> list[int]:
    return [json.loads(block["data"])["changes"] for block in told]


def test_nothing_is_lost_or_doubled_however_often_a_reader_comes_back() -> None:
    events = Events()
    streams = Streams(events)
    total = 5 * BATCH

    async def read() -> None:
        first = reading(streams)
        await first.until(lambda: True)

        def write() -> None:
            for number in range(total):
                events.publish(("drift", {"changes": number}))

        writer = threading.Thread(target=write)
        writer.start()
        told, last, rounds = list[dict[str, str]](), first.last, 0
        while len(told) < total:
            rounds += 1
            here = reading(streams, last, follow=True)
            await here.until(lambda: bool(here.told))  # noqa: B023  it is read at once
            told += here.told
            last = here.last
        writer.join()
        assert rounds > 1
        assert changes(told) == list(range(total))
        assert len(streams) == 0

    run(read())


@pytest.mark.parametrize(
    "last", ["x", "x-1", "-", "{epoch}-9", "{epoch}-x", "{epoch}--1", "0" * 64]
)
def test_an_id_that_is_not_known_is_answered_with_a_reset_and_then_goes_on(last: str) -> None:
    events = Events()
    streams = Streams(events)
    events.publish(("drift", {"changes": 1}))

    async def read() -> None:
        here = reading(streams, last.format(epoch=events.epoch), follow=True)
        await here.until(lambda: bool(here.told))
        assert [block["event"] for block in here.told] == ["reset"]
        events.publish(("drift", {"changes": 2}))
        again = reading(streams, here.last)
        await again.until(lambda: False)
        assert changes(again.told) == [2]

    run(read())


def test_who_fell_behind_what_is_kept_is_told_to_read_the_state_again() -> None:
    events = Events(3)
    streams = Streams(events)
    mark = f"{events.epoch}-0"
    events.publish(*[("drift", {"changes": 1})] * 4)

    async def read() -> None:
        here = reading(streams, mark)
        await here.until(lambda: False)
        assert [block["event"] for block in here.told] == ["reset"]

    run(read())


def test_a_stream_ends_when_the_service_does_or_its_token() -> None:
    events = Events()
    streams = Streams(events)

    async def read() -> None:
        here = reading(streams, follow=True)
        task = asyncio.create_task(here.until(lambda: False))
        await asyncio.sleep(0)
        valid = [True]
        other = reading(streams, follow=True, valid=lambda: valid[0])
        others = asyncio.create_task(other.until(lambda: False))
        await asyncio.sleep(0.01)
        valid[0] = False
        events.publish(("drift", {"changes": 1}))
        await others
        assert other.told == [], "nothing more is told to who has no token any more"
        streams.end()
        await task
        assert changes(here.told) == [1]

    run(read())


def test_there_is_room_for_so_many_streams() -> None:
    streams = Streams(Events(), most=2)

    async def read() -> None:
        with streams.joined(), streams.joined():
            with pytest.raises(Unavailable) as refused:
                streams.require_room()
            assert refused.value.code == "too-many-streams"
        streams.require_room()

    run(read())


def test_what_is_not_followed_is_told_up_to_now_with_the_words_of_the_api(core: Core) -> None:
    service = core.service
    client = TestClient(create_app(Threaded(service), Edge()), "http://localhost")
    _, secret = service.add_token("a-reader", Role.READER, None)
    headers = {"Authorization": f"Bearer {secret}"}
    last = blocks(client.get(f"{PATH}?follow=false", headers=headers).content)[-1]["id"]
    service.add_target(T)
    service.add_unit(T, 1, {"backing_path": str(image(Path(core.folder) / "a.img", 1))})
    service.add_user(T, IN, Account("alice", "S3CRET of alice"))
    core.tgtd.log_in(T, "iqn.2026-01.test:host\n\nid: 7", "10.0.0.5")
    service.sampler.look()
    answer = client.get(f"{PATH}?follow=false&last_event_id={last}", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "S3CRET" not in answer.text
    told = blocks(answer.content)[1:]
    assert [block["event"] for block in told] == [
        "target-created",
        "lun-created",
        "target-changed",
        "user-changed",
        "session-opened",
    ]
    data = [json.loads(block["data"]) for block in told]
    assert all(each.pop("time").endswith("Z") for each in data)
    name = "iqn.2026-01.test:host\\n\\nid: 7"
    assert data == [
        {"iqn": T},
        {"iqn": T, "lun": 1},
        {"iqn": T},
        {"username": "alice"},
        {"iqn": T, "id": 1, "initiator": name, "addr": "10.0.0.5"},
    ]
    numbers = [int(block["id"].partition("-")[2]) for block in told]
    assert all(after == before + 1 for before, after in pairwise(numbers))
    headers["Last-Event-ID"] = told[-1]["id"]
    again = client.get(f"{PATH}?follow=false&last_event_id={last}", headers=headers)
    assert len(blocks(again.content)) == 1, "the header counts"
