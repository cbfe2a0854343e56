"""What paths and queries may say, where several parts of the API have the same."""

import re
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import BeforeValidator, Field
from starlette.convertors import PathConvertor, register_url_convertor

from storlever import names
from storlever.errors import Forbidden
from storlever.principal import Role
from storlever.web.wire import CHAP_NAME, TARGET_NAME


class _UserName(PathConvertor):
    """A user's name may hold slashes; an empty one would be a trailing slash."""

    regex = ".+"


register_url_convertor("user", _UserName())


def _plain(text: object) -> object:
    """One spelling a LUN: 1, not 01 or +1."""
    if not re.fullmatch(r"[1-9][0-9]{0,2}", str(text)):
        raise ValueError("must be a plain number")
    return text


Iqn = Annotated[str, TARGET_NAME]
User = Annotated[str, CHAP_NAME]
Lun = Annotated[int, BeforeValidator(_plain), Path(ge=names.LUN_MIN, le=names.LUN_MAX)]
Number = Annotated[int, Field(ge=0, lt=2**63)]
"""Of an entry or a revision."""

Force = Annotated[bool, Query(description="do it although something is in the way")]
Expand = Annotated[bool, Query(description="whole objects, as GET of each has them")]
Everywhere = Annotated[bool, Query(description="change it for every target that shares the user")]


async def _overrule(request: Request, force: Force = False) -> bool:
    """Raises Forbidden. What a LUN may be forced over is what the machine itself uses."""
    role = request.state.principal.role
    if force and role < Role.ADMIN:
        raise Forbidden(f"force=true takes an {Role.ADMIN} here, and your role is {role}")
    return force


Overrule = Annotated[bool, Depends(_overrule)]
