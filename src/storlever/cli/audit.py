"""Show what was asked for, by whom, and what came of it; or verify that nothing of it was altered
or taken out since."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from storlever.audit import MOST, START, Json, Link, broken, moment
from storlever.cli import desk
from storlever.cli.desk import Desk
from storlever.cli.verb import Verbs
from storlever.names import printable


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    show = verbs.plain("show", "the newest entries, the last one last")
    show.add_argument("--since", metavar="TIME", type=_time, help="from 2026-01-31T00:00:00Z on")
    show.add_argument("--until", metavar="TIME", type=_time, help="before that")
    show.add_argument("--who", help="token:NAME, user:NAME, certificate:NAME, loopback or nobody")
    show.add_argument("--target", metavar="IQN", help="about this one")
    show.add_argument(
        "--limit", type=_limit, default=100, help=f"how many, up to {MOST} (default: %(default)s)"
    )
    show.add_argument(
        "-o", "--output", choices=("lines", "json"), default="lines", help="(default: %(default)s)"
    )
    verify = verbs.plain("verify", "check the chain, and print its last link")
    verify.add_argument(
        "--from",
        dest="link",
        type=_link,
        metavar="NUMBER:HASH",
        help="a link that is known from elsewhere: it must be there, and all since follow from it",
    )
    for each in (show, verify):
        desk.add_flags(each)


def _time(text: str) -> str:
    try:
        return moment(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST:
        raise ArgumentTypeError(f"must be a number from 1 to {MOST}")
    return int(text)


def _link(text: str) -> Link:
    number, _, found = text.partition(":")
    sound = number.isascii() and number.isdigit() and 0 < int(number[:20]) < 2**63
    if not sound or len(found) != len(START):
        raise ArgumentTypeError("must be NUMBER:HASH, as verify prints them")
    return Link(int(number), found)


def run(arguments: Namespace) -> int:
    """1 when something was altered."""
    if arguments.action == "verify":
        with desk.opened(arguments) as found:
            return _verify(found, arguments.link)
    return _show(arguments)


def _show(arguments: Namespace) -> int:
    """The folder is let go of before anything is printed, which may wait for whoever reads it."""
    query = {
        name: getattr(arguments, name)
        for name in ("since", "until", "who", "target", "limit")
        if getattr(arguments, name) is not None
    }
    with desk.opened(arguments) as found:
        entries = found.audit(query)["entries"]
    for entry in reversed(entries):
        print(json.dumps(entry) if arguments.output == "json" else _line(entry))
    return 0


def _line(entry: Json) -> str:
    changed = [name for names in entry["after"].values() for name in names or ()]
    what = " ".join(changed) or entry["target"] or entry["path"]
    where = f" from {entry['address']}" if entry["address"] else ""
    words = f"{entry['who']}{where}: {entry['operation']} {what}: {entry['outcome']}"
    return f"{entry['number']} {entry['time']} {printable(words)}"


def _verify(found: Desk, known: Link | None) -> int:
    page = _page(found, known.number if known else 0)
    link = known or Link(**page["anchor"])
    if known and (fault := _missing(found, known)):
        return _failed(fault)
    first = link.number
    while entries := page["entries"]:
        if fault := broken(entries, link):
            return _failed(fault)
        link = Link(entries[-1]["number"], entries[-1]["hash"])
        page = _page(found, link.number)
    count = link.number - first
    said = f"{count} entries are as they were written" if count else "there is nothing since"
    print(f"{said}; the last is {link}")
    return 0


def _page(found: Desk, after: int) -> Json:
    return found.audit({"after": after, "limit": MOST})


def _missing(found: Desk, link: Link) -> str | None:
    """Why the chain is not known to go through this link."""
    page = found.audit({"after": link.number - 1, "limit": 1})
    if link.number < page["anchor"]["number"]:
        return f"entry {link.number} is not kept any more: nothing can be said"
    ends = [page["anchor"], *page["entries"]]
    if any((end["number"], end["hash"]) == (link.number, link.hash) for end in ends):
        return None
    if not any(end["number"] == link.number for end in ends):
        return f"there is no entry {link.number}: it was taken out, or an older state was put back"
    return f"entry {link.number} is not the one that is known"


def _failed(why: str) -> int:
    print(f"storlever: {why}", file=sys.stderr)
    return 1
