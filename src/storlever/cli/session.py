"""Sessions of initiators: list them, and close them."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from storlever.cli import complete, consent, output, verb
from storlever.cli.failure import Status
from storlever.cli.verb import Verbs, found
from storlever.client import operations
from storlever.names import printable

if TYPE_CHECKING:
    from storlever.client import Client

Json = dict[str, Any]
COLUMNS = ("id", "initiator", "alias", "addresses", "read", "written", "errors", "since")
run = verb.run


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    complete.iqn(verbs.reading("list", "who is logged in to a target", _list))
    closed = verbs.writing("close", "close a session", _close, asks=True)
    complete.iqn(closed)
    complete.session(closed)
    closed.add_argument(
        "--block", action="store_true", help="and keep it out: it would log in again at once"
    )


def _list(client: "Client", arguments: Namespace) -> int:
    sessions = found(client, operations.sessions(arguments.iqn))
    if arguments.output == "table":
        sessions = [{**each, **_told(each)} for each in sessions]
    output.rows(sessions, COLUMNS, arguments.output)
    return Status.DONE


def _told(session: Json) -> Json:
    return {
        "addresses": sorted({each["addr"] for each in session["connections"]}),
        "read": output.size(session["read_bytes"]),
        "written": output.size(session["written_bytes"]),
    }


def _close(client: "Client", arguments: Namespace) -> int:
    call = operations.close_session(arguments.iqn, arguments.id, block=arguments.block)
    if arguments.dry_run:
        verb.tell(verb.rehearsed(client, call))
        return Status.DONE
    if not arguments.yes:
        consent.ask(_loss(client, arguments))
    for entry in verb.done(client, call).removed:
        for name, value in entry.items():
            print(printable(f"{name} {value} is removed from {arguments.iqn}"))
    return Status.DONE


def _loss(client: "Client", arguments: Namespace) -> str:
    session = client.session(arguments.iqn, arguments.id)
    loss = f"closes the session of {session.initiator} with {arguments.iqn}"
    return f"{loss}, and keeps it out" if arguments.block else loss
