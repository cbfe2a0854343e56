"""What the commands print."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from storlever.names import printable

FORMS = ("table", "json", "yaml")
Row = Mapping[str, Any]
AMOUNT = re.compile(r"[0-9]+(\.[0-9])?( [KMGTP]?i?B)?|-", re.ASCII)
"""A number or a size, or none of them."""


def say(text: str) -> None:
    """Beside the output: on standard error."""
    print(f"storlever: {printable(text)}", file=sys.stderr)


def rows(found: Sequence[Row], columns: Sequence[str], form: str) -> None:
    """One line each, under a title; or all of it as JSON or YAML."""
    if form == "table":
        for line in table(found, columns):
            print(line)
    else:
        whole(list(found), form)


def names(found: Sequence[str], form: str) -> None:
    """One a line; or all of them as JSON or YAML."""
    if form == "table":
        for name in found:
            print(printable(name))
    else:
        whole(found, form)


def whole(found: Any, form: str) -> None:
    """As JSON or YAML, or, where that is a table, a line a field."""
    if form == "json":
        print(json.dumps(found, indent=2))
    elif form == "yaml":
        print(yaml(found), end="")
    else:
        for line in fields(found):
            print(line)


def yaml(found: Any) -> str:
    """All but ASCII is escaped, as in JSON; PyYAML would lose U+0085 otherwise."""
    text: str = import_module("yaml").safe_dump(found, sort_keys=False, width=1000)
    return text


def table(found: Iterable[Row], columns: Sequence[str]) -> list[str]:
    lines = [[_title(column) for column in columns]]
    lines += [[cell(each.get(column)) for column in columns] for each in found]
    columns_of = [_aligned(column) for column in zip(*lines, strict=True)]
    return ["  ".join(line).rstrip() for line in zip(*columns_of, strict=True)]


def _aligned(column: Sequence[str]) -> list[str]:
    """As wide as its widest; numbers and sizes to the right, below their title."""
    width = max(map(len, column))
    right = all(map(AMOUNT.fullmatch, column[1:])) and {*column[1:]} - {"-"}
    return [each.rjust(width) if right else each.ljust(width) for each in column]


def fields(found: Row) -> list[str]:
    names = [_title(name) for name in found]
    width = max(map(len, names), default=0)
    values = map(cell, found.values())
    return [f"{name.ljust(width)}  {value}" for name, value in zip(names, values, strict=True)]


def cell(value: Any) -> str:
    match value:
        case None | [] | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(cell, value))
        case dict():
            return " ".join(cell(each) for each in value.values())
        case _:
            return printable(str(value))


def size(count: int | None) -> str:
    """Of a disk, in binary units, when that is exact to a digit after the point."""
    if count is None:
        return "-"
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"


def _title(name: str) -> str:
    return name.removesuffix("_list").replace("_", " ").upper()
