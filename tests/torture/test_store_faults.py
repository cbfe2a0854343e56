"""Every call by which the state is kept fails once, and for a while: no answer is ever wrong.

A write that is refused is not there, in tgtd, in the API, or after a restart; one that is answered
is there to stay; and once the calls succeed again, so do writes, without a restart.
"""

import errno
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.furnished import assert_furnished, furnish, seen_in_tgtd
from tests.torture.clients.tenant import login
from tests.torture.machine.disks import in_memory
from tests.torture.machine.faults import Faults, preload
from tests.torture.rig import Torture, runs
from tests.torture.truth import facts
from tests.torture.truth.facts import Facts
from tests.world import StorLever, image

ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)
REFUSALS = {"state-full": 507, "state-unwritable": 503, "state-doubtful": 503}
NAME = "iqn.2026-01.test:faulty"
TARGET = f"/target_list/{NAME}"
CALLS_OF_A_START = 10
RESTARTS = 0.03
"""How many of the faults are followed by a restart, besides those that need it."""


# -- the store alone


@runs(push=1, release=len(ERRORS))
def test_no_call_that_fails_makes_the_store_lose_or_keep_what_it_should_not(
    torture: Torture,
) -> None:
    """n: the kinds of errors. In lives that begin with no file, with old ones, whose secrets are
    plain and are so nowhere after the start, and with a log that is about to be moved into the
    file."""
    with in_memory() as root:
        lives = root / "lives"
        lives.mkdir()
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "tests.torture.machine.faulty_store",
            lives,
        ]
        done = subprocess.run(
            [*command, *map(str, ERRORS[: torture.runs])],
            env={**os.environ, **preload(root, lives / "stage")},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
    *faults, tally = map(json.loads, done.stdout.splitlines() or ["{}"])
    for fault in faults:
        torture.note("fault", **fault)
    assert done.returncode == 0, (faults[-1:], done.stderr)
    assert {"nothing", "of schema 1", "of schema 2", "a full log"} == {
        fault["life"] for fault in faults
    }
    files = {fault["failed"] for fault in faults}
    assert {"fdatasync state.db-wal", "pwrite64 state.db-wal", "pwrite64 state.db"} <= files
    assert {"write secret.key.new", "fsync secret.key.new", "rename secret.key"} <= files
    assert tally["logs begun anew"]
    torture.figure(faults=len(faults), lost=0, **tally)


# -- the service


Request = tuple[str, str, Any]


@dataclass(frozen=True)
class Write:
    """A request, and those that undo it."""

    request: Request
    undo: tuple[Request, ...]


USERS, UNITS = f"{TARGET}/incominguser_list", f"{TARGET}/lun_list"
CREATE: Request = ("POST", "/target_list", {"iqn": NAME})
REMOVE: Request = ("DELETE", TARGET, None)
ADMIT: Request = ("PUT", TARGET, {"initiator_addr_list": ["127.0.0.1"]})
ADMIT_ALL: Request = ("PUT", TARGET, {"initiator_addr_list": []})
ADD_USER: Request = ("POST", USERS, {"username": "joe", "password": "the first password"})
REMOVE_USER: Request = ("DELETE", f"{USERS}/joe", None)
CHANGE_PASSWORD: Request = ("PUT", f"{USERS}/joe", {"password": "another password"})
CHANGE_IT_BACK: Request = ("PUT", f"{USERS}/joe", {"password": "the first password"})
ADD_UNIT: Request = ("POST", UNITS, {"lun": 1, "path": "unit.img"})
REMOVE_UNIT: Request = ("DELETE", f"{UNITS}/1", None)
NO_CACHE: Request = ("PUT", f"{UNITS}/1", {"write_cache": False})
CACHE: Request = ("PUT", f"{UNITS}/1", {"write_cache": True})
ASK_DISCOVERERS: Request = ("PUT", "/conf", {"incomingdiscoveryuser": "dora:password of dora"})
ASK_NOBODY: Request = ("PUT", "/conf", {"incomingdiscoveryuser": ""})
GO_OFFLINE: Request = ("PUT", TARGET, {"state": "offline"})
GO_READY: Request = ("PUT", TARGET, {"state": "ready"})

WRITES = (
    Write(CREATE, (REMOVE,)),
    Write(ADMIT, (ADMIT_ALL,)),
    Write(ADD_USER, (REMOVE_USER,)),
    Write(CHANGE_PASSWORD, (CHANGE_IT_BACK,)),
    Write(ADD_UNIT, (REMOVE_UNIT,)),
    Write(NO_CACHE, (CACHE,)),
    Write(CACHE, (NO_CACHE,)),
    Write(ASK_DISCOVERERS, (ASK_NOBODY,)),
    Write(GO_OFFLINE, (GO_READY,)),
    Write(GO_READY, (GO_OFFLINE,)),
    Write(ASK_NOBODY, (ASK_DISCOVERERS,)),
    Write(REMOVE_UNIT, (ADD_UNIT,)),
    Write(CHANGE_IT_BACK, (CHANGE_PASSWORD,)),
    Write(REMOVE_USER, (ADD_USER,)),
    Write(REMOVE, (CREATE, ADMIT)),
)
"""One of each kind and more, each on top of those before it."""


class Faulty(StorLever):
    """A service of which the calls on its state fail on order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._preload = preload(root, self.state)
        self.faults = Faults(self._preload)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self._preload


@dataclass
class Ordeal:
    """One service whose writes fail at each of their calls, and what must be true of it then."""

    storlever: Faulty
    torture: Torture
    tally: Counter[str] = field(default_factory=Counter)

    def suffer(self, write: Write, error: int, *, lasting: bool) -> None:
        """In the end it is done."""
        faults = self.storlever.faults
        before = self._stored()
        self._ask(write.request)
        after = self._stored()
        assert after != before
        self._undo(write, before)
        for number in count(1):
            faults.fail(number, error, lasting=lasting)
            answer = self._send(write.request)
            failed = faults.failed
            faults.mend()
            code = self._rightly(answer, before, after)
            if not failed:
                break
            fault = {"failed": failed, "error": error, "lasting": lasting}
            self.torture.note("fault", write=write.request, code=code, **fault)
            self.tally[code] += 1
            found = self._stored()
            if found != (after if code == "done" else before):
                self.tally["found all the same"] += 1
                # The next commit takes it back, and the audit may have something to tell by now.
                found = self._restart(found, before)
            elif self.torture.chance.random() < RESTARTS:
                self._restart(found)
            if found == after:
                self._undo(write, before)

    def _rightly(self, answer: httpx2.Response, before: Facts, after: Facts) -> str:
        """Its code, once it is known to be true."""
        if answer.is_success:
            self._require_told(after)
            assert self._stored() == after
            return "done"
        assert answer.headers["Content-Type"] == "application/problem+json"
        code: str = answer.json()["code"]
        assert answer.status_code == REFUSALS[code]
        self._require_told(before)
        assert self._stored() in ([before, after] if code == "state-doubtful" else [before])
        return code

    def _require_told(self, truth: Facts) -> None:
        """By API and tgtd, at once, with the right passwords."""
        assert facts.in_the_api(self.storlever) == facts.told_by_api(truth)
        assert facts.in_tgtd(self.storlever) == facts.told_by_tgtd(truth)
        if ("user", NAME, "joe") in truth and ("target offline", NAME) not in truth:
            with login(self.storlever, truth, NAME):
                pass

    def _restart(self, *possible: Facts) -> Facts:
        """What was stored."""
        self.tally["restarts"] += 1
        self.storlever.kill()
        self.storlever.start()
        stored = self._stored()
        assert stored in possible
        self._require_told(stored)
        return stored

    def _stored(self) -> Facts:
        """As a start would find it now."""
        return facts.in_the_store(self.storlever.state)

    def _undo(self, write: Write, before: Facts) -> None:
        for request in write.undo:
            self._ask(request)
        assert self._stored() == before

    def _ask(self, request: Request) -> None:
        answer = self._send(request)
        assert answer.is_success, answer.text

    def _send(self, request: Request) -> httpx2.Response:
        method, path, body = request
        if body and "path" in body:
            body = {**body, "path": str(self.storlever.root / body["path"])}
        return self.storlever.api(method, path, body)


@pytest.fixture
def faulty(root: Path) -> Iterator[Faulty]:
    made = Faulty(root)
    try:
        yield made
    finally:
        made.faults.mend()
        made.close()


@runs(push=1, release=len(ERRORS))
def test_a_write_is_answered_rightly_whatever_call_on_the_state_fails(
    faulty: Faulty, torture: Torture
) -> None:
    """n: the kinds of errors."""
    faulty.start()
    image(faulty.root / "unit.img")
    ordeal = Ordeal(faulty, torture)
    for error in ERRORS[: torture.runs]:
        for lasting in (False, True):
            for write in WRITES:
                ordeal.suffer(write, error, lasting=lasting)
    assert ordeal.tally["state-unwritable"]
    assert ordeal.tally["found all the same"]
    torture.figure(writes=len(WRITES), wrong=0, **ordeal.tally)


@runs(push=4, release=CALLS_OF_A_START)
def test_a_start_at_which_a_call_on_the_state_fails_goes_well_or_says_so(
    faulty: Faulty, torture: Torture
) -> None:
    """tgtd serves on, and the next start finds everything. n: calls, one of them a start."""
    furnish(faulty.start())
    faulty.kill()
    seen, daemon = seen_in_tgtd(faulty), faulty.tgtd_pid()
    tally: Counter[str] = Counter()
    for number in torture.chance.sample(range(1, CALLS_OF_A_START + 1), torture.runs):
        faulty.faults.fail(number, errno.EIO, lasting=False)
        with suppress(AssertionError):
            faulty.start()
        failed = faulty.faults.failed
        faulty.faults.mend()
        assert faulty.process is not None
        status = faulty.process.poll()
        torture.note("fault", call=number, failed=failed, status=status)
        assert failed
        assert status in (None, 2), (failed, faulty.log.read_text())
        assert "Traceback" not in faulty.log.read_text(), failed
        tally["started" if status is None else "refused"] += 1
        faulty.kill()
        assert (seen_in_tgtd(faulty), faulty.tgtd_pid()) == (seen, daemon), failed
    faulty.start()
    assert_furnished(faulty)
    torture.figure(**tally)
