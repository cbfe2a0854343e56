"""The composition root: the only place that knows the concrete classes.

Order of start: state, tgtd, HTTP. A state file that cannot be read ends the service before tgtd
is touched. Order of stop: HTTP, the loop, an owned tgtd. A killed service leaves its tgtd and all
sessions running, and the next start takes it over.
"""

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from storlever import failpoint, logs
from storlever.backing import Machine
from storlever.clock import now
from storlever.config import Settings
from storlever.endpoint import Endpoint
from storlever.enforcer import Enforcer
from storlever.errors import ConfigError, Unavailable
from storlever.home import Home
from storlever.keeper import Keeper
from storlever.knowledge import Knowledge
from storlever.listener import listening
from storlever.loop import Loop
from storlever.notify import Manager
from storlever.passes import Passes
from storlever.principal import Role
from storlever.sampler import Sampler
from storlever.service import Service
from storlever.state import opened
from storlever.territory import Territory
from storlever.tgtd.backend import Daemon, TgtdBackend
from storlever.tgtd.process import AttachedTgtd, NotOurs, OwnedTgtd, socket_path
from storlever.tgtd.transport import SocketTransport
from storlever.user import gid_of, uid_of
from storlever.web.app import create_app
from storlever.web.edge import Edge
from storlever.web.gate import MAX_HEADER
from storlever.web.protocol import HttpProtocol
from storlever.web.san import PREFIX
from storlever.web.server import Hangup, Server
from storlever.web.threads import Threaded
from storlever.web.tls import Identity, Tls

log = structlog.get_logger(__name__)

INSECURE = "insecure_no_tls: tokens and passwords cross the network in the clear"
SWITCH = 0.0005
"""Seconds that a thread may compute while another waits to: a pass over 10,000 targets computes for
a tenth of a second, and with Python's own 5 ms a GET during it takes ten times as long."""
LOCK_PATIENCE = 5.0
"""Seconds that a command may take with the state folder for itself while the service starts."""
GRACE = 5
"""Seconds that requests under way get when the service stops."""


def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises ConfigError or StateUnusable before anything runs."""
    logs.configure(settings.log_format)
    _warn(settings)
    if control := failpoint.arm(os.environ):
        log.warning("FAIL POINTS ARE ARMED: whoever writes this file can kill us", file=control)
    hangup = Hangup()
    signal.signal(signal.SIGHUP, hangup.note)
    manager = Manager.taken_from(os.environ)
    identity = _identity(settings)
    edge = _edge(settings)
    home = Home(settings.state_dir)
    home.make()
    _raise_limit()
    # By default SIGTERM would end us on the spot, and uvicorn raises it again once it has stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        state = stack.enter_context(opened(settings, home, LOCK_PATIENCE))
        plain, secure = stack.enter_context(_listening(settings, home))
        transport = SocketTransport(_control_socket(settings))
        daemon = _daemon(settings, transport, home.runtime)
        lock = threading.RLock()
        machine = Machine(_territory(settings, state.keys.path))
        passes = Passes(Knowledge(TgtdBackend(transport, daemon, machine), state.notes))
        service = Service(state.store, Enforcer(passes), machine, lock)
        _require_tokens(settings, service, state.keys.path)
        # Only now that the state is read: a tgtd that runs is not stopped for a damaged one.
        if isinstance(daemon, OwnedTgtd):
            stack.callback(daemon.stop)
        loop = Loop(passes, lambda: service.inventory, lock)
        # So that the first answers are of a tgtd that has what is desired, if there is one.
        loop.tend(first=True)
        for beside in (loop, Keeper(service), service.sampler):
            stack.enter_context(_running(beside))
        sys.setswitchinterval(SWITCH)
        gc.collect()
        gc.freeze()  # 10,000 targets are here to stay; to look them through takes 80 ms each time
        core = Threaded(service)
        stack.callback(core.close)
        _announce(settings, daemon, state.keys.path)
        stack.callback(_finish_undisturbed)
        # uvicorn raises the signal that ended it again once it has stopped cleanly.
        with contextlib.suppress(KeyboardInterrupt):
            watched = (identity.warnings, identity.valid_until) if identity else ()
            app = create_app(core, edge, *watched)
            ready, leaving = partial(manager.tell, "READY=1"), app.state.streams.end
            server = Server(_http(app), hangup, secure, identity, ready=ready, leaving=leaving)
            server.run(plain)
        manager.tell("STOPPING=1")


def _warn(settings: Settings) -> None:
    """Of what is allowed, and should not be so."""
    if settings.insecure_no_tls:
        log.warning("INSECURE", what=INSECURE)
    if settings.exposed and Path("/") in settings.backing_root:
        log.warning("backing_root is /: an operator can serve any file and disk of this machine")


def _raise_limit() -> None:
    """Each connection takes a file, and each LUN of a tgtd of our own, which inherits this."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def _listening(
    settings: Settings, home: Home
) -> Iterator[tuple[list[socket.socket], list[socket.socket]]]:
    """The sockets without TLS, and those with it. Raises ConfigError."""
    group = gid_of(settings.socket_group, "socket_group") if settings.socket_group else None
    with contextlib.ExitStack() as stack:
        plain = [stack.enter_context(listening(home.api_socket, mode=0o600))]
        secure: list[socket.socket] = []
        for where in settings.listen:
            kind = secure if where in settings.secure else plain
            kind.append(stack.enter_context(listening(where, group=group)))
        yield plain, secure


def _territory(settings: Settings, key: Path) -> Territory:
    own = filter(None, (settings.tls_certificate, settings.tls_key, settings.tls_client_ca))
    return Territory(settings.state_dir, key, *own, roots=settings.backing_root)


def _identity(settings: Settings) -> Identity | None:
    """Raises ConfigError."""
    if not settings.secure:
        return None
    assert settings.tls_certificate is not None
    assert settings.tls_key is not None
    return Identity(Tls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))


@contextlib.contextmanager
def _running(beside: Loop | Keeper | Sampler) -> Iterator[None]:
    """In a thread of its own."""
    thread = threading.Thread(target=beside.run, name=type(beside).__name__.lower())
    thread.start()
    try:
        yield
    finally:
        beside.stop()
        thread.join()


def _edge(settings: Settings) -> Edge:
    """Raises ConfigError."""
    people = {name: role for name, role in settings.socket_role if not name.startswith("@")}
    groups = {name[1:]: role for name, role in settings.socket_role if name.startswith("@")}
    ourselves = dict.fromkeys((0, os.geteuid()), Role.ADMIN)
    return Edge(
        open_loopback=settings.open_loopback,
        users={uid_of(name, "socket_role"): role for name, role in people.items()} | ourselves,
        groups={gid_of(name, "socket_role"): role for name, role in groups.items()},
        certificates=dict(settings.client_role),
        hosts=frozenset(settings.allow_host),
        origins=settings.allow_origin,
        proxied=settings.behind_tls_proxy,
        warnings=(INSECURE,) if settings.insecure_no_tls else (),
    )


def _require_tokens(settings: Settings, service: Service, key: Path) -> None:
    """Raises ConfigError where others can connect, and nobody could do anything."""
    valid = any(not each.expired(now()) for each in service.inventory.tokens.values())
    if not (valid or settings.open_loopback):
        log.warning("there is no token: who is not root on this machine can do nothing")
    if settings.exposed and not (valid or settings.client_role or settings.insecure_no_tls):
        where = ", ".join(map(str, settings.exposed))
        raise ConfigError(
            f"listen {where}: nobody could use it without a token; make one with: storlever token "
            f"create --state-dir {settings.state_dir} --key-file {key} --name NAME --role admin"
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
    except NotOurs as theirs:
        if theirs.owner:  # each would undo what the other does, users of discovery included
            raise ConfigError(
                f"tgt_control_port {settings.tgt_control_port}: the tgtd there belongs to the "
                f"StorLever with its state in {theirs.owner}; choose another control port"
            ) from None
        return attached
    except Unavailable:
        pass  # ours, and it hangs: the passes will see
    return owned


def _announce(settings: Settings, daemon: Daemon, key_file: Path) -> None:
    mode = "own" if isinstance(daemon, OwnedTgtd) else "attached"
    portals = f", iSCSI on {', '.join(map(str, settings.portal))}" if mode == "own" else ""
    print(f"StorLever keeps its state in {settings.state_dir}")
    print(f"The key to the secrets in it: {key_file}")
    print(f"tgtd: {mode}, control port {settings.tgt_control_port}{portals}")
    for listen in settings.listen:
        if isinstance(listen, Endpoint):
            where = listen.called(settings.allow_host)
            trust = f"--cacert {settings.tls_certificate} " if where.secure else ""
            free = settings.open_loopback and where.is_loopback and not where.secure
            token = "" if free else '-H "Authorization: Bearer $TOKEN" '
            print(f"API documentation: {where.url}/docs")
            print(f"Try: curl {trust}{token}{where.url}{PREFIX}/target_list")
        else:
            print(f"Try: curl --unix-socket {listen} http://localhost{PREFIX}/target_list")
    sys.stdout.flush()


def _http(app: Callable[..., Any]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        loop="asyncio",  # not uvloop where that happens to be: `web` bounds what asyncio holds
        h11_max_incomplete_event_size=MAX_HEADER,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )


def _finish_undisturbed() -> None:
    """A second signal must not leave a tgtd half-stopped; what is left takes seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
