"""Arguments that a shell can complete, with what the service has at that moment.

A completer never prints and never fails: where there is no service, there is nothing to offer.
"""

import os
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from storlever.cli import reach
from storlever.cli.failure import Failure
from storlever.client import ClientError, operations

if TYPE_CHECKING:
    from storlever.client.call import Call

TIMEOUT = 1.0
"""Seconds that a shell waits for the service."""


def iqn(parser: ArgumentParser) -> None:
    _completed(parser.add_argument("iqn", metavar="IQN"), lambda _: operations.targets())


def lun(parser: ArgumentParser) -> None:
    """After an `iqn`."""
    action = parser.add_argument("lun", metavar="LUN", type=int)
    _completed(action, lambda given: operations.luns(given.iqn), "lun")


def user(parser: ArgumentParser) -> None:
    """After an `iqn`, with --outgoing."""
    action = parser.add_argument("username", metavar="USER")
    _completed(action, lambda given: operations.users(given.iqn, direction=given.direction))


def session(parser: ArgumentParser) -> None:
    """After an `iqn`."""
    action = parser.add_argument("id", metavar="ID", type=int)
    _completed(action, lambda given: operations.sessions(given.iqn), "id")


def foreign(parser: ArgumentParser) -> None:
    action = parser.add_argument("iqn", metavar="IQN")
    _completed(action, lambda _: operations.foreign_targets(), "iqn")


def _completed(
    action: Action, call: "Callable[[Namespace], Call[Any]]", field: str | None = None
) -> None:
    """`field`: of the objects that the call answers with; None where it answers with texts."""

    def complete(parsed_args: Namespace, **_: object) -> list[str]:
        found = _asked(lambda: call(parsed_args), parsed_args)
        return [str(each if field is None else each[field]) for each in found]

    action.completer = complete  # type: ignore[attr-defined]  # as argcomplete has it


def _asked(call: "Callable[[], Call[Any]]", arguments: Namespace) -> Sequence[Any]:
    try:
        options = {**reach.options(arguments, os.environ), "timeout": TIMEOUT, "patience": 0.0}
        with reach.client(options) as client:
            found: Sequence[Any] = client.do(call().plain())
            return found
    except (ClientError, Failure, AttributeError):  # the last: no IQN was given yet
        return ()
