"""The composition root: the only place that knows the concrete classes.

Order of start: state, tgtd, HTTP. A state file that cannot be read ends the service before tgtd
is touched. Order of stop: HTTP, the loop, an owned tgtd. A killed service leaves its tgtd and all
sessions running, and the next start takes it over.
"""

import contextlib
import fcntl
import gc
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn

from storlever import failpoint, logs
from storlever.backing import Machine
from storlever.config import Settings
from storlever.endpoint import Endpoint
from storlever.errors import ConfigError, StateUnusable, Unavailable
from storlever.loop import Loop
from storlever.notes import FileNotes
from storlever.reconciler import Reconciler
from storlever.service import Service
from storlever.store import SqliteStore
from storlever.territory import Territory
from storlever.tgtd.backend import Daemon, TgtdBackend
from storlever.tgtd.process import AttachedTgtd, NotOurs, OwnedTgtd, socket_path
from storlever.tgtd.transport import SocketTransport
from storlever.web.app import create_app
from storlever.web.gate import MAX_HEADER
from storlever.web.protocol import HttpProtocol
from storlever.web.san import PREFIX
from storlever.web.threads import Threaded

log = structlog.get_logger(__name__)

STATE_FILE = "state.db"
UNSENT = 128 * 1024
"""Bytes of answers that the kernel holds for a client that does not take them. It would hold
megabytes, for each of as many clients as there are."""
SWITCH = 0.0005
"""Seconds that a thread may compute while another waits to: a pass over 10,000 targets computes for
a tenth of a second, and with Python's own 5 ms a GET during it takes ten times as long."""
GRACE = 5
"""Seconds that requests under way get when the service stops."""


def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises ConfigError or StateUnusable before anything runs."""
    logs.configure(settings.log_format)
    if control := failpoint.arm(os.environ):
        log.warning("FAIL POINTS ARE ARMED: whoever writes this file can kill us", file=control)
    runtime = _folders(settings.state_dir)
    # By default SIGTERM would end us on the spot, and uvicorn raises it again once it has stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        stack.enter_context(_alone(settings.state_dir))
        notes = FileNotes(runtime)
        stack.callback(notes.close)
        store = SqliteStore(settings.state_dir / STATE_FILE, notes)
        stack.callback(store.close)
        sockets = [stack.enter_context(_listening(where)) for where in settings.listen]
        transport = SocketTransport(_control_socket(settings))
        daemon = _daemon(settings, transport, runtime)
        lock = threading.RLock()
        machine = Machine(Territory(settings.state_dir, settings.backing_root))
        reconciler = Reconciler(TgtdBackend(transport, daemon, machine), notes)
        service = Service(store, reconciler, machine, lock)
        # Only now that the state is read: a tgtd that runs is not stopped for a damaged one.
        if isinstance(daemon, OwnedTgtd):
            stack.callback(daemon.stop)
        loop = Loop(reconciler, lambda: service.inventory, lock)
        # So that the first answers are of a tgtd that has what is desired, if there is one.
        loop.tend(first=True)
        thread = threading.Thread(target=loop.run, name="loop")
        thread.start()
        stack.callback(thread.join)
        stack.callback(loop.stop)
        sys.setswitchinterval(SWITCH)
        gc.collect()
        gc.freeze()  # 10,000 targets are here to stay; to look them through takes 80 ms each time
        core = Threaded(service)
        stack.callback(core.close)
        _announce(settings, daemon)
        stack.callback(_finish_undisturbed)
        _serve_http(core, sockets)


def _folders(state_dir: Path) -> Path:
    """The state folder and the runtime folder in it, nobody else's to read."""
    runtime = state_dir / "run"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        runtime.mkdir(mode=0o700, exist_ok=True)
        mode = stat.S_IMODE(state_dir.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"cannot use the state folder {state_dir}: {error.strerror}") from None
    if mode & 0o077:
        log.warning("others may read the state folder", folder=str(state_dir), mode=oct(mode))
    return runtime


@contextlib.contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """One service a folder: SQLite's lock comes too late for two that make the file."""
    try:
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use the state folder {state_dir}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StateUnusable(
            f"the state folder {state_dir} is in use by another StorLever"
        ) from None
    finally:
        os.close(descriptor)


def _control_socket(settings: Settings) -> str:
    try:
        return socket_path(settings.tgt_control_port)
    except Unavailable as error:
        raise ConfigError(str(error)) from None


def _daemon(settings: Settings, transport: SocketTransport, runtime: Path) -> Daemon:
    owned = OwnedTgtd(
        transport,
        control_port=settings.tgt_control_port,
        portals=settings.portal,
        io_threads=settings.tgt_io_threads,
        owner=settings.state_dir.resolve(),
        log_file=runtime / "tgtd.log",
    )
    if settings.tgtd == "own":
        return owned
    attached = AttachedTgtd(transport)
    if settings.tgtd == "attach":
        return attached
    try:
        owned.running()
    except NotOurs:
        return attached
    except Unavailable:
        pass  # ours, and it hangs: the passes will see
    return owned


def _announce(settings: Settings, daemon: Daemon) -> None:
    mode = "own" if isinstance(daemon, OwnedTgtd) else "attached"
    portals = f", iSCSI on {', '.join(map(str, settings.portal))}" if mode == "own" else ""
    print(f"StorLever keeps its state in {settings.state_dir}")
    print(f"tgtd: {mode}, control port {settings.tgt_control_port}{portals}")
    for where in settings.listen:
        if isinstance(where, Endpoint):
            print(f"API documentation: http://{where}/docs")
            print(f"Try: curl http://{where}{PREFIX}/target_list")
        else:
            print(f"Try: curl --unix-socket {where} http://localhost{PREFIX}/target_list")
    sys.stdout.flush()


def _serve_http(core: Threaded, sockets: list[socket.socket]) -> None:
    config = uvicorn.Config(
        create_app(core),
        http=HttpProtocol,
        h11_max_incomplete_event_size=MAX_HEADER,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )
    # uvicorn raises the signal that ended it again once it has stopped cleanly.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets)


def _finish_undisturbed() -> None:
    """A second signal must not leave a tgtd half-stopped; what is left takes seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _listening(where: Endpoint | Path) -> Iterator[socket.socket]:
    try:
        listener = _unix(where) if isinstance(where, Path) else _tcp(where)
    except OSError as error:
        raise ConfigError(f"cannot listen on {where}: {error.strerror or error}") from None
    try:
        yield listener
    finally:
        listener.close()
        if isinstance(where, Path):
            where.unlink(missing_ok=True)


def _tcp(where: Endpoint) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # asyncio sets TCP_NODELAY only where the protocol is given; without it a GET takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT)  # of what it accepts, too
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _unix(where: Path) -> socket.socket:
    """For the owner alone; a socket file that nobody listens on any more is replaced."""
    _make_way(where)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(where))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _make_way(where: Path) -> None:
    """Raises OSError for anything but a socket, which is never ours to remove."""
    if not os.path.lexists(where):
        return
    if not where.is_socket() or where.is_symlink():
        raise OSError("something else than a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(where))
        except ConnectionRefusedError:
            where.unlink()
        else:
            raise OSError("another program listens there")
