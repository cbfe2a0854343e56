"""The program: its commands, and how they end."""

import argparse
import sys
from collections.abc import Sequence

from storlever import __version__
from storlever.cli import cert, serve
from storlever.errors import ConfigError, StateUnusable

COMMANDS = {"serve": serve, "cert": cert}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when it is done, 2 when it could not begin."""
    parser = argparse.ArgumentParser(prog="storlever", description="Manage iSCSI targets of tgtd.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        its = commands.add_parser(
            name, help=command.HELP, description=command.DESCRIPTION, allow_abbrev=False
        )
        command.add(its)
        its.set_defaults(run=command.run)
    given = parser.parse_args(arguments)
    try:
        status: int = given.run(given)
    except (ConfigError, StateUnusable) as error:
        print(f"storlever: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status
