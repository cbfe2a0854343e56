"""What the service manager hears, on a real socket."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from storlever.notify import Manager


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its address as the environment spells it."""
    shown = f"{tmp_path}/notify" if request.param == "path" else f"@{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + shown[1:] if shown.startswith("@") else shown)
        listener.setblocking(False)
        yield listener, shown


def test_manager_hears_each_state_as_one_datagram(ear: tuple[socket.socket, str]) -> None:
    listener, shown = ear
    manager = Manager.taken_from({"NOTIFY_SOCKET": shown})
    manager.tell("READY=1")
    manager.tell("STOPPING=1")
    assert [listener.recv(100), listener.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_children_do_not_inherit_the_address(ear: tuple[socket.socket, str]) -> None:
    environment = {"NOTIFY_SOCKET": ear[1], "PATH": "/bin"}
    Manager.taken_from(environment)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_a_manager_there_is_nobody_to_tell(environment: dict[str, str]) -> None:
    Manager.taken_from(environment).tell("READY=1")
