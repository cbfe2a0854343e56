"""Who is logged in, who could be, and how to part with them."""

from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Literal

from fastapi import Path, Query
from msgspec.structs import asdict
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from storlever.admission import Admission, Asking, Rule
from storlever.errors import NotFound
from storlever.model import Access, Traffic
from storlever.names import NAME_BYTES
from storlever.principal import Role
from storlever.sampler import Visit
from storlever.service import Service
from storlever.web.asked import Core
from storlever.web.parameters import Iqn
from storlever.web.san import PREFIX
from storlever.web.table import Table
from storlever.web.wire import RehearsalShown, Shown
from storlever.web.writing import Removing

table = Table(PREFIX, tag="sessions")

SESSIONS = "/target_list/{iqn}/session_list"
UNKNOWN = "?"
RULES: dict[Rule, str] = {
    Rule.NAMES: "initiator_name_list",
    Rule.ADDRESSES: "initiator_addr_list",
    Rule.USERS: "incominguser_list",
}
"""Those that have another name here."""

UNCOUNTED = dict.fromkeys(Traffic.__struct_fields__)

Id = Annotated[int, Path(ge=0, lt=2**63)]


class ConnectionTold(Shown):
    cid: int
    addr: str


class SessionTold(Shown):
    """`initiator` is what the initiator calls itself; ? where another one pretends to be it. The
    counters are since the session began, as they were a second or so ago; null while it is too new
    for that. `since` is when it was first seen."""

    id: int
    initiator: str
    alias: str | None = Field(description="null where it has none, or others may have said it")
    connections: list[ConnectionTold]
    read_bytes: int | None
    written_bytes: int | None
    reads: int | None
    writes: int | None
    errors: int | None
    since: datetime

    @classmethod
    def of(cls, visit: Visit, alias: str | None, done: Traffic | None) -> "SessionTold":
        session = visit.session
        connection = ConnectionTold(cid=session.cid, addr=session.address)
        return cls(
            id=session.sid,
            initiator=session.initiator_name,
            alias=alias,
            connections=[] if session.address == UNKNOWN else [connection],
            since=visit.since,
            **(asdict(done) if done else UNCOUNTED),
        )


class NameTaken(Shown):
    initiator_name: str


class AddressTaken(Shown):
    initiator_addr: str


class Parted(Shown):
    """`closed`: how many sessions; `removed`: what was taken off the target's lists."""

    closed: int
    removed: list[NameTaken | AddressTaken]


@table.get(SESSIONS, Role.READER)
async def get_sessions(core: Core, iqn: Iqn) -> list[SessionTold]:
    visits = await core.visits(iqn)
    aliases = core.service.aliases(iqn, [visit.session for visit in visits])
    done = core.service.sampler.counters.sessions
    return [
        SessionTold.of(visit, aliases.get(visit.session.sid), done.get((iqn, visit.session.sid)))
        for visit in visits
    ]


@table.get(SESSIONS + "/{id}", Role.READER)
async def get_session(core: Core, iqn: Iqn, id: Id) -> SessionTold:  # noqa: A002  the path's word
    for told in await get_sessions(core, iqn):
        if told.id == id:
            return told
    raise NotFound(f"target {iqn} has no session {id}", code="session-not-found")


@table.delete(SESSIONS + "/{id}", Role.OPERATOR)
async def delete_session(
    core: Removing,
    iqn: Iqn,
    id: Id,  # noqa: A002
    block: Annotated[
        bool, Query(description="first take what admits it off the target's lists")
    ] = False,
) -> Parted | RehearsalShown:
    """Initiators log in again at once, unless they are blocked."""
    if not block:
        await core.write(Service.end_session, iqn, id)
        return Parted(closed=0 if core.done.already else 1, removed=[])
    # In force and durable before anything is closed, or it would be back.
    found = await core.write(Service.shut_out, iqn, id)
    if core.done.already:
        return Parted(closed=0, removed=[])
    session, taken = found
    closed = await core.write(Service.end_shut_out, iqn, session)
    return Parted(closed=closed, removed=list(_removed(taken)))


def _removed(taken: Access) -> Iterator[NameTaken | AddressTaken]:
    yield from (NameTaken(initiator_name=name) for name in taken.names)
    yield from (AddressTaken(initiator_addr=each) for each in taken.addresses)


# -- who could be


def _address(text: str) -> str:
    """As tgtd sees the peer of a connection."""
    try:
        found = ip_address(text)
    except ValueError:
        found = None
    if found is None or "%" in text:
        raise ValueError("must be an IPv4 or IPv6 address")
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


ADDRESS = WithJsonSchema(
    {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}
)


class AccessQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    initiator: str | None = Field(None, max_length=NAME_BYTES, description="what it calls itself")
    address: Annotated[str, AfterValidator(_address), ADDRESS] | None = None
    user: str | None = Field(None, max_length=255, description="whom it logs in as")


class AdmissionTold(Shown):
    """`rule` is what decides: the list that admits it, `everybody` where both lists are empty,
    `unlisted` where neither has it, `incominguser_list` where its user is not let in, `state`."""

    admitted: bool
    rule: Literal[
        "state",
        "initiator_name_list",
        "initiator_addr_list",
        "everybody",
        "unlisted",
        "incominguser_list",
    ]
    reason: str

    @classmethod
    def of(cls, found: Admission) -> "AdmissionTold":
        rule = RULES.get(found.rule, found.rule)
        return cls.model_validate(
            {"admitted": found.admitted, "rule": rule, "reason": found.reason}
        )


@table.get("/target_list/{iqn}/access", Role.READER)
async def get_access(core: Core, iqn: Iqn, query: Annotated[AccessQuery, Query()]) -> AdmissionTold:
    """Whether a login with the right password would be granted now."""
    asking = Asking(query.initiator, query.address, query.user)
    return AdmissionTold.of(core.service.admission(iqn, asking))
