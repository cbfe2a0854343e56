"""The doctor and the real service: what is sound is told so, and what is broken is found."""

import os
import signal

import pytest

from storlever.cli.failure import Status
from tests.shell import Shell
from tests.world import StorLever, folder, image, wait_until

IQN = "iqn.2026-01.test:doctor"


@pytest.fixture
def shell(emptied: StorLever) -> Shell:
    shell = Shell(emptied)
    shell.told("target", "create", IQN, "--address", "127.0.0.1")
    return shell


def test_a_sound_service_has_a_clean_bill(shell: Shell) -> None:
    text = shell.told("doctor")
    assert "FAIL" not in text
    assert "the service is ready" in text
    assert f"{shell.service.portal} accepts connections" in text
    assert "nobody else's" in text


def test_what_is_wrong_is_found(shell: Shell) -> None:
    shell.told("target", "create", f"{IQN}.open")
    (shell.service.state).chmod(0o755)
    try:
        done = shell.run("doctor", "--portal", "127.0.0.1:1")
    finally:
        shell.service.state.chmod(0o700)
    assert done.returncode == Status.FAILED
    for finding in (
        f"WARN  {IQN}.open admits everyone",
        "FAIL  nobody serves iSCSI at 127.0.0.1:1",
        f"FAIL  others may use {shell.service.state} (0755)",
    ):
        assert finding in done.stdout


def test_a_service_that_is_not_there_is_found() -> None:
    with folder() as path:
        done = Shell(StorLever(path)).run("doctor")
    assert done.returncode == Status.FAILED
    assert "FAIL  the service does not answer" in done.stdout
    assert "Traceback" not in done.stderr


def test_what_is_not_served_and_what_is_somebody_elses_is_found() -> None:
    with folder() as root:
        service = StorLever(root)
        shell = Shell(service)
        try:
            service.start()
            shell.told("target", "create", IQN)
            path = image(root / "gone.img")
            shell.told("lun", "add", IQN, str(path))
            service.admin("new", "target", "--tid", "99", "-T", f"{IQN}.foreign")
            wait_until(lambda: f"WARN  {IQN}.foreign is somebody else's" in told(shell), 60)
            path.unlink()
            pid = service.tgtd_pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: f"FAIL  {IQN} LUN 1: cannot serve {path}" in told(shell), 30)
        finally:
            service.close()


def told(shell: Shell) -> str:
    return shell.run("doctor").stdout


def test_whoever_may_not_read_is_told_what_to_ask_with(shell: Shell) -> None:
    done = shell.run("doctor", "--url", f"http://127.0.0.1:{shell.service.port}")
    assert done.returncode == Status.DONE, done
    shell.environment["STORLEVER_TOKEN"] = "no-such-token"
    done = shell.run("doctor", "--url", f"http://127.0.0.1:{shell.service.port}")
    assert done.returncode == Status.FAILED
    assert "storlever token create" in done.stdout
