"""A bell: any thread rings it, and whoever polls it for reading wakes up."""

import os


class Alarm:
    """A descriptor of its own (eventfd(2)), closed with the last reference."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def ring(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def hear(self) -> None:
        """It rang, and may ring again."""
        os.eventfd_read(self._descriptor)
