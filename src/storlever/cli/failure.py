"""How a command ends that did not do what it was asked."""

from enum import IntEnum


class Status(IntEnum):
    """Exit statuses."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    TRY_AGAIN = 75
    """EX_TEMPFAIL (sysexits.h): a service manager may start it again."""
    INTERRUPTED = 130


class Failure(Exception):
    """Found by the command itself. `advice`: what to do next."""

    def __init__(self, detail: str, *, status: Status = Status.FAILED, advice: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.advice = advice
