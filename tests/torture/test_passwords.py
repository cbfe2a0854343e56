"""Whatever fails, and whoever is killed when: once a pass went through, tgtd has what is stored,
and most of all the passwords, which it never tells.

On the twin, which does tell: what it has is compared with what a new one is brought to. Users are
shared by targets, go online and offline under sessions that nothing can end, and groups of writes
are cut short at any request and at any commit.
"""

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storlever.errors import StorLeverError
from storlever.inventory import Direction
from storlever.model import Account
from tests.torture.rig import Torture, runs
from tests.unit.core import Core, Crash, MortalStore

TARGETS = ("iqn.2026-01.test:one", "iqn.2026-01.test:two")
USERS = ("alice", "bob")
SECRETS = ("secret zero", "secret one", "secret two")
INITIATOR = "iqn.2026-01.test:i"
FAULTS = ("refuse", "die", "crash_before", "crash_after", "time_out_after")
STEPS, GROUP, DEPTH = 15, 4, 13
"""Steps of a story, writes of a group, and requests to tgtd within which the fault comes."""


def shown(core: Core) -> str:
    """Without the length of pieces, which is tgtd's own after a kill right at a target's birth."""
    return re.sub(r" \d+$", "", core.shown(), flags=re.MULTILINE)


@dataclass
class Story:
    """One service through its lives."""

    folder: Path
    torture: Torture
    core: Core = field(init=False)
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.store = MortalStore()
        self.core = Core(self.folder, store=self.store)
        self.core.settle()
        self._chance = self.torture.chance
        for target in TARGETS:
            self.core.service.add_target(target)
            for user in USERS:
                account = Account(user, SECRETS[0])
                self.core.service.add_user(target, Direction.INCOMING, account)
            self.core.service.edit_target(target, online=self._chance.random() < 0.5)

    def step(self) -> None:
        deed = self._chance.choices(
            (self._write, self._pass, self._glance, self._log_in, self._log_out), (12, 3, 1, 3, 1)
        )[0]
        self.torture.note(deed.__name__)
        try:
            deed()
        except Crash:
            self.seen["killed"] += 1
            self.core = self.core.reborn()
        except StorLeverError as error:  # as the loop has it
            self.core.known.down = str(error)
        self._mend()

    def end(self) -> None:
        """Nothing is in the way any more; a pass goes through, and nothing is to be done then."""
        self._log_out()
        if self._chance.random() < 0.5:
            self.core = self.core.reborn()
        for _ in range(3):
            self.core.settle()
        assert not self.core.known.failures
        assert self.core.settle() == 0
        new = Core(self.folder, store=self.store)
        new.settle()
        assert shown(self.core) == shown(new)

    def _write(self) -> None:
        writes = [self._drawn() for _ in range(self._chance.randint(1, GROUP))]
        fault = self._chance.choice((*FAULTS, *FAULTS, "before", "after", "full", "none", "none"))
        number = self._chance.randint(1, DEPTH)
        self.torture.note("fault", fault=fault, number=number)
        if fault in FAULTS:
            self.core.flaky.fail(number, getattr(self.core.flaky, fault))
        elif fault == "full":
            self.store.full = True
        elif fault != "none":
            self.store.killed = fault
        for outcome in self.core.together(writes):
            self.seen["refused" if isinstance(outcome, Exception) else "written"] += 1

    def _drawn(self) -> Callable[[], object]:
        pick, service = self._chance.choice, self.core.service
        target, user, direction = pick(TARGETS), pick(USERS), pick(tuple(Direction))
        account = Account(user, pick(SECRETS))
        name, write = pick(
            (
                ("add", lambda: service.add_user(target, direction, account)),
                ("remove", lambda: service.remove_user(target, direction, user)),
                ("rotate", self._rotated(target, direction, account)),
                ("rotate", self._rotated(target, Direction.INCOMING, account)),
                ("on or off", self._switched(target)),
                ("on or off", self._switched(target)),
                ("remove target", lambda: service.remove_target(target, force=True)),
                ("add target", lambda: service.add_target(target)),
                ("edit", self._edited(target)),
                ("discovery", self._discovered()),
            )
        )
        self.torture.note(name, target=target, account=user, direction=direction)
        return write

    def _rotated(self, target: str, direction: Direction, account: Account) -> Callable[[], object]:
        service = self.core.service
        return lambda: service.set_secret(
            target, direction, account.name, account.secret, everywhere=True
        )

    def _switched(self, target: str) -> Callable[[], object]:
        online, force = self._chance.random() < 0.6, self._chance.random() < 0.5
        return lambda: self.core.service.edit_target(target, online=online, force=force)

    def _edited(self, target: str) -> Callable[[], object]:
        addresses = self._chance.choice(((), ("10.0.0.1",), ("10.0.0.2",)))
        return lambda: self.core.service.edit_target(target, addresses=addresses)

    def _discovered(self) -> Callable[[], object]:
        given = {
            direction: self._chance.choice((None, Account(name, self._chance.choice(SECRETS))))
            for direction, name in zip(Direction, ("alice", "scout"), strict=True)
        }
        return lambda: self.core.service.set_discovery(given)

    def _pass(self) -> None:
        if self._chance.random() < 0.4:
            fault = self._chance.choice(("refuse", "time_out_after", "crash_after"))
            self.core.flaky.fail(self._chance.randint(1, 8), getattr(self.core.flaky, fault))
        self.core.settle()
        self.seen["passes"] += 1

    def _glance(self) -> None:
        self.core.passes.glance(self.core.service.inventory)

    def _log_in(self) -> None:
        for target in self.core.tgtd.targets.values():
            if self._chance.random() < 0.5:
                self.core.tgtd.log_in(target.name, INITIATOR)
                self.seen["logins"] += 1

    def _log_out(self) -> None:
        self.core.log_out()

    def _mend(self) -> None:
        """The fault is over, and the loop does what is due."""
        self.core.flaky.mend()
        self.store.full, self.store.killed = False, ""
        if self.core.tgtd.dead:
            self.core.tgtd.restart()
            self.core.known.down = "tgtd has died"
            self.seen["tgtd died"] += 1
        if self.core.known.down is not None:
            with suppress(StorLeverError):
                self.core.settle()


@pytest.mark.usefixtures("quiet")
@runs(push=400, release=20_000)
def test_no_password_in_tgtd_is_taken_for_the_stored_one(root: Path, torture: Torture) -> None:
    seen: Counter[str] = Counter()
    for number in range(torture.runs):
        torture.note("story", number=number)
        story = Story(root, torture)
        for _ in range(torture.chance.randint(4, STEPS)):
            story.step()
        story.end()
        seen += story.seen
    torture.figure(**seen)
