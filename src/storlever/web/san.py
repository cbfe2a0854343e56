"""The twenty operations of the SAN API, one thin function each: decode, call, encode.

Reads come from memory, but for the sessions of a target; those and the writes run in threads.
"""

import re
from functools import partial
from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response
from pydantic import BeforeValidator
from starlette.convertors import PathConvertor, register_url_convertor

from storlever import failpoint, names
from storlever.errors import Fault, Forbidden, Invalid
from storlever.inventory import Direction
from storlever.principal import Role
from storlever.service import Service
from storlever.web.asked import Core, location
from storlever.web.table import API, Table
from storlever.web.wire import (
    CHAP_NAME,
    TARGET_NAME,
    Conf,
    ConfUpdate,
    LunCreate,
    LunShown,
    LunUpdate,
    PasswordUpdate,
    TargetCreate,
    TargetShown,
    TargetUpdate,
    UserCreate,
    UserShown,
)

PREFIX = f"{API}/san/tgt"


class _UserName(PathConvertor):
    """A user's name may hold slashes; an empty one would be a trailing slash."""

    regex = ".+"


register_url_convertor("user", _UserName())

table = Table(PREFIX, tag="tgt")


def _number(text: object) -> object:
    """One spelling a LUN: 1, not 01 or +1."""
    if not re.fullmatch(r"[1-9][0-9]{0,2}", str(text)):
        raise ValueError("must be a plain number")
    return text


Iqn = Annotated[str, TARGET_NAME]
User = Annotated[str, CHAP_NAME]
Lun = Annotated[int, BeforeValidator(_number), Path(ge=names.LUN_MIN, le=names.LUN_MAX)]
Force = Annotated[bool, Query(description="do it although something is in the way")]


async def _overrule(core: Core, force: Force = False) -> bool:
    """Raises Forbidden. What a LUN may be forced over is what the machine itself uses."""
    role = core.act.principal.role
    if force and role < Role.ADMIN:
        raise Forbidden(f"force=true takes an {Role.ADMIN} here, and this is an {role}")
    return force


Overrule = Annotated[bool, Depends(_overrule)]
Everywhere = Annotated[bool, Query(description="change it for every target that shares the user")]


def done(warnings: tuple[str, ...]) -> Response:
    return answer(200, {}, warnings)


def _created(request: Request, warnings: tuple[str, ...], *parts: str) -> Response:
    return answer(201, {"Location": location(request, "san", "tgt", *parts)}, warnings)


def answer(status: int, headers: dict[str, str], warnings: tuple[str, ...]) -> Response:
    """The answer to a write. RFC 7234, 5.5: 299 is a lasting warning of no special kind."""
    if warnings:
        headers["Warning"] = ", ".join(f'299 storlever "{text}"' for text in warnings)
    failpoint.reached("write.answered")
    return Response(status_code=status, headers=headers)


# -- global configuration


@table.get("/conf", Role.READER)
async def get_conf(core: Core) -> Conf:
    return Conf.of(core.service.inventory.discovery)


@table.put("/conf", Role.OPERATOR, response_class=Response)
async def put_conf(core: Core, body: ConfUpdate) -> Response:
    return done(await core.write(Service.set_discovery, body.directions()))


# -- targets


@table.get("/target_list", Role.READER)
async def get_targets(core: Core) -> list[str]:
    return core.service.target_names()


@table.post("/target_list", Role.OPERATOR, status_code=201, response_class=Response)
async def post_target(
    request: Request, core: Core, body: TargetCreate, force: Overrule
) -> Response:
    """With users, lists and LUNs where they are given: all of it, or nothing."""
    warnings = await core.write(
        Service.add_target, body.iqn, body.part(), body.accounts(), overrule=force
    )
    return _created(request, warnings, "target_list", body.iqn)


@table.get("/target_list/{iqn}", Role.READER)
async def get_target(core: Core, iqn: Iqn) -> TargetShown:
    return TargetShown.of(await core.target(iqn))


@table.put("/target_list/{iqn}", Role.OPERATOR, response_class=Response)
async def put_target(core: Core, iqn: Iqn, body: TargetUpdate, force: Force = False) -> Response:
    return done(await core.write(Service.edit_target, iqn, force=force, **body.changes()))


@table.delete("/target_list/{iqn}", Role.OPERATOR, response_class=Response)
async def delete_target(core: Core, iqn: Iqn, force: Force = False) -> Response:
    return done(await core.write(Service.remove_target, iqn, force=force))


# -- users, the same operations for both directions


def _user_routes(direction: Direction) -> None:
    path = f"/target_list/{{iqn}}/{direction}user_list"
    named = partial("{1}_{0}_user".format, direction)

    @table.get(path, Role.READER, name=f"get_{direction}_users")
    async def get_users(core: Core, iqn: Iqn) -> list[str]:
        target = core.service.inventory.target(iqn)
        if direction is Direction.INCOMING:
            return sorted(target.incoming)
        return [target.outgoing] if target.outgoing else []

    @table.post(path, Role.OPERATOR, name=named("post"), status_code=201, response_class=Response)
    async def post_user(request: Request, core: Core, iqn: Iqn, body: UserCreate) -> Response:
        warnings = await core.write(Service.add_user, iqn, direction, body.account())
        parts = ("target_list", iqn, f"{direction}user_list", body.username)
        return _created(request, warnings, *parts)

    @table.get(path + "/{user:user}", Role.READER, name=named("get"))
    async def get_user(core: Core, iqn: Iqn, user: User) -> UserShown:
        """Whether the target has this user: what the Location of a new one leads to."""
        core.service.inventory.require_user(iqn, direction, user)
        return UserShown(username=user)

    @table.put(path + "/{user:user}", Role.OPERATOR, name=named("put"), response_class=Response)
    async def put_user(
        core: Core, iqn: Iqn, user: User, body: PasswordUpdate, everywhere: Everywhere = False
    ) -> Response:
        secret = body.password if body.given("password") else None
        return done(
            await core.write(
                Service.set_secret, iqn, direction, user, secret, everywhere=everywhere
            )
        )

    @table.delete(
        path + "/{user:user}", Role.OPERATOR, name=named("delete"), response_class=Response
    )
    async def delete_user(core: Core, iqn: Iqn, user: User) -> Response:
        return done(await core.write(Service.remove_user, iqn, direction, user))


_user_routes(Direction.INCOMING)
_user_routes(Direction.OUTGOING)


# -- logical units


@table.get("/target_list/{iqn}/lun_list", Role.READER)
async def get_luns(core: Core, iqn: Iqn) -> list[LunShown]:
    return [LunShown.of(status) for status in core.service.units(iqn)]


@table.get("/target_list/{iqn}/lun_list/{lun}", Role.READER)
async def get_lun(core: Core, iqn: Iqn, lun: Lun) -> LunShown:
    return LunShown.of(core.service.unit(iqn, lun))


@table.post("/target_list/{iqn}/lun_list", Role.OPERATOR, status_code=201, response_class=Response)
async def post_lun(
    request: Request, core: Core, iqn: Iqn, body: LunCreate, force: Overrule
) -> Response:
    warnings = await core.write(Service.add_unit, iqn, body.lun, body.fields(), force=force)
    return _created(request, warnings, "target_list", iqn, "lun_list", str(body.lun))


@table.put("/target_list/{iqn}/lun_list/{lun}", Role.OPERATOR, response_class=Response)
async def put_lun(core: Core, iqn: Iqn, lun: Lun, body: LunUpdate, force: Overrule) -> Response:
    if body.given("lun") and body.lun != lun:
        raise Invalid(Fault("lun", "must be the number in the path: a LUN cannot be renumbered"))
    return done(await core.write(Service.edit_unit, iqn, lun, body.fields(), force=force))


@table.delete("/target_list/{iqn}/lun_list/{lun}", Role.OPERATOR, response_class=Response)
async def delete_lun(core: Core, iqn: Iqn, lun: Lun) -> Response:
    return done(await core.write(Service.remove_unit, iqn, lun))
