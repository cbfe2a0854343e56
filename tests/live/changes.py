"""Every kind of change of a LUN, one round of it at a time."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.world import StorLever

HOLD = (0.005, 0.025)
"""Seconds that a state is held before the next change, from a uniform distribution."""
LUN, OTHER_LUN = 1, 7


@dataclass
class Bench:
    """A LUN under load, and who changes it."""

    service: StorLever
    target: str  # its path in the API
    other: str  # a target that nobody is logged in to
    folder: Path
    megabytes: int
    random: random.Random
    refused: Counter[str] = field(default_factory=Counter)
    slowest_request: float = 0.0

    @property
    def lun(self) -> str:
        return f"{self.target}/lun_list/{LUN}"

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def second(self) -> Path:
        return self.folder / "second.img"

    def sids(self) -> set[int]:
        return {each["sid"] for each in self.service.get(self.target)["session_list"]}

    def request(self, method: str, path: str, body: Any = None) -> bool:
        began = time.perf_counter()
        response = self.service.api(method, path, body)
        self.slowest_request = max(self.slowest_request, time.perf_counter() - began)
        if response.status_code >= 400:
            self.refused[f"{response.status_code} {response.json()['code']}"] += 1
        return response.status_code < 400

    def put(self, **fields: Any) -> bool:
        return self.request("PUT", self.lun, fields)

    def hold(self) -> None:
        time.sleep(self.random.uniform(*HOLD))

    def both(self, name: str, first: Any, then: Any) -> None:
        """A field to one value, and back to the other."""
        self.put(**{name: first})
        self.hold()
        self.put(**{name: then})

    def restore(self) -> None:
        """The LUN as it was made, once nothing is in flight."""
        self.refused, refused = Counter(), self.refused
        wanted = {"device_type": "disk", "bs_type": "rdwr", "readonly": False, "online": True}
        if not self.put(path=str(self.disk), write_cache=True, **wanted):
            raise AssertionError(f"the LUN cannot be brought back: {dict(self.refused)}")
        self.refused = refused


Round = Callable[[Bench, int], None]


@dataclass(frozen=True)
class Kind:
    """A row of the table. `quiet`: no initiator may notice anything."""

    title: str
    round: Round
    exact: bool = True
    quiet: bool = True


def _nothing(bench: Bench, _: int) -> None:
    bench.hold()


def _scsi_id(bench: Bench, number: int) -> None:
    bench.put(scsi_id=f"measured-{number}")


def _scsi_sn(bench: Bench, number: int) -> None:
    bench.put(scsi_sn=f"MEASURED{number}")


def _shared(bench: Bench, _: int) -> None:
    bench.both("shared", True, False)


def _readonly(bench: Bench, _: int) -> None:
    bench.both("readonly", True, False)


def _write_cache(bench: Bench, _: int) -> None:
    bench.both("write_cache", False, True)


def _online(bench: Bench, _: int) -> None:
    bench.both("online", False, True)


def _path(bench: Bench, _: int) -> None:
    bench.both("path", str(bench.second), str(bench.disk))


def _growth(bench: Bench, number: int) -> None:
    os.truncate(bench.disk, (bench.megabytes + number + 1) << 20)
    bench.put(path=str(bench.disk))


def _backing_type(bench: Bench, _: int) -> None:
    bench.both("bs_type", "aio", "rdwr")


def _device_type(bench: Bench, _: int) -> None:
    bench.both("device_type", "cd", "disk")


def _another_lun(bench: Bench, _: int) -> None:
    lun = {"lun": OTHER_LUN, "path": str(bench.second)}
    bench.request("POST", f"{bench.target}/lun_list", lun)
    bench.hold()
    bench.request("DELETE", f"{bench.target}/lun_list/{OTHER_LUN}")


def _access(bench: Bench, number: int) -> None:
    narrow = {"initiator_addr_list": [f"192.0.2.{number % 250 + 1}"]}
    bench.request("PUT", bench.target, narrow | {"initiator_name_list": ["iqn.2026-01.test:x"]})
    bench.hold()
    bench.request("PUT", bench.target, {"initiator_addr_list": [], "initiator_name_list": []})


def _users(bench: Bench, _: int) -> None:
    for direction in ("incoming", "outgoing"):
        users, user = f"{bench.target}/{direction}user_list", f"measured-{direction}"
        bench.request("POST", users, {"username": user, "password": "first-secret"})
        bench.hold()
        bench.request("PUT", f"{users}/{user}", {"password": "second-secret"})
        bench.hold()
        bench.request("DELETE", f"{users}/{user}")


def _another_target(bench: Bench, number: int) -> None:
    lun = f"{bench.other}/lun_list/{LUN}"
    body = {"lun": LUN, "path": str(bench.second), "readonly": True}
    bench.request("POST", f"{bench.other}/lun_list", body)
    bench.request("PUT", lun, {"online": False, "scsi_id": f"other-{number}"})
    bench.hold()
    bench.request("PUT", lun, {"online": True, "readonly": False, "write_cache": False})
    bench.request("PUT", bench.other, {"state": "offline", "initiator_addr_list": ["192.0.2.1"]})
    bench.request("DELETE", lun)
    bench.request("PUT", bench.other, {"state": "ready", "initiator_addr_list": []})


KINDS = (
    Kind("nothing (for comparison)", _nothing),
    Kind("`scsi_id`", _scsi_id),
    Kind("`scsi_sn`", _scsi_sn),
    Kind("`shared` on, off", _shared),
    Kind("`readonly` on, off", _readonly, quiet=False),
    Kind("`write_cache` off, on", _write_cache, quiet=False),
    Kind("`online` off, on", _online, quiet=False),
    Kind("`path`: another file, and back", _path, exact=False, quiet=False),
    Kind("`path`: the same, after it grew", _growth, quiet=False),
    Kind("`bs_type`: `aio`, and back", _backing_type, quiet=False),
    Kind("`device_type`: `cd`, and back", _device_type, quiet=False),
    Kind("another LUN of the target comes, goes", _another_lun, quiet=False),
    Kind("the target's address and name lists", _access),
    Kind("the target's users and passwords", _users),
    Kind("everything of another target", _another_target),
)
