"""The way of a newcomer: from the first command to data on a disk, and on to a second machine."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.initiator import GOOD, Initiator, LoginError
from tests.scsi import serial_number
from tests.shell import Shell
from tests.world import STORLEVER, StorLever, folder, image

TARGET = "iqn.2026-01.test:first"
HOST = "iqn.2026-01.test:host"
PASSWORD = "correct-horse-battery"


@pytest.fixture
def machines() -> Iterator[tuple[Shell, Shell]]:
    with ExitStack() as stack:
        shells = []
        for _ in range(2):
            service = StorLever(stack.enter_context(folder()))
            stack.callback(service.close)
            shells.append(Shell(service.start()))
        yield shells[0], shells[1]


def logged_in(shell: Shell, password: str = PASSWORD) -> Initiator:
    portal = shell.service.portal
    return Initiator(portal, TARGET, name=HOST, user="alice", password=password)


def test_what_was_made_on_one_machine_is_served_by_another(machines: tuple[Shell, Shell]) -> None:
    """`config export --secrets | config apply -`, and hosts find the disk that they know."""
    here, there = machines
    disk = image(here.service.root / "disk.img")
    here.told("target", "create", TARGET, "--initiator", HOST)
    here.told("user", "add", TARGET, "alice", "--password-file", "-", typed=PASSWORD)
    here.told("lun", "add", TARGET, str(disk))
    with logged_in(here) as host:
        host.ready()
        assert host.write(0, b"kept" * 128).status == GOOD
        serial = serial_number(host)
        assert [each["initiator"] for each in here.found("session", "list", TARGET)] == [HOST]
    with pytest.raises(LoginError):
        logged_in(here, "not the password").__enter__()

    carry_over(here, there)
    assert there.told("config", "export", "--secrets") == here.told("config", "export", "--secrets")
    here.told("target", "delete", TARGET, "--yes")
    with logged_in(there) as host:
        host.ready()
        assert host.read(0, 1).data == b"kept" * 128
        assert serial_number(host) == serial
    with pytest.raises(LoginError):
        logged_in(there, "not the password").__enter__()


def carry_over(here: Shell, there: Shell) -> None:
    """By a pipe, as one does."""
    export = [str(STORLEVER), "config", "export", "--secrets"]
    with subprocess.Popen(export, env=here.environment, stdout=subprocess.PIPE) as exported:
        subprocess.run(
            [STORLEVER, "config", "apply", "-"],
            env=there.environment,
            stdin=exported.stdout,
            check=True,
            timeout=60,
        )
    assert exported.returncode == 0
