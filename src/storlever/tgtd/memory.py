"""tgtd's in-memory twin: a Transport that answers as the daemon (1.0.85) does.

It keeps the rules of the real one that StorLever builds on, those that kill it included, and
shares its contract tests with it. What initiators would be granted can be asked with `admits`.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from storlever.errors import Unavailable
from storlever.model import Traffic
from storlever.names import EVERYONE
from storlever.tgtd.life import Peer
from storlever.tgtd.transport import Awaited, NotRunning, Transport
from storlever.tgtd.wire import EVERY, SEGMENT_LENGTH, Device, Mode, Op, Reply, Request, TgtError

FIRST_SLOTS = 16
DISCOVERY_SLOTS = 16
SEGMENT_LENGTHS = range(512, 1 << 24)

_TYPES = {
    Device.DISK: "disk",
    Device.TAPE: "tape",
    Device.CD: "cd/dvd",
    Device.CHANGER: "changer",
    Device.PASSTHROUGH: "passthrough",
}
_OWN_STORES = {Device.CD: "mmc", Device.CHANGER: "smc"}
_YES = ("No", "Yes")
_U32 = 1 << 32
_STATS = (
    "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) "
    "errs\n"
)


class _Refusal(Exception):
    def __init__(self, error: TgtError) -> None:
        super().__init__(error)
        self.error = error


class _Death(Exception):
    """The daemon would crash here."""


@dataclass
class Bound:
    """The accounts of a target or of discovery: slots that may have holes, as tgtd keeps them."""

    slots: list[str | None] = field(default_factory=lambda: [None] * FIRST_SLOTS)
    outgoing: str | None = None
    limited: bool = False

    @property
    def count(self) -> int:
        return sum(slot is not None for slot in self.slots)

    def bind(self, name: str) -> None:
        if name in self.slots:
            raise _Refusal(TgtError.USER_EXISTS)
        if None not in self.slots:
            if self.limited:
                raise _Death
            self.slots += [None] * len(self.slots)
        self.slots[self.slots.index(None)] = name

    def unbind(self, name: str) -> None:
        if name not in self.slots:
            raise _Refusal(TgtError.NO_USER)
        self.slots[self.slots.index(name)] = None

    def forget(self, name: str) -> None:
        self.slots = [None if slot == name else slot for slot in self.slots]
        self.outgoing = None if self.outgoing == name else self.outgoing

    def visible(self) -> list[str]:
        """The first `count` slots, which is all that a login looks at."""
        return [slot for slot in self.slots[: self.count] if slot is not None]

    def shown(self) -> Iterator[str]:
        for slot in self.slots[: self.count]:
            if slot is None:
                raise _Death
            yield slot
        if self.outgoing:
            yield f"{self.outgoing} (outgoing)"


@dataclass
class Unit:
    device: Device
    store: str
    scsi_id: str
    scsi_sn: str
    removable: bool
    path: str | None = None
    size: int = 0
    online: bool = False
    readonly: bool = False
    mode_page: str | None = None
    product: dict[str, str] = field(default_factory=dict)
    busy: int = 0
    """How many times a deletion is refused because of commands in flight."""


@dataclass
class _Target:
    name: str
    ready: bool = True
    segment: str = "8192"
    addresses: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    bound: Bound = field(default_factory=Bound)
    units: dict[int, Unit] = field(default_factory=dict)
    sessions: dict[int, tuple[str, str]] = field(default_factory=dict)
    aliases: dict[int, str] = field(default_factory=dict)
    traffic: dict[tuple[int, int], Traffic] = field(default_factory=dict)
    """By LUN and session."""

    def entries(self, request: Request) -> tuple[list[str], str]:
        key, entry = request.parameters[0]
        return (self.names if key == "initiator-name" else self.addresses), entry


class MemoryTgtd(Transport):
    """A Transport and a Daemon. `requests` counts what was asked; `hung` and `dead` say how it
    fails to answer; `known_hole` what it is vulnerable to."""

    def __init__(self) -> None:
        self.life = 0
        self.known_hole: str | None = None
        self.restart()

    def ensure(self) -> Peer:
        if self.dead:
            raise NotRunning("tgtd is not running")
        return Peer(self._pid, self.life)

    def hole(self, pid: int) -> str | None:
        return self.known_hole if pid == self._pid else None

    @property
    def _pid(self) -> int:
        """A number that no process of the machine has."""
        return -self.life

    def restart(self) -> None:
        """A new life, with everything forgotten."""
        self.life += 1
        self.targets: dict[int, _Target] = {}
        self.accounts: dict[str, str] = {}
        self.discovery = Bound([None] * DISCOVERY_SLOTS, limited=True)
        self.portals = ["127.0.0.1:3260"]
        self.requests = 0
        self.hung = False
        self.dead = False
        self._next_session = 1

    def send(self, request: Request, *, pid: int | None = None) -> Awaited:
        reply = self._reply(request, pid)
        return lambda: reply

    def _reply(self, request: Request, pid: int | None) -> Reply:
        if self.dead:
            raise NotRunning("tgtd is not running")
        if pid not in (None, self._pid):
            raise Unavailable("tgtd has been restarted")
        if self.hung:
            raise Unavailable("tgtd did not answer")
        self.requests += 1
        try:
            return Reply(0, self._answer(request))
        except _Refusal as refusal:
            return Reply(refusal.error)
        except _Death:
            self.dead = True
            raise Unavailable("tgtd closed the connection: it died") from None

    def _answer(self, request: Request) -> str:
        match request.mode:
            case Mode.TARGET:
                return self._target_request(request)
            case Mode.UNIT:
                return self._unit_request(request)
            case Mode.ACCOUNT:
                return self._account_request(request)
            case Mode.CONNECTION:
                return self._connection_request(request)
            case Mode.PORTAL:
                return "".join(f"Portal: {portal},1\n" for portal in self.portals)
            case Mode.DRIVER:
                lines = (
                    f"        Target {tid}: {each.name}\n" for tid, each in self.targets.items()
                )
                return "LLDs:\n    iscsi: ready\n" + "".join(lines) + "    iser: error\n"
            case Mode.SYSTEM:
                return self._system_request(request)

    # -- targets

    def _target(self, tid: int) -> _Target:
        if tid not in self.targets:
            raise _Refusal(TgtError.NO_TARGET)
        return self.targets[tid]

    def _target_request(self, request: Request) -> str:
        match request.op:
            case Op.SHOW if request.tid == EVERY:
                return "".join(_shown(tid, self.targets[tid]) for tid in sorted(self.targets))
            case Op.SHOW:
                return f"{SEGMENT_LENGTH}={self._target(request.tid).segment}\n"
            case Op.NEW:
                name = dict(request.parameters)["targetname"]
                taken = request.tid in self.targets
                if taken or any(each.name == name for each in self.targets.values()):
                    raise _Refusal(TgtError.TARGET_EXISTS)
                self.targets[request.tid] = _Target(name)
            case Op.DELETE:
                if self._target(request.tid).sessions and not request.force:
                    raise _Refusal(TgtError.TARGET_ACTIVE)
                del self.targets[request.tid]
            case Op.UPDATE:
                _update_target(self._target(request.tid), *request.parameters[0])
            case Op.BIND:
                entries, entry = self._target(request.tid).entries(request)
                if entry in entries:
                    raise _Refusal(TgtError.ACL_EXISTS)
                entries.append(entry)
            case Op.UNBIND:
                entries, entry = self._target(request.tid).entries(request)
                if entry not in entries:
                    raise _Refusal(TgtError.NO_ACL)
                entries.remove(entry)
        return ""

    # -- logical units

    def _unit_request(self, request: Request) -> str:
        if request.op is not Op.NEW and request.tid not in self.targets:
            raise _Refusal(TgtError.NO_LUN)
        target = self._target(request.tid)
        parameters = dict(request.parameters)
        if request.op is Op.NEW:
            if request.lun in target.units:
                raise _Refusal(TgtError.LUN_EXISTS)
            unit = _new_unit(request, parameters)
            if "path" in parameters:
                _open(unit, parameters["path"])
                unit.removable = request.device is not Device.DISK
            target.units[request.lun] = unit
            for sid in target.sessions:
                target.traffic.pop((request.lun, sid), None)
            return ""
        if request.op is Op.STATS:
            return _STATS + "".join(_counted(request.tid, target, request.lun))
        if request.lun not in target.units:
            raise _Refusal(TgtError.NO_LUN)
        unit = target.units[request.lun]
        if request.op is Op.UPDATE:
            _update(unit, request.parameters)
        elif unit.busy:
            unit.busy -= 1
            raise _Refusal(TgtError.LUN_ACTIVE)
        else:
            del target.units[request.lun]
        return ""

    # -- accounts

    def _account_request(self, request: Request) -> str:
        parameters = dict(request.parameters)
        name = parameters.get("user", "")
        match request.op:
            case Op.SHOW:
                if not self.accounts:
                    return ""
                lines = (f"    {name}\n" for name in reversed(self.accounts))
                return "Account list:\n" + "".join(lines)
            case Op.NEW:
                if name in self.accounts:
                    raise _Refusal(TgtError.USER_EXISTS)
                self.accounts[name] = parameters["password"]
                return ""
        if request.op is not Op.DELETE and request.tid != EVERY:
            self._target(request.tid)
        if name not in self.accounts:
            raise _Refusal(TgtError.NO_USER)
        if request.op is Op.DELETE:
            for bound in self._bounds():
                bound.forget(name)
            del self.accounts[name]
        else:
            self._bind(request, name)
        return ""

    def _bind(self, request: Request, name: str) -> None:
        everywhere = request.tid == EVERY
        bound = self.discovery if everywhere else self.targets[request.tid].bound
        binds = request.op is Op.BIND
        if not request.outgoing:
            (bound.bind if binds else bound.unbind)(name)
        elif binds:
            if bound.outgoing:
                raise _Refusal(TgtError.OUTGOING_EXISTS)
            bound.outgoing = name
        else:
            if bound.outgoing != name:
                raise _Refusal(TgtError.NO_USER)
            bound.outgoing = None

    def _bounds(self) -> Iterator[Bound]:
        yield self.discovery
        for target in self.targets.values():
            yield target.bound

    # -- the rest

    def _connection_request(self, request: Request) -> str:
        sessions = self._target(request.tid).sessions
        if request.op is Op.DELETE:
            if request.sid not in sessions:
                raise _Refusal(TgtError.NO_SESSION)
            if request.cid != 0:
                raise _Refusal(TgtError.NO_CONNECTION)
            del sessions[request.sid]
            return ""
        return "".join(
            f"Session: {sid}\n    Connection: 0\n        Initiator: {name}\n"
            f"        IP Address: {address}\n"
            for sid, (name, address) in sessions.items()
        )

    def _system_request(self, request: Request) -> str:
        if request.op is Op.DELETE:
            if self.targets:
                raise _Refusal(TgtError.INVALID_REQUEST)
            self.dead = True
            return ""
        if request.op is Op.UPDATE:
            return ""
        if request.op is Op.STATS:
            return _STATS + "".join(
                row
                for tid, target in sorted(self.targets.items())
                for lun in (0, *sorted(target.units))
                for row in _counted(tid, target, lun)
            )
        shown = list(self.discovery.shown()) if self.discovery.count else []
        accounts = "".join(f"    {name}\n" for name in shown)
        title = "    Account information:\n\n" if shown else ""
        return f"System:\n    State: ready\n    debug: off\n{title}{accounts}iSNS:\n    iSNS=Off\n"

    # -- what initiators meet

    def admits(self, target: str, initiator: str, address: str, user: str, secret: str) -> bool:
        """Whether this initiator could log in now, with this name and secret if asked for them."""
        found = next((each for each in self.targets.values() if each.name == target), None)
        if found is None or not found.ready:
            return False
        if initiator not in found.names and not any(
            _matches(entry, address) for entry in found.addresses
        ):
            return False
        return self._proven(found.bound, user, secret)

    def lists_targets(self, user: str, secret: str) -> bool:
        """Whether a discovery session would be granted."""
        return self._proven(self.discovery, user, secret)

    def _proven(self, bound: Bound, user: str, secret: str) -> bool:
        if not bound.count:
            return True
        return user in bound.visible() and self.accounts.get(user) == secret

    def log_in(
        self, target: str, initiator: str, address: str = "127.0.0.1", alias: str = "none"
    ) -> int:
        """A session that is there, however it was granted; its number."""
        sid, self._next_session = self._next_session, self._next_session + 1
        found = self._named(target)
        found.sessions[sid] = (initiator, address)
        found.aliases[sid] = alias
        return sid

    def log_out(self, target: str, sid: int) -> None:
        del self._named(target).sessions[sid]

    def work(self, target: str, lun: int, sid: int, done: Traffic) -> None:
        """That much went through; bytes are counted in 64 bits, the rest in 32."""
        counted = self._named(target).traffic
        old = counted.get((lun, sid), Traffic()).plus(done)
        counted[lun, sid] = Traffic(
            old.read_bytes,
            old.reads % _U32,
            old.written_bytes,
            old.writes % _U32,
            old.errors % _U32,
        )

    def _named(self, target: str) -> _Target:
        return next(each for each in self.targets.values() if each.name == target)


def _counted(tid: int, target: _Target, lun: int) -> Iterator[str]:
    """The rows of a LUN's statistics; what was asked for was done."""
    for sid in target.sessions:
        done = target.traffic.get((lun, sid), Traffic())
        read = f"{done.read_bytes:12} {done.reads:6}"
        written = f"{done.written_bytes:12} {done.writes:6}"
        yield f"{tid:3} {lun:3} {sid:3} {read} {read} {written} {written} {done.errors:4}\n"


def _matches(entry: str, address: str) -> bool:
    return entry == EVERYONE or ip_address(address) in ip_network(entry)


def _update_target(target: _Target, key: str, value: str) -> None:
    if key == SEGMENT_LENGTH and value.isdigit() and int(value) in SEGMENT_LENGTHS:
        target.segment = value
    elif key == "state" and value in ("ready", "offline"):
        target.ready = value == "ready"
    else:
        raise _Refusal(TgtError.INVALID_REQUEST)


def _new_unit(request: Request, parameters: dict[str, str]) -> Unit:
    return Unit(
        request.device,
        _OWN_STORES.get(request.device) or parameters.get("bstype", "rdwr"),
        f"IET     {request.tid:04x}{request.lun:04x}",
        f"beaf{request.tid}{request.lun}",
        removable=True,
    )


def _update(unit: Unit, parameters: tuple[tuple[str, str], ...]) -> None:
    """One after another; the verdict is that on the last of online, path and mode_page."""
    verdict: TgtError | None = None
    for key, value in parameters:
        match key:
            case "scsi_id" | "scsi_sn":
                setattr(unit, key, value[:36])
            case "readonly" | "removable":
                setattr(unit, key, value == "1")
            case "online":
                unit.online = value == "1" and (
                    unit.path is not None or unit.device is not Device.CD
                )
                verdict = None
            case "mode_page":
                unit.mode_page, verdict = value, None
            case "path":
                verdict = _moved(unit, value)
            case _:
                unit.product[key] = value
    if verdict is not None:
        raise _Refusal(verdict)


def _moved(unit: Unit, path: str) -> TgtError | None:
    if unit.online:
        return TgtError.INVALID_REQUEST
    unit.path, unit.size = None, 0
    if unit.store == "aio":
        return TgtError.INVALID_REQUEST
    try:
        _open(unit, path)
    except _Refusal as refusal:
        return refusal.error
    return None


def _open(unit: Unit, path: str) -> None:
    """Raises _Refusal for anything but a file or a block device; sg devices there are none."""
    try:
        status = os.stat(path)  # noqa: PTH116  a path may be anything here
    except OSError:
        raise _Refusal(TgtError.INVALID_REQUEST) from None
    served = stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)
    if not served or unit.store == "sg":
        raise _Refusal(TgtError.INVALID_REQUEST)
    unit.path, unit.size, unit.online = path, status.st_size, True


def _shown(tid: int, target: _Target) -> str:
    lines = [
        f"Target {tid}: {target.name}",
        "    System information:",
        "        Driver: iscsi",
        f"        State: {'ready' if target.ready else 'offline'}",
        "    I_T nexus information:",
    ]
    for sid, (name, address) in target.sessions.items():
        alias = target.aliases.get(sid, "none")
        lines += [f"        I_T nexus: {sid}", f"            Initiator: {name} alias: {alias}"]
        lines += ["            Connection: 0", f"                IP Address: {address}"]
    lines.append("    LUN information:")
    lines += _shown_unit(0, _CONTROLLER, "controller")
    for lun, unit in sorted(target.units.items()):
        lines += _shown_unit(lun, unit, _TYPES[unit.device])
    lines.append("    Account information:")
    lines += [f"        {name}" for name in target.bound.shown()]
    lines.append("    ACL information:")
    lines += [f"        {entry}" for entry in (*target.addresses, *target.names)]
    return "\n".join(lines) + "\n"


_CONTROLLER = Unit(Device.DISK, "null", "IET     00010000", "beaf10", removable=False, online=True)


def _shown_unit(lun: int, unit: Unit, kind: str) -> list[str]:
    block = 512 if unit.device is Device.DISK and kind == "disk" else 1
    facts = {
        "Type": kind,
        "SCSI ID": unit.scsi_id,
        "SCSI SN": unit.scsi_sn,
        "Size": f"{round(unit.size / 1e6)} MB, Block size: {block}",
        "Online": _YES[unit.online],
        "Removable media": _YES[unit.removable],
        "Prevent removal": "No",
        "Readonly": _YES[unit.readonly],
        "SWP": "No",
        "Thin-provisioning": "No",
        "Backing store type": unit.store,
        "Backing store path": unit.path or "None",
        "Backing store flags": "",
    }
    return [f"        LUN: {lun}", *(f"            {key}: {value}" for key, value in facts.items())]
