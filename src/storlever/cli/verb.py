"""What the commands of one noun have in common: `storlever NOUN VERB`."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from storlever.cli import consent, output, reach, waiting
from storlever.cli.failure import Status
from storlever.names import printable

if TYPE_CHECKING:
    from storlever.client import Client
    from storlever.client.call import Call
    from storlever.client.shapes import Done, Rehearsal

MOST_TOLD = 20
"""Steps that somebody reads before they agree."""
Do = Callable[["Client", Namespace], int]
Answer = TypeVar("Answer")


class Verbs:
    """Those of a noun."""

    def __init__(self, parser: ArgumentParser) -> None:
        self._actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def reading(self, name: str, summary: str, do: Do) -> ArgumentParser:
        """One that prints what it finds."""
        parser = self.plain(name, summary)
        reading(parser, do)
        return parser

    def writing(self, name: str, summary: str, do: Do, *, asks: bool = False) -> ArgumentParser:
        """One that changes something. `asks`: whether that is wanted."""
        parser = self.plain(name, summary)
        writing(parser, do, asks=asks)
        return parser

    def other(self, name: str, summary: str, do: Do) -> ArgumentParser:
        """One with an output of its own."""
        parser = self.plain(name, summary)
        reach.add_flags(parser)
        parser.set_defaults(verb=do)
        return parser

    def plain(self, name: str, summary: str) -> ArgumentParser:
        """One with flags of its own alone."""
        return self._actions.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            allow_abbrev=False,
        )


def reading(parser: ArgumentParser, do: Do) -> None:
    parser.add_argument(
        "-o",
        "--output",
        choices=output.FORMS,
        default="table",
        help="as what (default: %(default)s)",
    )
    reach.add_flags(parser)
    parser.set_defaults(verb=do)


def writing(parser: ArgumentParser, do: Do, *, asks: bool = False) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="say what it would do, and do nothing"
    )
    if asks:
        parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    reach.add_flags(parser)
    parser.set_defaults(verb=do)


def run(arguments: Namespace) -> int:
    """Raises Failure or ClientError."""
    with reach.opened(arguments) as client:
        status: int = arguments.verb(client, arguments)
    return status


def write(
    client: "Client",
    arguments: Namespace,
    call: "Call[Done]",
    *,
    asking: Callable[[], str] | None = None,
) -> int:
    """Do it, or say what it would do. `asking`: what is lost by it, for whoever has to agree."""
    if arguments.dry_run:
        tell(rehearsed(client, call))
        return Status.DONE
    if asking is not None and not arguments.yes:
        consent.ask(asking())
    for warning in done(client, call).warnings:
        output.say(f"warning: {warning}")
    return Status.DONE


def tell(rehearsal: "Rehearsal") -> None:
    for step in rehearsal.steps:
        effect = "" if step.effect == "none" else f" [{step.effect}]"
        print(printable(f"{step.step}{effect}"))
    if not rehearsal.steps:
        print("nothing to do")
    for warning in rehearsal.warnings:
        output.say(f"warning: {warning}")


def foretold(client: "Client", call: "Call[Done]") -> str:
    """What a write would do, for whoever has to agree."""
    steps = rehearsed(client, call).steps
    effects = [each for each in steps if each.effect != "none"]
    told = [f"  {each.step} [{each.effect}]" for each in effects[:MOST_TOLD]]
    if len(effects) > MOST_TOLD:
        told.append(f"  and {len(effects) - MOST_TOLD} more")
    first = f"takes {count(len(steps), 'step')}, of which hosts notice {len(effects) or 'none'}"
    return "\n".join([first, *told])


def note(text: str) -> None:
    """For whoever waits at a terminal."""
    if sys.stderr.isatty():
        output.say(text)


def found(client: "Client", call: "Call[Any]") -> Any:
    """The answer as it is, whatever a newer service has put in."""
    return done(client, call.plain())


def done(client: "Client", call: "Call[Answer]") -> Answer:
    """Its answer, which somebody at a terminal sees is waited for."""
    with waiting.told():
        return client.do(call)


def rehearsed(client: "Client", call: "Call[Any]") -> "Rehearsal":
    """The same of its rehearsal."""
    with waiting.told():
        return client.rehearse(call)


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
