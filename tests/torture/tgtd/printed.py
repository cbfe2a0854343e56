"""What tgtd prints, read without StorLever's eyes; and what it must print of a belief."""

import re
from dataclasses import dataclass, field
from typing import Any

from storlever.names import EVERYONE, GUARD
from tests.torture.model.belief import INCOMING, OUTGOING, Belief
from tests.torture.model.lunbelief import Lun

TYPES = {"disk": "disk", "tape": "tape", "cd": "cd/dvd", "changer": "changer"}
OWN_STORES = {"cd": "mmc", "changer": "smc"}
TOLD = (
    *("Type", "SCSI ID", "SCSI SN", "Online", "Removable media", "Readonly"),
    *("Backing store type", "Backing store path"),
)
YES = {True: "Yes", False: "No"}


@dataclass
class Target:
    """`luns`: number -> what is told of it; the path only of one that is online."""

    number: int
    ready: bool
    acl: frozenset[str]
    incoming: tuple[str, ...]
    outgoing: str | None
    luns: dict[int, dict[str, str]]
    text: str = field(repr=False, compare=False)


@dataclass
class Printed:
    targets: dict[str, Target]
    accounts: frozenset[str]
    incoming: tuple[str, ...]
    """Of discovery, as is the next."""
    outgoing: str | None

    def bound(self) -> set[str]:
        """Every account that is in use."""
        places = [(self.incoming, self.outgoing)]
        places += [(target.incoming, target.outgoing) for target in self.targets.values()]
        return {name for users, one in places for name in (*users, one) if name}


def read(targets: str, accounts: str, system: str) -> Printed:
    """The three are what tgtd shows."""
    users = re.search(r"    Account information:\n\n((?:    .*\n)*)", system)
    incoming, outgoing = _users(users[1].splitlines() if users else [])
    return Printed(
        {name: _target(int(number), text) for number, name, text in _blocks(targets)},
        frozenset(line.strip() for line in accounts.splitlines()[1:]),
        incoming,
        outgoing,
    )


def _blocks(text: str) -> list[tuple[str, str, str]]:
    return re.findall(r"^Target (\d+): (\S+)\n((?: .*\n)*)", text, re.MULTILINE)


def _target(number: int, text: str) -> Target:
    head, _, rest = text.partition("    LUN information:\n")
    luns, _, rest = rest.partition("    Account information:\n")
    users, _, acl = rest.partition("    ACL information:\n")
    incoming, outgoing = _users(users.split("\n")[:-1])
    found = re.findall(r"^        LUN: (\d+)\n((?:            .*\n)*)", luns, re.MULTILINE)
    return Target(
        number,
        "State: ready" in head,
        frozenset(line.removeprefix(" " * 8) for line in acl.split("\n")[:-1]),
        incoming,
        outgoing,
        {int(lun): _told(said) for lun, said in found if lun != "0"},
        text,
    )


def _users(lines: list[str]) -> tuple[tuple[str, ...], str | None]:
    names = [line.strip() for line in lines]
    mark = " (outgoing)"
    outgoing = [name.removesuffix(mark) for name in names if name.endswith(mark)]
    return tuple(name for name in names if not name.endswith(mark)), next(iter(outgoing), None)


def _told(text: str) -> dict[str, str]:
    said = dict(re.findall(r"^ +(.+?): (.*)$", text, re.MULTILINE))
    told = {key: said[key] for key in TOLD}
    if told["Online"] == "No":
        del told["Backing store path"]
    return told


def expected(belief: Belief) -> dict[str, dict[str, Any]]:
    """Every target's fields but its number, users as they must stand in the slots but for their
    order after the guard."""
    return {
        name: {
            "ready": target["online"],
            "acl": frozenset((*target["addresses"], *target["names"])) or frozenset({EVERYONE}),
            "guarded": bool(target[INCOMING]),
            "incoming": frozenset(target[INCOMING]),
            "outgoing": target[OUTGOING],
            "luns": {number: _expected_lun(lun) for number, lun in target["luns"].items()},
        }
        for name, target in belief.targets.items()
    }


def found(printed: Printed, name: str) -> dict[str, Any]:
    """The same of what is printed."""
    target = printed.targets[name]
    guard, users = target.incoming[:1], target.incoming[1:]
    assert guard in ((), (GUARD,))
    return {
        "ready": target.ready,
        "acl": target.acl,
        "guarded": bool(guard),
        "incoming": frozenset(users),
        "outgoing": target.outgoing,
        "luns": target.luns,
    }


def _expected_lun(lun: Lun) -> dict[str, str]:
    kind, online = lun["device_type"], lun["online"]
    told = {
        "Type": TYPES[kind],
        "SCSI ID": lun["scsi_id"],
        "SCSI SN": lun["serial_number"],
        "Online": YES[online],
        "Removable media": YES[kind != "disk" or not online],
        "Readonly": YES[lun["readonly"]],
        "Backing store type": OWN_STORES.get(kind, lun["backing_type"]),
    }
    return told | {"Backing store path": lun["backing_path"]} if online else told
