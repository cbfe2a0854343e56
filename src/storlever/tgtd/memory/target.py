"""A target, with its ACL, its accounts, its units and its sessions."""

from dataclasses import dataclass, field

from storlever.model import Traffic
from storlever.tgtd.memory.bound import Bound
from storlever.tgtd.memory.failure import Refusal
from storlever.tgtd.memory.unit import Unit, new_unit
from storlever.tgtd.wire import SEGMENT_LENGTH, Request, TgtError

SEGMENT_LENGTHS = range(512, 1 << 24)
_U32 = 1 << 32


@dataclass
class Target:
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

    def update(self, key: str, value: str) -> None:
        if key == SEGMENT_LENGTH and value.isdigit() and int(value) in SEGMENT_LENGTHS:
            self.segment = value
        elif key == "state" and value in ("ready", "offline"):
            self.ready = value == "ready"
        else:
            raise Refusal(TgtError.INVALID_REQUEST)

    def admit(self, key: str, entry: str) -> None:
        entries = self._entries(key)
        if entry in entries:
            raise Refusal(TgtError.ACL_EXISTS)
        entries.append(entry)

    def deny(self, key: str, entry: str) -> None:
        entries = self._entries(key)
        if entry not in entries:
            raise Refusal(TgtError.NO_ACL)
        entries.remove(entry)

    def _entries(self, key: str) -> list[str]:
        return self.names if key == "initiator-name" else self.addresses

    def unit(self, lun: int) -> Unit:
        if lun not in self.units:
            raise Refusal(TgtError.NO_LUN)
        return self.units[lun]

    def add_unit(self, request: Request) -> None:
        if request.lun in self.units:
            raise Refusal(TgtError.LUN_EXISTS)
        self.units[request.lun] = new_unit(request)
        for sid in self.sessions:
            self.traffic.pop((request.lun, sid), None)

    def remove_unit(self, lun: int) -> None:
        unit = self.unit(lun)
        if unit.busy:
            unit.busy -= 1
            raise Refusal(TgtError.LUN_ACTIVE)
        del self.units[lun]

    def close(self, sid: int, cid: int) -> None:
        if sid not in self.sessions:
            raise Refusal(TgtError.NO_SESSION)
        if cid != 0:
            raise Refusal(TgtError.NO_CONNECTION)
        del self.sessions[sid]

    def work(self, lun: int, sid: int, done: Traffic) -> None:
        """That much went through; bytes are counted in 64 bits, the rest in 32."""
        old = self.traffic.get((lun, sid), Traffic()).plus(done)
        self.traffic[lun, sid] = Traffic(
            old.read_bytes,
            old.reads % _U32,
            old.written_bytes,
            old.writes % _U32,
            old.errors % _U32,
        )
