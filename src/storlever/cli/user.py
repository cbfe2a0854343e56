"""CHAP users of targets: who logs in, and, with --outgoing, what the target proves itself with."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from storlever.cli import complete, consent, output, verb
from storlever.cli.failure import Status
from storlever.cli.verb import Verbs, found, write
from storlever.client import operations

if TYPE_CHECKING:
    from storlever.client import Client

run = verb.run


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    listed = verbs.reading("list", "the users of a target", _list)
    complete.iqn(listed)
    added = verbs.writing("add", "give a target a user", _add)
    complete.iqn(added)
    added.add_argument("username", metavar="USER")
    added.add_argument("--exists-ok", action="store_true", help="fine if it is there, just so")
    changed = verbs.writing("set-password", "change a user's password", _set_password)
    complete.iqn(changed)
    complete.user(changed)
    changed.add_argument(
        "--everywhere", action="store_true", help="on every target that shares the user"
    )
    removed = verbs.writing("remove", "take a user from a target", _remove, asks=True)
    complete.iqn(removed)
    complete.user(removed)
    removed.add_argument("--missing-ok", action="store_true", help="fine if it is gone already")
    for each in (added, changed):
        consent.add_password_file(each)
    for each in (listed, added, changed, removed):
        each.add_argument(
            "--outgoing",
            dest="direction",
            action="store_const",
            const="outgoing",
            default="incoming",
            help="the user that the target proves itself with",
        )


def _list(client: "Client", arguments: Namespace) -> int:
    names = found(client, operations.users(arguments.iqn, direction=arguments.direction))
    output.names(names, arguments.output)
    return Status.DONE


def _add(client: "Client", arguments: Namespace) -> int:
    call = operations.add_user(
        arguments.iqn,
        arguments.username,
        consent.password(arguments.password_file, arguments.username),
        direction=arguments.direction,
        exists_ok=arguments.exists_ok,
    )
    return write(client, arguments, call)


def _set_password(client: "Client", arguments: Namespace) -> int:
    call = operations.set_password(
        arguments.iqn,
        arguments.username,
        consent.password(arguments.password_file, arguments.username),
        direction=arguments.direction,
        everywhere=arguments.everywhere,
    )
    return write(client, arguments, call)


def _remove(client: "Client", arguments: Namespace) -> int:
    call = operations.remove_user(
        arguments.iqn,
        arguments.username,
        direction=arguments.direction,
        missing_ok=arguments.missing_ok,
    )
    return write(client, arguments, call, asking=lambda: _loss(client, arguments))


def _loss(client: "Client", arguments: Namespace) -> str:
    loss = f"removes the user {arguments.username} from {arguments.iqn}"
    if arguments.direction == "incoming" and client.users(arguments.iqn) == (arguments.username,):
        return f"{loss}, which then asks nobody for a password"
    return loss
