"""What the twin prints."""

from collections.abc import Iterator, Mapping

from storlever.model import Traffic
from storlever.tgtd.memory.bound import Bound
from storlever.tgtd.memory.target import Target
from storlever.tgtd.memory.unit import Unit
from storlever.tgtd.wire import Device

_TYPES = {
    Device.DISK: "disk",
    Device.TAPE: "tape",
    Device.CD: "cd/dvd",
    Device.CHANGER: "changer",
    Device.PASSTHROUGH: "passthrough",
}
_YES = ("No", "Yes")
_CONTROLLER = Unit(Device.DISK, "null", "IET     00010000", "beaf10", removable=False, online=True)
_STATS = (
    "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) "
    "errs\n"
)


def drivers(targets: Mapping[int, Target]) -> str:
    lines = (f"        Target {tid}: {each.name}\n" for tid, each in targets.items())
    return "LLDs:\n    iscsi: ready\n" + "".join(lines) + "    iser: error\n"


def portals(addresses: list[str]) -> str:
    return "".join(f"Portal: {portal},1\n" for portal in addresses)


def accounts(names: Mapping[str, str]) -> str:
    if not names:
        return ""
    return "Account list:\n" + "".join(f"    {name}\n" for name in reversed(list(names)))


def system(discovery: Bound) -> str:
    shown = list(discovery.shown()) if discovery.count else []
    accounts = "".join(f"    {name}\n" for name in shown)
    title = "    Account information:\n\n" if shown else ""
    return f"System:\n    State: ready\n    debug: off\n{title}{accounts}iSNS:\n    iSNS=Off\n"


def connections(target: Target) -> str:
    return "".join(
        f"Session: {sid}\n    Connection: 0\n        Initiator: {name}\n"
        f"        IP Address: {address}\n"
        for sid, (name, address) in target.sessions.items()
    )


def statistics(targets: Mapping[int, Target]) -> str:
    """Of every LUN."""
    return _STATS + "".join(
        row
        for tid, target in sorted(targets.items())
        for lun in (0, *sorted(target.units))
        for row in _counted(tid, target, lun)
    )


def unit_statistics(tid: int, target: Target, lun: int) -> str:
    return _STATS + "".join(_counted(tid, target, lun))


def _counted(tid: int, target: Target, lun: int) -> Iterator[str]:
    """The rows of a LUN's statistics; what was asked for was done."""
    for sid in target.sessions:
        done = target.traffic.get((lun, sid), Traffic())
        read = f"{done.read_bytes:12} {done.reads:6}"
        written = f"{done.written_bytes:12} {done.writes:6}"
        yield f"{tid:3} {lun:3} {sid:3} {read} {read} {written} {written} {done.errors:4}\n"


def everything(targets: Mapping[int, Target]) -> str:
    return "".join(_target(tid, targets[tid]) for tid in sorted(targets))


def _target(tid: int, target: Target) -> str:
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
    lines += _unit(0, _CONTROLLER, "controller")
    for lun, unit in sorted(target.units.items()):
        lines += _unit(lun, unit, _TYPES[unit.device])
    lines.append("    Account information:")
    lines += [f"        {name}" for name in target.bound.shown()]
    lines.append("    ACL information:")
    lines += [f"        {entry}" for entry in (*target.addresses, *target.names)]
    return "\n".join(lines) + "\n"


def _unit(lun: int, unit: Unit, kind: str) -> list[str]:
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
