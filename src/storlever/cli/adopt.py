"""Take over a target that somebody else made in tgtd; its sessions do not notice.

tgtd tells no passwords, so that of each of its users is asked for, or read from a file.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from storlever.cli import complete, consent, verb
from storlever.cli.failure import Failure, Status
from storlever.client import operations
from storlever.client.shapes import User

if TYPE_CHECKING:
    from storlever.client import Client

run = verb.run


def add(parser: ArgumentParser) -> None:
    complete.foreign(parser)
    parser.add_argument(
        "--password-file",
        metavar="USER=FILE",
        type=_pair,
        action="append",
        default=[],
        help="with that user's password in its first line (repeatable; default: ask)",
    )
    verb.writing(parser, _adopt)


def _pair(text: str) -> tuple[str, str]:
    user, equals, file = text.partition("=")
    if not user or not equals or not file:
        raise ArgumentTypeError("must be USER=FILE")
    return user, file


def _adopt(client: "Client", arguments: Namespace) -> int:
    files = dict(arguments.password_file)
    users = [
        User(name, consent.password(files.get(name), name)) for name in _bound(client, arguments)
    ]
    return verb.write(client, arguments, operations.adopt(arguments.iqn, users))


def _bound(client: "Client", arguments: Namespace) -> list[str]:
    """The users of the target."""
    for each in client.foreign_targets():
        if each.iqn == arguments.iqn:
            return sorted({*each.incominguser_list, *each.outgoinguser_list})
    raise Failure(
        f"tgtd has no target {arguments.iqn} of somebody else's",
        status=Status.NOT_FOUND,
        advice="storlever foreign list shows those that are there",
    )
