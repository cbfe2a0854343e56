"""Every operation of the API, once: what to send and what comes back. Nothing is sent here.

The methods of both clients are made of these by script/generate. An argument that is None is left
to the service: what is there stays, or gets its default. What each raises is in `errors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from storlever.client.call import Call, Raw, done, path, shaped
from storlever.client.shapes import (
    Admission,
    AuditPage,
    BackingType,
    Closed,
    Conf,
    DeviceType,
    Direction,
    Document,
    Done,
    ForeignTarget,
    Lun,
    NewLun,
    NewToken,
    Readiness,
    Revision,
    Role,
    Session,
    State,
    Target,
    Token,
    User,
    Username,
)

# -- discovery


def conf() -> Call[Conf]:
    """The users of discovery sessions."""
    return _get(shaped(Conf), *_SAN, "conf")


def set_conf(
    *, incomingdiscoveryuser: str | None = None, outgoingdiscoveryuser: str | None = None
) -> Call[Done]:
    """Each is `name:password`, or "" for nobody."""
    body = _given(
        incomingdiscoveryuser=incomingdiscoveryuser, outgoingdiscoveryuser=outgoingdiscoveryuser
    )
    return _put(body, *_SAN, "conf")


# -- targets


def targets() -> Call[tuple[str, ...]]:
    """Their names, sorted."""
    return _get(shaped(tuple[str, ...]), *_SAN, "target_list")


def targets_in_full() -> Call[tuple[Target, ...]]:
    """All of them; without their sessions."""
    return _get(shaped(tuple[Target, ...]), *_SAN, "target_list", expand=True)


def target(iqn: str) -> Call[Target]:
    """Its sessions included."""
    return _get(shaped(Target), *_target(iqn))


def create_target(
    iqn: str,
    *,
    state: State | None = None,
    initiator_addr_list: Sequence[str] | None = None,
    initiator_name_list: Sequence[str] | None = None,
    incominguser_list: Sequence[User] | None = None,
    outgoinguser_list: Sequence[User] | None = None,
    lun_list: Sequence[NewLun] | None = None,
    exists_ok: bool = False,
) -> Call[Done]:
    """With all that is given, or not at all. Without lists and users it admits every host that
    reaches the portal."""
    body = _given(
        iqn=iqn,
        state=state,
        initiator_addr_list=_listed(initiator_addr_list),
        initiator_name_list=_listed(initiator_name_list),
        incominguser_list=_values(incominguser_list),
        outgoinguser_list=_values(outgoinguser_list),
        lun_list=_values(lun_list),
    )
    return _post(done, body, *_SAN, "target_list", exists_ok=exists_ok)


def set_target(
    iqn: str,
    *,
    state: State | None = None,
    initiator_addr_list: Sequence[str] | None = None,
    initiator_name_list: Sequence[str] | None = None,
    force: bool = False,
) -> Call[Done]:
    """`force`: close sessions that are in the way."""
    body = _given(
        state=state,
        initiator_addr_list=_listed(initiator_addr_list),
        initiator_name_list=_listed(initiator_name_list),
    )
    return _put(body, *_target(iqn), force=force)


def delete_target(iqn: str, *, force: bool = False, missing_ok: bool = False) -> Call[Done]:
    """With its LUNs and users. `force`: close sessions that are in the way."""
    return _delete(*_target(iqn), force=force, missing_ok=missing_ok)


# -- users of a target


def users(iqn: str, *, direction: Direction = "incoming") -> Call[tuple[str, ...]]:
    """Their names, sorted."""
    return _get(shaped(tuple[str, ...]), *_target(iqn), f"{direction}user_list")


def user(iqn: str, username: str, *, direction: Direction = "incoming") -> Call[Username]:
    """Whether the target has it: else NotFound."""
    return _get(shaped(Username), *_user(iqn, username, direction))


def add_user(
    iqn: str,
    username: str,
    password: str,
    *,
    direction: Direction = "incoming",
    exists_ok: bool = False,
) -> Call[Done]:
    """One outgoing user a target; one password a user, on whichever targets."""
    body = {"username": username, "password": password}
    return _post(done, body, *_target(iqn), f"{direction}user_list", exists_ok=exists_ok)


def set_password(
    iqn: str,
    username: str,
    password: str,
    *,
    direction: Direction = "incoming",
    everywhere: bool = False,
) -> Call[Done]:
    """`everywhere`: for every target that shares the user. It counts from the next login on."""
    body = {"password": password}
    return _put(body, *_user(iqn, username, direction), everywhere=everywhere)


def remove_user(
    iqn: str, username: str, *, direction: Direction = "incoming", missing_ok: bool = False
) -> Call[Done]:
    """From this target; a target without incoming users asks nobody for a password."""
    return _delete(*_user(iqn, username, direction), missing_ok=missing_ok)


# -- logical units


def luns(iqn: str) -> Call[tuple[Lun, ...]]:
    """By their numbers."""
    return _get(shaped(tuple[Lun, ...]), *_target(iqn), "lun_list")


def lun(iqn: str, lun: int) -> Call[Lun]:
    """One of them."""
    return _get(shaped(Lun), *_lun(iqn, lun))


def create_lun(
    iqn: str,
    lun: int,
    path: str,
    *,
    device_type: DeviceType | None = None,
    bs_type: BackingType | None = None,
    direct_map: bool | None = None,
    write_cache: bool | None = None,
    readonly: bool | None = None,
    online: bool | None = None,
    shared: bool | None = None,
    scsi_id: str | None = None,
    scsi_sn: str | None = None,
    force: bool = False,
    exists_ok: bool = False,
) -> Call[Done]:
    """`force`: serve a device that the machine itself uses (an admin's)."""
    body = _given(
        lun=lun,
        path=path,
        device_type=device_type,
        bs_type=bs_type,
        direct_map=direct_map,
        write_cache=write_cache,
        readonly=readonly,
        online=online,
        shared=shared,
        scsi_id=scsi_id,
        scsi_sn=scsi_sn,
    )
    return _post(done, body, *_target(iqn), "lun_list", force=force, exists_ok=exists_ok)


def set_lun(
    iqn: str,
    lun: int,
    *,
    path: str | None = None,
    device_type: DeviceType | None = None,
    bs_type: BackingType | None = None,
    direct_map: bool | None = None,
    write_cache: bool | None = None,
    readonly: bool | None = None,
    online: bool | None = None,
    shared: bool | None = None,
    scsi_id: str | None = None,
    scsi_sn: str | None = None,
    force: bool = False,
) -> Call[Done]:
    """The `path` that it has already: serve what is there now, a file at its new size."""
    body = _given(
        path=path,
        device_type=device_type,
        bs_type=bs_type,
        direct_map=direct_map,
        write_cache=write_cache,
        readonly=readonly,
        online=online,
        shared=shared,
        scsi_id=scsi_id,
        scsi_sn=scsi_sn,
    )
    return _put(body, *_lun(iqn, lun), force=force)


def delete_lun(iqn: str, lun: int, *, missing_ok: bool = False) -> Call[Done]:
    """What is behind it stays."""
    return _delete(*_lun(iqn, lun), missing_ok=missing_ok)


# -- sessions


def sessions(iqn: str) -> Call[tuple[Session, ...]]:
    """With what each has read and written."""
    return _get(shaped(tuple[Session, ...]), *_target(iqn), "session_list")


def session(iqn: str, id: int) -> Call[Session]:  # noqa: A002  the API's word
    """One of them."""
    return _get(shaped(Session), *_target(iqn), "session_list", str(id))


def close_session(iqn: str, id: int, *, block: bool = False) -> Call[Closed]:  # noqa: A002
    """Without `block`, the host may log in again at once. It is never sent twice: after a
    restart of tgtd the number may be another host's."""
    return Call(
        "DELETE",
        path(*_target(iqn), "session_list", str(id)),
        shaped(Closed),
        _flags(block=block),
        repeatable=False,
    )


def access(
    iqn: str, *, initiator: str | None = None, address: str | None = None, user: str | None = None
) -> Call[Admission]:
    """Whether such a host may log in, and why."""
    query = _given(initiator=initiator, address=address, user=user)
    return _get(shaped(Admission), *_target(iqn), "access", **query)


# -- the whole


def config(*, secrets: bool = False) -> Call[Document]:
    """All that is desired. `secrets`: with passwords (an admin's)."""
    return _get(Raw.json, "config", secrets=secrets)


def apply_config(
    document: Mapping[str, Any], *, prune: bool = False, force: bool = False
) -> Call[Done]:
    """`prune`: what its lists do not name goes. `force`: although much goes, or sessions are in
    the way."""
    return _put(document, "config", prune=prune, force=force)


def revisions(*, before: int | None = None, limit: int | None = None) -> Call[tuple[Revision, ...]]:
    """The newest first; without what was before and after."""
    query = _given(before=before, limit=limit)
    return _get(shaped(tuple[Revision, ...]), "revision_list", **query)


def revision(number: int) -> Call[Revision]:
    """With what was before and after."""
    return _get(shaped(Revision), "revision_list", str(number))


def restore_revision(number: int, *, force: bool = False) -> Call[Done]:
    """All as it was after this revision, but for tokens."""
    return _post(done, None, "revision_list", str(number), "restore", force=force)


def foreign_targets() -> Call[tuple[ForeignTarget, ...]]:
    """What tgtd serves and StorLever did not make."""
    return _get(shaped(tuple[ForeignTarget, ...]), "foreign_list")


def adopt(iqn: str, users: Sequence[User] = ()) -> Call[Done]:
    """Have a foreign target as one of ours; each user bound to it needs its password."""
    body = {"user_list": _values(users)}
    return _post(done, body, "foreign_list", iqn, "adopt")


# -- who may, and who did


def tokens() -> Call[tuple[Token, ...]]:
    """By their names."""
    return _get(shaped(tuple[Token, ...]), "token_list")


def token(name: str) -> Call[Token]:
    """One of them."""
    return _get(shaped(Token), "token_list", name)


def create_token(name: str, role: Role, expires: str | None = None) -> Call[NewToken]:
    """`expires`: 90d, 12h, 30m or never. It is never sent twice: its answer, a secret, is not
    kept for a repetition."""
    return Call(
        "POST",
        path("token_list"),
        shaped(NewToken),
        body=_given(name=name, role=role, expires=expires),
        repeatable=False,
    )


def delete_token(name: str, *, missing_ok: bool = False) -> Call[Done]:
    """It is refused from now on."""
    return _delete("token_list", name, missing_ok=missing_ok)


def audit(
    *,
    since: str | None = None,
    until: str | None = None,
    who: str | None = None,
    target: str | None = None,
    after: int | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> Call[AuditPage]:
    """The newest entries, or with `after` the oldest beyond that number."""
    query = _given(
        since=since,
        until=until,
        who=who,
        target=target,
        after=after,
        before=before,
        limit=limit,
    )
    return _get(shaped(AuditPage), "audit", **query)


# -- how it is


def ready() -> Call[Readiness]:
    """Also when it is not: an answer all the same."""
    return Call("GET", "/readyz", shaped(Readiness), answers=(200, 503))


def portals() -> Call[tuple[str, ...]]:
    """Where hosts log in, HOST:PORT each; 0.0.0.0 and [::] stand for every address."""
    return _get(shaped(tuple[str, ...]), "portal_list")


def metrics() -> Call[str]:
    """In Prometheus' text format."""
    return Call("GET", "/metrics", lambda raw: raw.content.decode())


_SAN = ("san", "tgt")


def _target(iqn: str) -> tuple[str, ...]:
    return (*_SAN, "target_list", iqn)


def _user(iqn: str, username: str, direction: Direction) -> tuple[str, ...]:
    return (*_target(iqn), f"{direction}user_list", username)


def _lun(iqn: str, lun: int) -> tuple[str, ...]:
    return (*_target(iqn), "lun_list", str(lun))


def _get(decode: Any, *parts: str, **query: Any) -> Call[Any]:
    return Call("GET", path(*parts), decode, _flags(**query))


def _put(body: Mapping[str, Any], *parts: str, **query: bool) -> Call[Done]:
    return Call("PUT", path(*parts), done, _flags(**query), body)


def _delete(*parts: str, **query: bool) -> Call[Done]:
    return Call("DELETE", path(*parts), done, _flags(**query))


def _post(decode: Any, body: Mapping[str, Any] | None, *parts: str, **query: bool) -> Call[Any]:
    return Call("POST", path(*parts), decode, _flags(**query), body, keyed=True)


def _flags(**query: Any) -> dict[str, str]:
    """A query; what is false is not said."""
    return {
        name: "true" if value is True else str(value)
        for name, value in query.items()
        if value is not False
    }


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _listed(entries: Sequence[str] | None) -> list[str] | None:
    return None if entries is None else list(entries)


def _values(entries: Sequence[User] | Sequence[NewLun] | None) -> list[dict[str, Any]] | None:
    return None if entries is None else [_given(**asdict(each)) for each in entries]
