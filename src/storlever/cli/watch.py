"""Print what happens, as it happens: sessions, changes, drift, tgtd going and coming.

It goes on when the service is restarted, and misses nothing.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from math import inf
from typing import TYPE_CHECKING, Any

from storlever.cli import output, reach, verb
from storlever.cli.failure import Status
from storlever.names import printable

if TYPE_CHECKING:
    from storlever.client import Client, ClientError
    from storlever.client.shapes import Event

Json = dict[str, Any]
run = verb.run


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", choices=("lines", "json"), default="lines", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--since", metavar="ID", default="", help="begin after this event, as json has its id"
    )
    reach.add_flags(parser)
    parser.set_defaults(verb=_watch)


def _watch(client: "Client", arguments: Namespace) -> int:
    """Ends only by an interruption, or where it may not begin."""
    client.targets()  # whoever may not read, and a service that is not there, are told at once
    for event in client.events(arguments.since, patience=inf, lost=_tell):
        print(_object(event) if arguments.output == "json" else _line(event), flush=True)
    return Status.DONE


def _tell(trouble: "ClientError") -> None:
    """Only where somebody looks on."""
    if sys.stderr.isatty():
        output.say(f"connecting again: {trouble}")


def _object(event: "Event") -> str:
    return json.dumps({"id": event.id, "type": event.type, **event.data})


def _line(event: "Event") -> str:
    told = [f"{name}={_word(value)}" for name, value in event.data.items() if name != "time"]
    return printable(" ".join([event.data["time"], event.type, *told]))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
