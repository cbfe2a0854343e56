"""What goes on in the background of a test, and ends with it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Worker(Protocol):
    """Works until it is told to stop."""

    def run(self, stop: threading.Event) -> None: ...


@contextmanager
def working(workers: Sequence[Worker]) -> Iterator[None]:
    """Each in a thread of its own."""
    stop = threading.Event()
    threads = [threading.Thread(target=each.run, args=(stop,)) for each in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a worker hangs"
