"""A real iSCSI initiator for tests: a thin layer over libiscsi (Debian: libiscsi7).

    with Initiator("127.0.0.1:13260", "iqn.2026-01.test:a", user="joe", password="secret") as disk:
        disk.ready()
        disk.write(0, b"x" * 512)

It never reconnects by itself, and no answer is awaited longer than `TIMEOUT` seconds.
For address ACLs, `source="127.0.0.2"` makes the target see that peer address. libiscsi can only
bind to an interface, and the kernel picks 127.0.0.1 as the source for every 127/8 portal; so the
session then runs through a small relay in this process whose outgoing socket is bound to `source`.
"""

from __future__ import annotations

import contextlib
import ctypes as c
import functools
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple, Self, TypedDict, Unpack

TIMEOUT = 5
GOOD, CHECK_CONDITION = 0x00, 0x02
UNIT_ATTENTION = 0x06
_MAX_SCSI_STATUS = 0xFF  # above it are libiscsi's own: cancelled, error, timed out
_TIMED_OUT = 0x0F000002
_CLOSED = "the target closed the connection"
_DISCOVERY, _NORMAL = 1, 2
_NO_LUN = -1  # log in without a TEST UNIT READY, so that any LUN may be absent or offline


class LoginError(Exception):
    """The target, or the network, refused the login; the text is libiscsi's."""


class ConnectionLost(Exception):
    """The connection was closed, or a command got no answer in time."""


class CommandError(Exception):
    """A helper that returns data met a status other than GOOD."""

    def __init__(self, cdb: bytes, result: Result) -> None:
        super().__init__(f"CDB {cdb.hex()}: status {result.status:#04x}, sense {result.sense}")
        self.result = result


class Login(TypedDict, total=False):
    """Who asks: `user` logs in with CHAP, `target_user` makes it mutual."""

    name: str
    user: str
    password: str
    target_user: str
    target_password: str
    source: str


class Result(NamedTuple):
    status: int
    sense: tuple[int, int, int] | None  # key, asc, ascq
    data: bytes


class _Task(c.Structure):
    """The head of libiscsi's struct scsi_task, its inner structures flattened."""

    _fields_ = [
        ("status", c.c_int),
        ("cdb_size", c.c_int),
        ("direction", c.c_int),
        ("expected", c.c_int),
        ("cdb", c.c_ubyte * 16),
        ("residual_status", c.c_int),
        ("residual", c.c_size_t),
        ("sense_type", c.c_ubyte),
        ("sense_key", c.c_int),
        ("sense_ascq", c.c_int),  # asc << 8 | ascq
        ("sense_specific", c.c_uint32),
        ("data_size", c.c_int),
        ("data", c.c_void_p),
    ]


class _DataOut(c.Structure):
    _fields_ = [("size", c.c_size_t), ("data", c.c_char_p)]


class _Discovered(c.Structure): ...


_Discovered._fields_ = [("next", c.POINTER(_Discovered)), ("name", c.c_char_p)]


@functools.cache
def _libiscsi() -> c.CDLL:
    lib = c.CDLL("libiscsi.so.7")
    lib.iscsi_create_context.restype = c.c_void_p
    lib.iscsi_get_error.restype = c.c_char_p
    lib.iscsi_discovery_sync.restype = c.POINTER(_Discovered)
    lib.scsi_create_task.restype = c.POINTER(_Task)
    lib.iscsi_scsi_command_sync.restype = c.POINTER(_Task)
    return lib


class Initiator:
    """One session with one target; every command goes to `lun`.

    A context manager: entering logs in, leaving logs out. The LUN need not exist to log in.
    """

    def __init__(self, portal: str, target: str, *, lun: int = 1, **login: Unpack[Login]) -> None:
        self._lib = _libiscsi()
        self.portal, self.target, self.lun, self.login = portal, target, lun, login
        self._cleanup = contextlib.ExitStack()
        self._context: c.c_void_p | None = None
        self._lost = ""  # why the session is over

    def __enter__(self) -> Self:
        lib, portal, self._lost = self._lib, self.portal, ""
        with contextlib.ExitStack() as stack:
            if "source" in self.login:
                portal = stack.enter_context(_relay(portal, self.login["source"]))
            name = self.login.get("name", "iqn.2026-01.test:initiator")
            self._context = c.c_void_p(lib.iscsi_create_context(name.encode()))
            stack.callback(self._leave)
            self._configure()
            if lib.iscsi_full_connect_sync(self._context, portal.encode(), _NO_LUN) != 0:
                raise LoginError(self._error())
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._cleanup.close()

    def command(self, cdb: bytes, *, read: int = 0, write: bytes = b"") -> Result:
        """Send any CDB, expecting up to `read` bytes back or sending `write` along."""
        if not self.alive:
            raise ConnectionLost(self._lost or "not logged in")
        direction = 2 if write else 1 if read else 0
        task = self._lib.scsi_create_task(len(cdb), cdb, direction, len(write) or read)
        out = c.byref(_DataOut(len(write), write)) if write else None
        try:
            lun = self.lun if self.lun < 256 else 0x4000 | self.lun  # flat addressing
            done = self._lib.iscsi_scsi_command_sync(self._context, lun, task, out)
            if not done or task.contents.status > _MAX_SCSI_STATUS:
                timed_out = done and task.contents.status == _TIMED_OUT
                self._lost = "no answer in time" if timed_out else _CLOSED
                raise ConnectionLost(self._lost)
            return _result(task.contents)
        finally:
            self._lib.scsi_free_scsi_task(task)

    def ready(self) -> Result:
        """TEST UNIT READY until no unit attention is pending; the last answer."""
        return self._past_attentions(bytes(6))

    def inquiry(self, page: int | None = None) -> bytes:
        """The standard INQUIRY data, or a vital product data page."""
        return self._ask(struct.pack(">BBBHB", 0x12, page is not None, page or 0, 255, 0), 255)

    def mode_sense(self, page: int, *, changeable: bool = False) -> bytes:
        """The whole MODE SENSE(6) answer: header, block descriptors, page."""
        return self._ask(bytes([0x1A, 0, page | changeable << 6, 0, 255, 0]), 255)

    def capacity(self) -> tuple[int, int]:
        """How many blocks of how many bytes, by READ CAPACITY(16)."""
        data = self._ask(struct.pack(">BB8xLBB", 0x9E, 0x10, 32, 0, 0), 32)
        last, size = struct.unpack_from(">QL", data)
        return last + 1, size

    def report_luns(self) -> list[int]:
        """The LUNs the target reports, in its order (peripheral and flat addressing)."""
        data = self._ask(struct.pack(">BB4xLBB", 0xA0, 0, 4096, 0, 0), 4096)
        (length,) = struct.unpack_from(">L", data)
        words = struct.unpack_from(f">{length // 2}H", data, 8)
        return [word & 0x3FFF for word in words[::4]]

    def read(self, lba: int, blocks: int, block_size: int = 512) -> Result:
        """READ(16)."""
        cdb = struct.pack(">BBQLBB", 0x88, 0, lba, blocks, 0, 0)
        return self.command(cdb, read=blocks * block_size)

    def write(self, lba: int, data: bytes, block_size: int = 512) -> Result:
        """WRITE(16); `data` must be whole blocks."""
        cdb = struct.pack(">BBQLBB", 0x8A, 0, lba, len(data) // block_size, 0, 0)
        return self.command(cdb, write=data)

    def target_names(self) -> list[str]:
        """SendTargets, for a discovery session: one whose `target` is empty."""
        first = self._lib.iscsi_discovery_sync(self._context)
        if not first and (error := self._error()):
            raise ConnectionLost(error)
        names, entry = [], first
        while entry:
            names.append(entry.contents.name.decode())
            entry = entry.contents.next
        self._lib.iscsi_free_discovery_data(self._context, first)
        return names

    @property
    def alive(self) -> bool:
        """Whether the connection still stands; sends nothing, so a hung target counts as alive."""
        if self._context is None or self._lost:
            return False
        lib, poll = self._lib, select.poll()
        for _ in range(100):
            poll.register(lib.iscsi_get_fd(self._context), lib.iscsi_which_events(self._context))
            events = poll.poll(0)
            if not events:
                return True
            if lib.iscsi_service(self._context, events[0][1]) != 0:
                self._lost = _CLOSED
                return False
        return True

    def _configure(self) -> None:
        lib = self._lib
        lib.iscsi_set_timeout(self._context, TIMEOUT)
        lib.iscsi_set_noautoreconnect(self._context, 1)
        lib.iscsi_set_session_type(self._context, _NORMAL if self.target else _DISCOVERY)
        lib.iscsi_set_targetname(self._context, self.target.encode())
        text = {key: str(value).encode() for key, value in self.login.items()}
        if "user" in text:
            lib.iscsi_set_initiator_username_pwd(self._context, text["user"], text["password"])
        if "target_user" in text:
            user, password = text["target_user"], text["target_password"]
            lib.iscsi_set_target_username_pwd(self._context, user, password)

    def _ask(self, cdb: bytes, length: int) -> bytes:
        result = self._past_attentions(cdb, length)
        if result.status != GOOD:
            raise CommandError(cdb, result)
        return result.data

    def _past_attentions(self, cdb: bytes, read: int = 0) -> Result:
        for _ in range(1000):
            result = self.command(cdb, read=read)
            if result.sense is None or result.sense[0] != UNIT_ATTENTION:
                break
        return result

    def _leave(self) -> None:
        if self.alive:
            self._lib.iscsi_logout_sync(self._context)
        self._lib.iscsi_destroy_context(self._context)
        self._context = None

    def _error(self) -> str:
        text: bytes = self._lib.iscsi_get_error(self._context)
        return text.decode(errors="replace").strip()


def discover(portal: str, **login: Unpack[Login]) -> list[str]:
    """The target names a discovery session is told."""
    with Initiator(portal, "", **login) as session:
        return session.target_names()


def _result(task: _Task) -> Result:
    if task.status == CHECK_CONDITION:  # what libiscsi then leaves as data is the raw sense
        return Result(task.status, (task.sense_key, *divmod(task.sense_ascq, 256)), b"")
    return Result(task.status, None, c.string_at(task.data, task.data_size) if task.data else b"")


@contextlib.contextmanager
def _relay(portal: str, source: str) -> Iterator[str]:
    """A portal on loopback that forwards one connection to `portal`, coming from `source`."""
    host, _, port = portal.rpartition(":")
    try:
        far = socket.create_connection((host.strip("[]"), int(port)), TIMEOUT, (source, 0))
    except OSError as error:
        raise LoginError(str(error)) from error
    with far, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT)
        thread = threading.Thread(target=_forward, args=(server, far), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)
            thread.join(2 * TIMEOUT)


def _forward(server: socket.socket, far: socket.socket) -> None:
    """Copy bytes both ways until either side closes, then close both."""
    with contextlib.suppress(OSError), far, server.accept()[0] as near:
        near.settimeout(TIMEOUT)
        other = {near: far, far: near}
        while True:
            for end in select.select([near, far], [], [])[0]:
                data = end.recv(1 << 16)
                if not data:
                    return
                other[end].sendall(data)
