"""A client of a few hot targets that others ask about as well, and what it was told."""

import itertools
import json
import random
import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from storlever.web.san import PREFIX
from tests.torture.truth.linearizability import Call
from tests.torture.truth.sequential import Answer, Ask
from tests.world import image

TARGETS = tuple(f"iqn.2026-01.test:hot{number}" for number in range(4))
HEAT = (5, 1, 1, 1)
"""How often each of them is asked about."""
LUNS = (1, 2)
USERS = ("ann", "bob")
HOME = "127.0.0.1"
"""Always admitted, so that passwords can be tried."""

READS = (("target", 5), ("list", 1), ("user", 1), ("unit", 1), ("units", 1))
WRITES = (
    *((("PUT", "target", "address"), 4), (("PUT", "target", "state"), 4)),
    *((("POST", "target"), 5), (("DELETE", "target"), 1)),
    *((("POST", "user"), 3), (("PUT", "user"), 3), (("DELETE", "user"), 2)),
    *((("POST", "unit"), 3), (("PUT", "unit"), 3), (("DELETE", "unit"), 2)),
)


class Told(NamedTuple):
    """A call, and the target that it was about."""

    target: str
    call: Call[Ask]


@dataclass
class Service:
    """Where the callers ask; `up` is cleared while nobody can."""

    port: int
    up: threading.Event
    images: dict[tuple[str, int], Path]

    @classmethod
    def at(cls, port: int, folder: Path) -> "Service":
        places = itertools.product(TARGETS, LUNS)
        images = {place: image(folder / f"{place[0][-4:]}-{place[1]}.img", 1) for place in places}
        up = threading.Event()
        up.set()
        return cls(port, up, images)


class Caller:
    """Asks `count` times. Whatever it writes is written once only, so that reads tell of whom."""

    def __init__(self, number: int, service: Service, chance: random.Random) -> None:
        self.told: list[Told] = []
        self._service = service
        self._chance = random.Random(chance.getrandbits(32))  # noqa: S311  no secrets
        self._unique = (f"{number}.{at}" for at in itertools.count())
        self._http: HTTPConnection | None = None
        self._tags: dict[tuple[str, Any], tuple[Answer, str]] = {}
        """By target and LUN: what was shown of it last, and its tag."""

    def run(self, count: int) -> None:
        for _ in range(count):
            if self._tags and self._chance.random() < 0.3:
                self.ask(*self._on_what_it_saw())
            else:
                self.ask(self._chance.choices(TARGETS, HEAT)[0], self._drawn())
        self.leave()

    def ask(self, target: str, ask: Ask) -> Answer | None:
        """None when there was no answer; then waits until asking makes sense again."""
        start = time.monotonic()
        answer = self._answer(target, ask)
        end = time.monotonic()
        if ask.kind == "list":
            for each in TARGETS:
                one = (answer[0], each in answer[1]) if answer is not None else None
                self.told.append(Told(each, Call(start, end, ask, one)))
        else:
            self.told.append(Told(target, Call(start, end, ask, answer)))
        if answer is None:
            self._service.up.wait(20)
        return answer

    def leave(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    # -- what to ask

    def _drawn(self) -> Ask:
        if self._chance.random() < 0.4:
            return self._named("GET", self._one(READS))
        return self._named(*self._one(WRITES))

    def _one(self, weighed: tuple[tuple[Any, int], ...]) -> Any:
        return self._chance.choices(*zip(*weighed, strict=True))[0]

    def _named(self, method: str, kind: str, field: str = "") -> Ask:
        new = next(self._unique)
        match kind, field:
            case "target", "state":
                return Ask(method, kind, field, self._chance.choice(("ready", "offline")))
            case "target", "address":
                return Ask(method, kind, field, f"10.1.{new}")
            case "user", _:
                value = f"password-{new}" if method in ("POST", "PUT") else ""
                return Ask(method, kind, self._chance.choice(USERS), value)
            case "unit", _:
                unit = (self._chance.random() < 0.5, f"SN{new}")
                given = unit if method in ("POST", "PUT") else ""
                return Ask(method, kind, self._chance.choice(LUNS), given)
        return Ask(method, kind)

    def _on_what_it_saw(self) -> tuple[str, Ask]:
        """A change of a LUN, if it is as it was seen last."""
        (target, lun), (seen, _) = self._chance.choice(list(self._tags.items()))
        ask = self._named(self._chance.choice(("PUT", "PUT", "DELETE")), "unit")
        return target, ask._replace(name=lun, seen=seen)

    # -- asking

    def _answer(self, target: str, ask: Ask) -> Answer | None:
        path, body = self._request(target, ask)
        headers = {"Content-Type": "application/json"} if body else {}
        if ask.seen is not None:
            headers["If-Match"] = self._tags[target, ask.name][1]
        content = json.dumps(body) if body else None
        try:
            if self._http is None:
                self._http = HTTPConnection("127.0.0.1", self._service.port, timeout=20)
            self._http.request(ask.method, PREFIX + path, content, headers)
            answer = self._http.getresponse()
            text = answer.read().decode()
        except (OSError, HTTPException):
            self.leave()
            return None
        said: Any = json.loads(text) if text else None
        if answer.status >= 300:
            return (answer.status, said["code"])
        shown = _shown(ask, said)
        if ask.kind == "unit" and (tag := answer.headers["ETag"]):
            self._tags[target, ask.name] = (shown or ask.value, tag)
        return (answer.status, *shown)

    def _request(self, target: str, ask: Ask) -> tuple[str, Any]:
        path = f"/target_list/{target}"
        user = user_name(ask.name, target)
        match ask.kind, ask.method:
            case "list", _:
                return "/target_list", None
            case "target", "POST":
                return "/target_list", {"iqn": target}
            case "target", "PUT":
                if ask.name == "state":
                    return path, {"state": ask.value}
                return path, {"initiator_addr_list": [HOME, ask.value]}
            case "user", "POST":
                body = {"username": user, "password": ask.value}
                return f"{path}/incominguser_list", body
            case "user", method:
                body = {"password": ask.value} if method == "PUT" else {}
                return f"{path}/incominguser_list/{user}", body
            case "unit", "POST":
                file = str(self._service.images[target, ask.name])
                body = {"lun": ask.name, "path": file, **_fields(ask)}
                return f"{path}/lun_list", body
            case "unit", method:
                return f"{path}/lun_list/{ask.name}", _fields(ask) if method == "PUT" else None
            case "units", _:
                return f"{path}/lun_list", None
        return path, None


def user_name(name: str, target: str) -> str:
    """tgtd has one password a name, so each target has names of its own."""
    return f"{name}.{target[-4:]}"


def _fields(ask: Ask) -> dict[str, Any]:
    readonly, serial_number = ask.value
    return {"readonly": readonly, "scsi_sn": serial_number}


def _shown(ask: Ask, said: Any) -> Answer:
    """What is of interest in a success, in the model's words."""
    if ask.method != "GET" or ask.kind == "user":
        return ()
    match ask.kind:
        case "list":
            return (tuple(said),)
        case "target":
            address = next((each for each in said["initiator_addr_list"] if each != HOME), "")
            users = tuple(name.partition(".")[0] for name in said["incominguser_list"])
            return (said["state"], address, users, said["lun_num"])
        case "units":
            return (tuple((each["lun"], *_unit(each)) for each in said),)
    return _unit(said)


def _unit(said: Any) -> Answer:
    """A LUN that is not served has no place in the model."""
    if said["state"] == "ready":
        return (said["readonly"], said["scsi_sn"])
    return (said["readonly"], said["scsi_sn"], said["state"], said["reason"])
