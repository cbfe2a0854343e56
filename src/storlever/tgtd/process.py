"""The daemon itself: one of our own, or one that somebody else runs.

tgtd ignores SIGTERM, forgets everything when it ends, and listens on every address when it cannot
have the portal it was told (1.0.85): so an owned one is checked after its start, and ended by its
own protocol.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import structlog

from storlever import failpoint
from storlever.endpoint import Endpoint
from storlever.errors import Unavailable
from storlever.tgtd import show
from storlever.tgtd.hole import known_hole
from storlever.tgtd.life import Peer
from storlever.tgtd.transport import NotRunning, Silent, SocketTransport
from storlever.tgtd.wire import Mode, Op, Request

log = structlog.get_logger(__name__)

SOCKET_VARIABLE = "TGT_IPC_SOCKET"
DEFAULT_SOCKET = "/var/run/tgtd/socket"
SOCKET_LIMIT = 107  # sun_path without its NUL (unix(7))
OWNER_VARIABLE = "TGTD_OWNER"
"""Set in the environment of an owned tgtd to the state folder it belongs to: a mark that a crash
of ours between starting it and writing it down cannot lose."""
START_PATIENCE = 5.0
STOP_PATIENCE = 5.0


def socket_path(control_port: int) -> str:
    """Where a tgtd of this control port listens; tgtadm and tgtd follow the same variable."""
    base = os.environ.get(SOCKET_VARIABLE)
    path = f"{base or DEFAULT_SOCKET}.{control_port}"
    if len(os.fsencode(path)) > SOCKET_LIMIT:
        raise Unavailable(f"the socket path {path} is longer than {SOCKET_LIMIT} bytes")
    return path


class NotOurs(Unavailable):
    """The tgtd at the control port is somebody else's. `owner`: the state folder of another
    StorLever, where it is that one's."""

    def __init__(self, detail: str, owner: str | None) -> None:
        super().__init__(detail)
        self.owner = owner


class _Executable:
    """What a process runs, which cannot change while it lives."""

    def hole(self, pid: int) -> str | None:
        return known_hole(Path(f"/proc/{pid}/exe"))


class AttachedTgtd(_Executable):
    """A tgtd that is never started, stopped or restarted by us."""

    def __init__(self, transport: SocketTransport) -> None:
        self._transport = transport

    def ensure(self) -> Peer:
        pid = self._transport.peer()
        return Peer(pid, _started(pid))


class OwnedTgtd(_Executable):
    """A tgtd of our own, found again after a crash of ours and started when there is none."""

    def __init__(
        self,
        transport: SocketTransport,
        *,
        control_port: int,
        portals: Sequence[Endpoint],
        io_threads: int,
        owner: Path,
        log_file: Path,
    ) -> None:
        self._transport = transport
        self._control_port = control_port
        self._portals = tuple(portals)
        self._io_threads = io_threads
        self._owner = str(owner)
        self._log_file = log_file
        self._child: subprocess.Popen[bytes] | None = None
        self._mute = False
        """Whether the next one gets no log. tgtd (1.0.85) ends at its start where it has something
        to say and no room to, so when one has ended like that, the other way is tried."""

    def running(self) -> Peer | None:
        """The owned tgtd if it runs. Raises NotOurs when the control port is another's."""
        try:
            pid = self._transport.peer()
        except NotRunning:
            return None
        except Silent as silent:
            self._require_ours(silent.pid)
            raise
        self._require_ours(pid)
        return Peer(pid, _started(pid))

    def _require_ours(self, pid: int) -> None:
        owner = _owner_of(pid)
        if owner != self._owner:
            raise NotOurs(
                f"control port {self._control_port} belongs to a tgtd that is not ours "
                f"(pid {pid}): choose another one, or attach to it",
                owner,
            )

    def ensure(self) -> Peer:
        return self.running() or self._start()

    def _start(self) -> Peer:
        self._require_free_portals()
        try:
            self._child = self._spawned()
        except OSError as error:
            raise Unavailable(f"cannot start tgtd: {error.strerror}") from None
        try:
            failpoint.reached("tgtd.spawned")
            peer = self._wait_for(self._child)
            self._require_portals()
        except BaseException:  # Ctrl-C too: nobody would know of it
            self._child.kill()
            self._child.wait()
            raise
        if self._mute:
            log.warning("tgtd has no log: with it, it ended at its start", file=str(self._log_file))
        self._mute = False
        log.info("tgtd started", pid=peer.pid, portals=[str(each) for each in self._portals])
        return peer

    def _spawned(self) -> subprocess.Popen[bytes]:
        """Raises OSError.

        Its descriptor 0 must refuse writes, as DEVNULL does not: while tgtd opens another path for
        a live unit, its workers write to 0 and would take what was lost there for written.
        """
        Path(self._transport.path).parent.mkdir(parents=True, exist_ok=True)
        with self._log() as output, Path(os.devnull).open("rb") as nothing:
            return subprocess.Popen(
                [
                    *("tgtd", "-f"),
                    *("-C", str(self._control_port)),
                    *("-t", str(self._io_threads)),
                    *("--iscsi", ",".join(f"portal={portal}" for portal in self._portals)),
                ],
                stdin=nothing,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in our terminal is not for it
                env={**os.environ, OWNER_VARIABLE: self._owner},
            )

    def _log(self) -> BinaryIO:
        """tgtd's own log, to append to; for nobody else to read."""
        file = os.devnull if self._mute else self._log_file
        return open(file, "ab", opener=partial(os.open, mode=0o600))

    def _wait_for(self, child: subprocess.Popen[bytes]) -> Peer:
        """Raises NotOurs when another one has taken the control port meanwhile."""
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline:
            if child.poll() is not None:
                self._mute = not self._mute
                raise Unavailable(f"tgtd ended at its start; its log is {self._log_file}")
            try:
                pid = self._transport.peer()
            except Unavailable:
                time.sleep(0.01)
            else:
                self._require_ours(pid)
                return Peer(pid, _started(pid))
        raise Unavailable(f"tgtd did not answer within {START_PATIENCE:g} s of its start")

    def _require_free_portals(self) -> None:
        for portal in self._portals:
            family = socket.AF_INET6 if ":" in portal.host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((portal.host, portal.port))
                    probe.listen(1)
                except OSError as error:
                    raise Unavailable(f"cannot serve iSCSI on {portal}: {error.strerror}") from None

    def _require_portals(self) -> None:
        wanted = frozenset(map(str, self._portals))
        reply = self._transport.exchange(Request(Mode.PORTAL, Op.SHOW))
        found = show.portals(reply.text)
        if found != wanted:
            raise Unavailable(
                f"tgtd serves iSCSI on {', '.join(sorted(found))} instead of "
                f"{', '.join(sorted(wanted))}"
            )

    def stop(self) -> None:
        """End it: no new logins, every target removed, then the daemon; by force if need be."""
        try:
            peer = self.running()
        except Silent as silent:  # ours, and hung
            peer = Peer(silent.pid, _started(silent.pid))
        except Unavailable:
            peer = None
        if peer is None:
            self._reap()
            return
        try:
            self._empty()
            self._transport.exchange(Request(Mode.SYSTEM, Op.DELETE))
        except Unavailable:
            pass
        if not _wait_for_end(peer.pid, STOP_PATIENCE):
            log.warning("tgtd does not end, it is killed", pid=peer.pid)
            self._kill(peer)
        self._reap()
        Path(self._transport.path).unlink(missing_ok=True)
        log.info("tgtd stopped", pid=peer.pid)

    def _empty(self) -> None:
        """Remove every target, as far as that goes within the patience."""
        deadline = time.monotonic() + STOP_PATIENCE
        offline = Request(Mode.SYSTEM, Op.UPDATE, parameters=(("State", "offline"),))
        self._transport.exchange(offline)
        while time.monotonic() < deadline:
            drivers = self._transport.exchange(Request(Mode.DRIVER, Op.SHOW))
            ids = show.target_ids(drivers.text)
            if not ids:
                return
            for tid in ids.values():  # of which each may take tgtd a second, of thousands
                if time.monotonic() > deadline:
                    return
                self._close(tid)
                self._transport.exchange(Request(Mode.TARGET, Op.DELETE, tid=tid, force=True))

    def _close(self, tid: int) -> None:
        listed = self._transport.exchange(Request(Mode.CONNECTION, Op.SHOW, tid=tid))
        for nexus in show.nexuses(listed.text):
            self._transport.exchange(
                Request(Mode.CONNECTION, Op.DELETE, tid=tid, sid=nexus.sid, cid=nexus.cid)
            )

    def _kill(self, peer: Peer) -> None:
        if _started(peer.pid) == peer.started:
            os.kill(peer.pid, signal.SIGKILL)
            _wait_for_end(peer.pid, STOP_PATIENCE)
        self._reap()

    def _reap(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            self._child = None


def _owner_of(pid: int) -> str | None:
    """The mark in a process's environment, where we may read it."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    mark = os.fsencode(OWNER_VARIABLE) + b"="
    for item in environment.split(b"\0"):
        if item.startswith(mark):
            return os.fsdecode(item.removeprefix(mark))
    return None


def _started(pid: int) -> int:
    """The start time of a process in clock ticks since boot; 0 when it is gone (proc(5))."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(status.rpartition(")")[2].split()[19])


def _wait_for_end(pid: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not _alive(pid):
            return True
        time.sleep(0.01)
    return not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
