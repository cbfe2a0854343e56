"""The audit over HTTP: pages of entries as they are kept, each with its hash."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from storlever.audit import MOST, Search, moment
from storlever.principal import Role
from storlever.web.asked import Core
from storlever.web.parameters import Number
from storlever.web.table import API, Table
from storlever.web.wire import Shown

table = Table(API, tag="audit")


Time = Annotated[
    str, AfterValidator(moment), WithJsonSchema({"type": "string", "format": "date-time"})
]


class AuditQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Time | None = None
    until: Time | None = None
    who: str | None = None
    target: str | None = None
    after: Number | None = Field(None, description="the oldest entries beyond this number")
    before: Number | None = Field(None, description="the newest entries below this number")
    limit: int = Field(100, ge=1, le=MOST)


class Anchor(Shown):
    """What the oldest entry that is kept was chained to."""

    number: int
    hash: str


class AuditPage(Shown):
    """Entries from the newest on, or, where `after` was said, from the oldest on."""

    anchor: Anchor
    entries: list[dict[str, Any]]


@table.get("/audit", Role.READER)
async def get_audit(core: Core, query: Annotated[AuditQuery, Query()]) -> AuditPage:
    anchor, entries = await core.audit(Search(**query.model_dump()))
    return AuditPage(anchor=Anchor(number=anchor.number, hash=anchor.hash), entries=list(entries))
