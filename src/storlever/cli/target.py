"""Targets: list and show them, make, change and delete them."""

import os
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from storlever.cli import complete, connect, output, reach, verb
from storlever.cli.failure import Failure, Status
from storlever.cli.verb import Verbs, count, done, found, write
from storlever.client import operations
from storlever.client.errors import PreconditionFailed
from storlever.names import printable

if TYPE_CHECKING:
    from storlever.client import Client
    from storlever.client.shapes import Target

Json = dict[str, Any]
EDITS = ("add_address", "remove_address", "add_initiator", "remove_initiator")
TRIES = 3
"""To edit a list that others edit, too."""
run = verb.run


class Listed(Action):
    """One more entry of a list; without a value, a list without entries."""

    def __call__(self, _: Any, namespace: Namespace, value: Any, __: Any = None) -> None:
        said = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, said if value is None else [*said, value])


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    listed = verbs.reading("list", "the names of all targets", _list)
    listed.add_argument("-l", "--long", action="store_true", help="with what is set")
    shown = verbs.reading("show", "a target, its LUNs and sessions, and how to log in", _show)
    complete.iqn(shown)
    shown.add_argument(
        "--portal",
        metavar="HOST:PORT",
        action="append",
        help="where initiators log in (repeatable; default: what the service tells)",
    )
    _add_changes(verbs)


def _add_changes(verbs: Verbs) -> None:
    created = verbs.writing("create", "make a target; all of it, or nothing", _create)
    created.add_argument("iqn", metavar="IQN")
    changed = verbs.writing("set", "change a target", _set, asks=True)
    complete.iqn(changed)
    for each in (created, changed):
        each.add_argument("--state", choices=("ready", "offline"), help="whether it serves")
        each.add_argument(
            "--address",
            metavar="ADDRESS",
            nargs="?",
            action=Listed,
            help="who may log in: an address, a network or ALL; replaces what is there "
            "(repeatable; without a value: an empty list)",
        )
        each.add_argument(
            "--initiator",
            metavar="IQN",
            nargs="?",
            action=Listed,
            help="who may log in, by name; the same",
        )
    for word, what in (("add", "one more"), ("remove", "one less")):
        for noun, metavar in (("address", "ADDRESS"), ("initiator", "IQN")):
            changed.add_argument(
                f"--{word}-{noun}", metavar=metavar, action="append", help=f"{what} (repeatable)"
            )
    changed.add_argument("--force", action="store_true", help="close sessions in the way")
    deleted = verbs.writing("delete", "delete a target, its LUNs and users", _delete, asks=True)
    complete.iqn(deleted)
    deleted.add_argument("--force", action="store_true", help="close its sessions")
    deleted.add_argument("--missing-ok", action="store_true", help="fine if it is gone already")
    created.add_argument("--exists-ok", action="store_true", help="fine if it is there, just so")


def _list(client: "Client", arguments: Namespace) -> int:
    if arguments.long:
        targets = found(client, operations.targets_in_full())
        columns = ("iqn", "state", "lun_num", "initiator_addr_list", "initiator_name_list")
        output.rows(targets, (*columns, "incominguser_list", "reason"), arguments.output)
        return Status.DONE
    output.names(found(client, operations.targets()), arguments.output)
    return Status.DONE


def _show(client: "Client", arguments: Namespace) -> int:
    target = found(client, operations.target(arguments.iqn))
    luns = found(client, operations.luns(arguments.iqn))
    if arguments.output != "table":
        output.whole({**target, "lun_list": luns}, arguments.output)
        return Status.DONE
    sessions = target.pop("session_list") or []
    output.whole(target, "table")
    _section("LUNs", [{**each, "size": output.size(each["size"])} for each in luns], LUN_COLUMNS)
    _section("Sessions", sessions, ("sid", "initiator", "addr"))
    print("\nTo log in:")
    portals = arguments.portal or connect.reachable(client.portals(), _host(arguments))
    for line in connect.lines(target, portals):
        print(printable(line))
    return Status.DONE


def _host(arguments: Namespace) -> str:
    """As which hosts may know the service's machine, where it is not this one."""
    host = urlsplit(reach.options(arguments, os.environ)["url"]).hostname or ""
    return "ADDRESS" if reach.is_local(host) else host


LUN_COLUMNS = ("lun", "state", "size", "device_type", "readonly", "path", "reason")


def _section(title: str, rows: list[Json], columns: tuple[str, ...]) -> None:
    if rows:
        print(f"\n{title}:")
        output.rows(rows, columns, "table")


def _create(client: "Client", arguments: Namespace) -> int:
    call = operations.create_target(
        arguments.iqn,
        state=arguments.state,
        initiator_addr_list=arguments.address,
        initiator_name_list=arguments.initiator,
        exists_ok=arguments.exists_ok,
    )
    return write(client, arguments, call)


def _set(client: "Client", arguments: Namespace) -> int:
    if all(getattr(arguments, name) is None for name in ("state", "address", "initiator", *EDITS)):
        raise Failure("nothing to set: say what, such as --state", status=Status.USAGE)
    for _ in range(TRIES - 1):
        with suppress(PreconditionFailed):
            return _set_once(client, arguments)
    return _set_once(client, arguments)


def _set_once(client: "Client", arguments: Namespace) -> int:
    """Lists that are edited or emptied are sent only if nobody has changed the target meanwhile."""
    etag, opening = None, ""
    addresses, initiators = arguments.address, arguments.initiator
    if any(getattr(arguments, name) for name in EDITS) or [] in (addresses, initiators):
        now = done(client, operations.target(arguments.iqn).tagged())
        etag = now.etag
        addresses = _edited(addresses, now.value.initiator_addr_list, arguments, "address")
        initiators = _edited(initiators, now.value.initiator_name_list, arguments, "initiator")
        opening = _opening(now.value, addresses, initiators)
    call = operations.set_target(
        arguments.iqn,
        state=arguments.state,
        initiator_addr_list=addresses,
        initiator_name_list=initiators,
        force=arguments.force,
    )

    def losses() -> str:
        closing = _closing(client, arguments.iqn) if arguments.force else ""
        return ", and ".join(each for each in (closing, opening) if each)

    asking = losses if arguments.force or opening else None
    return write(client, arguments, call.matching(etag) if etag else call, asking=asking)


def _opening(now: "Target", addresses: list[str] | None, initiators: list[str] | None) -> str:
    """What is lost with the last entry of both lists; "" where one stays, or none was."""
    were = (now.initiator_addr_list, now.initiator_name_list)
    said = (addresses, initiators)
    left = [old if new is None else new for old, new in zip(were, said, strict=True)]
    if any(left) or not any(were):
        return ""
    whoever = "everybody who has a password" if now.incominguser_list else "everybody"
    return f"empties both lists of {now.iqn}, which then admits {whoever}"


def _edited(
    said: list[str] | None, now: Sequence[str], arguments: Namespace, noun: str
) -> list[str] | None:
    """None: left as it is. Raises Failure for an entry that is to go and is not there."""
    more, less = getattr(arguments, f"add_{noun}") or [], getattr(arguments, f"remove_{noun}") or []
    if not more and not less:
        return said
    entries = [*(now if said is None else said), *more]
    for entry in less:
        if entry not in entries:
            raise Failure(f"{entry} is not in the list", status=Status.NOT_FOUND)
    return [entry for entry in dict.fromkeys(entries) if entry not in less]


def _delete(client: "Client", arguments: Namespace) -> int:
    call = operations.delete_target(
        arguments.iqn, force=arguments.force, missing_ok=arguments.missing_ok
    )
    return write(client, arguments, call, asking=lambda: _loss(client, arguments))


def _loss(client: "Client", arguments: Namespace) -> str:
    if arguments.missing_ok and arguments.iqn not in client.targets():
        return f"deletes {arguments.iqn}, if it is there"
    target = client.target(arguments.iqn)
    loss = f"deletes {arguments.iqn} with {count(target.lun_num, 'LUN')}"
    closed = len(target.session_list or ())
    return f"{loss}, closes {count(closed, 'session')}" if closed and arguments.force else loss


def _closing(client: "Client", iqn: str) -> str:
    sessions = client.target(iqn).session_list or ()
    return f"may close {count(len(sessions), 'session')} of {iqn}"
