"""Sessions, access and events by command, with the real service."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from storlever.cli.failure import Status
from storlever.client import Client
from tests.initiator import Initiator
from tests.shell import Shell
from tests.world import STORLEVER, StorLever, image, wait_until

IQN = "iqn.2026-01.test:sessions"
INITIATOR = "iqn.2026-01.test:initiator"


@pytest.fixture
def shell(emptied: StorLever) -> Shell:
    made = Shell(emptied)
    made.told("target", "create", IQN)
    made.told("target", "set", IQN, "--initiator", INITIATOR)
    made.told("lun", "add", IQN, str(image(emptied.root / "sessions.img")))
    return made


def test_who_is_logged_in_is_listed_and_closed(shell: Shell) -> None:
    with Initiator(shell.service.portal, IQN):
        (session,) = wait_until(lambda: shell.found("session", "list", IQN))
        assert session["initiator"] == INITIATOR
        assert INITIATOR in shell.told("session", "list", IQN)
        close = ("session", "close", IQN, str(session["id"]))
        assert "--yes" in shell.fails(Status.USAGE, *close)
        shell.told(*close, "--yes")
        wait_until(lambda: shell.found("session", "list", IQN) == [])
    shell.fails(Status.NOT_FOUND, *close, "--yes")


def test_who_is_kept_out_is_told(shell: Shell) -> None:
    shell.told("target", "set", IQN, "--add-initiator", "iqn.2026-01.test:other")
    with Initiator(shell.service.portal, IQN):
        (session,) = wait_until(lambda: shell.found("session", "list", IQN))
        said = shell.told("session", "close", IQN, str(session["id"]), "--block", "--yes")
    assert INITIATOR in said
    target = shell.found("target", "show", IQN)
    assert target["initiator_name_list"] == ["iqn.2026-01.test:other"]


def test_whoever_cannot_be_kept_out_alone_stays(shell: Shell) -> None:
    with Initiator(shell.service.portal, IQN):
        (session,) = wait_until(lambda: shell.found("session", "list", IQN))
        close = ("session", "close", IQN, str(session["id"]))
        assert "closes 1 session" in shell.told(*close, "--dry-run")
        shell.told("target", "set", IQN, "--initiator", "--yes")
        said = shell.fails(Status.CONFLICT, *close, "--block", "--yes")
        assert "storlever target set" in said
        assert shell.found("session", "list", IQN)[0]["id"] == session["id"]


def test_whether_an_initiator_is_admitted_is_told_and_is_the_status(shell: Shell) -> None:
    asked = ("access", IQN, "--address", "10.0.0.1", "--initiator")
    assert shell.told(*asked, INITIATOR).startswith("admitted (initiator_name_list)")
    done = shell.run(*asked, "iqn.2026-01.test:stranger")
    assert done.returncode == Status.FAILED
    assert done.stdout.startswith("not admitted")
    assert shell.found(*asked, INITIATOR)["admitted"] is True


@contextmanager
def watching(shell: Shell, *words: str) -> Iterator[subprocess.Popen[str]]:
    made = subprocess.Popen(
        [STORLEVER, "watch", *words],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield made
    finally:
        made.kill()
        made.wait()


def test_what_happens_is_printed_through_a_restart_of_the_service(shell: Shell) -> None:
    with watching(shell, "-o", "json") as watch:
        assert watch.stdout is not None
        seen = []

        def next_of(kind: str) -> dict[str, object]:
            assert watch.stdout is not None
            for line in watch.stdout:
                event: dict[str, object] = json.loads(line)
                seen.append(event)
                if event["type"] == kind:
                    return event
            raise AssertionError(f"no {kind} in {seen}")

        wait_until(lambda: made(shell))
        assert next_of("target-created")["iqn"] == f"{IQN}.x"
        shell.service.kill()
        shell.service.start()
        assert next_of("reset")
        shell.told("target", "delete", f"{IQN}.x", "--yes")
        assert next_of("target-deleted")["iqn"] == f"{IQN}.x"
        watch.send_signal(signal.SIGINT)
        assert watch.wait(10) == Status.INTERRUPTED


def test_a_watch_goes_on_after_the_event_that_it_is_told(shell: Shell) -> None:
    with watching(shell, "-o", "json") as watch:
        assert watch.stdout is not None
        wait_until(lambda: made(shell))
        first = json.loads(watch.stdout.readline())
    shell.told("target", "delete", f"{IQN}.x", "--yes")
    with watching(shell, "-o", "json", "--since", first["id"]) as watch:
        assert watch.stdout is not None
        later = (json.loads(line) for line in watch.stdout)
        assert next(each for each in later if each["type"] == "target-deleted")["iqn"] == f"{IQN}.x"


def made(shell: Shell) -> bool:
    """A target, again and again until the watch has begun to look."""
    shell.run("target", "delete", f"{IQN}.x", "--yes", "--missing-ok")
    return shell.run("target", "create", f"{IQN}.x").returncode == 0


def test_the_events_of_a_client_go_on_where_they_were(shell: Shell) -> None:
    """Of an id that is not known, the first event says so, and is a place to go on from."""
    with Client(f"http://127.0.0.1:{shell.service.port}") as client:
        start = next(client.events("none-0"))
        client.create_target(f"{IQN}.y")
        client.delete_target(f"{IQN}.y")
        first = next(client.events(start.id))
        second = next(client.events(first.id))
    assert (start.type, first.type, second.type) == ("reset", "target-created", "target-deleted")
    assert first.data["iqn"] == second.data["iqn"] == f"{IQN}.y"


def test_the_metrics_can_be_read(shell: Shell) -> None:
    with Client(f"http://127.0.0.1:{shell.service.port}") as client:
        assert "# HELP" in client.metrics()
