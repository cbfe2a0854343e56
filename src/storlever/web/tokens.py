"""Tokens over HTTP: made, listed and revoked by whoever is an admin."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Request, Response
from pydantic import AfterValidator, Field

from storlever.principal import Role
from storlever.service import Service
from storlever.token import (
    DEFAULT_LIFETIME,
    LIFETIME,
    NAME,
    NEVER,
    Token,
    lifetime,
    lifetime_text,
    token_name,
)
from storlever.web import resource
from storlever.web.asked import Tagged, location
from storlever.web.table import API, Table
from storlever.web.wire import Given, Shown, grammar
from storlever.web.writing import Creating, Removing

table = Table(API, tag="token")

RoleName = Literal["reader", "operator", "admin"]


class TokenCreate(Given):
    name: Annotated[str, AfterValidator(token_name), grammar(f"^{NAME}$")]
    role: RoleName
    expires: Annotated[str, AfterValidator(lifetime_text), grammar(f"^({LIFETIME}|{NEVER})$")] = (
        Field(DEFAULT_LIFETIME, description="how long it lasts: 90d, 12h, 30m or never")
    )


class TokenShown(Shown):
    """Times are in UTC."""

    name: str
    role: RoleName
    created: datetime
    expires: datetime | None
    last_used: datetime | None

    @classmethod
    def of(cls, token: Token) -> "TokenShown":
        return cls.model_validate(token.as_json())


class TokenMade(TokenShown):
    """`token` is told this once."""

    token: str


@table.get("/token_list", Role.ADMIN)
async def get_tokens(core: Tagged) -> list[TokenShown]:
    core.tag(resource.tokens)
    return [TokenShown.of(token) for token in core.service.tokens()]


@table.post("/token_list", Role.ADMIN, status_code=201)
async def post_token(
    request: Request, response: Response, core: Creating, body: TokenCreate
) -> TokenMade:
    core.of(resource.token(body.name))
    token, secret = await core.write_apart(
        Service.add_token, body.name, Role.parse(body.role), lifetime(body.expires)
    )
    response.headers["Location"] = location(request, "token_list", token.name)
    return TokenMade(**TokenShown.of(token).model_dump(), token=secret)


@table.get("/token_list/{name}", Role.ADMIN)
async def get_token(core: Tagged, name: str) -> TokenShown:
    core.tag(resource.token(name))
    return TokenShown.of(core.service.token(name))


@table.delete("/token_list/{name}", Role.ADMIN, response_class=Response)
async def delete_token(core: Removing, name: str) -> Response:
    core.of(resource.token(name))
    await core.write_apart(Service.remove_token, name)
    return core.changed()
