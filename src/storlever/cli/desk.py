"""How the commands reach the state: through the service where it runs, else by themselves.

The service alone may use its state file, so whoever finds the folder in use asks it, over the
socket in that folder; or the one that is named.
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from storlever import config, logs
from storlever.audit import Json
from storlever.cli import reach
from storlever.cli.failure import Failure, Status
from storlever.cli.running import Running
from storlever.cli.stopped import Stopped
from storlever.client import ClientError, Unreachable
from storlever.errors import StateUnusable
from storlever.home import Home

if TYPE_CHECKING:
    from storlever.client.shapes import Role


SHORT = 3.0
"""Seconds for a service to show that it is there."""


class Desk(Protocol):
    """In the shapes of the API. All raise StorLeverError or ClientError."""

    def tokens(self) -> list[Json]: ...

    def add_token(self, name: str, role: "Role", expires: str) -> Json: ...

    def remove_token(self, name: str) -> None: ...

    def audit(self, query: Json) -> Json:
        """A page: the anchor, and entries."""


def add_flags(parser: ArgumentParser) -> None:
    config.add_flags(parser, "state_dir", "key_file")
    reach.add_flags(parser, state_dir=False)


@contextmanager
def opened(arguments: Namespace, *, new: bool = False) -> Iterator[Desk]:
    """`new`: where there is no state, begin one. Raises ConfigError, Failure, or StateUnusable
    where the service does not answer either."""
    if reach.elsewhere(arguments, os.environ):
        with reach.opened(arguments) as client:
            yield Running(client)
        return
    logs.configure("text")
    settings = config.load(arguments, os.environ)
    home = Home(settings.state_dir)
    if new and not arguments.state_dir and not home.has_state():
        _require_alone(home, arguments, os.environ)
    with ExitStack() as stack:
        desk: Desk
        try:
            desk = stack.enter_context(Stopped.opened(settings, new=new))
        except StateUnusable as unusable:
            if not home.api_socket.is_socket():
                raise
            stack.enter_context(_otherwise(unusable))
            options = reach.options(arguments, os.environ) | {"socket": home.api_socket}
            desk = Running(stack.enter_context(reach.client(options)))
        yield desk


def _require_alone(home: Home, arguments: Namespace, environment: Mapping[str, str]) -> None:
    """Raises Failure where there seems to be a service, which would know nothing of what a second
    state holds."""
    usual = {key: value for key, value in environment.items() if key != "STORLEVER_STATE_DIR"}
    options = reach.options(arguments, usual) | {"token": None, "timeout": SHORT, "patience": 0.0}
    where = options["socket"] or options["url"]
    if where == home.api_socket:
        return
    if "STORLEVER_SOCKET" in environment:
        why = f"STORLEVER_SOCKET says that the service is at {where}"
    elif _answers(options):
        why = f"a service answers at {where}"
    else:
        return
    raise Failure(
        f"there is no state in {home.folder}, but {why}",
        status=Status.USAGE,
        advice="say which one is meant: --url, --socket, or its --state-dir",
    )


def _answers(options: dict[str, Any]) -> bool:
    try:
        with reach.client(options) as client:
            client.ready()
    except ClientError:
        return False
    return True


@contextmanager
def _otherwise(unusable: StateUnusable) -> Iterator[None]:
    """What keeps us from the state, where nobody answers at its socket."""
    try:
        yield
    except Unreachable:
        raise unusable from None
