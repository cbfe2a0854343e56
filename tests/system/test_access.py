"""Who gets in, and as whom: the real service, real sockets, real peers."""

import grp
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storlever.cli import desk
from storlever.cli.failure import Status
from storlever.home import Home
from storlever.web.san import PREFIX
from tests.world import STORLEVER, StorLever, folder, free_port, wait_until

TARGET = "iqn.2026-01.test:one"
ADDRESS = "10.99.0.1"
"""Of the loopback device in a network namespace of the test's own: no loopback address."""
NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """Where others may look for a socket."""
    with folder() as path:
        path.chmod(0o755)
        yield path


@pytest.fixture
def service(root: Path) -> Iterator[StorLever]:
    """Not started yet."""
    found = StorLever(root)
    yield found
    found.close()


def told(service: StorLever, *arguments: str) -> str:
    done = service.command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def create(service: StorLever, name: str, role: str) -> str:
    return told(service, "token", "create", "--name", name, "--role", role)


def status(*arguments: str | Path, method: str = "GET", prefix: tuple[str, ...] = ()) -> int:
    """Of what curl got; 0 when it could not connect."""
    done = subprocess.run(
        [
            *(*prefix, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return int(done.stdout)


def test_a_token_is_made_listed_and_revoked_with_and_without_the_service(
    service: StorLever,
) -> None:
    service.settings["auth_loopback"] = "token"
    early = create(service, "early", "admin")
    service.start()
    late = create(service, "late", "reader")
    assert service.http.get(f"{PREFIX}/conf").status_code == 401
    for secret in (early, late):
        headers = {"Authorization": f"Bearer {secret}"}
        assert service.http.get(f"{PREFIX}/conf", headers=headers).status_code == 200
    found = json.loads(told(service, "token", "list", "-o", "json"))
    assert [(each["name"], each["role"]) for each in found] == [
        ("early", "admin"),
        ("late", "reader"),
    ]
    told(service, "token", "revoke", "late")
    headers = {"Authorization": f"Bearer {late}"}
    assert service.http.get(f"{PREFIX}/conf", headers=headers).status_code == 401
    assert service.command("token", "revoke", "late").returncode == Status.NOT_FOUND
    assert service.stop() == 0
    assert told(service, "token", "list").splitlines()[1].startswith("early")
    assert early not in service.log.read_text()
    assert late not in service.log.read_text()


def test_a_secret_of_a_token_is_in_no_file(service: StorLever) -> None:
    service.start()
    secrets = [create(service, "one", "admin")]
    service.stop()
    secrets.append(create(service, "two", "admin"))
    for file in (each for each in service.root.rglob("*") if each.is_file()):
        assert not any(secret.encode() in file.read_bytes() for secret in secrets), file


def test_the_mode_and_the_group_of_a_socket_decide_who_may_connect_and_the_peer_its_role(
    service: StorLever,
) -> None:
    path = service.root / "api"
    group = grp.getgrgid(NOBODY).gr_name
    service.settings |= {
        "listen": f"127.0.0.1:{service.port} unix:{path}",
        "socket_group": group,
        "socket_role": f"@{group}=reader",
    }
    service.start()
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, NOBODY)

    def got(*drop: str, method: str = "GET") -> int:
        url = f"http://localhost{PREFIX}/target_list"
        prefix = ("setpriv", *drop) if drop else ()
        return status("--unix-socket", path, url, method=method, prefix=prefix)

    assert got() == 200
    assert got(method="POST") == 415, "an admin is heard out"
    member = ("--reuid=4242", f"--regid={NOBODY}", "--clear-groups")
    assert got(*member) == 200
    assert got(*member, method="POST") == 403
    supplementary = ("--reuid=4242", "--regid=4242", f"--groups={NOBODY}")
    assert got(*supplementary) == 200
    assert got("--reuid=4242", "--regid=4242", "--clear-groups") == 0
    assert got("--reuid=4242", "--regid=4242", "--groups=1,2,3") == 0
    path.chmod(0o666)
    assert got("--reuid=4242", "--regid=4242", "--clear-groups") == 403, "it has no role"
    assert service.stop() == 0
    last = json.loads(told(service, "audit", "show", "-o", "json", "--limit", "1"))
    assert (last["who"], last["outcome"]) == ("user:4242", "forbidden")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "needs TLS"),
        ({"behind_tls_proxy": "true"}, "token create"),
        ({"socket_role": "nobody-here=reader", "insecure_no_tls": "true"}, "no user"),
        ({"socket_group": "nobody-here", "insecure_no_tls": "true"}, "no group"),
    ],
)
def test_what_would_let_in_anybody_or_nobody_does_not_start(
    service: StorLever, settings: dict[str, str], reason: str
) -> None:
    service.settings |= {"listen": f"{ADDRESS}:{service.port}", **settings}
    service.prefix = namespace()
    service.spawn()
    assert service.process is not None
    assert service.process.wait(20) == 2
    assert reason in service.log.read_text()


def namespace() -> tuple[str, ...]:
    setup = f'ip link set lo up; ip addr add {ADDRESS}/32 dev lo; exec "$@"'
    return ("unshare", "--net", "--", "sh", "-c", setup, "sh")


@pytest.mark.parametrize("how", ["behind_tls_proxy", "insecure_no_tls"])
def test_from_elsewhere_only_a_token_gets_in(service: StorLever, how: str) -> None:
    """To an address that is none of loopback; the name the service is called by is checked too."""
    service.settings |= {
        "listen": f"{ADDRESS}:{service.port} 127.0.0.1:{service.port}",
        how: "true",
        "allow_host": "san.example.com",
    }
    service.prefix = namespace()
    secret = create(service, "one", "reader")
    service.spawn()
    assert service.process is not None
    pid = str(service.process.pid)
    url = f"http://{ADDRESS}:{service.port}"
    inside = ("nsenter", "-t", pid, "-n", "--")
    wait_until(lambda: status(f"{url}/readyz", prefix=inside) == 200)

    def got(*arguments: str) -> int:
        return status(f"{url}{PREFIX}/conf", *arguments, prefix=inside)

    token = ("-H", f"Authorization: Bearer {secret}")
    assert got() == 401
    assert got(*token) == 200
    assert got(*token, "-H", "Host: san.example.com") == 200
    assert got(*token, "-H", "Host: SAN.example.com:80") == 200
    assert got(*token, "-H", "Host: evil.example.com") == 421
    assert got(*token, "-H", "Host: 10.99.0.2") == 421
    local = f"http://127.0.0.1:{service.port}{PREFIX}/conf"
    assert status(local, prefix=inside) == (401 if how == "behind_tls_proxy" else 200)
    shouted = "INSECURE" in service.log.read_text()
    assert shouted == (how == "insecure_no_tls")
    proxied = status(local, *token, "-H", "X-Forwarded-For: 192.0.2.7", prefix=inside)
    assert proxied == 200


def test_a_written_audit_survives_a_kill_and_verifies(service: StorLever) -> None:
    service.start()
    for number in range(20):
        service.api("POST", "/target_list", {"iqn": f"{TARGET}{number}"}, expect=201)
    service.kill()
    verified = told(service, "audit", "verify")
    assert verified.startswith("20 entries are as they were written")
    link = verified.rpartition(" ")[2]
    service.start()
    service.api("DELETE", f"/target_list/{TARGET}1", expect=200)
    assert told(service, "audit", "verify", "--from", link).startswith("1 entries")
    entry, _, its_hash = link.partition(":")
    for forged in (f"{entry}:{'0' * 64}", f"500:{its_hash}"):
        done = service.command("audit", "verify", "--from", forged)
        assert done.returncode == 1, "what is known is not there: the end was cut off, or made up"
    last = json.loads(told(service, "audit", "show", "-o", "json", "--limit", "1"))
    assert (last["operation"], last["target"]) == ("delete_target", f"{TARGET}1")
    assert last["who"] == "loopback"


@pytest.mark.parametrize("command", [("token", "list"), ("audit", "verify"), ("audit", "show")])
def test_a_look_makes_no_state_where_there_is_none(
    service: StorLever, command: tuple[str, str]
) -> None:
    done = service.command(*command)
    assert done.returncode == 2
    assert "there is no state" in done.stderr
    assert not service.state.exists()


def test_a_token_makes_no_second_state_beside_a_service(service: StorLever) -> None:
    service.start()
    create = ("token", "create", "--name", "one", "--role", "reader")
    other = service.root / "other"
    environment = {
        "PATH": os.environ["PATH"],
        "STORLEVER_STATE_DIR": str(other),
        "STORLEVER_SOCKET": str(service.state / "run/api.sock"),
    }

    def made(*flags: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [STORLEVER, *create, *flags],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    done = made()
    assert done.returncode == Status.USAGE
    assert f"no state in {other}, but STORLEVER_SOCKET says" in done.stderr
    assert not other.exists()
    done = made("--state-dir", str(other))
    assert done.returncode == Status.DONE
    assert f"no state in {other}; made it: run the service with that" in done.stderr


def test_a_service_that_answers_is_seen_and_another_one_is_not(service: StorLever) -> None:
    service.start()
    usual = {"token": None, "timeout": 3.0, "patience": 0.0}
    assert desk._answers(usual | {"url": f"http://127.0.0.1:{service.port}"})
    assert not desk._answers(usual | {"url": f"http://127.0.0.1:{free_port()}"})


def test_a_start_waits_for_a_command_that_has_the_folder(service: StorLever) -> None:
    create(service, "one", "admin")
    with Home(service.state).alone():
        service.spawn()
        time.sleep(1.5)
    wait_until(lambda: service.answers(ready=True))


def test_ipv6_is_ipv6_alone(service: StorLever) -> None:
    """Else IPv4 would come in under addresses that are not what clients call it by."""
    service.settings |= {"listen": f"[::]:{service.port}", "insecure_no_tls": "true"}
    service.prefix = namespace()
    service.spawn()
    assert service.process is not None
    inside = ("nsenter", "-t", str(service.process.pid), "-n", "--")
    url = f":{service.port}/healthz"
    wait_until(lambda: status(f"http://[::1]{url}", prefix=inside) == 200)
    assert status(f"http://127.0.0.1{url}", prefix=inside) == 0


def test_a_refusal_is_durable_at_the_latest_when_the_service_stops(service: StorLever) -> None:
    service.start()
    service.api("DELETE", f"/target_list/{TARGET}", expect=404)
    assert service.stop() == 0
    assert "target-not-found" in told(service, "audit", "show")


def test_what_names_a_terminal_would_obey_are_shown_as_text(service: StorLever) -> None:
    service.start()
    service.http.delete(f"{PREFIX}/target_list/%E2%80%AE%C2%9B31mx")
    assert service.stop() == 0
    shown = told(service, "audit", "show")
    assert "path" in shown or "target" in shown
    assert all(char.isprintable() for char in shown)


def test_the_programs_own_socket_is_for_its_owner_alone(service: StorLever) -> None:
    service.start()
    socket = service.state / "run" / "api.sock"
    for each in (service.state, socket.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700
    assert socket.stat().st_uid == os.geteuid()
    url = f"http://localhost{PREFIX}/conf"
    assert status("--unix-socket", socket, url) == 200
    other = ("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups")
    assert status("--unix-socket", socket, url, prefix=other) == 0
