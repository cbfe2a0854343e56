"""The composition root: the only place that knows the concrete classes.

Order of start: state, tgtd, HTTP. A state file that cannot be read ends the service before tgtd
is touched. Order of stop: HTTP, the loop, an owned tgtd. A killed service leaves its tgtd and all
sessions running, and the next start takes it over.
"""

import contextlib
import gc
import grp
import os
import pwd
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import structlog
import uvicorn

from storlever import failpoint, logs
from storlever.backing import Machine
from storlever.config import Settings
from storlever.endpoint import Endpoint
from storlever.errors import ConfigError, Unavailable
from storlever.home import Home
from storlever.journal import Keep
from storlever.keeper import Keeper
from storlever.listener import listening
from storlever.loop import Loop
from storlever.notes import FileNotes
from storlever.notify import Manager
from storlever.principal import Role
from storlever.reconciler import Reconciler
from storlever.service import Service, now
from storlever.store import SqliteStore
from storlever.tgtd.backend import Daemon, TgtdBackend
from storlever.tgtd.process import AttachedTgtd, NotOurs, OwnedTgtd, socket_path
from storlever.tgtd.transport import SocketTransport
from storlever.web.app import create_app
from storlever.web.edge import Edge
from storlever.web.gate import MAX_HEADER
from storlever.web.protocol import HttpProtocol
from storlever.web.san import PREFIX
from storlever.web.threads import Threaded

log = structlog.get_logger(__name__)

INSECURE = "insecure_no_tls: tokens and passwords cross the network in the clear"
SWITCH = 0.0005
"""Seconds that a thread may compute while another waits to: a pass over 10,000 targets computes for
a tenth of a second, and with Python's own 5 ms a GET during it takes ten times as long."""
GRACE = 5
"""Seconds that requests under way get when the service stops."""


def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises ConfigError or StateUnusable before anything runs."""
    logs.configure(settings.log_format)
    if settings.insecure_no_tls:
        log.warning("INSECURE", what=INSECURE)
    if control := failpoint.arm(os.environ):
        log.warning("FAIL POINTS ARE ARMED: whoever writes this file can kill us", file=control)
    manager = Manager.taken_from(os.environ)
    edge = _edge(settings)
    group = _group(settings.socket_group) if settings.socket_group else None
    home = Home(settings.state_dir)
    home.make()
    # By default SIGTERM would end us on the spot, and uvicorn raises it again once it has stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        stack.enter_context(home.alone())
        notes = FileNotes(home.runtime)
        stack.callback(notes.close)
        keep = Keep(settings.audit_entries, timedelta(days=settings.audit_days))
        store = SqliteStore(home.state_file, notes, keep=keep)
        stack.callback(store.close)
        sockets = [
            *(stack.enter_context(listening(where, group)) for where in settings.listen),
            stack.enter_context(listening(home.api_socket, None)),
        ]
        transport = SocketTransport(_control_socket(settings))
        daemon = _daemon(settings, transport, home.runtime)
        lock = threading.RLock()
        machine = Machine(settings.state_dir)
        reconciler = Reconciler(TgtdBackend(transport, daemon, machine), notes)
        service = Service(store, reconciler, machine, lock)
        _require_tokens(settings, service)
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
        stack.enter_context(_keeping(service))
        sys.setswitchinterval(SWITCH)
        gc.collect()
        gc.freeze()  # 10,000 targets are here to stay; to look them through takes 80 ms each time
        core = Threaded(service)
        stack.callback(core.close)
        _announce(settings, daemon)
        stack.callback(_finish_undisturbed)
        _serve_http(core, edge, sockets, manager)
        manager.tell("STOPPING=1")


@contextlib.contextmanager
def _keeping(service: Service) -> Iterator[None]:
    keeper = Keeper(service)
    thread = threading.Thread(target=keeper.run, name="keeper")
    thread.start()
    try:
        yield
    finally:
        keeper.stop()
        thread.join()


def _edge(settings: Settings) -> Edge:
    """Raises ConfigError."""
    people = {name: role for name, role in settings.socket_role if not name.startswith("@")}
    groups = {name[1:]: role for name, role in settings.socket_role if name.startswith("@")}
    ourselves = dict.fromkeys((0, os.geteuid()), Role.ADMIN)
    return Edge(
        open_loopback=settings.auth_loopback == "open" and not settings.behind_tls_proxy,
        users={_user(name): role for name, role in people.items()} | ourselves,
        groups={_group(name): role for name, role in groups.items()},
        certificates=dict(settings.client_role),
        hosts=frozenset(settings.allow_host),
        origins=settings.allow_origin,
        proxied=settings.behind_tls_proxy,
        warnings=(INSECURE,) if settings.insecure_no_tls else (),
    )


def _user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"socket_role: there is no user {name}") from None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"socket_group or socket_role: there is no group {name}") from None


def _require_tokens(settings: Settings, service: Service) -> None:
    """Raises ConfigError where others can connect, and nobody could do anything."""
    valid = any(not each.expired(now()) for each in service.inventory.tokens.values())
    if settings.exposed and not (valid or settings.client_role or settings.insecure_no_tls):
        where = ", ".join(map(str, settings.exposed))
        raise ConfigError(
            f"listen {where}: nobody could use it without a token; make one with: storlever token "
            f"create --state-dir {settings.state_dir} --name NAME --role admin"
        )


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


def _serve_http(core: Threaded, edge: Edge, sockets: list[socket.socket], manager: Manager) -> None:
    config = uvicorn.Config(
        create_app(core, edge),
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
        _Server(config, manager).run(sockets)


class _Server(uvicorn.Server):
    """Says when it serves."""

    def __init__(self, config: uvicorn.Config, manager: Manager) -> None:
        super().__init__(config)
        self._manager = manager

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._manager.tell("READY=1")


def _finish_undisturbed() -> None:
    """A second signal must not leave a tgtd half-stopped; what is left takes seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
