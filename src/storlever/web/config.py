"""The whole configuration as one document: taken out, and brought into force, in one piece."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from storlever import names
from storlever.document import Document, UserPart
from storlever.errors import Forbidden
from storlever.inventory import Direction, Inventory
from storlever.model import Account, Target
from storlever.principal import Role
from storlever.service import Service
from storlever.web import resource
from storlever.web.asked import AskedOfOne, Tagged
from storlever.web.body import HUGE_BODY
from storlever.web.etag import Condition
from storlever.web.parameters import Force
from storlever.web.table import API, Table
from storlever.web.wire import (
    ABSENT,
    Device,
    Given,
    Password,
    Shown,
    StoreWord,
    TargetWish,
    UserName,
    directions,
    grammar,
    unit_fields,
    user_lists,
)
from storlever.web.writing import Changing

table = Table(API, tag="config")

ENOUGH = 10_000
"""Faults after which the rest of a document is not looked at: each takes a kilobyte, and an element
that has one may take two bytes of a body."""


@dataclass(slots=True)
class Found:
    """Of one document."""

    faults: int = 0


def _looked_at(given: Any, look: ValidatorFunctionWrapHandler, info: ValidationInfo[Found]) -> Any:
    """An element of a list; as it is, once there are faults enough."""
    found = info.context
    if found.faults >= ENOUGH:
        return given
    try:
        return look(given)
    except ValidationError as error:
        found.faults += error.error_count()
        raise


_LookedAt = WrapValidator(_looked_at)


def _user_or_nobody(text: str) -> str:
    return names.chap_name(text) if text else text


DiscoveryName = Annotated[
    str,
    AfterValidator(_user_or_nobody),
    grammar(f"^$|{names.CHAP_NAME}", description="a user's name, or empty for nobody"),
]


class ConfWish(Given):
    incomingdiscoveryuser: DiscoveryName = ABSENT
    outgoingdiscoveryuser: DiscoveryName = ABSENT

    def directions(self) -> dict[Direction, str | None]:
        return directions(self, lambda text: text or None)


class UserWish(Given):
    """`password` is required for a new one."""

    username: UserName
    password: Password = ABSENT

    def part(self) -> UserPart:
        return UserPart(self.username, self.password if self.given("password") else None)


class ConfigUpdate(Given):
    """What is absent is left alone. The lists name what must be there; the access lists of a target
    are values."""

    version: Literal[1] = 1
    conf: ConfWish = ABSENT
    user_list: list[Annotated[UserWish, _LookedAt]] = ABSENT
    target_list: list[Annotated[TargetWish, _LookedAt]] = ABSENT

    def document(self) -> Document:
        targets = None
        if self.given("target_list"):
            targets = tuple(target.part() for target in self.target_list)
        users = self.user_list if self.given("user_list") else []
        return Document(
            targets,
            tuple(user.part() for user in users),
            self.conf.directions() if self.given("conf") else {},
        )


class ConfTold(Shown):
    incomingdiscoveryuser: str
    outgoingdiscoveryuser: str


class UserTold(Shown):
    username: str
    password: str = Field(ABSENT, description="with secrets=true only")


class LunTold(Shown):
    lun: int
    path: str
    device_type: Device
    bs_type: StoreWord
    direct_map: bool
    write_cache: bool
    readonly: bool
    online: bool
    shared: bool
    scsi_id: str
    scsi_sn: str


class TargetTold(Shown):
    iqn: str
    state: Literal["ready", "offline"]
    initiator_addr_list: list[str]
    initiator_name_list: list[str]
    incominguser_list: list[str]
    outgoinguser_list: list[str]
    lun_list: list[LunTold]


class Config(Shown):
    """All that is desired, sorted, so that two of them can be compared."""

    version: Literal[1]
    conf: ConfTold
    user_list: list[UserTold]
    target_list: list[TargetTold]


Json = dict[str, Any]
Secrets = Annotated[bool, Query(description="with passwords; takes an admin, and is audited")]
Prune = Annotated[bool, Query(description="what the lists do not name goes")]


@table.get("/config", Role.READER, response_model=Config, large=True)
async def get_config(core: Tagged, secrets: Secrets = False) -> Response:
    inventory = await _with_secrets(core) if secrets else None
    content = await core.read(_config, core, inventory)
    return Response(content, media_type="application/json")


async def _with_secrets(core: AskedOfOne) -> Inventory:
    """Raises Forbidden."""
    role = core.principal.role
    if role < Role.ADMIN:
        raise Forbidden(f"secrets=true takes an {Role.ADMIN}, and your role is {role}")
    return await core.with_secrets()


async def _document(request: Request) -> Document:
    """What FastAPI does with a body, and in a thread: a huge one would keep everybody waiting.
    Raises RequestValidationError, Invalid, and HTTPException."""
    given = await request.json()
    return await asyncio.to_thread(_checked, given)


def _checked(given: Any) -> Document:
    try:
        return ConfigUpdate.model_validate(given, context=Found()).document()
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError(
            [{**fault, "loc": ("body", *fault["loc"])} for fault in faults]
        ) from None


BODY = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ConfigUpdate"}}},
}


@table.put(
    "/config",
    Role.OPERATOR,
    response_class=Response,
    most=HUGE_BODY,
    openapi_extra={"requestBody": BODY},
)
async def put_config(
    core: Changing,
    document: Annotated[Document, Depends(_document)],
    prune: Prune = False,
    force: Force = False,
) -> Response:
    """All of it, or nothing. `force` of an admin also serves what the machine itself uses."""
    overrule = force and core.by_admin
    if core.condition != Condition():  # a tag takes a look at everything
        core.of(resource.config)
    return core.changed(
        await core.write(Service.apply, document, prune=prune, force=force, overrule=overrule)
    )


def _config(service: Service, core: AskedOfOne, with_secrets: Inventory | None) -> bytes:
    """In a thread: it takes a while."""
    core.tag(resource.config)
    inventory = with_secrets or service.inventory
    told = {
        "version": 1,
        "conf": {
            "incomingdiscoveryuser": inventory.discovery.incoming or "",
            "outgoingdiscoveryuser": inventory.discovery.outgoing or "",
        },
        "user_list": list(_users(inventory, secrets=with_secrets is not None)),
        "target_list": [_target(inventory.targets[name]) for name in sorted(inventory.targets)],
    }
    return json.dumps(told, separators=(",", ":")).encode()


def _users(inventory: Inventory, *, secrets: bool) -> Iterator[Json]:
    for name in sorted(inventory.accounts):
        account: Account = inventory.accounts[name]
        yield {"username": name} | ({"password": account.secret} if secrets else {})


def _target(target: Target) -> Json:
    return {
        "iqn": target.name,
        "state": "ready" if target.online else "offline",
        "initiator_addr_list": sorted(target.access.addresses),
        "initiator_name_list": sorted(target.access.names),
        **user_lists(target),
        "lun_list": [unit_fields(unit) for unit in target.units],
    }
