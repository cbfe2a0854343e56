"""The program `storlever`."""

import argparse
import os
import sys
from collections.abc import Sequence

from storlever import __version__, config
from storlever.errors import ConfigError, StateUnusable


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 after a clean stop, 2 when the service could not start."""
    parser = argparse.ArgumentParser(prog="storlever", description="Manage iSCSI targets of tgtd.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service. Each setting can also be given in the environment, as "
        "STORLEVER_LISTEN and so on, and in a TOML file; flags come first, then the environment.",
        allow_abbrev=False,
    )
    config.add_flags(serve)
    try:
        settings = config.load(parser.parse_args(arguments), os.environ)
        from storlever.daemon import serve as run  # noqa: PLC0415  late: it brings the server

        run(settings)
    except (ConfigError, StateUnusable) as error:
        print(f"storlever: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # interrupted before it served
    return 0


if __name__ == "__main__":
    sys.exit(main())
