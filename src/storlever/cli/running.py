"""A service that runs, asked by the client."""

from typing import TYPE_CHECKING

from storlever.audit import Json
from storlever.client import operations

if TYPE_CHECKING:
    from storlever.client import Client
    from storlever.client.shapes import Role


class Running:
    """Raises ClientError."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def tokens(self) -> list[Json]:
        found: list[Json] = self._client.do(operations.tokens().plain())
        return found

    def add_token(self, name: str, role: "Role", expires: str) -> Json:
        made: Json = self._client.do(operations.create_token(name, role, expires).plain())
        return made

    def remove_token(self, name: str) -> None:
        self._client.delete_token(name)

    def audit(self, query: Json) -> Json:
        page: Json = self._client.do(operations.audit(**query).plain())
        return page
