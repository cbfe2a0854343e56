"""Users of discovery sessions, in which initiators ask which targets there are."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from storlever.cli import consent, output, verb
from storlever.cli.failure import Failure, Status
from storlever.cli.verb import Verbs, found, write
from storlever.client import operations

if TYPE_CHECKING:
    from storlever.client import Client

run = verb.run
DIRECTIONS = ("incoming", "outgoing")


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.reading("show", "the users of discovery sessions", _show)
    changed = verbs.writing("set", "change them", _set)
    for direction, summary in zip(
        DIRECTIONS, ("who may ask", "what the portal proves itself with"), strict=True
    ):
        which = changed.add_mutually_exclusive_group()
        which.add_argument(f"--{direction}", metavar="USER", help=summary)
        which.add_argument(f"--no-{direction}", action="store_true", help="nobody")
        consent.add_password_file(changed, f"--{direction}-password-file")


def _show(client: "Client", arguments: Namespace) -> int:
    output.whole(found(client, operations.conf()), arguments.output)
    return Status.DONE


def _set(client: "Client", arguments: Namespace) -> int:
    incoming, outgoing = (_account(arguments, direction) for direction in DIRECTIONS)
    if incoming is None and outgoing is None:
        raise Failure("nothing to set: say --incoming or --outgoing", status=Status.USAGE)
    call = operations.set_conf(incomingdiscoveryuser=incoming, outgoingdiscoveryuser=outgoing)
    return write(client, arguments, call)


def _account(arguments: Namespace, direction: str) -> str | None:
    """`name:password`; None: as it is."""
    if getattr(arguments, f"no_{direction}"):
        return ""
    name = getattr(arguments, direction)
    if name is None:
        return None
    file = getattr(arguments, f"{direction}_password_file")
    return f"{name}:{consent.password(file, name)}"
