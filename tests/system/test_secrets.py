"""Passwords are write-only: no answer, no log, no command line has one."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from storlever.web.san import PREFIX
from tests.initiator import LoginError
from tests.system.furnished import RICH, SECRETS, furnish, joe, service, tgtds_of
from tests.world import WIKI_TARGET, StorLever, folder

MARK = "S3CRET"
"""Every secret of these tests begins with it."""


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[StorLever, list[str]]]:
    """A service after requests of every kind and outcome, and all that it answered."""
    assert all(secret.startswith(MARK) for secret in SECRETS.values())
    with folder() as root, service(root) as storlever:
        storlever.start()
        answers: list[str] = []
        storlever.http.event_hooks["response"] = [lambda response: keep(response, answers)]
        furnish(storlever)
        use(storlever)
        misuse(storlever)
        yield storlever, answers


def keep(response: httpx2.Response, answers: list[str]) -> None:
    response.read()
    answers.append(f"{response.status_code} {response.headers} {response.text}")


def use(storlever: StorLever) -> None:
    target = f"/target_list/{RICH}"
    for direction, user in (("incoming", "joe"), ("outgoing", "tim")):
        path = f"{target}/{direction}user_list/{user}"
        storlever.api("PUT", path, {"password": f"{MARK}-changed-{user}"}, expect=200)
        storlever.api("PUT", path, {"password": f"{MARK}"}, expect=200)  # too short: a warning
    for path in ("/conf", target, f"{target}/incominguser_list", f"{target}/lun_list"):
        storlever.get(path)
    for path in ("/readyz", "/openapi.json", "/docs"):
        storlever.http.get(path)


def misuse(storlever: StorLever) -> None:
    """Everything that fails with a secret in the request."""
    target = f"/target_list/{RICH}"
    users = f"{target}/incominguser_list"
    other = storlever.add_target(WIKI_TARGET)
    headers = {"Content-Type": "application/json"}
    for body in [
        {"username": "joe", "password": f"{MARK}-again"},
        {"username": "bad name", "password": f"{MARK}-bad-name"},
        {"username": "x", "password": f"{MARK}-\x00"},
        {"username": "x", "password": f"{MARK}" + "x" * 300},
        {"username": "x", "password": [f"{MARK}-list"]},
        {"username": "x", "password": {f"{MARK}-key": f"{MARK}-value"}},
        {"username": "x", "pass": f"{MARK}-wrong-field"},
        {"username": "x", "password": f"{MARK}\ud800"},
    ]:
        assert not storlever.api("POST", users, body).is_success
    storlever.api("POST", f"{other}/incominguser_list", {"username": "joe", "password": f"{MARK}2"})
    storlever.api("PUT", f"{users}/none", {"password": f"{MARK}-none"})
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": f"joe:{MARK}-conf"})
    storlever.api("PUT", "/conf", {"incomingdiscoveryuser": f"no colon {MARK}"})
    for text in (f'{{"password": "{MARK}', f'{{"password": {MARK}}}', f'["{MARK}"'):
        storlever.http.post(PREFIX + users, content=text, headers=headers)
    storlever.http.post(PREFIX + users, content=f'"{MARK}"', headers={"Content-Type": "text/plain"})
    with pytest.raises(LoginError), joe(storlever):  # its password was changed
        pass


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_no_answer_has_a_secret(told: tuple[StorLever, list[str]]) -> None:
    _, answers = told
    assert len(answers) > 30
    assert {"200", "201", "400", "409", "415", "422"} <= {answer[:3] for answer in answers}
    assert [answer for answer in answers if MARK in answer] == []


def test_no_log_has_a_secret(told: tuple[StorLever, list[str]]) -> None:
    storlever, _ = told
    logs = [storlever.log, *storlever.state.rglob("*.log")]
    assert len(logs) == 2
    assert "request" in logs[0].read_text()
    assert [log for log in logs if MARK in log.read_text()] == []


def test_no_command_line_and_no_environment_has_a_secret(
    told: tuple[StorLever, list[str]],
) -> None:
    storlever, _ = told
    assert storlever.process is not None
    pids = [storlever.process.pid, *tgtds_of(storlever)]
    assert len(pids) == 2
    for pid in pids:
        assert "serve" in command_line(pid) or "tgtd" in command_line(pid)
        assert MARK not in command_line(pid)
        assert MARK.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_secrets_are_kept_in_the_state_file_alone(told: tuple[StorLever, list[str]]) -> None:
    storlever, _ = told
    files = [path for path in storlever.root.rglob("*") if path.is_file()]
    having = {path.name for path in files if MARK.encode() in path.read_bytes()}
    assert having <= {"state.db", "state.db-wal"}
    assert having
