"""`storlever serve`"""

import os
from argparse import ArgumentParser, Namespace

from storlever import config

HELP = "run the service"
DESCRIPTION = (
    "Run the service. Each setting can also be given in the environment, as STORLEVER_LISTEN and "
    "so on, and in a TOML file; flags come first, then the environment."
)


def add(parser: ArgumentParser) -> None:
    config.add_flags(parser)


def run(arguments: Namespace) -> int:
    """0 after a clean stop. Raises ConfigError or StateUnusable."""
    settings = config.load(arguments, os.environ)
    from storlever.daemon import serve  # noqa: PLC0415  late: it brings the server

    serve(settings)
    return 0
