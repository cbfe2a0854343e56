"""Revisions over HTTP: what was changed since when, and the way back."""

from typing import Annotated, Any

from fastapi import Path, Query, Response
from msgspec import to_builtins

from storlever.audit import MOST
from storlever.principal import Role
from storlever.service import Service
from storlever.web.asked import Core
from storlever.web.parameters import Force, Number
from storlever.web.table import API, Table
from storlever.web.wire import Shown
from storlever.web.writing import Creating

table = Table(API, tag="revision")

Revision = Annotated[int, Path(ge=1, lt=2**63)]
Before = Annotated[Number | None, Query(description="those below this number")]
Limit = Annotated[int, Query(ge=1, le=MOST)]


class RevisionTold(Shown):
    """A commit that changed targets, users or discovery. Where several requests shared it, `who`,
    `request_id` and `operation` name each, with commas between. Of many `changes`, the first."""

    revision: int
    time: str
    who: str
    request_id: str
    operation: str
    changes: list[str]


class RevisionShown(RevisionTold):
    """`before` and `after` as in the audit, with secrets masked."""

    before: dict[str, Any]
    after: dict[str, Any]


@table.get("/revision_list", Role.READER, large=True)
async def get_revisions(
    core: Core, before: Before = None, limit: Limit = 100
) -> list[RevisionTold]:
    """The newest first."""
    found = await core.read(Service.revisions, before, limit)
    return [RevisionTold.model_validate(each) for each in found]


@table.get("/revision_list/{number}", Role.READER, response_model=RevisionShown, large=True)
async def get_revision(core: Core, number: Revision) -> Response:
    return Response(await core.read(_shown, number), media_type="application/json")


def _shown(service: Service, number: int) -> bytes:
    """In a thread: it may have changed everything."""
    found = to_builtins(service.revision(number))
    return RevisionShown.model_validate(found).model_dump_json().encode()


@table.post("/revision_list/{number}/restore", Role.OPERATOR, response_class=Response)
async def restore_revision(core: Creating, number: Revision, force: Force = False) -> Response:
    """The state as it was after that revision; tokens stay. `force` as of PUT config."""
    overrule = force and core.by_admin
    return core.changed(await core.write(Service.restore, number, force=force, overrule=overrule))
