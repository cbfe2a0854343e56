"""The commands and the real service: every verb, every exit status, and a terminal that asks."""

import os
import subprocess

import pytest
import yaml

from storlever.cli.failure import Status
from tests.initiator import Initiator
from tests.shell import Shell
from tests.world import STORLEVER, StorLever, image

IQN = "iqn.2026-01.test:cli"
PASSWORD = "a long password"


@pytest.fixture
def shell(emptied: StorLever) -> Shell:
    return Shell(emptied)


@pytest.fixture
def target(shell: Shell) -> str:
    shell.told("target", "create", IQN)
    return IQN


def test_a_target_lives_and_dies_by_commands(shell: Shell) -> None:
    path = image(shell.service.root / "cli.img")
    shell.told("target", "create", IQN)
    assert shell.told("target", "list") == f"{IQN}\n"
    shell.told("target", "set", IQN, "--address", "10.0.0.1", "--address", "10.0.0.2")
    shell.told("target", "set", IQN, "--remove-address", "10.0.0.1", "--add-address", "10.0.0.3")
    shell.told("target", "set", IQN, "--state", "offline", "--initiator", "iqn.2026-01.test:host")
    target = shell.found("target", "show", IQN)
    assert target["initiator_addr_list"] == ["10.0.0.2", "10.0.0.3"]
    assert target["initiator_name_list"] == ["iqn.2026-01.test:host"]
    assert target["state"] == "offline"
    assert shell.told("lun", "add", IQN, str(path), "--no-write-cache") == "1\n"
    shell.told("lun", "set", IQN, "1", "--readonly")
    lun = shell.found("lun", "show", IQN, "1")
    assert (lun["path"], lun["readonly"], lun["write_cache"]) == (str(path), True, False)
    assert "16 MiB" in shell.told("lun", "list", IQN)
    shell.told("lun", "remove", IQN, "1", "--yes")
    assert shell.found("lun", "list", IQN) == []
    shell.told("target", "delete", IQN, "--yes")
    assert shell.told("target", "list") == ""


def test_users_come_and_go_and_their_passwords_come_from_files(shell: Shell, target: str) -> None:
    file = shell.service.root / "password"
    file.write_text(PASSWORD + "\n")
    shell.told("user", "add", target, "joe", "--password-file", str(file))
    shell.told("user", "add", target, "tim", "--outgoing", "--password-file", "-", typed=PASSWORD)
    assert shell.told("user", "list", target) == "joe\n"
    assert shell.told("user", "list", target, "--outgoing") == "tim\n"
    with Initiator(
        shell.service.portal,
        target,
        user="joe",
        password=PASSWORD,
        target_user="tim",
        target_password=PASSWORD,
    ):
        pass
    done = shell.run("user", "set-password", target, "joe", "--password-file", "-", typed="short\n")
    assert "storlever: warning:" in done.stderr
    shell.told("user", "remove", target, "tim", "--outgoing", "--yes")
    shell.told("user", "remove", target, "joe", "--yes")
    assert shell.told("user", "list", target) == ""


def test_the_users_of_discovery_are_set_and_taken_away(shell: Shell) -> None:
    words = ("conf", "set", "--incoming", "disco", "--incoming-password-file", "-")
    shell.told(*words, typed=PASSWORD)
    assert shell.found("conf", "show")["incomingdiscoveryuser"] == "disco:*"
    shell.told("conf", "set", "--no-incoming")
    assert shell.found("conf", "show")["incomingdiscoveryuser"] == ""


def test_yaml_and_json_are_what_the_service_answers(shell: Shell, target: str) -> None:
    answered = shell.service.get(f"/target_list/{target}")
    assert shell.found("target", "show", target) == {**answered, "lun_list": []}
    assert yaml.safe_load(shell.told("target", "show", target, "-o", "yaml")) == {
        **answered,
        "lun_list": [],
    }


def test_the_number_of_a_lun_is_the_lowest_that_is_free(shell: Shell, target: str) -> None:
    for number, want in ((2, ""), (None, "1\n"), (None, "3\n")):
        path = str(image(shell.service.root / f"free{number}{want.strip()}.img"))
        said = () if number is None else ("--lun", str(number))
        assert shell.told("lun", "add", target, path, *said) == want


def test_a_path_may_be_relative_to_where_one_stands(shell: Shell, target: str) -> None:
    path = image(shell.service.root / "relative.img")
    relative = os.path.relpath(path)
    shell.told("lun", "add", target, relative)
    assert shell.found("lun", "list", target)[0]["path"] == str(path)


def test_a_rehearsal_tells_the_steps_and_does_nothing(shell: Shell, target: str) -> None:
    path = str(image(shell.service.root / "rehearsed.img"))
    assert path in shell.told("lun", "add", target, path, "--dry-run")
    assert shell.found("lun", "list", target) == []
    assert shell.told("target", "set", target, "--state", "ready", "--dry-run") == "nothing to do\n"
    assert target in shell.told("target", "delete", target, "--dry-run")
    assert shell.found("target", "list") == [target]


def test_a_list_of_targets_can_tell_what_is_set(shell: Shell, target: str) -> None:
    shell.told("target", "set", target, "--address", "10.0.0.1")
    (line,) = shell.told("target", "list", "--long").splitlines()[1:]
    assert line.split()[:4] == [target, "ready", "0", "10.0.0.1"]


def test_lists_that_many_edit_at_once_lose_nothing(shell: Shell, target: str) -> None:
    addresses = [f"10.0.0.{number}" for number in range(1, 4)]
    edits = [
        subprocess.Popen(
            [STORLEVER, "target", "set", target, "--add-address", each], env=shell.environment
        )
        for each in addresses
    ]
    done = [each.wait(30) for each in edits]
    added = {each for each, status in zip(addresses, done, strict=True) if status == 0}
    assert added
    assert set(shell.found("target", "show", target)["initiator_addr_list"]) == added


def test_a_change_that_says_nothing_is_no_change(shell: Shell, target: str) -> None:
    assert "nothing to set" in shell.fails(Status.USAGE, "target", "set", target)
    assert "nothing to set" in shell.fails(Status.USAGE, "lun", "set", target, "1")


def test_what_may_be_there_or_gone_already_is_no_failure(shell: Shell, target: str) -> None:
    shell.told("target", "create", target, "--exists-ok")
    shell.told("target", "delete", target, "--yes", "--missing-ok")
    shell.told("target", "delete", target, "--yes", "--missing-ok")


def test_the_lines_to_log_in_name_the_portal_of_the_service(shell: Shell, target: str) -> None:
    text = shell.told("target", "show", target)
    assert f"iscsiadm -m discovery -t sendtargets -p {shell.service.portal}" in text
    assert "10.9.9.9:1" in shell.told("target", "show", target, "--portal", "10.9.9.9:1")


# -- exit statuses


def test_each_way_to_fail_has_its_status_and_says_what_to_do(shell: Shell, target: str) -> None:
    assert "target list" in shell.fails(Status.NOT_FOUND, "target", "show", "iqn.2026-01.test:no")
    shell.fails(Status.CONFLICT, "target", "create", target)
    shell.fails(Status.FAILED, "target", "create", "not a name")
    shell.fails(Status.USAGE, "target", "create")
    shell.fails(Status.NOT_FOUND, "target", "set", target, "--remove-address", "10.0.0.1")
    with Initiator(shell.service.portal, target):
        said = shell.fails(Status.CONFLICT, "target", "delete", target, "--yes")
    assert "in the way: " in said
    assert "--force" in said


def test_a_role_that_is_too_low_fails(emptied: StorLever) -> None:
    admin = Shell(emptied)
    token = admin.told(
        "token", "create", "--name", "cli", "--role", "reader", "--url", admin_url(emptied)
    )
    try:
        reader = Shell(emptied, STORLEVER_TOKEN=token.strip())
        assert reader.told("target", "list") == ""
        assert "token" in reader.fails(Status.FAILED, "target", "create", IQN)
    finally:
        admin.told("token", "revoke", "cli", "--url", admin_url(emptied))


def admin_url(service: StorLever) -> str:
    return f"http://127.0.0.1:{service.port}"


def test_sessions_are_closed_by_force_alone(shell: Shell, target: str) -> None:
    with Initiator(shell.service.portal, target):
        shell.told("target", "delete", target, "--yes", "--force")
    assert shell.told("target", "list") == ""


# -- at a terminal


def test_what_is_lost_is_told_and_asked_at_a_terminal(shell: Shell, target: str) -> None:
    shell.told("lun", "add", target, str(image(shell.service.root / "asked.img")))
    delete = ("target", "delete", target)
    status, seen = shell.asked(*delete, typed=[("[y/N] ", "")])
    assert status == Status.FAILED
    assert f"deletes {target} with 1 LUN" in seen
    assert shell.found("target", "list") == [target]
    with Initiator(shell.service.portal, target):
        status, seen = shell.asked(*delete, "--force", typed=[("[y/N] ", "y")])
    assert status == Status.DONE, seen
    assert "closes 1 session" in seen
    assert shell.found("target", "list") == []


def test_the_last_password_is_not_taken_away_unawares(shell: Shell, target: str) -> None:
    shell.told("user", "add", target, "joe", "--password-file", "-", typed=PASSWORD)
    _, seen = shell.asked("user", "remove", target, "joe", typed=[("[y/N] ", "n")])
    assert "asks nobody for a password" in seen


@pytest.mark.parametrize(
    "words",
    [("target", "delete", IQN), ("lun", "remove", IQN, "1"), ("user", "remove", IQN, "joe")],
)
def test_without_a_terminal_and_a_yes_nothing_is_destroyed(
    shell: Shell, target: str, words: tuple[str, ...]
) -> None:
    shell.told("lun", "add", target, str(image(shell.service.root / "kept.img")))
    shell.told("user", "add", target, "joe", "--password-file", "-", typed=PASSWORD)
    assert "--yes" in shell.fails(Status.USAGE, *words)
    assert shell.service.get(f"/target_list/{target}")["lun_num"] == 1
    assert shell.service.get(f"/target_list/{target}/incominguser_list") == ["joe"]


@pytest.mark.parametrize("words", [("--address",), ("--remove-address", "10.0.0.1")])
def test_a_target_is_not_opened_to_everybody_unawares(
    shell: Shell, target: str, words: tuple[str, ...]
) -> None:
    shell.told("target", "set", target, "--address", "10.0.0.1")
    told = shell.fails(Status.USAGE, "target", "set", target, *words)
    assert "which then admits everybody, and there is no terminal" in told
    assert shell.service.get(f"/target_list/{target}")["initiator_addr_list"] == ["10.0.0.1"]
    shell.told("target", "set", target, *words, "--initiator", "iqn.2026-01.test:host")
    shell.told("target", "set", target, "--initiator", "--yes")
    shell.told("target", "set", target, "--address", "--initiator")


def test_a_password_is_asked_for_twice_and_never_seen(shell: Shell, target: str) -> None:
    prompts = [("for joe: ", PASSWORD), ("again: ", PASSWORD)]
    status, seen = shell.asked("user", "add", target, "joe", typed=prompts)
    assert status == Status.DONE, seen
    assert PASSWORD not in seen
    prompts[1] = ("again: ", "another")
    status, _ = shell.asked("user", "set-password", target, "joe", typed=prompts)
    assert status == Status.FAILED


# -- the service through its death


def test_a_command_waits_for_a_service_that_comes_back(shell: Shell) -> None:
    shell.service.kill()
    assert shell.run("target", "list").returncode == Status.UNAVAILABLE
    waiting = subprocess.Popen(
        [STORLEVER, "target", "create", IQN, "--wait", "30"], env=shell.environment
    )
    shell.service.start()
    assert waiting.wait(30) == 0
    assert shell.told("target", "list") == f"{IQN}\n"
