"""Eight clients ask about four targets at once, reading and writing the same few things; whatever
they are told could have been said if they had asked one after another. Some of what they write is
only for what they saw last, by If-Match.

Now and then the service is killed meanwhile: what it did not answer was done before its death, or
never.
"""

import threading
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from tests.initiator import Initiator, Login, LoginError
from tests.system.furnished import service
from tests.torture.clients.caller import TARGETS, USERS, Caller, Service, Told, user_name
from tests.torture.rig import Torture, runs
from tests.torture.truth.linearizability import Call, unexplained
from tests.torture.truth.sequential import Ask, answer
from tests.world import StorLever

CALLERS = 8
CALLS = 25
"""Of each caller in a round."""
KILL_EVERY = 4
"""Rounds, in one of which the service is killed."""


class Round:
    """All that was told from an empty service on, until everybody has gone."""

    def __init__(self, storlever: StorLever, asked: Service, torture: Torture) -> None:
        self.storlever = storlever
        self._asked = asked
        self._torture = torture
        self.callers = [Caller(number, asked, torture.chance) for number in range(CALLERS)]
        self.deaths: list[float] = []

    def run(self, *, kill: bool) -> None:
        threads = [threading.Thread(target=each.run, args=(CALLS,)) for each in self.callers]
        for thread in threads:
            thread.start()
        try:
            if kill:
                time.sleep(self._torture.chance.uniform(0.05, 0.8))  # the random moment
                self._kill()
        finally:
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive(), "a client hangs"
        self._last_words()

    def _kill(self) -> None:
        self._asked.up.clear()
        self.storlever.kill()
        self.deaths.append(time.monotonic())
        try:
            self.storlever.start()
        finally:
            self._asked.up.set()

    def _last_words(self) -> None:
        """Everything is read once more, and every password is tried, with nobody else there."""
        last = Caller(CALLERS, self._asked, self._torture.chance)
        self.callers.append(last)
        for target in TARGETS:
            last.ask(target, Ask("GET", "target"))
            last.ask(target, Ask("GET", "units"))
            last.ask(target, Ask("PUT", "target", "state", "ready"))
            for user in USERS:
                if last.ask(target, Ask("GET", "user", user)) == (200,):
                    last.told.append(Told(target, self._try_passwords(target, user)))
        last.leave()

    def _try_passwords(self, target: str, name: str) -> Call[Ask]:
        """As if it was asked which one is in force: every one that was ever asked for is tried."""
        start = time.monotonic()
        given = [
            call.ask.value
            for call in self._calls(target)
            if call.ask.kind == "user" and call.ask.name == name and call.ask.value
        ]
        found = tuple(each for each in given if self._admits(target, name, each))
        return Call(start, time.monotonic(), Ask("GET", "login", name), (200, *found))

    def _admits(self, target: str, name: str, password: str) -> bool:
        login: Login = {"user": user_name(name, target), "password": password}
        try:
            with Initiator(self.storlever.portal, target, **login):
                return True
        except LoginError:
            return False

    def _calls(self, target: str) -> list[Call[Ask]]:
        return [told.call for each in self.callers for told in each.told if told.target == target]

    # -- the verdict

    def history(self, target: str) -> list[Call[Ask]]:
        """What was not answered was done before the next death; without one after it, never."""
        history = []
        for call in self._calls(target):
            if call.answer is not None:
                history.append(call)
            elif end := next((death for death in self.deaths if death >= call.start), None):
                history.append(replace(call, end=end))
        return history

    def require_linearizable(self) -> None:
        for target in TARGETS:
            history = self.history(target)
            left = unexplained(history, None, answer)
            if left:
                for call in sorted(history, key=lambda call: call.start):
                    self._torture.note("told", target=target, left=call in left, **asdict(call))
            assert left == (), f"{target}: no order explains {left[:4]}"


@runs(push=20, release=500)
def test_whatever_clients_are_told_could_be_said_one_after_another(
    root: Path, torture: Torture
) -> None:
    answers: Counter[str] = Counter()
    kills = 0
    with service(root) as storlever:
        asked = Service.at(storlever.start().port, root)
        for number in range(torture.runs):
            party = Round(storlever, asked, torture)
            party.run(kill=number % KILL_EVERY == 1)
            party.require_linearizable()
            kills += len(party.deaths)
            for target in TARGETS:
                answers.update(map(_kind, party.history(target)))
            _empty(storlever)
    kinds = ("read", "written", "refused", "too late")
    assert all(answers[kind] > torture.runs for kind in kinds), answers
    torture.figure(kills=kills, **answers, illegal=0)


def _kind(call: Call[Ask]) -> str:
    match call.answer:
        case None:
            return "unanswered"
        case (412, *_):
            return "too late"
        case (int(status), *_) if status >= 300:
            return "refused"
    return "read" if call.ask.method == "GET" else "written"


def _empty(storlever: StorLever) -> None:
    for name in storlever.get("/target_list"):
        storlever.api("DELETE", f"/target_list/{name}", expect=200)
