"""What StorLever speaks of, as frozen values: what is desired, and what is seen in tgtd.

`gc=False` keeps those of which there are tens of thousands from being looked through by Python's
collector: no cycle can go through them, for what they hold was there before them.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

from storlever.errors import Conflict, Fault, Invalid
from storlever.names import EVERYONE, GUARD

BLOCK = 512
"""Bytes of a logical block, as tgtd makes them."""


class DeviceType(StrEnum):
    DISK = "disk"
    TAPE = "tape"
    CD = "cd"
    CHANGER = "changer"
    PASSTHROUGH = "pt"


class BackingType(StrEnum):
    RDWR = "rdwr"
    AIO = "aio"
    SG = "sg"
    SSC = "ssc"


FITTING: dict[DeviceType, tuple[BackingType, ...]] = {
    DeviceType.DISK: (BackingType.RDWR, BackingType.AIO),
    DeviceType.TAPE: (BackingType.SSC,),
    DeviceType.CD: (BackingType.RDWR, BackingType.AIO),
    DeviceType.CHANGER: (BackingType.RDWR, BackingType.AIO),
    DeviceType.PASSTHROUGH: (BackingType.SG,),
}
"""The backing types a device type takes; the first is its default. Others crash tgtd (1.0.85)."""


Place = tuple[str, int]
"""Where a LUN is: target name and number."""


class Account(Struct, frozen=True):
    """A CHAP name and its secret; tgtd knows one secret a name, whatever it is used for."""

    name: str
    secret: str

    def __repr__(self) -> str:
        return f"Account(name={self.name!r})"


class Access(Struct, frozen=True, gc=False):
    """Who may log in: an initiator that matches either list; both empty admit everyone."""

    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def entries(self) -> tuple[str, ...]:
        """The ACL entries that say this in tgtd, where an empty ACL admits nobody."""
        return (*self.addresses, *self.names) or (EVERYONE,)

    @property
    def everybody(self) -> bool:
        """Whether it lets in whoever comes."""
        return EVERYONE in self.entries

    def without(self, other: "Access") -> "Access":
        """The entries that the other one has not."""
        return Access(
            tuple(name for name in self.names if name not in other.names),
            tuple(each for each in self.addresses if each not in other.addresses),
        )


class ScsiProduct(Struct, frozen=True, gc=False):
    """Standard INQUIRY data: vendor (8 bytes), product (16) and revision (4)."""

    vendor: str
    product: str
    revision: str


class LogicalUnit(Struct, frozen=True, gc=False):
    """One LUN as it is wished for. Raises Invalid for a pair of types that do not fit."""

    lun: int
    backing_path: str
    scsi_id: str
    serial_number: str
    device_type: DeviceType = DeviceType.DISK
    backing_type: BackingType = BackingType.RDWR
    direct_map: bool = False
    write_cache: bool = True
    readonly: bool = False
    online: bool = True
    shared: bool = False
    product: ScsiProduct | None = None

    @property
    def aio(self) -> bool:
        """Whether tgtd really uses its aio; for a cd or a changer it takes its own way."""
        return self.device_type is DeviceType.DISK and self.backing_type is BackingType.AIO

    @property
    def reopenable(self) -> bool:
        """Whether tgtd can open another path for a live unit: its aio and sg cannot."""
        return not self.aio and self.backing_type is not BackingType.SG

    @property
    def opened(self) -> bool:
        """Whether tgtd opens its path when it is made: one that is offline is made without."""
        return self.online or not self.reopenable

    def __post_init__(self) -> None:
        fitting = FITTING[self.device_type]
        faults = []
        if self.backing_type not in fitting:
            faults.append(Fault("backing_type", f"{self.device_type} takes {' or '.join(fitting)}"))
        if not self.write_cache and self.device_type is not DeviceType.DISK:
            faults.append(Fault("write_cache", f"a {self.device_type} has no caching mode page"))
        if faults:
            raise Invalid(*faults)


class Target(Struct, frozen=True, gc=False):
    """One target as it is wished for; accounts are named here and kept in the inventory.

    `incoming` is in the order of binding. `online` false is a wish that lasts.
    """

    name: str
    online: bool = True
    access: Access = Access()
    incoming: tuple[str, ...] = ()
    outgoing: str | None = None
    units: tuple[LogicalUnit, ...] = ()

    @property
    def numbered(self) -> dict[int, LogicalUnit]:
        """Its LUNs by number."""
        return {unit.lun: unit for unit in self.units}

    def unit(self, lun: int) -> LogicalUnit | None:
        return next((unit for unit in self.units if unit.lun == lun), None)

    @property
    def slots(self) -> tuple[str, ...]:
        """The incoming accounts as tgtd must hold them: the guard first, or none at all."""
        return (GUARD, *self.incoming) if self.incoming else ()

    @property
    def accounts(self) -> frozenset[str]:
        return frozenset(self.incoming) | ({self.outgoing} if self.outgoing else set())


class DiscoveryAuth(Struct, frozen=True):
    """CHAP of discovery sessions: the accounts' names."""

    incoming: str | None = None
    outgoing: str | None = None

    @property
    def slots(self) -> tuple[str, ...]:
        return (GUARD, self.incoming) if self.incoming else ()

    @property
    def accounts(self) -> frozenset[str]:
        return frozenset(name for name in (self.incoming, self.outgoing) if name)


class Pending(Struct, frozen=True):
    """Names that unfinished writes were changing: in tgtd they are ours, and in doubt.

    `secrets`: accounts whose secret in tgtd may not be the stored one. One that was only being
    deleted is not among them: if tgtd still has it, its secret is as it was. `discovery`: whether
    its accounts were being changed.
    That is so for one life of tgtd, `peer`: the next one remembers nothing of it.
    """

    targets: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    peer: str = ""
    secrets: frozenset[str] = frozenset()
    discovery: bool = False

    def __bool__(self) -> bool:
        """Whether it names anything."""
        return bool(self.targets or self.accounts or self.secrets or self.discovery)

    def joined(self, older: "Pending") -> "Pending":
        """Both, as long as they are of one life of tgtd; else this one, if it names anything."""
        if self.peer != older.peer:
            return self if self.peer else older
        return Pending(
            self.targets | older.targets,
            self.accounts | older.accounts,
            self.peer,
            self.secrets | older.secrets,
            self.discovery or older.discovery,
        )


NOTHING_PENDING = Pending()


class Session(Struct, frozen=True):
    """An I_T nexus as seen: the initiator's own name, its address, tgtd's number for it, and
    that of its connection."""

    initiator_name: str
    address: str
    sid: int
    cid: int = 0


class Traffic(Struct, frozen=True):
    """What went through: bytes and commands that were done, and errors."""

    read_bytes: int = 0
    reads: int = 0
    written_bytes: int = 0
    writes: int = 0
    errors: int = 0

    def plus(self, other: "Traffic") -> "Traffic":
        return Traffic(
            self.read_bytes + other.read_bytes,
            self.reads + other.reads,
            self.written_bytes + other.written_bytes,
            self.writes + other.writes,
            self.errors + other.errors,
        )


Counted = tuple[str, int, int]
"""What tgtd counts by: target name, LUN, number of the session."""


class Sample(Struct, frozen=True):
    """tgtd's counters at one moment, in one `life` of it. Every session has those of LUN 0, the
    controller."""

    life: int
    traffic: Mapping[Counted, Traffic]


class ObservedUnit(Struct, frozen=True, gc=False):
    """One LUN as tgtd has it; a field that tgtd does not tell and we do not know is None."""

    lun: int
    device_type: DeviceType | None
    backing_type: BackingType | None
    backing_path: str | None
    scsi_id: str | None
    serial_number: str | None
    readonly: bool | None
    online: bool | None
    write_cache: bool | None = None
    product: ScsiProduct | None = None

    @classmethod
    def of(cls, unit: LogicalUnit) -> "ObservedUnit":
        """The unit once everything asked of it is in force.

        One that is offline counts as having no path, so that going online opens it anew; for
        those that live and die with their path it is always the one they were made with.
        """
        return cls(
            unit.lun,
            unit.device_type,
            unit.backing_type,
            unit.backing_path if unit.opened else None,
            unit.scsi_id,
            unit.serial_number,
            unit.readonly,
            unit.online,
            unit.write_cache,
            unit.product,
        )


class Bindings(Struct, frozen=True, gc=False):
    """The accounts of a target or of discovery; `incoming` by slot."""

    incoming: tuple[str, ...] = ()
    outgoing: str | None = None

    @property
    def accounts(self) -> frozenset[str]:
        return frozenset(self.incoming) | ({self.outgoing} if self.outgoing else set())


class ObservedTarget(Struct, frozen=True, gc=False):
    name: str
    ready: bool = True
    acl: tuple[str, ...] = ()
    bindings: Bindings = Bindings()
    units: tuple[ObservedUnit, ...] = ()

    @property
    def numbered(self) -> dict[int, ObservedUnit]:
        """Its LUNs by number."""
        return {unit.lun: unit for unit in self.units}

    def unit(self, lun: int) -> ObservedUnit | None:
        return next((unit for unit in self.units if unit.lun == lun), None)


def differing(
    was: Target | None, became: Target | None
) -> Iterator[tuple[int, LogicalUnit | None, LogicalUnit | None]]:
    """The LUNs that came, went, or changed: number, before, after."""
    old = was.numbered if was else {}
    new = became.numbered if became else {}
    for lun in sorted(old.keys() | new.keys()):
        before, after = old.get(lun), new.get(lun)
        if before is not after and before != after:  # most are the very same
            yield lun, before, after


def sessions_in_the_way(target: str, sessions: tuple[Session, ...]) -> Conflict:
    return Conflict(
        f"target {target} has sessions",
        code="sessions-active",
        blocking=tuple((session.initiator_name, session.address) for session in sessions),
    )
