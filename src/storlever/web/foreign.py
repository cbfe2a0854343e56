"""Targets that somebody else made in tgtd: shown, and adopted on request."""

from fastapi import Response
from pydantic import Field

from storlever.model import ObservedTarget, ObservedUnit
from storlever.names import printable
from storlever.principal import Role
from storlever.service import Service
from storlever.web import resource
from storlever.web.asked import Core
from storlever.web.parameters import Iqn, Overrule
from storlever.web.table import API, Table
from storlever.web.wire import ABSENT, Given, Shown, UserCreate
from storlever.web.writing import Creating

table = Table(API, tag="foreign")


class ForeignLun(Shown):
    """As tgtd shows it; null where it shows nothing that is known."""

    lun: int
    path: str | None
    device_type: str | None
    bs_type: str | None
    readonly: bool | None
    online: bool | None
    scsi_id: str | None
    scsi_sn: str | None

    @classmethod
    def of(cls, unit: ObservedUnit) -> "ForeignLun":
        return cls(
            lun=unit.lun,
            path=_printable(unit.backing_path),
            device_type=unit.device_type,
            bs_type=unit.backing_type,
            readonly=unit.readonly,
            online=unit.online,
            scsi_id=_printable(unit.scsi_id),
            scsi_sn=_printable(unit.serial_number),
        )


class ForeignShown(Shown):
    """As a pass saw it last."""

    iqn: str
    state: str
    initiator_acl: list[str]
    incominguser_list: list[str]
    outgoinguser_list: list[str]
    lun_list: list[ForeignLun]

    @classmethod
    def of(cls, seen: ObservedTarget) -> "ForeignShown":
        bound = seen.bindings
        return cls(
            iqn=printable(seen.name),
            state="ready" if seen.ready else "offline",
            initiator_acl=list(map(printable, seen.acl)),
            incominguser_list=list(map(printable, bound.incoming)),
            outgoinguser_list=[printable(bound.outgoing)] if bound.outgoing else [],
            lun_list=list(map(ForeignLun.of, seen.units)),
        )


def _printable(text: str | None) -> str | None:
    return None if text is None else printable(text)


class Adopt(Given):
    user_list: list[UserCreate] = Field(
        default=ABSENT,
        max_length=1025,  # 1024 incoming and the outgoing one
        description="every user that the target has, with its password",
    )


@table.get("/foreign_list", Role.READER, large=True)
async def get_foreign(core: Core) -> list[ForeignShown]:
    return [ForeignShown.of(seen) for seen in core.service.foreign()]


@table.post("/foreign_list/{iqn}/adopt", Role.OPERATOR, status_code=201, response_class=Response)
async def adopt_foreign(core: Creating, iqn: Iqn, body: Adopt, force: Overrule) -> Response:
    """From now on the target is ours, and its sessions go on. Its users' passwords are set to
    those given, for tgtd does not tell them."""
    users = [user.account() for user in body.user_list] if body.given("user_list") else []
    core.of(resource.target(iqn))
    warnings = await core.write(Service.adopt, iqn, users, overrule=force)
    return core.created(warnings, "san", "tgt", "target_list", iqn)
