"""Things a test owns: folders, ports, a tgtd, a running StorLever. Nothing outlives its test."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from storlever.backing import BackingStore, Kind, Machine
from storlever.territory import Territory
from storlever.web.san import PREFIX

WIKI_TARGET = "iqn.2014-09.com.example:test"
PORTS = range(21000, 31000)  # below the ephemeral ones, which a client may get at any moment
CONTROL_PORT = 7  # any will do: each world has its own folder of management sockets
STORLEVER = Path(sys.executable).with_name("storlever")

NOTHING_PRIVATE = Machine(Territory(Path("/nowhere")))
"""This machine for a backend, with no folder of StorLever's."""


class Credulous(Machine):
    """Takes whatever is at a path for a file, so that tgtd is asked to open it."""

    def look(self, path: str) -> BackingStore:
        return BackingStore(Kind.FILE, str(self.identity(path)), 1 << 20)


_next_port = PORTS.start + 100 * (os.getpid() % 97)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on and no other test of this run is given."""
    global _next_port  # noqa: PLW0603  a counter for the life of the process
    for _ in PORTS:
        _next_port = _next_port + 1 if _next_port + 1 < PORTS.stop else PORTS.start
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, _next_port))
            except OSError:
                continue
            return _next_port
    raise RuntimeError("no free port")


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path: those of Unix sockets have at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="sl-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def image(path: Path, megabytes: int = 16) -> Path:
    """A sparse file for a LUN."""
    with path.open("wb") as file:
        file.truncate(megabytes << 20)
    return path


def wait_until(what: Any, seconds: float = 10.0) -> Any:
    """The first true value that `what()` gives; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {seconds:g} s")
        time.sleep(0.02)


@dataclass
class Tgtd:
    """A tgtd that is not StorLever's, with `root` as its folder."""

    root: Path
    threads: int = 1
    portal: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    control_port: int = CONTROL_PORT
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TGT_IPC_SOCKET": str(self.root / "tgt")}

    @property
    def socket_path(self) -> str:
        return f"{self.root / 'tgt'}.{self.control_port}"

    def start(self) -> None:
        with (self.root / "tgtd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("tgtd", "-f", "-C", str(self.control_port), "-t", str(self.threads)),
                    *("--iscsi", f"portal={self.portal}"),
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.alive and self.admin("show", "system", check=False))

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def admin(self, op: str, mode: str, *arguments: str, check: bool = True) -> str:
        return tgtadm(self.environment, self.control_port, op, mode, *arguments, check=check)


def tgtadm(
    environment: Mapping[str, str],
    control_port: int,
    op: str,
    mode: str,
    *arguments: str,
    check: bool = True,
) -> str:
    """What tgtd's own tool prints: tests look at the daemon with other eyes than ours."""
    done = subprocess.run(
        [
            *("tgtadm", "-C", str(control_port), "--lld", "iscsi"),
            *("--op", op, "--mode", mode),
            *arguments,
        ],
        env=dict(environment),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
    )
    if check and (done.returncode or "closed the socket" in done.stderr):
        raise AssertionError(f"tgtadm {op} {mode} {arguments}: {done.stderr}")
    return "" if done.returncode else done.stdout


class StorLever:
    """A service of its own in `root`: state, management socket, portal, HTTP port."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.state = Path(settings.get("state_dir", root / "state"))
        self.port = free_port()
        self.portal = settings.get("portal") or f"127.0.0.1:{free_port()}"
        self.settings = {
            "listen": f"127.0.0.1:{self.port}",
            "state_dir": str(self.state),
            "portal": self.portal,
            "tgtd": "own",
            "tgt_control_port": str(CONTROL_PORT),
            "tgt_io_threads": "1",
            **settings,
        }
        self.log = root / "storlever.log"
        self.prefix: tuple[str, ...] = ()
        """A command that the service is run by."""
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        """For whole URLs; `api` is for the twenty operations."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if "STORLEVER" not in key},
            "TGT_IPC_SOCKET": str(self.root / "tgt"),
            **{f"STORLEVER_{key.upper()}": value for key, value in self.settings.items()},
        }

    def start(self, *, ready: bool = True, patience: float = 15) -> "StorLever":
        self.spawn()
        try:
            wait_until(lambda: self.answers(ready=ready), patience)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log:\n{self.log.read_text()[-4000:]}") from None
        return self

    def spawn(self) -> None:
        """Start the program, and wait for nothing."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, STORLEVER, "serve"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def answers(self, *, ready: bool) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            path = "/readyz" if ready else "/healthz"
            return self.http.get(path, timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the program, with this service's state folder."""
        return subprocess.run(
            [STORLEVER, *arguments, "--state-dir", str(self.state)],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Stop it cleanly, its tgtd with it; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal_number)
        return self.process.wait(30)

    def kill(self) -> None:
        """kill -9 of the service alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Leave nothing running, whatever state the test left."""
        self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()
        pid = self.tgtd_pid()
        if pid is not None and self.settings["tgtd"] == "own":
            os.kill(pid, signal.SIGKILL)

    def tgtd_pid(self) -> int | None:
        """The process at the other end of the management socket."""
        path = f"{self.environment['TGT_IPC_SOCKET']}.{self.settings['tgt_control_port']}"
        with socket.socket(socket.AF_UNIX) as probe:
            # A whole request: tgtd may spin over a connection that brings none.
            request = b"\0" * 72 + (120).to_bytes(4, sys.byteorder) + b"\0" * 44
            try:
                probe.connect(path)
                probe.sendall(request)
            except OSError:
                return None
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int.from_bytes(credentials[:4], sys.byteorder)

    def admin(self, op: str, mode: str, *arguments: str, check: bool = True) -> str:
        port = int(self.settings["tgt_control_port"])
        return tgtadm(self.environment, port, op, mode, *arguments, check=check)

    def show(self) -> str:
        return self.admin("show", "target")

    # -- the SAN API

    def api(
        self, method: str, path: str, body: Any = None, *, expect: int | None = None
    ) -> httpx2.Response:
        """`path` from the prefix on, such as /conf; `body` is sent as JSON when given."""
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        response = self.http.request(method, PREFIX + path, content=content, headers=headers)
        if expect is not None:
            assert response.status_code == expect, (method, path, response.text)
        return response

    def get(self, path: str) -> Any:
        return self.api("GET", path, expect=200).json()

    def add_target(self, iqn: str = WIKI_TARGET, **access: list[str]) -> str:
        """Create a target (open to everyone unless lists are given); its path in the API."""
        self.api("POST", "/target_list", {"iqn": iqn}, expect=201)
        if access:
            self.api("PUT", f"/target_list/{iqn}", access, expect=200)
        return f"/target_list/{iqn}"

    def add_lun(self, target: str, lun: int, path: Path, **fields: Any) -> str:
        """`target` is its path in the API; so is what comes back for the LUN."""
        body = {"lun": lun, "path": str(path), **fields}
        self.api("POST", f"{target}/lun_list", body, expect=201)
        return f"{target}/lun_list/{lun}"


def pid_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
