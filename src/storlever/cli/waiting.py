"""What somebody who waits at a terminal sees of it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

PATIENCE = 1.0
"""Seconds after which a line appears, and between two changes of it."""


@contextmanager
def told() -> Iterator[None]:
    """A line with the seconds that it has taken so far, where standard error is a terminal; it goes
    when that is over."""
    if not sys.stderr.isatty():
        yield
        return
    over = Event()
    teller = Thread(target=_tell, args=(over,), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _tell(over: Event) -> None:
    started, line = time.monotonic(), ""
    while not over.wait(PATIENCE):
        seconds = round(time.monotonic() - started)
        line = f"storlever: waiting for the service, {seconds} s"
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
    if line:
        print(f"\r{' ' * len(line)}\r", end="", file=sys.stderr, flush=True)
