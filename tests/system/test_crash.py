"""kill -9 of the service in the middle of writing clients, again and again.

An answered write is there, in the API and in tgtd; one that was not answered is there whole or
not at all. Each client works on targets of its own, so it knows what must be there: a target with
one user and an ACL of one address is made in three writes, changed, and removed.
"""

import random
import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from storlever.web.san import PREFIX
from tests.system.furnished import service
from tests.world import StorLever, wait_until

ROUNDS = 20
CLIENTS = 8
FOREIGN = "iqn.2026-01.foreign:theirs"


@dataclass(frozen=True)
class Known:
    """A target as a client believes it to be."""

    users: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


State = Known | None
"""None: there is no such target."""


@dataclass
class Client:
    """One writer; `now` is what was answered, `after` what the last, unanswered write asks for."""

    number: int
    seed: int
    now: dict[str, State] = field(default_factory=dict)
    after: dict[str, State] = field(default_factory=dict)
    answered: int = 0
    odd: list[str] = field(default_factory=list)

    def run(self, base: str, killed: threading.Event) -> None:
        chance = random.Random(self.seed)  # noqa: S311  not for secrets
        with httpx2.Client(base_url=base, timeout=20) as http:
            while not killed.is_set():
                name = f"iqn.2026-01.test:{self.number}.{chance.randrange(4)}"
                try:
                    self._write(http, chance, name)
                except httpx2.TransportError:
                    return

    def _write(self, http: httpx2.Client, chance: random.Random, name: str) -> None:
        old = self.now.get(name)
        method, path, body, new = self._choose(chance, name, old)
        self.after = {name: new}
        response = http.request(method, PREFIX + path, json=body)
        if response.is_success:
            self.now[name] = new
            self.answered += 1
        else:
            self.odd.append(f"{method} {path}: {response.status_code} {response.text}")
        self.after = {}

    def _choose(
        self, chance: random.Random, name: str, old: State
    ) -> tuple[str, str, dict[str, object] | None, State]:
        target = f"/target_list/{name}"
        if old is None:
            return "POST", "/target_list", {"iqn": name}, Known()
        roll = chance.random()
        if roll < 0.2:
            return "DELETE", target, None, None
        if roll < 0.6:
            address = f"10.{self.number}.0.{chance.randrange(1, 255)}"
            body: dict[str, object] = {"initiator_addr_list": [address]}
            return "PUT", target, body, Known(old.users, (address,))
        if old.users and roll < 0.75:
            gone, *left = old.users
            path = f"{target}/incominguser_list/{gone}"
            return "DELETE", path, None, Known(tuple(left), old.addresses)
        user = f"u{self.number}-{name[-1]}-{chance.randrange(1000)}"
        if user in old.users:
            return "PUT", target, {}, old
        body = {"username": user, "password": secrets.token_hex(8)}
        known = Known(tuple(sorted((*old.users, user))), old.addresses)
        return "POST", f"{target}/incominguser_list", body, known


def in_the_api(storlever: StorLever) -> dict[str, Known]:
    found = {}
    for name in storlever.get("/target_list"):
        seen = storlever.get(f"/target_list/{name}")
        assert seen["state"] == "ready", seen
        found[name] = Known(tuple(seen["incominguser_list"]), tuple(seen["initiator_addr_list"]))
    return found


def in_tgtd(storlever: StorLever) -> dict[str, Known]:
    """What tgtadm shows, in the same words: an ACL of ALL is an empty list, the guard no user."""
    found = {}
    for block in re.split(r"^Target \d+: ", storlever.show(), flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        accounts, _, entries = rest.partition("    Account information:\n")[2].partition(
            "    ACL information:\n"
        )
        users = sorted(line.strip() for line in accounts.splitlines())
        found[name] = Known(
            tuple(user for user in users if user != "storlever.guard"),
            tuple(line.strip() for line in entries.splitlines() if line.strip() != "ALL"),
        )
    return found


def account_names(storlever: StorLever) -> set[str]:
    return {line.strip() for line in storlever.admin("show", "account").splitlines()[1:]}


def crash(storlever: StorLever, clients: list[Client], seconds: float) -> None:
    """Let all clients write for a while, then kill the service under them."""
    assert storlever.process is not None
    killed = threading.Event()
    base = f"http://127.0.0.1:{storlever.port}"
    threads = [threading.Thread(target=each.run, args=(base, killed)) for each in clients]
    for thread in threads:
        thread.start()
    time.sleep(seconds)  # the random moment
    storlever.process.kill()
    killed.set()
    storlever.process.wait()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def settle(clients: list[Client], found: dict[str, Known]) -> None:
    """Every answered write is in `found`, and unanswered ones are whole or not at all."""
    expected: set[str] = set()
    for client in clients:
        for name in client.now.keys() | client.after.keys():
            possible = [client.now.get(name)]
            if name in client.after:
                possible.append(client.after[name])
            seen = found.get(name)
            assert seen in possible, (name, seen, possible)
            client.now[name] = seen
            expected |= {name} if seen else set()
        client.after = {}
    assert found.keys() == expected


def make_foreign(storlever: StorLever) -> str:
    storlever.admin("new", "target", "--tid", "30000", "-T", FOREIGN)
    storlever.admin("new", "account", "--user", "annie", "--password", "of theirs")
    storlever.admin("bind", "account", "--tid", "30000", "--user", "annie")
    storlever.admin("bind", "target", "--tid", "30000", "-I", "127.0.0.1")
    return foreign_block(storlever)


def foreign_block(storlever: StorLever) -> str:
    blocks = re.split("^Target ", storlever.show(), flags=re.MULTILINE)
    return next(block for block in blocks if block.startswith(f"30000: {FOREIGN}\n"))


def test_no_answered_write_is_lost_and_none_is_there_half_when_the_service_is_killed(
    root: Path,
) -> None:
    seed = random.randrange(2**32)  # noqa: S311  not for secrets
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311  not for secrets
    with service(root) as storlever:
        daemon = storlever.start().tgtd_pid()
        foreign = make_foreign(storlever)
        clients = [Client(number, 0) for number in range(CLIENTS)]
        unanswered, slowest = 0, 0.0
        for _ in range(ROUNDS):
            for client in clients:
                client.seed = chance.getrandbits(32)
            crash(storlever, clients, chance.uniform(0.05, 1.2))
            unanswered += sum(bool(client.after) for client in clients)
            started = time.monotonic()
            storlever.start()
            slowest = max(slowest, time.monotonic() - started)
            found = in_the_api(storlever)
            settle(clients, found)
            seen = in_tgtd(storlever)
            assert foreign_block(storlever) == foreign
            assert seen.pop(FOREIGN) == Known(("annie",), ("127.0.0.1",))
            assert seen == found
            used = {user for known in found.values() for user in known.users}
            assert account_names(storlever) - {"storlever.guard"} == used | {"annie"}
        assert storlever.tgtd_pid() == daemon
        assert [odd for client in clients for odd in client.odd] == []
        answered = sum(client.answered for client in clients)
        print(
            f"{ROUNDS} kills: {answered} writes answered, {unanswered} cut off, 0 lost, "
            f"0 half; slowest restart {slowest:.2f} s"
        )
        assert answered > ROUNDS * CLIENTS
        wait_until(lambda: storlever.http.get("/readyz").json()["failing"] == [])
