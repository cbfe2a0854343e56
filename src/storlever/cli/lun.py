"""Logical units: the files and devices that a target serves."""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storlever.cli import complete, output, verb
from storlever.cli.failure import Failure, Status
from storlever.cli.verb import Verbs, found, write
from storlever.client import operations
from storlever.client.errors import Conflict

if TYPE_CHECKING:
    from storlever.client import Client

run = verb.run
COLUMNS = ("lun", "state", "size", "device_type", "bs_type", "readonly", "online", "path", "reason")
FIELDS = (
    "device_type",
    "bs_type",
    "direct_map",
    "write_cache",
    "readonly",
    "online",
    "shared",
    "scsi_id",
    "scsi_sn",
)
MOST = 255
TRIES = 5
"""To find a number that is free, while others do the same."""


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    complete.iqn(verbs.reading("list", "the LUNs of a target", _list))
    shown = verbs.reading("show", "a LUN, with all that is set", _show)
    complete.iqn(shown)
    complete.lun(shown)
    added = verbs.writing("add", "serve a file or a device", _add)
    complete.iqn(added)
    added.add_argument("path", metavar="PATH", help="of a file or a block device")
    added.add_argument(
        "--lun", metavar="LUN", type=int, help="its number (default: the lowest that is free)"
    )
    added.add_argument("--exists-ok", action="store_true", help="fine if it is there, just so")
    changed = verbs.writing("set", "change a LUN", _set)
    complete.iqn(changed)
    complete.lun(changed)
    changed.add_argument(
        "--path", help="serve this; the path that it has: at its size of now, if that has changed"
    )
    for each in (added, changed):
        _add_fields(each)
    removed = verbs.writing(
        "remove", "serve it no more; what is behind it stays", _remove, asks=True
    )
    complete.iqn(removed)
    complete.lun(removed)
    removed.add_argument("--missing-ok", action="store_true", help="fine if it is gone already")


def _add_fields(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--device-type", choices=("disk", "tape", "cd", "changer", "pt"), help="what it is to hosts"
    )
    parser.add_argument(
        "--bs-type", choices=("rdwr", "aio", "ssc", "sg"), help="how tgtd reads and writes it"
    )
    for flag, summary in (
        ("--readonly", "whether hosts may only read"),
        ("--online", "whether the medium is in"),
        ("--write-cache", "whether hosts are told of a write cache"),
        ("--shared", "whether another LUN may serve the same"),
        ("--direct-map", "whether to pass on what a SCSI device says of itself"),
    ):
        parser.add_argument(flag, action=BooleanOptionalAction, default=None, help=summary)
    parser.add_argument("--scsi-id", metavar="ID", help="by which hosts know it")
    parser.add_argument("--scsi-sn", metavar="NUMBER", help="its serial number")
    parser.add_argument(
        "--force", action="store_true", help="although the machine itself uses it (an admin)"
    )


def _list(client: "Client", arguments: Namespace) -> int:
    luns = found(client, operations.luns(arguments.iqn))
    if arguments.output == "table":
        luns = [{**each, "size": output.size(each["size"])} for each in luns]
    output.rows(luns, COLUMNS, arguments.output)
    return Status.DONE


def _show(client: "Client", arguments: Namespace) -> int:
    lun = found(client, operations.lun(arguments.iqn, arguments.lun))
    if arguments.output == "table" and lun["size"] is not None:
        lun["size"] = f"{output.size(lun['size'])} ({lun['size']} bytes)"
    output.whole(lun, arguments.output)
    return Status.DONE


def _path(text: str) -> str:
    """A relative one from where one stands; the link that it may end in is left to the service."""
    path = Path(text)
    return text if path.is_absolute() else str(path.parent.resolve() / path.name)


def _given(arguments: Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in FIELDS}


def _add(client: "Client", arguments: Namespace) -> int:
    if arguments.lun is not None:
        return _add_as(client, arguments, arguments.lun)
    for _ in range(TRIES - 1):
        try:
            return _add_as(client, arguments, _free(client, arguments.iqn))
        except Conflict as error:
            if error.code != "lun-exists":
                raise
    return _add_as(client, arguments, _free(client, arguments.iqn))


def _free(client: "Client", iqn: str) -> int:
    taken = {each.lun for each in client.luns(iqn)}
    number = next((each for each in range(1, MOST + 1) if each not in taken), None)
    if number is None:
        raise Failure(f"{iqn} has no number left for a LUN", status=Status.CONFLICT)
    return number


def _add_as(client: "Client", arguments: Namespace, number: int) -> int:
    """The number is printed where it was not said."""
    call = operations.create_lun(
        arguments.iqn,
        number,
        _path(arguments.path),
        **_given(arguments),
        force=arguments.force,
        exists_ok=arguments.exists_ok,
    )
    status = write(client, arguments, call)
    if arguments.lun is None and not arguments.dry_run:
        print(number)
    return status


def _set(client: "Client", arguments: Namespace) -> int:
    path = None if arguments.path is None else _path(arguments.path)
    if path is None and set(_given(arguments).values()) == {None}:
        raise Failure("nothing to set: say what, such as --path", status=Status.USAGE)
    call = operations.set_lun(
        arguments.iqn, arguments.lun, path=path, **_given(arguments), force=arguments.force
    )
    return write(client, arguments, call)


def _remove(client: "Client", arguments: Namespace) -> int:
    call = operations.delete_lun(arguments.iqn, arguments.lun, missing_ok=arguments.missing_ok)
    loss = f"removes LUN {arguments.lun} from {arguments.iqn}, also from hosts that use it"
    return write(client, arguments, call, asking=lambda: loss)
