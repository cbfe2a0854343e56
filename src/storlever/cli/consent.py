"""Whether what cannot be taken back is wanted; and secrets, which are asked for without echo."""

import sys
from argparse import ArgumentParser
from getpass import getpass
from pathlib import Path

from storlever.cli.failure import Failure, Status
from storlever.names import printable


def ask(what: str) -> None:
    """`what`: as in "deletes 3 LUNs"; more of it may stand on further lines. Raises Failure unless
    somebody agrees."""
    first, *more = map(printable, what.split("\n"))
    if not sys.stdin.isatty():
        told = "\n".join([f"this {first}, and there is no terminal to ask at", *more])
        raise Failure(
            told,
            status=Status.USAGE,
            advice="say --yes, if it shall be so; --dry-run tells all that it would do",
        )
    told = "\n".join([f"{first}:", *more, ""]) if more else f"{first}. "
    print(f"This {told}Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("nothing was done")


def add_password_file(parser: ArgumentParser, flag: str = "--password-file") -> None:
    parser.add_argument(
        flag,
        metavar="FILE",
        help="with the password in its first line; - for standard input (default: ask)",
    )


def password(file: str | None, whose: str) -> str:
    """Raises Failure. Never an argument: everybody on a machine may read those."""
    if file is None:
        return _asked(whose)
    try:
        text = sys.stdin.readline() if file == "-" else _first_line(Path(file))
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read the password: {error}", status=Status.USAGE) from None
    text = text.rstrip("\r\n")
    if not text:
        raise Failure(f"there is no password in {file}", status=Status.USAGE)
    return text


def _first_line(file: Path) -> str:
    with file.open() as lines:
        return lines.readline()


def _asked(whose: str) -> str:
    if not sys.stdin.isatty():
        raise Failure(
            f"no password for {whose}, and there is no terminal to ask at",
            status=Status.USAGE,
            advice="say --password-file FILE, or - for standard input",
        )
    try:
        first = getpass(f"Password for {printable(whose)}: ")
        again = getpass("The same again: ")
    except EOFError:
        print(file=sys.stderr)  # the prompt has not ended its line
        raise Failure("no password; nothing was done", status=Status.USAGE) from None
    if first != again:
        raise Failure("these are not the same; nothing was done")
    return first
