"""JSON of frozen values as they are: structs as objects, tuples as lists, times in ISO 8601.

Python's own encoder asks a function of ours for each value that is no dictionary or list, and takes
six times as long, seven times a write.
"""

import json
from collections.abc import Set
from typing import Any, TypeVar

import msgspec

Kind = TypeVar("Kind")

_DELETE = "\x7f"
"""ASCII, and json has it as an escape all the same."""
_ENCODER = msgspec.json.Encoder()
_SORTED = msgspec.json.Encoder(order="sorted")


def encoded(value: Any) -> str:
    """Without blanks. Raises TypeError for what JSON has no word for."""
    try:
        return _ENCODER.encode(value).decode()
    except UnicodeEncodeError:  # half a character, as in the name of a user that is no UTF-8
        return _escaped(value)


def decoded(text: str, kind: type[Kind]) -> Kind:
    """A value of that kind, in all its parts. Raises ValueError where it is none, or has not just
    the fields of its kind, and what the kind raises for parts that do not fit."""
    if issubclass(kind, msgspec.Struct) and _keys_of(text) != set(kind.__struct_fields__):
        raise ValueError(f"is no {kind.__name__}")  # else it would pass for one, by its defaults
    return msgspec.json.decode(text, type=kind)


def _keys_of(text: str) -> Set[str]:
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys()


def canonical(value: Any) -> str:
    """Keys sorted, no blanks, printable ASCII alone: of the same value, always the same text, and
    the one that json makes."""
    try:
        text = _SORTED.encode(value).decode()
    except UnicodeEncodeError:
        return _escaped(value)
    return text if text.isascii() and _DELETE not in text else _escaped(value)


def _escaped(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value, order="sorted"), separators=(",", ":"))
