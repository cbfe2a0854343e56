"""The audit over HTTP: pages of entries as they are kept, each with its hash."""

from datetime import UTC
from typing import Annotated, Any

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from storlever.audit import Search, stamp
from storlever.principal import Role
from storlever.service import Service
from storlever.web.asked import Core
from storlever.web.table import Table
from storlever.web.tokens import PREFIX

MOST = 1000

table = Table(PREFIX, tag="audit")


class AuditQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    who: str | None = None
    target: str | None = None
    after: int | None = Field(None, ge=0, description="the oldest entries beyond this number")
    before: int | None = Field(None, ge=0, description="the newest entries below this number")
    limit: int = Field(100, ge=1, le=MOST)

    def search(self) -> Search:
        times = {
            name: when and stamp(when.astimezone(UTC))
            for name, when in (("since", self.since), ("until", self.until))
        }
        return Search(**{**self.model_dump(), **times})


class Anchor(BaseModel):
    """What the oldest entry that is kept was chained to."""

    number: int
    hash: str


class AuditPage(BaseModel):
    """Entries from the newest on, or, where `after` was said, from the oldest on."""

    anchor: Anchor
    entries: list[dict[str, Any]]


@table.get("/audit", Role.READER)
async def get_audit(core: Core, query: Annotated[AuditQuery, Query()]) -> AuditPage:
    anchor, entries = await core.read(Service.audit, query.search())
    return AuditPage(anchor=Anchor(number=anchor.number, hash=anchor.hash), entries=list(entries))
