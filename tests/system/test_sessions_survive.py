"""An initiator at work on target A notices nothing of what is done around it."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.initiator import GOOD, UNIT_ATTENTION, ConnectionLost, Initiator, Login, Result
from tests.scsi import WRITE_PROTECTED, naa6, serial_number, write_protected
from tests.world import StorLever, image, wait_until

A, B = "iqn.2014-09.com.example:a", "iqn.2014-09.com.example:b"
NAME, OTHER_NAME = "iqn.2014-09.com.example:worker", "iqn.2014-09.com.example:other"
SECRET = "secret-number-1"
BLOCKS, RUN = 16384, 16
ROUNDS = 6
"""How often each kind of edit is made."""
AT_WORK = 5
"""Writes that are read back between two edits, so that every edit meets some."""
PATIENCE = 1000
"""Unit attentions in a row before one is taken for an error."""


class Worker(threading.Thread):
    """Writes random data all over a LUN and reads it back, until it is stopped or fails.

    The session is this thread's alone while it lives: libiscsi's contexts are not for two.

    Unit attentions are drained as any initiator does; everything else that is not GOOD is an
    error, but for a refused write once `may_be_refused` is said.
    """

    def __init__(self, session: Initiator) -> None:
        super().__init__(daemon=True)
        self._session = session
        self.done = self.refused = 0
        self.error: str | None = None
        self.may_be_refused = False
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set() and self.error is None:
                self._work((self.done + self.refused) * 7919 * RUN % BLOCKS)
        except ConnectionLost as lost:
            self.error = str(lost)

    def _work(self, lba: int) -> None:
        """Write, and whether or not that was allowed, read what must be there then."""
        before = self._good("read before", lambda: self._session.read(lba, RUN)).data
        data = os.urandom(RUN * 512)
        written = self._past_attentions(lambda: self._session.write(lba, data))
        refused = self.may_be_refused and written.sense == WRITE_PROTECTED
        if written.status != GOOD and not refused:
            self._fail("write", written)
        found = self._good("read", lambda: self._session.read(lba, RUN)).data
        if self.error is None and found != (before if refused else data):
            self.error = f"block {lba}: read other data than was written"
        self.refused += refused
        self.done += not refused

    def _good(self, what: str, ask: Callable[[], Result]) -> Result:
        result = self._past_attentions(ask)
        if result.status != GOOD:
            self._fail(what, result)
        return result

    def _past_attentions(self, ask: Callable[[], Result]) -> Result:
        for _ in range(PATIENCE):
            result = ask()
            if result.sense is None or result.sense[0] != UNIT_ATTENTION:
                break
        return result

    def _fail(self, what: str, result: Result) -> None:
        self.error = self.error or f"{what}: status {result.status:#x}, sense {result.sense}"

    def goes_on(self) -> None:
        """Wait for the next few writes; fails with what the worker met."""
        goal = self.done + AT_WORK
        wait_until(lambda: self.done >= goal or self.error is not None)
        assert self.error is None

    def is_refused(self) -> None:
        """Wait for the next few writes to be refused."""
        goal = self.refused + AT_WORK
        wait_until(lambda: self.refused >= goal or self.error is not None)
        assert self.error is None

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(30)
        assert not self.is_alive()
        assert self.error is None
        assert self._session.alive


class World:
    """Target A with users, lists and LUNs; a worker on its LUN 1; other targets beside it."""

    def __init__(self, storlever: StorLever, files: Path) -> None:
        self.storlever = storlever
        self.files = files
        self.a = storlever.add_target(A, initiator_name_list=[NAME])
        self.disk = storlever.add_lun(self.a, 1, image(files / "disk.img", BLOCKS >> 11))
        self.user = self.add_user(self.a, "worker")

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Worker]:
        with self.session(A, "worker") as session:
            session.ready()
            before = self.storlever.get(self.a)["session_list"]
            assert [each["initiator"] for each in before] == [NAME]
            worker = Worker(session)
            worker.start()
            try:
                worker.goes_on()
                yield worker
                worker.goes_on()
                wait_until(lambda: self.storlever.get(self.a)["session_list"] == before)
            finally:
                worker.stop()

    def session(self, target: str, user: str, password: str = SECRET) -> Initiator:
        login: Login = {"name": NAME, "user": user, "password": password}
        return Initiator(self.storlever.portal, target, **login)

    def put(self, path: str, /, **fields: Any) -> None:
        self.storlever.api("PUT", path, fields, expect=200)

    def delete(self, path: str) -> None:
        self.storlever.api("DELETE", path, expect=200)

    def add_user(self, target: str, name: str, direction: str = "incoming") -> str:
        body = {"username": name, "password": SECRET}
        self.storlever.api("POST", f"{target}/{direction}user_list", body, expect=201)
        return f"{target}/{direction}user_list/{name}"

    def add_lun(self, target: str, lun: int, **fields: Any) -> str:
        file = image(self.files / f"{target[-1]}{lun}.img", 1)
        return self.storlever.add_lun(target, lun, file, **fields)


@pytest.fixture
def world(emptied: StorLever, tmp_path: Path) -> World:
    return World(emptied, tmp_path)


def test_session_survives_users_that_come_change_and_go(world: World) -> None:
    with world.at_work() as worker:
        for number in range(ROUNDS):
            other = world.add_user(world.a, "other")
            outgoing = world.add_user(world.a, "me", "outgoing")
            worker.goes_on()
            for user in (other, outgoing, world.user):
                world.put(user, password=f"rotated-number-{number}")
            worker.goes_on()
            world.delete(world.user)
            worker.goes_on()
            world.delete(other)  # the last one: the target opens, and closes again
            world.add_user(world.a, "worker")
            world.delete(outgoing)
            worker.goes_on()


def test_session_survives_edits_of_the_lists_also_those_that_shut_it_out(world: World) -> None:
    lists: tuple[tuple[list[str], list[str]], ...] = (
        ([NAME, OTHER_NAME], []),
        ([OTHER_NAME], []),
        ([], ["10.0.0.0/8"]),
        ([], []),
        ([NAME], ["ALL"]),
    )
    with world.at_work() as worker:
        for _ in range(ROUNDS):
            for names, addresses in lists:
                access = {"initiator_name_list": names, "initiator_addr_list": addresses}
                world.put(world.a, **access)
                worker.goes_on()


def test_session_survives_a_change_of_discovery_users(world: World) -> None:
    with world.at_work() as worker:
        for number in range(ROUNDS):
            world.put("/conf", incomingdiscoveryuser=f"disco:password-{number}")
            world.put("/conf", outgoingdiscoveryuser=f"me:password-{number}")
            worker.goes_on()
            world.put("/conf", incomingdiscoveryuser="", outgoingdiscoveryuser="")
            worker.goes_on()


def test_session_survives_other_luns_of_its_target(world: World) -> None:
    with world.at_work() as worker:
        for number in range(ROUNDS):
            unit = world.add_lun(world.a, 2)
            worker.goes_on()
            for fields in (
                {"readonly": True},
                {"write_cache": False, "scsi_sn": f"SN{number}"},
                {"online": False},
                {"online": True},
                {"path": str(image(world.files / "new.img", 2))},
                {"bs_type": "aio"},
                {"device_type": "cd", "bs_type": "rdwr", "write_cache": True},
            ):
                world.put(unit, **fields)
                worker.goes_on()
            world.delete(unit)
            worker.goes_on()


def test_session_survives_other_targets_that_come_change_and_go(world: World) -> None:
    with world.at_work() as worker:
        for _ in range(ROUNDS):
            b = world.storlever.add_target(B)
            unit, user = world.add_lun(b, 1), world.add_user(b, "other")
            worker.goes_on()
            world.put(b, initiator_name_list=[NAME])
            world.put(unit, readonly=True)
            world.put(user, password="rotated-number")
            worker.goes_on()
            with world.session(B, "other", "rotated-number"):
                world.storlever.api("PUT", f"{b}?force=true", {"state": "offline"}, expect=200)
                worker.goes_on()
            world.put(b, state="ready")
            world.delete(b)
            worker.goes_on()


def test_session_survives_a_new_identity_of_its_own_lun(world: World) -> None:
    with world.at_work() as worker:
        for number in range(5 * ROUNDS):
            world.put(world.disk, scsi_id=f"{number:031d}", scsi_sn=f"SN{number}")
            worker.goes_on()
            with world.session(A, "worker") as second:
                assert naa6(second) == f"6{number:031d}"
                assert serial_number(second) == f"SN{number}"


def test_session_survives_the_write_protection_of_its_own_lun(world: World) -> None:
    """Writes are refused while it lasts, as they must be; nothing else fails, then or after."""
    with world.at_work() as worker:
        for _ in range(5 * ROUNDS):
            worker.may_be_refused = True
            world.put(world.disk, readonly=True)
            worker.is_refused()
            world.put(world.disk, readonly=False)
            worker.goes_on()
            worker.may_be_refused = False
            worker.goes_on()
        with world.session(A, "worker") as second:
            assert not write_protected(second)


def test_session_survives_a_refused_edit_of_its_own_target(world: World) -> None:
    with world.at_work() as worker:
        for _ in range(ROUNDS):
            for method, path, body, status in (
                ("PUT", world.a, {"state": "offline"}, 409),
                ("DELETE", world.a, None, 409),
                ("PUT", world.disk, {"path": "/missing"}, 422),
                ("PUT", world.disk, {"bs_type": "sg"}, 422),
                ("POST", f"{world.a}/lun_list", {"lun": 2, "path": "/missing"}, 422),
                ("PUT", world.user, {"password": ""}, 422),
            ):
                world.storlever.api(method, path, body, expect=status)
                worker.goes_on()


def test_session_survives_a_restart_of_the_service(root: Path) -> None:
    service = StorLever(root)
    try:
        world = World(service.start(), root)
        with world.at_work() as worker:
            service.kill()
            worker.goes_on()
            service.start()
            worker.goes_on()
            world.put(world.disk, scsi_sn="NEW")
    finally:
        service.close()
