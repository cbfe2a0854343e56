"""The program: its commands, and how they end."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from storlever import __version__
from storlever.errors import ConfigError, InUse, StateUnusable, StorLeverError

TRY_AGAIN = 75
"""EX_TEMPFAIL (sysexits.h): a service manager may start it again."""
COMMANDS = {
    "serve": "run the service",
    "token": "make, list and revoke tokens",
    "audit": "show what was asked for, by whom, and what came of it; or verify that",
    "cert": "make a certificate",
}
"""Each is a module beside this one, which is imported when it is asked for: `add` gives a parser
its arguments, `run` does it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when it is done, 1 when it was refused, 2 when it could not begin,
    TRY_AGAIN when another has the state folder."""
    said = sys.argv[1:] if arguments is None else arguments
    parser = _parser(next((word for word in said if not word.startswith("-")), ""))
    given = parser.parse_args(said)
    try:
        status: int = given.run(given)
    except InUse as error:
        print(f"storlever: {error}", file=sys.stderr)
        return TRY_AGAIN
    except (ConfigError, StateUnusable) as error:
        print(f"storlever: {error}", file=sys.stderr)
        return 2
    except StorLeverError as error:
        print(f"storlever: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # of `storlever … | head`
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser(chosen: str) -> argparse.ArgumentParser:
    """With the arguments of the command that is `chosen`."""
    parser = argparse.ArgumentParser(prog="storlever", description="Manage iSCSI targets of tgtd.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        its = commands.add_parser(name, help=summary, allow_abbrev=False)
        if name == chosen:
            command = import_module(f"storlever.cli.{name}")
            its.description = command.__doc__
            command.add(its)
            its.set_defaults(run=command.run)
    return parser
