"""The fail points of the source, as the source itself says, and the file that gives them orders."""

import ast
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import storlever
from storlever import failpoint


def found() -> list[tuple[str, str]]:
    """(point, file) of every `failpoint.reached(…)`; the point must be a literal."""
    points = []
    for file in sorted(Path(storlever.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(ast.Name("failpoint"), "reached")):
                    points.append((_literal(node, file), file.name))
    return points


def _literal(call: ast.Call, file: Path) -> str:
    match call.args:
        case [ast.Constant(str(point))]:
            return point
    raise AssertionError(f"{file}:{call.lineno}: the name of a point is a literal")


POINTS = tuple(sorted(point for point, _ in found()))


class Hit(NamedTuple):
    """A point that was reached: what was done there (- for nothing), and in which thread."""

    point: str
    action: str
    thread: str


class Control:
    """The control file at `path`, and the log beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = path.with_name(path.name + ".log")
        self._numbers = count(1)
        self._seen = 0

    def order(self, *orders: str) -> None:
        """These and no others from now on; each is "POINT ACTION [COUNTDOWN]"."""
        self.hits()
        lines = (f"# {next(self._numbers)}", *orders)
        new = self.path.with_name(self.path.name + ".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.replace(self.path)

    def hits(self) -> list[Hit]:
        """What was reached since this was asked last, or an order was given."""
        try:
            descriptor = os.open(self._log, os.O_RDONLY)
        except FileNotFoundError:
            return []
        try:
            text = os.pread(descriptor, 1 << 24, self._seen).decode()
        finally:
            os.close(descriptor)
        self._seen += len(text)
        return [Hit(*line.split(maxsplit=2)) for line in text.splitlines()]


@contextmanager
def armed(folder: Path) -> Iterator[Control]:
    """Fail points of this very process."""
    path = folder / "failpoints"
    failpoint.arm({failpoint.VARIABLE: str(path)})
    try:
        yield Control(path)
    finally:
        failpoint.arm({})
