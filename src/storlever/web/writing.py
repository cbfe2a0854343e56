"""The core, as it is asked by one request that changes something: on which conditions, whether in
earnest, and what came of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response
from pydantic import AfterValidator

from storlever import failpoint, names
from storlever.errors import Fault, Invalid, NotFound
from storlever.inventory import Inventory
from storlever.principal import Act, Role
from storlever.receipt import HEADER, Done, Key
from storlever.rehearsal import Rehearsal
from storlever.service import Service
from storlever.token import token_name
from storlever.web.asked import location
from storlever.web.body import JsonRequest
from storlever.web.etag import Condition, View
from storlever.web.gate import act_of
from storlever.web.resource import Same, excused
from storlever.web.table import say
from storlever.web.threads import Answer, Given, Method, Threaded
from storlever.web.wire import grammar
from storlever.writer import Write

KEY = r"^[!-~]([ -~]{0,253}[!-~])?$"
"""What RFC 9110 lets a header's value be, of printable ASCII."""


class Rehearsed(Exception):
    """What was asked for is only told, and that is the answer: nothing after a write goes on."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()
        self.rehearsal = rehearsal


@dataclass(slots=True)
class Writing:
    """Of one request. Say what it is `of`, `write` it, and answer with `changed` or `created`."""

    core: Threaded
    request: Request
    dry_run: bool = False
    condition: Condition = Condition()
    key: str | None = None
    missing_ok: bool = False
    done: Done = field(default_factory=Done)
    """What came of the write."""
    _view: View | None = None
    _same: Same | None = None

    @property
    def service(self) -> Service:
        return self.core.service

    @property
    def act(self) -> Act:
        return act_of(self.request.scope)

    @property
    def by_admin(self) -> bool:
        return self.act.principal.role >= Role.ADMIN

    def of(self, view: View, same: Same | None = None) -> "Writing":
        """`view`: the resource that is made, changed or removed. `same`: whether one that is there
        already will do. One that nothing is said of has no tag, and meets no condition."""
        self._view, self._same = view, same
        return self

    async def write(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        """What the method returns; () where all is so `already`. Raises Rehearsed for a dry run."""
        call = partial(method, self.service, *args, **options)
        answer: Answer = await self._carried_out(self.core.write, call)
        return answer

    async def write_apart(
        self, method: Method[Given, Answer], *args: Given.args, **options: Given.kwargs
    ) -> Answer:
        """The same, for what needs no tgtd."""
        call = partial(method, self.service, *args, **options)
        answer: Answer = await self._carried_out(self.core.write_apart, call)
        return answer

    def changed(self, warnings: tuple[str, ...] = ()) -> Response:
        return self._answer(200, {}, warnings)

    def created(self, warnings: tuple[str, ...], *parts: str) -> Response:
        """`parts`: of the path of what was made, after that of the API."""
        headers = {"Location": location(self.request, *parts)}
        return self._answer(200 if self.done.already else 201, headers, warnings)

    @staticmethod
    def _answer(status: int, headers: dict[str, str], warnings: tuple[str, ...]) -> Response:
        """RFC 7234, 5.5: 299 is a lasting warning of no special kind."""
        if warnings:
            headers["Warning"] = ", ".join(f'299 storlever "{text}"' for text in warnings)
        failpoint.reached("write.answered")
        return Response(status_code=status, headers=headers)

    async def _carried_out(
        self, carry_out: Callable[[Write], Awaitable[Done | Rehearsal]], call: Callable[[], Any]
    ) -> Any:
        write = self._write(call)
        with self.core.in_flight(write.key):
            outcome = await carry_out(write)
        if isinstance(outcome, Rehearsal):
            raise Rehearsed(outcome)
        self.done = outcome
        if outcome.replayed:
            say(self.request, "Idempotency-Replayed", "true")
        return outcome.answer

    def _write(self, call: Callable[[], Any]) -> Write:
        return Write(
            self.act,
            call,
            rehearsed=self.dry_run,
            key=self._key(),
            require=partial(self.condition.require, self.core.tags, self._view),
            left=self._say_tag,
            excuses=excused(self._same, missing_ok=self.missing_ok),
        )

    def _key(self) -> Key | None:
        if self.key is None:
            return None
        request, principal = self.request, self.act.principal
        if len(request.headers.getlist(HEADER)) > 1:
            raise Invalid(Fault(HEADER, "must be there once"))
        body = request.received if isinstance(request, JsonRequest) else b""
        path, query = request.scope["path"].encode(), request.scope["query_string"]
        return Key.of(principal.name, self.key, request.method.encode(), path, query, body)

    def _say_tag(self, inventory: Inventory) -> None:
        """That of what this write left: a later one may have changed it before the answer."""
        if self._view is not None:
            try:
                say(self.request, "ETag", self.core.tags.of(self._view(inventory)))
            except NotFound:
                return  # it is gone


def _own_key(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not 0 < len(text) <= 255:
        raise ValueError("must be 1 to 255 printable ASCII characters")
    return text


DryRun = Annotated[bool, Query(description="tell what it would do (Rehearsal), and do nothing")]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="tags: 412 where it has another one by now")
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="*: 412 where it is there already")
]
IdempotencyKey = Annotated[
    Annotated[str, AfterValidator(_own_key), grammar(KEY)] | None,
    Header(alias=HEADER, description="the same request with the same key is done once in 24 hours"),
]
ExistsOk = Annotated[
    bool, Query(description="200 where it is there already, and is as it would be made")
]
MissingOk = Annotated[bool, Query(description="200 where it is gone already")]


GRAMMARS = {"iqn": names.target_name, "user": names.chap_name, "name": token_name}
"""By parameter of a path."""


def _could_be(parameters: Mapping[str, Any]) -> bool:
    """Whether there could be what a path names: what could not is a mistake, and not gone."""
    try:
        for parameter in GRAMMARS.keys() & parameters.keys():
            GRAMMARS[parameter](parameters[parameter])
    except ValueError:
        return False
    return True


async def _creating(
    request: Request,
    dry_run: DryRun = False,
    none_match: IfNoneMatch = None,
    key: IdempotencyKey = None,
) -> Writing:
    return Writing(request.app.state.core, request, dry_run, Condition(None, none_match), key)


async def _changing(
    request: Request,
    dry_run: DryRun = False,
    match: IfMatch = None,
    none_match: IfNoneMatch = None,
) -> Writing:
    return Writing(request.app.state.core, request, dry_run, Condition(match, none_match))


async def _removing(
    request: Request,
    dry_run: DryRun = False,
    missing_ok: MissingOk = False,
    match: IfMatch = None,
) -> Writing:
    gone_ok = missing_ok and _could_be(request.path_params)
    condition = Condition(match)
    return Writing(request.app.state.core, request, dry_run, condition, missing_ok=gone_ok)


Creating = Annotated[Writing, Depends(_creating)]
"""For POST."""
Changing = Annotated[Writing, Depends(_changing)]
"""For PUT."""
Removing = Annotated[Writing, Depends(_removing)]
"""For DELETE."""
