"""JSON to values. Fields that a newer service has are ignored; what is missing or of another type
raises NotUnderstood, naming where it stands."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from storlever.client.errors import NotUnderstood

T = TypeVar("T")


def decoded(kind: type[T], found: object, where: str = "answer") -> T:
    """`kind`: a frozen dataclass, str, int, float, bool, datetime, None, Any, a Literal, a union of
    them, tuple[…, ...] or Mapping[str, …]."""
    value: T = _value(kind, found, where)
    return value


def _value(kind: Any, found: Any, where: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return found
    if origin in (Union, UnionType):
        return _first(get_args(kind), found, where)
    if origin is Literal:
        return str(found)  # a newer service may have more words
    if origin is tuple:
        return tuple(
            _value(get_args(kind)[0], each, f"{where}[{at}]")
            for at, each in enumerate(_require(list, found, where))
        )
    if origin is not None and issubclass(origin, Mapping):
        return _require(dict, found, where)
    if isinstance(kind, type) and is_dataclass(kind):
        return _made(kind, _require(dict, found, where), where)
    if kind is datetime:
        return _time(_require(str, found, where), where)
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    return _require(kind, found, where)


def _first(kinds: tuple[Any, ...], found: Any, where: str) -> Any:
    if found is None and type(None) in kinds:
        return None
    for kind in kinds[:-1]:
        try:
            return _value(kind, found, where)
        except NotUnderstood:
            continue
    return _value(kinds[-1], found, where)


def _require(kind: type[T], found: object, where: str) -> T:
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise NotUnderstood(f"{where}: is no {kind.__name__}")
    return found


def _made(kind: Callable[..., Any], found: dict[str, Any], where: str) -> Any:
    given = {}
    for name, its, required in _fields(kind):
        if name in found:
            given[name] = _value(its, found[name], f"{where}.{name}")
        elif required:
            raise NotUnderstood(f"{where}.{name}: is missing")
    return kind(**given)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Name, type, whether it must be there."""
    types = get_type_hints(kind)
    return tuple(
        (each.name, types[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    )


def _time(text: str, where: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise NotUnderstood(f"{where}: is no time") from None
