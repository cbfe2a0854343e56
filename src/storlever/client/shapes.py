"""What the API answers with and takes, as frozen values. Fields are named as in its JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Direction = Literal["incoming", "outgoing"]
"""Who logs in to the target; what the target proves itself with."""
State = Literal["ready", "offline"]
InForce = Literal["ready", "offline", "error"]
DeviceType = Literal["disk", "tape", "cd", "changer", "pt"]
BackingType = Literal["rdwr", "aio", "ssc", "sg"]
Role = Literal["reader", "operator", "admin"]
Document = dict[str, Any]
"""A whole configuration (docs/api.md), as JSON: what a newer service says in it must not get lost
between its export and its return."""


@dataclass(frozen=True, slots=True)
class Conf:
    """Users of discovery sessions: `name:*`, or "" for none."""

    incomingdiscoveryuser: str
    outgoingdiscoveryuser: str


@dataclass(frozen=True, slots=True)
class TargetSession:
    """In the list that a target has."""

    initiator: str
    addr: str
    sid: int


@dataclass(frozen=True, slots=True)
class Target:
    """`reason`: why `state` is error. `session_list` is None where sessions were not asked for."""

    iqn: str
    state: InForce
    reason: str | None
    initiator_addr_list: tuple[str, ...]
    initiator_name_list: tuple[str, ...]
    incominguser_list: tuple[str, ...]
    outgoinguser_list: tuple[str, ...]
    session_list: tuple[TargetSession, ...] | None
    lun_num: int


@dataclass(frozen=True, slots=True)
class User:
    """To be given; the password is never answered, nor shown."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Username:
    username: str


@dataclass(frozen=True, slots=True)
class NewLun:
    """A LUN of a new target; None is left to the service."""

    lun: int
    path: str
    device_type: DeviceType | None = None
    bs_type: BackingType | None = None
    direct_map: bool | None = None
    write_cache: bool | None = None
    readonly: bool | None = None
    online: bool | None = None
    shared: bool | None = None
    scsi_id: str | None = None
    scsi_sn: str | None = None


@dataclass(frozen=True, slots=True)
class Lun:
    """`size` in bytes, as initiators see it; None where it is not known."""

    lun: int
    path: str
    device_type: DeviceType
    bs_type: BackingType
    direct_map: bool
    write_cache: bool
    readonly: bool
    online: bool
    shared: bool
    scsi_id: str
    scsi_sn: str
    state: InForce
    reason: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Connection:
    cid: int
    addr: str


@dataclass(frozen=True, slots=True)
class Session:
    """Counters since it began, `since` when; None where that is not known."""

    id: int
    initiator: str
    alias: str | None
    connections: tuple[Connection, ...]
    read_bytes: int | None = None
    written_bytes: int | None = None
    reads: int | None = None
    writes: int | None = None
    errors: int | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """`removed`: the entries of the target's lists that let the session in, each as
    {"initiator_name": …} or {"initiator_addr": …}."""

    closed: int
    removed: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an initiator may log in, by which rule, and why, as a sentence."""

    admitted: bool
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Token:
    name: str
    role: Role
    created: datetime
    expires: datetime | None
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """`token` is told this once."""

    name: str
    role: Role
    created: datetime
    expires: datetime | None
    last_used: datetime | None
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the oldest entry that is kept was chained to."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries as they are hashed: every field of them counts."""

    anchor: Anchor
    entries: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit that changed targets, users or discovery. `before` and `after` in those that are
    asked for one by one."""

    revision: int
    time: datetime
    who: str
    request_id: str
    operation: str
    changes: tuple[str, ...]
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ForeignTarget:
    """In tgtd, and not StorLever's. In `lun_list`, null is what is not known."""

    iqn: str
    state: State
    initiator_acl: tuple[str, ...]
    incominguser_list: tuple[str, ...]
    outgoinguser_list: tuple[str, ...]
    lun_list: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Readiness:
    """`failing`: what is wished for and not served; `foreign`: targets that are not StorLever's."""

    status: str
    reason: str | None
    failing: tuple[str, ...]
    foreign: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """`effect`: what hosts notice of it; "none" for nothing."""

    step: str
    effect: str


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a call would do. No steps: there is nothing to do."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """A write that lasts. `warnings`: advice of the service; `location`: the URL of what is new."""

    warnings: tuple[str, ...] = ()
    location: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is where to go on from after a while without a connection. Of type `reset`: what was
    asked for is not kept any more, so read the state again."""

    id: str
    type: str
    time: datetime
    data: Mapping[str, Any]
