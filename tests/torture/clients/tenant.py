"""A client that writes at random, in a part of the service that is its own.

It knows what must be there: `now` is what was answered; `unsure` is what would be there as well
if the last write, of which it does not know whether it was done, was done.
"""

import contextlib
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from storlever.web.san import PREFIX
from tests.initiator import Initiator, LoginError
from tests.torture.rig import Torture
from tests.torture.truth.facts import NOTHING, Fact, Facts
from tests.world import StorLever, image

TARGETS = USERS = 3
LUNS = (1, 2)
IMAGES = 4


@dataclass(frozen=True)
class Move:
    """A request, what is so once it is done, and the target whose sessions it closes."""

    method: str
    path: str
    body: Any
    after: Facts
    closes: str | None = None


class Tenant:
    """`on_error` says what an internal error means: the write was done, undone, or either."""

    def __init__(self, number: int, storlever: StorLever, torture: Torture) -> None:
        self.number = number
        self._storlever = storlever
        self._note = torture.note
        self._chance = random.Random(torture.chance.getrandbits(32))  # noqa: S311  no secrets
        self._http: HTTPConnection | None = None
        self.now: Facts = NOTHING
        self.unsure: Facts | None = None
        self.on_error = "undone"
        self.before: Callable[[str], None] | None = None
        """Called with the name of a target that is there, before it is changed."""
        self.answered = self.unanswered = 0
        self.errors: list[str] = []
        """The text of every answer that is no success."""
        folder = storlever.root
        self._images = [
            str(image(folder / f"tenant{number}-{at}.img", 1 + at)) for at in range(IMAGES)
        ]

    def owns(self, fact: Fact) -> bool:
        """By the names, of which each begins with the tenant's number."""
        if fact[0] in ("discovery", "discovery outgoing"):
            return self.number == 0
        return str(fact[1]).startswith((f"iqn.2026-01.test:{self.number}.", f"user{self.number}."))

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop, or until the service is gone or its answer leaves in doubt."""
        while not stop.is_set() and self.unsure is None:
            self.write()

    def write(self) -> int | None:
        """The status of the answer; None when there was none."""
        name = f"iqn.2026-01.test:{self.number}.{self._chance.randrange(TARGETS)}"
        move = self._chance.choice(self._moves(name))
        if self.before is not None and ("target", name) in self.now:
            self.before(name)
        self._note("asks", tenant=self.number, method=move.method, path=move.path, body=move.body)
        with contextlib.ExitStack() as stack:
            if move.closes and self._chance.random() < 0.5:
                with contextlib.suppress(LoginError):
                    stack.enter_context(login(self._storlever, self.now, move.closes))
            status = self._request(move)
        self._note("answer", tenant=self.number, status=status)
        self.answered += status is not None
        self.unanswered += status is None
        if status is None or (status == 500 and self.on_error == "either"):
            self.unsure = move.after
        elif status < 300 or (status == 500 and self.on_error == "done"):
            self.now = move.after
        return status

    def _request(self, move: Move) -> int | None:
        body = None if move.body is None else json.dumps(move.body)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            if self._http is None:
                self._http = HTTPConnection("127.0.0.1", self._storlever.port, timeout=20)
            self._http.request(move.method, PREFIX + move.path, body, headers)
            answer = self._http.getresponse()
            text = answer.read().decode()
        except (OSError, HTTPException):
            self.leave()
            return None
        if answer.status >= 300:
            self.errors.append(text)
        if answer.getheader("Connection") == "close":
            self.leave()
        return answer.status

    def leave(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    # -- what can be asked for

    def _moves(self, name: str) -> list[Move]:
        """One of each kind that changes anything of the target, or of discovery."""
        moves = self._discovery() if self.number == 0 and self._chance.random() < 0.2 else []
        if not moves and ("target", name) not in self.now:
            return [Move("POST", "/target_list", {"iqn": name}, self.now | {("target", name)})]
        return moves or [
            *self._target(name),
            *self._users(name, "user", "incominguser_list"),
            *self._users(name, "outgoing", "outgoinguser_list"),
            *self._units(name),
        ]

    def _target(self, name: str) -> list[Move]:
        path = f"/target_list/{name}"
        gone = self._pruned(fact for fact in self.now if fact[0] == "secret" or fact[1] != name)
        address = f"10.{self.number}.0.{self._chance.randrange(1, 255)}"
        others = frozenset(fact for fact in self.now if fact[:2] != ("admits", name))
        both = {("admits", name, each) for each in ("127.0.0.1", address)}
        body = {"initiator_addr_list": ["127.0.0.1", address]}
        offline = ("target offline", name)
        state = "ready" if offline in self.now else "offline"
        return [
            Move("DELETE", f"{path}?force=true", None, gone, closes=name),
            Move("PUT", path, body, others | both),
            Move("PUT", f"{path}?force=true", {"state": state}, self.now ^ {offline}, closes=name),
        ]

    def _users(self, name: str, kind: str, listed: str) -> list[Move]:
        path = f"/target_list/{name}/{listed}"
        have = [str(fact[2]) for fact in self.now if fact[:2] == (kind, name)]
        moves = []
        user = f"user{self.number}.{kind}{self._chance.randrange(USERS)}"
        if user not in have and not (kind == "outgoing" and have):
            secret = self._secrets().get(user) or self._new_secret()
            new = {(kind, name, user), ("secret", user, secret)}
            body = {"username": user, "password": secret}
            moves.append(Move("POST", path, body, self.now | new))
        if have:
            user = self._chance.choice(sorted(have))
            others = frozenset(fact for fact in self.now if fact[:2] != ("secret", user))
            secret = self._new_secret()
            new_one = others | {("secret", user, secret)}
            changed = f"{path}/{user}?everywhere=true"
            moves.append(Move("PUT", changed, {"password": secret}, new_one))
            gone = self._pruned(fact for fact in self.now if fact != (kind, name, user))
            moves.append(Move("DELETE", f"{path}/{user}", None, gone))
        return moves

    def _units(self, name: str) -> list[Move]:
        lun = self._chance.choice(LUNS)
        listed = f"/target_list/{name}/lun_list"
        used = {fact[3] for fact in self.now if fact[0] == "path"}
        path = self._chance.choice([each for each in self._images if each not in used] or [""])
        place = ("path", name, lun, path)
        if ("unit", name, lun) not in self.now:
            if not path:
                return []
            flags = {name_: self._chance.random() < 0.2 for name_ in ("readonly", "uncached")}
            body: dict[str, Any] = {"path": path, "lun": lun, **self._wire(flags)}
            new = {(flag, name, lun) for flag, said in flags.items() if said}
            return [Move("POST", listed, body, self.now | {("unit", name, lun), place, *new})]
        flag = self._chance.choice(("readonly", "uncached", "unit offline"))
        turned = self.now ^ {(flag, name, lun)}
        turn = self._wire({flag: (flag, name, lun) in turned})
        gone = frozenset(fact for fact in self.now if fact[1:3] != (name, lun))
        moves = [
            Move("PUT", f"{listed}/{lun}", turn, turned),
            Move("DELETE", f"{listed}/{lun}", None, gone),
        ]
        if path:
            others = frozenset(fact for fact in self.now if fact[:3] != place[:3])
            moves.append(Move("PUT", f"{listed}/{lun}", {"path": path}, others | {place}))
        return moves

    @staticmethod
    def _wire(flags: dict[str, bool]) -> dict[str, bool]:
        words = {"readonly": "readonly", "uncached": "write_cache", "unit offline": "online"}
        return {words[flag]: said == (flag == "readonly") for flag, said in flags.items()}

    def _discovery(self) -> list[Move]:
        moves = []
        for kind in ("discovery", "discovery outgoing"):
            field = (
                "outgoingdiscoveryuser" if kind.endswith("outgoing") else "incomingdiscoveryuser"
            )
            others = frozenset(fact for fact in self.now if fact[0] != kind)
            user = f"user0.{kind.replace(' ', '.')}{self._chance.randrange(USERS)}"
            secret = self._new_secret()
            new = (others | {(kind, user)}) - {("secret", user, self._secrets().get(user, ""))}
            pruned = self._pruned(new | {("secret", user, secret)})
            moves.append(Move("PUT", "/conf", {field: f"{user}:{secret}"}, pruned))
            if others != self.now:
                moves.append(Move("PUT", "/conf", {field: ""}, self._pruned(others)))
        return moves

    def _secrets(self) -> dict[str, str]:
        return {str(fact[1]): str(fact[2]) for fact in self.now if fact[0] == "secret"}

    def _new_secret(self) -> str:
        return f"{self._chance.getrandbits(64):016x}"

    @staticmethod
    def _pruned(facts: Any) -> Facts:
        """Without the secrets of users that nothing uses."""
        facts = frozenset(facts)
        used = {fact[-1] for fact in facts if fact[0] in ("user", "outgoing")}
        used |= {fact[1] for fact in facts if str(fact[0]).startswith("discovery")}
        return frozenset(fact for fact in facts if fact[0] != "secret" or fact[1] in used)


def login(storlever: StorLever, truth: Facts, name: str) -> Initiator:
    """As one of its users, if it has any; the target shows who it is if it can."""
    secrets = {str(fact[1]): str(fact[2]) for fact in truth if fact[0] == "secret"}
    users = sorted(str(fact[2]) for fact in truth if fact[:2] == ("user", name))
    outgoing = next((str(fact[2]) for fact in truth if fact[:2] == ("outgoing", name)), None)
    if not users:
        return Initiator(storlever.portal, name)
    user = users[0]
    if outgoing is None:
        return Initiator(storlever.portal, name, user=user, password=secrets[user])
    return Initiator(
        storlever.portal,
        name,
        user=user,
        password=secrets[user],
        target_user=outgoing,
        target_password=secrets[outgoing],
    )
