"""The twenty operations of the SAN API, one thin function each: decode, call, encode.

Writes run in threads, one at a time behind the service's lock; reads come from memory, but for
the sessions of a target, which have threads of their own so that waiting writes cannot hold
them up.
"""

import re
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BeforeValidator
from starlette.convertors import PathConvertor, register_url_convertor

from storlever import names
from storlever.errors import Fault, Invalid
from storlever.inventory import Direction
from storlever.service import Service
from storlever.web.body import JsonRoute
from storlever.web.wire import (
    Conf,
    ConfUpdate,
    LunCreate,
    LunShown,
    LunUpdate,
    PasswordUpdate,
    Problem,
    TargetCreate,
    TargetShown,
    TargetUpdate,
    UserCreate,
    UserShown,
)

PREFIX = "/storlever/api/v1/san/tgt"
READERS = 16

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    number: {"model": Problem, "content": {"application/problem+json": {}}, "description": text}
    for number, text in {
        404: "no such target, user or LUN",
        409: "it does not fit what is there, or tgtd refuses it",
        415: "the body is not application/json",
        422: "a field breaks a rule",
        503: "tgtd or the state file cannot be changed now",
    }.items()
}


class _UserName(PathConvertor):
    """A user's name may hold slashes; an empty one would be a trailing slash."""

    regex = ".+"


register_url_convertor("user", _UserName())

router = APIRouter(prefix=PREFIX, route_class=JsonRoute, responses=_PROBLEMS, tags=["tgt"])


async def _service(request: Request) -> Service:
    """Not a plain function: those take a worker thread, which waiting writes may have all of."""
    service: Service = request.app.state.service
    return service


def _number(text: object) -> object:
    """One spelling a LUN: 1, not 01 or +1."""
    if not re.fullmatch(r"[1-9][0-9]{0,2}", str(text)):
        raise ValueError("must be a plain number")
    return text


Core = Annotated[Service, Depends(_service)]
Iqn = Annotated[str, Path(examples=["iqn.2014-09.com.example:test"])]
Lun = Annotated[int, BeforeValidator(_number), Path(ge=names.LUN_MIN, le=names.LUN_MAX)]
Force = Annotated[bool, Query(description="do it although something is in the way")]
Everywhere = Annotated[bool, Query(description="change it for every target that shares the user")]


def _done(warnings: tuple[str, ...]) -> Response:
    return Response(headers=_warning(warnings))


def _created(request: Request, warnings: tuple[str, ...], *parts: str) -> Response:
    """The Host header was checked by then, so the location is ours."""
    path = "/".join((PREFIX, *(quote(part, safe=":") for part in parts)))
    location = f"{request.url.scheme}://{request.headers['host']}{path}"
    return Response(status_code=201, headers={"Location": location} | _warning(warnings))


def _warning(warnings: tuple[str, ...]) -> dict[str, str]:
    """RFC 7234, 5.5: 299 is a lasting warning of no special kind."""
    return (
        {"Warning": ", ".join(f'299 storlever "{text}"' for text in warnings)} if warnings else {}
    )


# -- global configuration


@router.get("/conf")
async def get_conf(core: Core) -> Conf:
    return Conf.of(core.inventory.discovery)


@router.put("/conf", response_class=Response)
def put_conf(core: Core, body: ConfUpdate) -> Response:
    return _done(core.set_discovery(body.directions()))


# -- targets


@router.get("/target_list")
async def get_targets(core: Core) -> list[str]:
    return core.target_names()


@router.post("/target_list", status_code=201, response_class=Response)
def post_target(request: Request, core: Core, body: TargetCreate) -> Response:
    return _created(request, core.add_target(body.iqn), "target_list", body.iqn)


@router.get("/target_list/{iqn}")
async def get_target(request: Request, core: Core, iqn: Iqn) -> TargetShown:
    readers: CapacityLimiter = request.app.state.readers
    return TargetShown.of(await run_sync(core.target, iqn, limiter=readers))


@router.put("/target_list/{iqn}", response_class=Response)
def put_target(core: Core, iqn: Iqn, body: TargetUpdate, force: Force = False) -> Response:
    return _done(core.edit_target(iqn, force=force, **body.changes()))


@router.delete("/target_list/{iqn}", response_class=Response)
def delete_target(core: Core, iqn: Iqn, force: Force = False) -> Response:
    return _done(core.remove_target(iqn, force=force))


# -- users, the same operations for both directions


def _user_routes(direction: Direction) -> None:
    path = f"/target_list/{{iqn}}/{direction}user_list"
    named = partial("{}_{}_user".format, direction)

    @router.get(path, name=f"get_{direction}_users")
    async def get_users(core: Core, iqn: Iqn) -> list[str]:
        target = core.inventory.target(iqn)
        if direction is Direction.INCOMING:
            return sorted(target.incoming)
        return [target.outgoing] if target.outgoing else []

    @router.post(path, name=named("post"), status_code=201, response_class=Response)
    def post_user(request: Request, core: Core, iqn: Iqn, body: UserCreate) -> Response:
        warnings = core.add_user(iqn, direction, body.account())
        parts = ("target_list", iqn, f"{direction}user_list", body.username)
        return _created(request, warnings, *parts)

    @router.get(path + "/{user:user}", name=named("get"))
    async def get_user(core: Core, iqn: Iqn, user: str) -> UserShown:
        """Whether the target has this user: what the Location of a new one leads to."""
        core.inventory.require_user(iqn, direction, user)
        return UserShown(username=user)

    @router.put(path + "/{user:user}", name=named("put"), response_class=Response)
    def put_user(
        core: Core, iqn: Iqn, user: str, body: PasswordUpdate, everywhere: Everywhere = False
    ) -> Response:
        secret = body.password if body.given("password") else None
        return _done(core.set_secret(iqn, direction, user, secret, everywhere=everywhere))

    @router.delete(path + "/{user:user}", name=named("delete"), response_class=Response)
    def delete_user(core: Core, iqn: Iqn, user: str) -> Response:
        return _done(core.remove_user(iqn, direction, user))


_user_routes(Direction.INCOMING)
_user_routes(Direction.OUTGOING)


# -- logical units


@router.get("/target_list/{iqn}/lun_list")
async def get_luns(core: Core, iqn: Iqn) -> list[LunShown]:
    return [LunShown.of(status) for status in core.units(iqn)]


@router.get("/target_list/{iqn}/lun_list/{lun}")
async def get_lun(core: Core, iqn: Iqn, lun: Lun) -> LunShown:
    return LunShown.of(core.unit(iqn, lun))


@router.post("/target_list/{iqn}/lun_list", status_code=201, response_class=Response)
def post_lun(
    request: Request, core: Core, iqn: Iqn, body: LunCreate, force: Force = False
) -> Response:
    warnings = core.add_unit(iqn, body.lun, body.fields(), force=force)
    return _created(request, warnings, "target_list", iqn, "lun_list", str(body.lun))


@router.put("/target_list/{iqn}/lun_list/{lun}", response_class=Response)
def put_lun(core: Core, iqn: Iqn, lun: Lun, body: LunUpdate, force: Force = False) -> Response:
    if body.given("lun") and body.lun != lun:
        raise Invalid(Fault("lun", "must be the number in the path: a LUN cannot be renumbered"))
    return _done(core.edit_unit(iqn, lun, body.fields(), force=force))


@router.delete("/target_list/{iqn}/lun_list/{lun}", response_class=Response)
def delete_lun(core: Core, iqn: Iqn, lun: Lun) -> Response:
    return _done(core.remove_unit(iqn, lun))
