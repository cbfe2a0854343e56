"""A service that runs, asked over its own socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from storlever.audit import Json
from storlever.errors import StateUnusable, StorLeverError

API = "http://localhost/storlever/api/v1"
PATIENCE = 30.0


class Running:
    def __init__(self, http: httpx2.Client, otherwise: StateUnusable) -> None:
        """`otherwise`: what is raised when nobody answers."""
        self._http = http
        self._otherwise = otherwise

    @classmethod
    @contextmanager
    def opened(cls, socket: Path, otherwise: StateUnusable) -> Iterator["Running"]:
        transport = httpx2.HTTPTransport(uds=str(socket))
        with httpx2.Client(transport=transport, timeout=PATIENCE) as http:
            yield cls(http, otherwise)

    def tokens(self) -> list[Json]:
        found: list[Json] = self._asked("GET", "/token_list")
        return found

    def add_token(self, name: str, role: str, expires: str) -> Json:
        body = {"name": name, "role": role, "expires": expires}
        made: Json = self._asked("POST", "/token_list", json=body)
        return made

    def remove_token(self, name: str) -> None:
        self._asked("DELETE", f"/token_list/{quote(name, safe='')}")

    def audit(self, query: Json) -> Json:
        page: Json = self._asked("GET", "/audit", params=query)
        return page

    def _asked(self, method: str, path: str, **content: Any) -> Any:
        """Raises StorLeverError with the service's own words."""
        try:
            answer = self._http.request(method, API + path, **content)
        except httpx2.TransportError:
            raise self._otherwise from None
        if answer.is_success:
            return answer.json() if answer.content else None
        problem = answer.json()
        raise StorLeverError(problem["detail"], code=problem["code"])
