"""What the API answers about one target when everybody asks one after another."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

Answer = tuple[Any, ...]
"""The status, and what was shown or the code of the error."""

NO_TARGET = (404, "target-not-found")


class Ask(NamedTuple):
    """A request about one target; `name` is that of a user or the number of a LUN. `seen`: what was
    shown of it, where the request is only for that, by If-Match."""

    method: str
    kind: str
    name: Any = ""
    value: Any = ""
    seen: Answer | None = None


@dataclass(frozen=True)
class Hot:
    """A target: users as name and password, LUNs as number, write protection and serial number."""

    state: str = "ready"
    address: str = ""
    users: frozenset[tuple[str, str]] = frozenset()
    units: frozenset[tuple[int, bool, str]] = frozenset()

    def user(self, name: str) -> tuple[str, str] | None:
        return next((user for user in self.users if user[0] == name), None)

    def unit(self, number: int) -> tuple[int, bool, str] | None:
        return next((unit for unit in self.units if unit[0] == number), None)


def answer(target: Hot | None, ask: Ask) -> tuple[Answer, Hot | None]:
    """The answer, and the target as it is from then on; None is no target."""
    if ask.kind == "list":
        return (200, target is not None), target
    if ask[:2] == ("POST", "target"):
        return ((201,), Hot()) if target is None else ((409, "target-exists"), target)
    if target is None:
        return NO_TARGET, None
    match ask.kind:
        case "target":
            return _of_target(target, ask)
        case "user" | "login":
            return _of_user(target, ask)
        case _:
            return _of_unit(target, ask)


def _of_target(target: Hot, ask: Ask) -> tuple[Answer, Hot | None]:
    match ask.method, ask.name:
        case "DELETE", _:
            return (200,), None
        case "PUT", "state":
            return (200,), replace(target, state=ask.value)
        case "PUT", _:
            return (200,), replace(target, address=ask.value)
        case _:
            names = tuple(sorted(name for name, _ in target.users))
            return (200, target.state, target.address, names, len(target.units)), target


def _of_user(target: Hot, ask: Ask) -> tuple[Answer, Hot]:
    have, new = target.user(ask.name), (ask.name, ask.value)
    if ask.method == "POST":
        if have:
            return (409, "user-exists"), target
        return (201,), replace(target, users=target.users | {new})
    if have is None:
        return (404, "user-not-found"), target
    match ask.method:
        case "DELETE":
            return (200,), replace(target, users=target.users - {have})
        case "PUT":
            return (200,), replace(target, users=target.users - {have} | {new})
    return (200, have[1]) if ask.kind == "login" else (200,), target


def _of_unit(target: Hot, ask: Ask) -> tuple[Answer, Hot]:
    if ask.kind == "units":
        return (200, tuple(sorted(target.units))), target
    have, new = target.unit(ask.name), (ask.name, *ask.value)
    if ask.method == "POST":
        if have:
            return (409, "lun-exists"), target
        return (201,), replace(target, units=target.units | {new})
    if have is None:
        return (404, "lun-not-found"), target
    if ask.seen not in (None, have[1:]):
        return (412, "precondition-failed"), target
    match ask.method:
        case "DELETE":
            return (200,), replace(target, units=target.units - {have})
        case "PUT":
            return (200,), replace(target, units=target.units - {have} | {new})
    return (200, *have[1:]), target
