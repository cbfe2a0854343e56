"""The JSON shapes of the SAN API, and their translation to and from the model.

The old API's words stay within `web`; what several parts of it say is said here. Types are strict,
unknown fields are errors, and every rule about a value is that of `names`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from storlever import names
from storlever.document import TargetPart, UnitPart
from storlever.errors import Fault, Invalid
from storlever.inventory import Direction, users_of
from storlever.model import Account, BackingType, DeviceType, DiscoveryAuth, LogicalUnit, Target
from storlever.status import TargetStatus, UnitStatus

Meant = TypeVar("Meant")

ABSENT: Any = None
"""Default of a field that is left as it is when it is not given; null is not a value for it."""


def _without_null_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        if field.get("default", ...) is None:
            del field["default"]


class Given(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra=_without_null_defaults, frozen=True
    )

    def given(self, name: str) -> bool:
        return name in self.model_fields_set


class Shown(BaseModel):
    model_config = ConfigDict(frozen=True)


def _chap(text: str) -> str:
    """`user:password`, or empty for no authentication."""
    if not text:
        return text
    user, colon, secret = text.partition(":")
    if not colon:
        raise ValueError("must be empty or user:password")
    return f"{names.chap_name(user)}:{names.chap_secret(secret)}"


def _distinct(check: Callable[[str], str]) -> Callable[[Sequence[str]], list[str]]:
    def checked(entries: Sequence[str]) -> list[str]:
        good, bad = [], []
        for at, entry in enumerate(entries):
            try:
                good.append(check(entry))
            except ValueError as error:
                bad.append(f"entry {at}: {error}")
        if bad:
            raise ValueError("; ".join(bad))
        return list(dict.fromkeys(good))

    return checked


def grammar(
    pattern: str, longest: int | None = None, never: str | None = None, **told: Any
) -> WithJsonSchema:
    """The grammar as it is published; what holds it is the function beside it."""
    schema: dict[str, Any] = {"type": "string", "pattern": pattern, **told}
    if longest is not None:
        schema["maxLength"] = longest
    if never is not None:
        schema["not"] = {"pattern": never}
    return WithJsonSchema(schema)


_reserved = "|".join(map(re.escape, names.RESERVED_CHAP_NAMES))
TARGET_NAME = grammar(
    names.TARGET_NAME, names.NAME_BYTES, examples=["iqn.2014-09.com.example:test"]
)
CHAP_NAME = grammar(names.CHAP_NAME, never=f"^({_reserved})$", examples=["test"])
_DISCOVERY = grammar(
    names.DISCOVERY_USER,
    never=f"^({_reserved}):",
    description="name:password, or empty for nobody",
)
_ADDRESS = grammar(
    names.INITIATOR_ADDRESS,
    description="an address, a network or ALL; networks that tgtd would match with all of the "
    "other address family are refused",
)
_PATH = grammar(
    names.BACKING_PATH,
    names.PATH_BYTES,
    never=r"/\.\.(/|$)",
    description=f"of a file or a block device (/dev/sg* for pt); {names.PATH_BYTES} bytes at most",
    examples=["/root/test.img"],
)
_DESIGNATOR = grammar(names.DESIGNATOR, names.DESIGNATOR_BYTES)

Discovery = Annotated[str, AfterValidator(_chap), _DISCOVERY, Field(repr=False)]
Addresses = Annotated[
    list[Annotated[str, _ADDRESS]],
    Field(max_length=1024),
    AfterValidator(_distinct(names.initiator_address)),
]
Initiators = Annotated[
    list[Annotated[str, grammar(names.INITIATOR_NAME, names.NAME_BYTES)]],
    Field(max_length=1024),
    AfterValidator(_distinct(names.initiator_name)),
]
TargetName = Annotated[str, AfterValidator(names.target_name), TARGET_NAME]
UserName = Annotated[str, AfterValidator(names.chap_name), CHAP_NAME]
Password = Annotated[
    str, AfterValidator(names.chap_secret), grammar(names.CHAP_SECRET), Field(repr=False)
]


class ConfUpdate(Given):
    incomingdiscoveryuser: Discovery = ABSENT
    outgoingdiscoveryuser: Discovery = ABSENT

    def directions(self) -> dict[Direction, Account | None]:
        return directions(self, _account)


def directions(conf: Given, meant: Callable[[str], Meant]) -> dict[Direction, Meant]:
    """Those that are given, with what their fields mean."""
    fields = {direction: f"{direction}discoveryuser" for direction in Direction}
    return {each: meant(getattr(conf, name)) for each, name in fields.items() if conf.given(name)}


def _account(text: str) -> Account | None:
    name, _, secret = text.partition(":")
    return Account(name, secret) if name else None


class Conf(Shown):
    incomingdiscoveryuser: str = Field(examples=["test:*"])
    outgoingdiscoveryuser: str = Field(examples=[""])

    @classmethod
    def of(cls, auth: DiscoveryAuth) -> "Conf":
        return cls(
            incomingdiscoveryuser=f"{auth.incoming}:*" if auth.incoming else "",
            outgoingdiscoveryuser=f"{auth.outgoing}:*" if auth.outgoing else "",
        )


class TargetUpdate(Given):
    """What of a target is a value; `iqn` of a new one, and what it has, is said besides."""

    state: Literal["ready", "offline"] = ABSENT
    initiator_addr_list: Addresses = ABSENT
    initiator_name_list: Initiators = ABSENT

    def changes(self) -> dict[str, Any]:
        """Keyword arguments of Service.edit_target."""
        changes: dict[str, Any] = {}
        if self.given("state"):
            changes["online"] = self.state == "ready"
        if self.given("initiator_addr_list"):
            changes["addresses"] = tuple(self.initiator_addr_list)
        if self.given("initiator_name_list"):
            changes["names"] = tuple(self.initiator_name_list)
        return changes


class SessionShown(Shown):
    initiator: str
    addr: str
    sid: int


class _TargetFields(Shown):
    iqn: str
    state: Literal["ready", "offline", "error"]
    reason: str | None = Field(description="why the state is error")
    initiator_addr_list: list[str]
    initiator_name_list: list[str]
    incominguser_list: list[str]
    outgoinguser_list: list[str]
    session_list: list[SessionShown] | None
    lun_num: int


class TargetShown(_TargetFields):
    session_list: list[SessionShown]

    @classmethod
    def of(cls, status: TargetStatus) -> "TargetShown":
        sessions = [
            {"initiator": each.initiator_name, "addr": each.address, "sid": each.sid}
            for each in status.sessions
        ]
        return cls.model_validate({**_of_target(status), "session_list": sessions})


class TargetListed(_TargetFields):
    """Of many: tgtd is not asked for the sessions of each."""

    session_list: None = None

    @classmethod
    def of(cls, status: TargetStatus) -> "TargetListed":
        return cls.model_validate(_of_target(status))


def _of_target(status: TargetStatus) -> dict[str, Any]:
    target = status.target
    return {
        "iqn": target.name,
        "state": status.state,
        "reason": status.reason,
        "initiator_addr_list": target.access.addresses,
        "initiator_name_list": target.access.names,
        **user_lists(target),
        "lun_num": len(target.units),
    }


def user_lists(target: Target) -> dict[str, list[str]]:
    """Sorted."""
    return {f"{direction}user_list": sorted(users_of(target, direction)) for direction in Direction}


class UserCreate(Given):
    username: UserName
    password: Password

    def account(self) -> Account:
        return Account(self.username, self.password)


class UserShown(Shown):
    username: str


class PasswordUpdate(Given):
    password: Password = ABSENT


Path = Annotated[str, AfterValidator(names.backing_path), _PATH]
Device = Literal["disk", "tape", "cd", "changer", "pt"]
DeviceWord = Literal["disk", "tape", "ssc", "cd", "changer", "pt"]
StoreWord = Literal["rdwr", "aio", "sg", "ssc"]


class _LunFields(Given):
    device_type: DeviceWord = ABSENT
    bs_type: StoreWord = ABSENT
    direct_map: bool = ABSENT
    write_cache: bool = ABSENT
    readonly: bool = ABSENT
    online: bool = ABSENT
    shared: bool = Field(
        default=ABSENT, description="serve a backing store that another LUN serves too"
    )
    scsi_id: Annotated[str, AfterValidator(names.scsi_id), _DESIGNATOR] = ABSENT
    scsi_sn: Annotated[str, AfterValidator(names.serial_number), _DESIGNATOR] = ABSENT

    WIRE_TO_MODEL: ClassVar[dict[str, str]] = {
        "path": "backing_path",
        "bs_type": "backing_type",
        "scsi_sn": "serial_number",
    }

    def fields(self) -> dict[str, Any]:
        """What was given, by the names that LogicalUnit has for it; without the number."""
        found = {
            self.WIRE_TO_MODEL.get(name, name): getattr(self, name)
            for name in self.model_fields_set - {"lun"}
        }
        if "device_type" in found:
            word = found["device_type"]
            found["device_type"] = DeviceType.TAPE if word == "ssc" else DeviceType(word)
        if "backing_type" in found:
            found["backing_type"] = BackingType(found["backing_type"])
        return found


class LunCreate(_LunFields):
    lun: int = Field(ge=names.LUN_MIN, le=names.LUN_MAX)
    path: Path


class LunUpdate(_LunFields):
    lun: int = Field(default=ABSENT, ge=names.LUN_MIN, le=names.LUN_MAX)
    path: Path = ABSENT


class TargetCreate(TargetUpdate):
    """With what it has, all or nothing."""

    iqn: TargetName
    incominguser_list: list[UserCreate] = Field(default=ABSENT, max_length=1024)
    outgoinguser_list: list[UserCreate] = Field(default=ABSENT, max_length=1)
    lun_list: list[LunCreate] = Field(default=ABSENT, max_length=names.LUN_MAX)

    def part(self) -> TargetPart:
        return _part(self)

    def accounts(self) -> list[Account]:
        """Raises Invalid for a user with two passwords."""
        known: dict[str, Account] = {}
        faults = []
        for name in ("incominguser_list", "outgoinguser_list"):
            for number, user in enumerate(getattr(self, name) or ()):
                if known.setdefault(user.username, user.account()) != user.account():
                    rule = "is not the one that this user has before"
                    faults.append(Fault(f"{name}.{number}.password", rule))
        if faults:
            raise Invalid(*faults)
        return list(known.values())


class LunWish(LunUpdate):
    """`path` is required for a new one."""

    lun: int = Field(ge=names.LUN_MIN, le=names.LUN_MAX)


class TargetWish(TargetUpdate):
    """Of a document: its lists name what must be there."""

    iqn: TargetName
    incominguser_list: list[UserName] = Field(default=ABSENT, max_length=1024)
    outgoinguser_list: list[UserName] = Field(default=ABSENT, max_length=1)
    lun_list: list[LunWish] = Field(default=ABSENT, max_length=names.LUN_MAX)

    def part(self) -> TargetPart:
        return _part(self)


def _part(target: TargetCreate | TargetWish) -> TargetPart:
    luns: Sequence[LunCreate] | Sequence[LunWish] | None = target.lun_list
    return TargetPart(
        target.iqn,
        **target.changes(),
        incoming=_named(target.incominguser_list),
        outgoing=_named(target.outgoinguser_list),
        units=None if luns is None else tuple(UnitPart(lun.lun, lun.fields()) for lun in luns),
    )


def _named(users: Sequence[UserCreate] | Sequence[str] | None) -> tuple[str, ...] | None:
    """None where they are not given."""
    if users is None:
        return None
    return tuple(user.username if isinstance(user, UserCreate) else user for user in users)


class LunShown(Shown):
    lun: int
    path: str
    device_type: Device
    bs_type: StoreWord
    direct_map: bool
    write_cache: bool
    readonly: bool
    online: bool
    scsi_id: str
    scsi_sn: str
    shared: bool
    state: Literal["ready", "offline", "error"]
    reason: str | None = Field(description="why the LUN is not served")
    size: int | None = Field(description="bytes, as initiators see them")

    @classmethod
    def of(cls, status: UnitStatus) -> "LunShown":
        return cls.model_validate(
            {
                **unit_fields(status.unit),
                "state": status.state,
                "reason": status.reason,
                "size": status.size,
            }
        )


def unit_fields(unit: LogicalUnit) -> dict[str, Any]:
    """What is wished of a LUN, by its names here."""
    return {
        "lun": unit.lun,
        "path": unit.backing_path,
        "device_type": str(unit.device_type),
        "bs_type": str(unit.backing_type),
        "direct_map": unit.direct_map,
        "write_cache": unit.write_cache,
        "readonly": unit.readonly,
        "online": unit.online,
        "shared": unit.shared,
        "scsi_id": unit.scsi_id,
        "scsi_sn": unit.serial_number,
    }


class StepShown(Shown):
    step: str = Field(description="a sentence")
    effect: str = Field(description="what hosts notice of it; none, if nothing")


class RehearsalShown(Shown):
    """What a write would do; without steps, nothing."""

    steps: list[StepShown]
    warnings: list[str]


class ProblemFault(Shown):
    field: str
    message: str


class ProblemSession(Shown):
    initiator: str
    addr: str


class Problem(Shown):
    """RFC 9457, with `info` and `exception` for clients of the old API."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[ProblemFault] = []
    blocking: list[ProblemSession] = []
    request_id: str
    info: str
    exception: str


_MODEL_TO_WIRE = {
    **{model: wire for wire, model in _LunFields.WIRE_TO_MODEL.items()},
    "targets": "target_list",
    "units": "lun_list",
    "users": "user_list",
    "incoming": "incominguser_list",
    "outgoing": "outgoinguser_list",
}
_PLACES = {
    "discovery.incoming": "conf.incomingdiscoveryuser",
    "discovery.outgoing": "conf.outgoingdiscoveryuser",
}
_LAST = {("targets", "name"): "iqn", ("users", "name"): "username", ("users", "secret"): "password"}


def wire_name(field: str) -> str:
    """The JSON name of a model field, for faults that the core finds; dotted, where it is one of a
    document."""
    parts = field.split(".")
    last = _LAST.get((parts[0], parts[-1]), _MODEL_TO_WIRE.get(parts[-1], parts[-1]))
    before = (_MODEL_TO_WIRE.get(part, part) for part in parts[:-1])
    return _PLACES.get(field) or ".".join((*before, last))
