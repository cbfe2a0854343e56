"""The operations of the SAN API, one thin function each: decode, call, encode.

Reads come from memory, but for the sessions of a target; those and the writes run in threads.
"""

from functools import partial

from fastapi import Response
from pydantic import TypeAdapter

from storlever.errors import Fault, Invalid
from storlever.inventory import Direction, users_of
from storlever.principal import Role
from storlever.service import Service
from storlever.web import resource
from storlever.web.asked import AskedOfOne, Tagged
from storlever.web.parameters import Everywhere, Expand, Force, Iqn, Lun, Overrule, User
from storlever.web.table import API, Table
from storlever.web.wire import (
    Conf,
    ConfUpdate,
    LunCreate,
    LunShown,
    LunUpdate,
    PasswordUpdate,
    TargetCreate,
    TargetListed,
    TargetShown,
    TargetUpdate,
    UserCreate,
    UserShown,
)
from storlever.web.writing import Changing, Creating, ExistsOk, Removing, Writing

PREFIX = f"{API}/san/tgt"

table = Table(PREFIX, tag="tgt")


def _created(core: Writing, warnings: tuple[str, ...], *parts: str) -> Response:
    return core.created(warnings, "san", "tgt", *parts)


# -- global configuration


@table.get("/conf", Role.READER)
async def get_conf(core: Tagged) -> Conf:
    core.tag(resource.conf)
    return Conf.of(core.service.inventory.discovery)


@table.put("/conf", Role.OPERATOR, response_class=Response)
async def put_conf(core: Changing, body: ConfUpdate) -> Response:
    core.of(resource.conf)
    return core.changed(await core.write(Service.set_discovery, body.directions()))


# -- targets


@table.get("/target_list", Role.READER, response_model=list[str] | list[TargetListed], large=True)
async def get_targets(core: Tagged, expand: Expand = False) -> list[str] | Response:
    if expand:
        return Response(await core.read(_listed, core), media_type="application/json")
    core.tag(resource.target_names)
    return core.service.target_names()


def _listed(service: Service, core: AskedOfOne) -> bytes:
    """Of all targets, which takes a while: not in the event loop."""
    core.tag(resource.targets)
    return _LISTED.dump_json([TargetListed.of(each) for each in service.targets()])


_LISTED = TypeAdapter(list[TargetListed])


@table.post("/target_list", Role.OPERATOR, status_code=201, response_class=Response)
async def post_target(
    core: Creating, body: TargetCreate, force: Overrule, exists_ok: ExistsOk = False
) -> Response:
    """With users, lists and LUNs where they are given: all of it, or nothing."""
    part, accounts = body.part(), body.accounts()
    same = resource.same_target(part, accounts) if exists_ok else None
    core.of(resource.target(body.iqn), same)
    warnings = await core.write(Service.add_target, body.iqn, part, accounts, overrule=force)
    return _created(core, warnings, "target_list", body.iqn)


@table.get("/target_list/{iqn}", Role.READER)
async def get_target(core: Tagged, iqn: Iqn) -> TargetShown:
    core.tag(resource.target(iqn))
    return TargetShown.of(await core.target(iqn))


@table.put("/target_list/{iqn}", Role.OPERATOR, response_class=Response)
async def put_target(
    core: Changing, iqn: Iqn, body: TargetUpdate, force: Force = False
) -> Response:
    core.of(resource.target(iqn))
    return core.changed(await core.write(Service.edit_target, iqn, force=force, **body.changes()))


@table.delete("/target_list/{iqn}", Role.OPERATOR, response_class=Response)
async def delete_target(core: Removing, iqn: Iqn, force: Force = False) -> Response:
    core.of(resource.target(iqn))
    return core.changed(await core.write(Service.remove_target, iqn, force=force))


# -- users, the same operations for both directions


def _user_routes(direction: Direction) -> None:
    path = f"/target_list/{{iqn}}/{direction}user_list"
    named = partial("{1}_{0}_user".format, direction)

    @table.get(path, Role.READER, name=f"get_{direction}_users")
    async def get_users(
        core: Tagged, iqn: Iqn, expand: Expand = False
    ) -> list[str] | list[UserShown]:
        core.tag(resource.users(iqn, direction))
        names = sorted(users_of(core.service.inventory.target(iqn), direction))
        return [UserShown(username=name) for name in names] if expand else names

    @table.post(path, Role.OPERATOR, name=named("post"), status_code=201, response_class=Response)
    async def post_user(
        core: Creating, iqn: Iqn, body: UserCreate, exists_ok: ExistsOk = False
    ) -> Response:
        account = body.account()
        same = resource.same_user(iqn, direction, account) if exists_ok else None
        core.of(resource.user(iqn, direction, account.name), same)
        warnings = await core.write(Service.add_user, iqn, direction, account)
        parts = ("target_list", iqn, f"{direction}user_list", body.username)
        return _created(core, warnings, *parts)

    @table.get(path + "/{user:user}", Role.READER, name=named("get"))
    async def get_user(core: Tagged, iqn: Iqn, user: User) -> UserShown:
        """Whether the target has this user: what the Location of a new one leads to."""
        core.tag(resource.user(iqn, direction, user))
        return UserShown(username=user)

    @table.put(path + "/{user:user}", Role.OPERATOR, name=named("put"), response_class=Response)
    async def put_user(
        core: Changing, iqn: Iqn, user: User, body: PasswordUpdate, everywhere: Everywhere = False
    ) -> Response:
        core.of(resource.user(iqn, direction, user))
        secret = body.password if body.given("password") else None
        return core.changed(
            await core.write(
                Service.set_secret, iqn, direction, user, secret, everywhere=everywhere
            )
        )

    @table.delete(
        path + "/{user:user}", Role.OPERATOR, name=named("delete"), response_class=Response
    )
    async def delete_user(core: Removing, iqn: Iqn, user: User) -> Response:
        core.of(resource.user(iqn, direction, user))
        return core.changed(await core.write(Service.remove_user, iqn, direction, user))


_user_routes(Direction.INCOMING)
_user_routes(Direction.OUTGOING)


# -- logical units


@table.get("/target_list/{iqn}/lun_list", Role.READER)
async def get_luns(core: Tagged, iqn: Iqn) -> list[LunShown]:
    core.tag(resource.units(iqn))
    return [LunShown.of(status) for status in core.service.units(iqn)]


@table.get("/target_list/{iqn}/lun_list/{lun}", Role.READER)
async def get_lun(core: Tagged, iqn: Iqn, lun: Lun) -> LunShown:
    core.tag(resource.unit(iqn, lun))
    return LunShown.of(core.service.unit(iqn, lun))


@table.post("/target_list/{iqn}/lun_list", Role.OPERATOR, status_code=201, response_class=Response)
async def post_lun(
    core: Creating, iqn: Iqn, body: LunCreate, force: Overrule, exists_ok: ExistsOk = False
) -> Response:
    same = resource.same_unit(iqn, body.lun, body.fields()) if exists_ok else None
    core.of(resource.unit(iqn, body.lun), same)
    warnings = await core.write(Service.add_unit, iqn, body.lun, body.fields(), force=force)
    return _created(core, warnings, "target_list", iqn, "lun_list", str(body.lun))


@table.put("/target_list/{iqn}/lun_list/{lun}", Role.OPERATOR, response_class=Response)
async def put_lun(core: Changing, iqn: Iqn, lun: Lun, body: LunUpdate, force: Overrule) -> Response:
    if body.given("lun") and body.lun != lun:
        raise Invalid(Fault("lun", "must be the number in the path: a LUN cannot be renumbered"))
    core.of(resource.unit(iqn, lun))
    return core.changed(await core.write(Service.edit_unit, iqn, lun, body.fields(), force=force))


@table.delete("/target_list/{iqn}/lun_list/{lun}", Role.OPERATOR, response_class=Response)
async def delete_lun(core: Removing, iqn: Iqn, lun: Lun) -> Response:
    core.of(resource.unit(iqn, lun))
    return core.changed(await core.write(Service.remove_unit, iqn, lun))
