"""Targets in tgtd that somebody else made."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from storlever.cli import output, verb
from storlever.cli.failure import Status
from storlever.cli.verb import Verbs, found
from storlever.client import operations

if TYPE_CHECKING:
    from storlever.client import Client

COLUMNS = ("iqn", "luns", "initiator_acl", "incominguser_list", "outgoinguser_list")
run = verb.run


def add(parser: ArgumentParser) -> None:
    Verbs(parser).reading("list", "what they are, as last seen", _list)


def _list(client: "Client", arguments: Namespace) -> int:
    targets = found(client, operations.foreign_targets())
    if arguments.output == "table":
        targets = [{**each, "luns": _paths(each)} for each in targets]
    output.rows(targets, COLUMNS, arguments.output)
    return Status.DONE


def _paths(target: dict[str, Any]) -> list[str]:
    return [f"{lun['lun']}: {lun.get('path') or '-'}" for lun in target["lun_list"]]
