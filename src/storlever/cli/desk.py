"""How the commands reach the state: through the service where it runs, else by themselves.

The service alone may use its state file, so whoever finds the folder in use asks it, over the
socket in that folder; or the one that is named.
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from storlever import config, logs
from storlever.audit import Json
from storlever.cli import reach
from storlever.cli.running import Running
from storlever.cli.stopped import Stopped
from storlever.client import Unreachable
from storlever.errors import StateUnusable
from storlever.home import Home

if TYPE_CHECKING:
    from storlever.client.shapes import Role


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


@contextmanager
def _otherwise(unusable: StateUnusable) -> Iterator[None]:
    """What keeps us from the state, where nobody answers at its socket."""
    try:
        yield
    except Unreachable:
        raise unusable from None
