"""Run the service. Each setting can also be given in the environment, as STORLEVER_LISTEN and so
on, and in a TOML file; flags come first, then the environment."""

import os
from argparse import ArgumentParser, Namespace

from storlever import config
from storlever.assembly import serve


def add(parser: ArgumentParser) -> None:
    config.add_flags(parser)


def run(arguments: Namespace) -> int:
    """0 after a clean stop. Raises ConfigError or StateUnusable."""
    serve(config.load(arguments, os.environ))
    return 0
