"""Several clients that write at once, and what must be true of what they leave.

writers = Writers(storlever, torture)
with writers.writing():
    ...  # hurt it
truth = writers.settle()
writers.require_told(truth, seconds)
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.initiator import Initiator, discover
from tests.torture.clients.tenant import Move, Tenant, login
from tests.torture.rig import Torture
from tests.torture.truth import facts
from tests.torture.truth.facts import Facts
from tests.work import Worker, working
from tests.world import StorLever, image, wait_until

CLIENTS = 8
FOREIGN, THEIRS = "iqn.2026-01.foreign:theirs", "annie"
STILL = "iqn.2026-01.test:still"
KEPT_ALIVE = 2.0
"""Seconds for which a connection is surely kept for the next request."""


@dataclass
class Tally:
    """How requests were answered, None for not at all, and the seconds that the slowest took."""

    statuses: Counter[int | None] = field(default_factory=Counter)
    slowest: float = 0.0

    def add(self, status: int | None, seconds: float) -> None:
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)

    @property
    def done(self) -> int:
        return sum(count for status, count in self.statuses.items() if status and status < 300)


class Writer(Tenant):
    """A tenant that keeps a tally. `sociable`: it has sessions with its targets now and then."""

    def __init__(
        self, number: int, storlever: StorLever, torture: Torture, *, sociable: bool = True
    ) -> None:
        super().__init__(number, storlever, torture)
        self.tally = Tally()
        self._sociable = sociable
        self._asked = 0.0

    def _moves(self, name: str) -> list[Move]:
        moves = super()._moves(name)
        return moves if self._sociable else [replace(move, closes=None) for move in moves]

    def _request(self, move: Move) -> int | None:
        started = time.monotonic()
        if started - self._asked > KEPT_ALIVE:
            self.leave()
        status = super()._request(move)
        self._asked = time.monotonic()
        self.tally.add(status, self._asked - started)
        return status


class Writers:
    """The writers of one service, which nobody else may write to meanwhile."""

    def __init__(
        self,
        storlever: StorLever,
        torture: Torture,
        count: int = CLIENTS,
        *,
        sociable: bool = True,
    ) -> None:
        """The service runs, and is empty."""
        self.storlever = storlever
        self._chance = torture.chance
        target = storlever.add_target(STILL)
        storlever.add_lun(target, 1, image(storlever.root / "still.img"))
        self._rest = facts.in_the_store(storlever.state)
        self.clients = [
            Writer(number, storlever, torture, sociable=sociable) for number in range(count)
        ]
        self.done_unanswered = 0
        """Writes that were done although nobody heard of it."""

    @contextmanager
    def writing(self, *others: Worker) -> Iterator[None]:
        with working([*self.clients, *others]):
            yield

    def leave(self) -> None:
        for client in self.clients:
            client.leave()

    @property
    def answered(self) -> int:
        return sum(client.tally.done for client in self.clients)

    @property
    def cut_off(self) -> int:
        return sum(client.tally.statuses[None] for client in self.clients)

    @property
    def refusals(self) -> list[str]:
        """What the answers said that were no success."""
        return [text for client in self.clients for text in client.errors]

    # -- what must be true

    def settle(self) -> Facts:
        """What is stored: all that was answered, and what was not answered whole or not at all."""
        stored = facts.in_the_store(self.storlever.state)
        truth = self._rest
        for client in self.clients:
            found = frozenset(filter(client.owns, stored))
            possible = [client.now] if client.unsure is None else [client.now, client.unsure]
            assert found in possible, [sorted(found ^ each, key=str) for each in possible]
            self.done_unanswered += found == client.unsure
            client.now, client.unsure = found, None
            truth |= found
        assert stored == truth, sorted(stored ^ truth, key=str)
        return truth

    def require_told(self, truth: Facts, seconds: float) -> None:
        """API and tgtd come to tell the truth within this time, and nothing is failing."""
        try:
            wait_until(lambda: not self.lies(truth), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.lies(truth)}") from None

    def lies(self, truth: Facts) -> list[object]:
        """In what API and tgtd differ from the truth; somebody else's things do not count."""
        accounts = facts.accounts_in_tgtd(self.storlever) - {THEIRS}
        in_tgtd = frozenset(f for f in facts.in_tgtd(self.storlever) if FOREIGN not in f)
        health = self.storlever.http.get("/readyz").json()
        differences: tuple[frozenset[object] | set[object], ...] = (
            facts.in_the_api(self.storlever) ^ facts.told_by_api(truth),
            in_tgtd ^ facts.told_by_tgtd(truth),
            accounts ^ facts.accounts(truth),
            {*health["failing"], *filter(None, [health["reason"]])},
        )
        return [each for one in differences for each in one]

    def require_passwords(self, truth: Facts, sample: int = 2) -> None:
        """Those of some of the targets that are served, and of discovery, are in force."""
        served = {str(fact[1]) for fact in truth if fact[0] == "target"}
        served -= {str(fact[1]) for fact in truth if fact[0] == "target offline"}
        asking = served & {str(fact[1]) for fact in truth if fact[0] == "user"}
        for name in self._chance.sample(sorted(asking), min(sample, len(asking))):
            with login(self.storlever, truth, name):
                pass
        assert STILL in self._discovered(truth)

    def _discovered(self, truth: Facts) -> list[str]:
        said = {fact[0]: str(fact[1]) for fact in truth if str(fact[0]).startswith("discovery")}
        secrets = {str(fact[1]): str(fact[2]) for fact in truth if fact[0] == "secret"}
        if "discovery" not in said:
            return discover(self.storlever.portal)
        user, outgoing = said["discovery"], said.get("discovery outgoing")
        if outgoing is None:
            return discover(self.storlever.portal, user=user, password=secrets[user])
        return discover(
            self.storlever.portal,
            user=user,
            password=secrets[user],
            target_user=outgoing,
            target_password=secrets[outgoing],
        )

    def require_writes(self, seconds: float) -> None:
        """Everybody can write again, and is answered within this time."""
        for client in self.clients:
            client.leave()
            started = time.monotonic()
            status = client.write()
            took = time.monotonic() - started
            assert status is not None, "no answer"
            assert status < 300, client.errors[-1]
            assert took <= seconds, f"a write took {took:.2f} s"


class Guests:
    """Somebody else's target and user in this life of tgtd, and a session with one of ours."""

    def __init__(self, storlever: StorLever) -> None:
        self._storlever = storlever
        admin = storlever.admin
        admin("new", "target", "--tid", "30000", "-T", FOREIGN)
        admin("new", "account", "--user", THEIRS, "--password", "of theirs")
        admin("bind", "account", "--tid", "30000", "--user", THEIRS)
        admin("bind", "target", "--tid", "30000", "-I", "127.0.0.1")
        self._before = facts.blocks(storlever)[FOREIGN]
        self._session = Initiator(storlever.portal, STILL)

    def __enter__(self) -> "Guests":
        self._session.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._session.__exit__(*raised)

    def require_undisturbed(self) -> None:
        assert facts.blocks(self._storlever).get(FOREIGN) == self._before
        assert THEIRS in facts.accounts_in_tgtd(self._storlever)
        assert self._session.ready().status == 0
