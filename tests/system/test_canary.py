"""Passwords are write-only: whatever is asked and whatever comes of it, no answer, log, command
line, environment or file has one. Each is another, and all begin with the same word."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx2
import pytest

from storlever.change import CreateAccount
from storlever.inventory import Direction, Edit, Inventory
from storlever.model import Account, DiscoveryAuth, Target
from storlever.tgtd.wire import Mode, Op, Request
from storlever.web.san import PREFIX
from tests.initiator import LoginError
from tests.system.furnished import RICH, SECRETS, furnish, joe, service, tgtds_of
from tests.world import WIKI_TARGET, StorLever, folder

MARK = "S3CRET"
TARGET = f"/target_list/{RICH}"
USERS = tuple(f"{TARGET}/{direction}user_list" for direction in ("incoming", "outgoing"))
DISCOVERY = ("incomingdiscoveryuser", "outgoingdiscoveryuser")
JSON = {"Content-Type": "application/json"}


@dataclass
class Told:
    """A service after requests of every kind and outcome, and all that it answered."""

    storlever: StorLever
    answers: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def secret(self, rest: str = "") -> str:
        """One that was never used before, and ends so."""
        return f"{MARK}-number-{next(self._numbers)}-{rest}"

    def keep(self, response: httpx2.Response) -> None:
        response.read()
        self.answers.append(f"{response.status_code} {response.headers} {response.text}")

    @property
    def pids(self) -> list[int]:
        """Of the service and its tgtd."""
        assert self.storlever.process is not None
        pids = [self.storlever.process.pid, *tgtds_of(self.storlever)]
        assert len(pids) == 2
        return pids


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    assert all(secret.startswith(MARK) for secret in SECRETS.values())
    with folder() as root, service(root) as storlever:
        told = Told(storlever.start())
        storlever.http.event_hooks["response"] = [told.keep]
        furnish(storlever)
        use(told)
        misuse(told)
        send_garbage(told)
        be_refused(told)
        storlever.kill()
        storlever.start()
        use(told)
        yield told


def use(told: Told) -> None:
    """Everything that takes a secret, and everything that could show one."""
    storlever = told.storlever
    for users, user in zip(USERS, ("joe", "tim"), strict=True):
        path = f"{users}/{user}"
        storlever.api("PUT", path, {"password": told.secret()}, expect=200)
        storlever.api("PUT", path, {"password": f"{MARK}{len(user)}"}, expect=200)  # short: warns
    one = {"username": "mia", "password": told.secret(",with a comma")}
    storlever.api("POST", USERS[0], one, expect=201)
    storlever.api("DELETE", f"{USERS[0]}/mia", expect=200)
    conf = dict(zip(DISCOVERY, (f"dora:{told.secret()}", f"otto:{told.secret()}"), strict=True))
    storlever.api("PUT", "/conf", conf, expect=200)
    for path in ("/conf", TARGET, *USERS, f"{USERS[0]}/joe", f"{TARGET}/lun_list"):
        storlever.get(path)
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        storlever.http.get(path)


def misuse(told: Told) -> None:
    """Everything that fails with a secret in a body of the right form."""
    storlever, secret = told.storlever, told.secret
    passwords = (
        secret("x" * 300),
        secret("\x00"),
        secret("\n"),
        secret("ä"),
        secret("\ud800"),
        [secret()],
        {secret("key"): secret("value")},
    )
    for users in USERS:
        for password in passwords:
            for user in ("joe", "new"):
                post = storlever.api("POST", users, {"username": user, "password": password})
                put = storlever.api("PUT", f"{users}/{user}", {"password": password})
                assert not post.is_success
                assert not put.is_success
        for body in (
            {"username": "joe", "password": secret()},
            {"username": "bad name", "password": secret()},
            {"username": 1, "password": secret()},
            {"username": "new", "pass": secret()},
            {"username": "new", "password": secret(), "Password": secret()},
            {"password": secret()},
            [secret()],
            secret(),
        ):
            assert not storlever.api("POST", users, body).is_success
        for body in ({"pass": secret()}, {"password": secret(), "more": secret()}, secret()):
            storlever.api("PUT", f"{users}/joe", body)
        storlever.api("PUT", f"{users}/none", {"password": secret()}, expect=404)
    none = "/target_list/iqn.2026-01.test:none/incominguser_list"
    storlever.api("POST", none, {"username": "new", "password": secret()}, expect=404)
    other = f"{storlever.add_target(WIKI_TARGET)}/incominguser_list"
    storlever.api("POST", other, {"username": "joe", "password": secret()}, expect=409)
    for name in DISCOVERY:
        for said in (f"joe:{secret()}", f"no colon {secret()}", f"bad name:{secret()}"):
            assert not storlever.api("PUT", "/conf", {name: said}).is_success
        for odd in (f"new:{secret('x' * 300)}", [secret()], {"new": secret()}, f"new:{secret()}é"):
            assert not storlever.api("PUT", "/conf", {name: odd}).is_success
    storlever.api("PUT", "/conf", {"discoveryuser": f"new:{secret()}"})
    with pytest.raises(LoginError), joe(storlever):  # its password was changed
        pass


def send_garbage(told: Told) -> None:
    """Bodies that are no JSON, or not said to be, and methods and paths that are none."""
    http, secret = told.storlever.http, told.secret
    for text in (
        f'{{"password": "{secret()}',
        f'{{"password": {secret()}}}',
        f'["{secret()}"',
        f'{{"username": "x", "password": "{secret()}", "password": "{secret()}"}}',
        f'{{"username": "x", "password": "{secret()}\xff"}}'.encode("latin-1"),
        "[" * 10_000 + secret(),
        f'"{secret()}' + "x" * 3_000_000,
    ):
        for users in USERS:
            http.post(PREFIX + users, content=text, headers=JSON)
        http.put(PREFIX + "/conf", content=text, headers=JSON)
    whole = json.dumps({"username": "x", "password": secret()})
    http.post(PREFIX + USERS[0], content=whole, headers={"Content-Type": "text/plain"})
    http.post(PREFIX + USERS[0], content=whole)
    http.patch(PREFIX + USERS[0], content=whole, headers=JSON)
    http.post(PREFIX + "/nothing", content=whole, headers=JSON)


def be_refused(told: Told) -> None:
    """By tgtd, where it has a user of somebody else's, and where it does not answer."""
    storlever, secret = told.storlever, told.secret
    account = ("--user", "theirs", "--password", secret())
    storlever.admin("new", "account", *account)
    storlever.api("POST", USERS[0], {"username": "theirs", "password": secret()}, expect=409)
    storlever.admin("delete", "account", "--user", "theirs")
    (daemon,) = tgtds_of(storlever)
    os.kill(daemon, signal.SIGSTOP)
    try:
        new = {"username": "new", "password": secret()}
        storlever.api("POST", USERS[0], new, expect=503)
        storlever.api("PUT", f"{USERS[0]}/joe", {"password": secret()}, expect=503)
        storlever.api("PUT", "/conf", {DISCOVERY[0]: f"dora:{secret()}"}, expect=503)
    finally:
        os.kill(daemon, signal.SIGCONT)


def words(told: Told) -> Mapping[str, bytes]:
    """What must be nowhere: any secret; and the key, as it stands in its file and as it is."""
    key = (told.storlever.state / "secret.key").read_bytes().strip()
    raw = bytes.fromhex(key.decode())
    return {"a secret": MARK.encode(), "the key": key, "the key, raw": raw}


def betrayed(told: Told, content: str | bytes) -> list[str]:
    found = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    return [name for name, word in words(told).items() if word in found]


def test_no_answer_has_a_secret(told: Told) -> None:
    assert len(told.answers) > 150
    statuses = {answer[:3] for answer in told.answers}
    assert statuses >= {"200", "201", "400", "404", "405", "409", "413", "415", "422", "503"}
    assert [answer for answer in told.answers if betrayed(told, answer)] == []
    assert any("/openapi.json" not in answer and '"openapi"' in answer for answer in told.answers)


def test_no_log_has_a_secret(told: Told) -> None:
    storlever = told.storlever
    logs = [storlever.log, *storlever.state.rglob("*.log")]
    assert len(logs) == 2
    assert "request" in logs[0].read_text()
    assert [log for log in logs if betrayed(told, log.read_bytes())] == []


def test_no_command_line_and_no_environment_has_a_secret(told: Told) -> None:
    for pid in told.pids:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"serve" in line or b"tgtd" in line
        assert betrayed(told, line) == []
        assert betrayed(told, Path(f"/proc/{pid}/environ").read_bytes()) == []


def test_no_file_has_a_plain_secret_and_none_but_its_own_the_key(told: Told) -> None:
    """After a kill and while it runs again; its names are there, so it was looked at."""
    storlever = told.storlever
    assert {"state.db", "state.db-wal", "secret.key"} <= files_of(storlever).keys()
    for name, content in files_of(storlever).items():
        assert betrayed(told, content) == ([] if name != "secret.key" else ["the key"]), name
    files = files_of(storlever)
    assert b'"joe"' in files["state.db-wal"] + files["state.db"]


def files_of(storlever: StorLever) -> dict[str, bytes]:
    """All but the disks."""
    files = (path for path in storlever.root.rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in files if path.suffix != ".img"}


def test_no_repr_has_a_secret() -> None:
    """Which may end in a log, or in a traceback."""
    account = Account("joe", f"{MARK} of joe")
    edit = Edit(accounts={"joe": account})
    held = Inventory.of([Target(RICH, incoming=("joe",))], [account], DiscoveryAuth("joe"))
    asked = (("user", "joe"), ("password", account.secret))
    for value in (
        *(account, edit, held, held.accounts, CreateAccount(account), edit.joined(edit)),
        held.set_secret(RICH, Direction.INCOMING, account, everywhere=True),
        Request(Mode.ACCOUNT, Op.NEW, parameters=asked),
    ):
        assert MARK not in f"{value!r} {value!s} {[value]}"
