"""Show what was asked for, by whom, and what came of it; or verify that nothing of it was altered
or taken out since."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from storlever.audit import Json, Link, broken
from storlever.cli import desk
from storlever.cli.desk import Desk

PAGE = 1000


def add(parser: ArgumentParser) -> None:
    desk.add_flags(parser)
    parser.add_argument("action", nargs="?", choices=("show", "verify"), default="show")
    parser.add_argument("--since", metavar="TIME", help="from 2026-01-31T00:00:00Z on")
    parser.add_argument("--until", metavar="TIME", help="before that")
    parser.add_argument("--who", help="token:NAME, user:NAME, certificate:NAME, loopback or nobody")
    parser.add_argument("--target", metavar="IQN")
    parser.add_argument("--limit", type=int, default=100, help="the newest (default: %(default)s)")
    parser.add_argument("-o", "--output", choices=("lines", "json"), default="lines")
    parser.add_argument(
        "--from",
        dest="link",
        type=_link,
        metavar="NUMBER:HASH",
        help="verify what came after an entry that is known from elsewhere",
    )


def _link(text: str) -> Link:
    number, _, found = text.partition(":")
    if not number.isdigit() or len(found) != len(Link().hash):
        raise ArgumentTypeError("must be NUMBER:HASH, as verify prints them")
    return Link(int(number), found)


def run(arguments: Namespace) -> int:
    """1 when something was altered."""
    with desk.opened(arguments) as found:
        if arguments.action == "verify":
            return _verify(found, arguments.link)
        return _show(found, arguments)


def _show(found: Desk, arguments: Namespace) -> int:
    query = {
        name: getattr(arguments, name)
        for name in ("since", "until", "who", "target", "limit")
        if getattr(arguments, name) is not None
    }
    for entry in reversed(found.audit(query)["entries"]):
        print(json.dumps(entry) if arguments.output == "json" else _line(entry))
    return 0


def _line(entry: Json) -> str:
    what = entry["target"] or entry["path"]
    where = f" from {entry['address']}" if entry["address"] else ""
    words = f"{entry['who']}{where}: {entry['operation']} {what}: {entry['outcome']}"
    return f"{entry['number']} {entry['time']} {_printable(words)}"


def _printable(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _verify(found: Desk, link: Link | None) -> int:
    page = found.audit({"after": link.number if link else 0, "limit": PAGE})
    link = link or Link(**page["anchor"])
    first = link.number + 1
    while entries := page["entries"]:
        if fault := broken(entries, link):
            print(f"storlever: {fault}", file=sys.stderr)
            return 1
        link = Link(entries[-1]["number"], entries[-1]["hash"])
        page = found.audit({"after": link.number, "limit": PAGE})
    print(f"{link.number - first + 1} entries are as they were written; the last is {link}")
    return 0
