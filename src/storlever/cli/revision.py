"""Revisions: what changed and when, and all as it was before."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from storlever.cli import output, reach, verb
from storlever.cli.failure import Status
from storlever.cli.verb import Verbs, found
from storlever.client import operations

if TYPE_CHECKING:
    from storlever.client import Client

COLUMNS = ("revision", "time", "who", "operation", "changes")
run = verb.run


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    listed = verbs.reading("list", "the newest revisions, the newest first", _list)
    listed.add_argument("--before", metavar="NUMBER", type=int, help="those below this one")
    listed.add_argument("--limit", metavar="N", type=int, help="how many (default: 100)")
    shown = verbs.reading("show", "a revision, with what was before and after", _show)
    restored = verbs.writing("restore", "have all as it was after a revision", _restore, asks=True)
    restored.add_argument(
        "--force", action="store_true", help="although much goes, or sessions are in the way"
    )
    restored.set_defaults(timeout=reach.LONG)
    for each in (shown, restored):
        each.add_argument("number", metavar="NUMBER", type=int)


def _list(client: "Client", arguments: Namespace) -> int:
    revisions = found(client, operations.revisions(before=arguments.before, limit=arguments.limit))
    output.rows(revisions, COLUMNS, arguments.output)
    return Status.DONE


def _show(client: "Client", arguments: Namespace) -> int:
    """As YAML where a table is asked for: before and after are whole documents."""
    form = "yaml" if arguments.output == "table" else arguments.output
    output.whole(found(client, operations.revision(arguments.number)), form)
    return Status.DONE


def _restore(client: "Client", arguments: Namespace) -> int:
    call = operations.restore_revision(arguments.number, force=arguments.force)
    return verb.write(client, arguments, call, asking=lambda: verb.foretold(client, call))
