"""How the commands reach the state: through the service where it runs, else by themselves.

The service alone may use its state file, so whoever finds the folder in use asks it, over the
socket in that folder.
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from storlever import config, logs
from storlever.audit import Json
from storlever.cli.running import Running
from storlever.cli.stopped import Stopped
from storlever.errors import StateUnusable
from storlever.home import Home


class Desk(Protocol):
    """In the shapes of the API. All raise StorLeverError."""

    def tokens(self) -> list[Json]: ...

    def add_token(self, name: str, role: str, expires: str) -> Json: ...

    def remove_token(self, name: str) -> None: ...

    def audit(self, query: Json) -> Json:
        """A page: the anchor, and entries."""


def add_flags(parser: ArgumentParser) -> None:
    config.add_flags(parser, "state_dir", "key_file")


@contextmanager
def opened(arguments: Namespace, *, new: bool = False) -> Iterator[Desk]:
    """`new`: where there is no state, begin one. Raises ConfigError, or StateUnusable where the
    service does not answer either."""
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
            desk = stack.enter_context(Running.opened(home.api_socket, unusable))
        yield desk
