"""Tell whether an initiator may log in to a target, and why."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from storlever.cli import complete, output, verb
from storlever.cli.failure import Status
from storlever.cli.verb import found
from storlever.client import operations
from storlever.names import printable

if TYPE_CHECKING:
    from storlever.client import Client

run = verb.run


def add(parser: ArgumentParser) -> None:
    complete.iqn(parser)
    parser.add_argument("--initiator", metavar="IQN", help="its name")
    parser.add_argument("--address", metavar="ADDRESS", help="where it comes from")
    parser.add_argument("--user", metavar="USER", help="as whom it logs in")
    verb.reading(parser, _access)


def _access(client: "Client", arguments: Namespace) -> int:
    """FAILED for an initiator that is not admitted."""
    call = operations.access(
        arguments.iqn,
        initiator=arguments.initiator,
        address=arguments.address,
        user=arguments.user,
    )
    admission = found(client, call)
    if arguments.output == "table":
        word = "admitted" if admission["admitted"] else "not admitted"
        print(printable(f"{word} ({admission['rule']}): {admission['reason']}"))
    else:
        output.whole(admission, arguments.output)
    return Status.DONE if admission["admitted"] else Status.FAILED
