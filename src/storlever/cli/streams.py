"""The standard streams, of which some may be closed (`>&-`) or take nothing more."""

import os
import sys


def open_all() -> None:
    """Python has None for one that is closed, and print takes that for standard output. Nothing is
    read then, what is said is lost, and to print is an OSError, as in other programs."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115


def forget_output() -> None:
    """What is still to be written would fail once more as Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
