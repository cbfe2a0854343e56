"""What of the Python clients is made of the rest: the methods of both, of `operations`; and the one
that waits, of the one that awaits."""

import ast
import subprocess
import sys
from pathlib import Path

from storlever.client import operations

SOURCE = Path(operations.__file__)
MADE = SOURCE.with_name("methods.py")
HEAD_OF_BLOCKING = '"""The client that waits: made by script/generate of `awaiting`, not edited."""'
AWAITING, BLOCKING = (SOURCE.with_name(f"{name}.py") for name in ("awaiting", "blocking"))
WAITING = (
    ('"""The client for asyncio: as `blocking`, with `await`."""', HEAD_OF_BLOCKING),
    ("of one event loop.", "may be shared by threads."),
    ("await asyncio.sleep(", "time.sleep("),
    ("import asyncio", "import time"),
    ("async ", ""),
    ("await ", ""),
    ("Async", ""),
    (".aread(", ".read("),
    (".aclose(", ".close("),
    ("__aenter__", "__enter__"),
    ("__aexit__", "__exit__"),
)
"""What is said otherwise by the client that waits, in this order."""
HEAD = '''"""The methods of both clients: made by script/generate of `operations`, not edited."""

# ruff: noqa: A002

from abc import ABC, abstractmethod
'''
CLASS = '''

class {name}(ABC):
    @abstractmethod
    {word}def do(self, call: Call[T]) -> T:
        """One of `operations`, or what was made of it. Raises ClientError."""
'''


def text() -> str:
    """What methods.py has to hold."""
    tree = ast.parse(SOURCE.read_text())
    found = [
        each
        for each in tree.body
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")
    ]
    made = HEAD + _imports(tree) + 'T = TypeVar("T")\n'
    for name, word in (("Methods", ""), ("AsyncMethods", "async ")):
        made += CLASS.format(name=name, word=word)
        made += "".join(_method(each, word) for each in found)
    return _formatted(made)


def blocking() -> str:
    """What blocking.py has to hold."""
    source = AWAITING.read_text()
    for awaiting, waiting in WAITING:
        assert awaiting in source, awaiting
        source = source.replace(awaiting, waiting)
    return _formatted(source)


def _imports(tree: ast.Module) -> str:
    lines = [ast.unparse(each) for each in tree.body if isinstance(each, ast.ImportFrom)]
    own = ["from typing import TypeVar", "from storlever.client import operations"]
    return "\n".join([*lines, *own, ""])


def _method(function: ast.FunctionDef, word: str) -> str:
    taken = function.args
    given = [each.arg for each in taken.args]
    given += [f"{each.arg}={each.arg}" for each in taken.kwonlyargs]
    assert isinstance(function.returns, ast.Subscript), "an operation gives a Call"
    returned = ast.unparse(function.returns.slice)
    signature = ", ".join(each for each in ("self", ast.unparse(taken)) if each)
    call = f"operations.{function.name}({', '.join(given)})"
    return (
        f"\n    {word}def {function.name}({signature}) -> {returned}:\n"
        f'        """{ast.get_docstring(function, clean=False)}"""\n'
        f"        return {'await ' if word else ''}self.do({call})\n"
    )


def _formatted(source: str) -> str:
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    name = ["--stdin-filename", str(MADE)]
    tidy = ["check", "--fix", "--unsafe-fixes", "--quiet", "--select", "I,F401,UP028"]
    for command in (tidy, ["format"]):
        done = subprocess.run(
            [*ruff, *command, *name, "-"], input=source, capture_output=True, text=True, check=True
        )
        source = done.stdout
    return source


if __name__ == "__main__":
    MADE.write_text(text())
    BLOCKING.write_text(blocking())
