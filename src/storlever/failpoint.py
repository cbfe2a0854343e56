"""Places where a test can kill, fail or delay the service. Off, unless it was started for that.

STORLEVER_FAILPOINTS in the environment of the start names a control file, which may be written
anew at any time. Each of its lines, "POINT ACTION [COUNTDOWN]", acts once: at the COUNTDOWN-th time
that the point is reached since then (the first, where it is left out). ACTION is `kill`,
`exception` or `delay=SECONDS`; a line with a leading # says nothing, but makes a content new.
Beside the control file, with .log added to its name, grows a line for each time a point was
reached: the point, what was done (or -), and the thread.
"""

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "STORLEVER_FAILPOINTS"


class FailPoint(Exception):
    """What `exception` raises: an error that nobody expects, which is why it is none of ours."""


def reached(point: str) -> None:
    """Mark the end of one step and the start of the next; `point` is a literal, used once."""
    if _control is not None:
        _control.reached(point)


def arm(environment: Mapping[str, str]) -> str | None:
    """The path of the control file, if the environment asks for fail points."""
    global _control  # noqa: PLW0603  once, at the start of the process
    path = environment.get(VARIABLE)
    _control = _Control(path) if path else None
    return path


@dataclass
class _Order:
    point: str
    action: str
    countdown: int = 1

    @classmethod
    def read(cls, line: str) -> "_Order":
        point, action, *countdown = line.split()
        return cls(point, action, *map(int, countdown))


class _Control:
    def __init__(self, path: str) -> None:
        self._path = path
        self._log = os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._content = ""
        self._orders: list[_Order] = []

    def reached(self, point: str) -> None:
        with self._lock:
            action = self._due(point)
            line = f"{point} {action or '-'} {threading.current_thread().name}\n"
            os.write(self._log, line.encode())
        if action is not None:
            _act(point, action)

    def _due(self, point: str) -> str | None:
        self._read()
        due = None
        for order in self._orders:
            if order.point == point:
                order.countdown -= 1
                due = order.action if order.countdown == 0 else due
        return due

    def _read(self) -> None:
        try:
            with open(self._path) as file:  # noqa: PTH123  for each point that is reached
                content = file.read()
        except FileNotFoundError:
            content = ""
        if content != self._content:
            lines = content.splitlines()
            self._content = content
            self._orders = [_Order.read(line) for line in lines if not line.startswith("#")]


def _act(point: str, action: str) -> None:
    name, _, seconds = action.partition("=")
    match name:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exception":
            raise FailPoint(point)
        case "delay":
            time.sleep(float(seconds))
        case _:
            raise ValueError(f"fail points cannot {name}")


_control: _Control | None = None
