"""Inventories of every kind of thing, drawn at random, on files that a tgtd can open."""

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from storlever.inventory import Inventory
from storlever.model import (
    FITTING,
    Access,
    Account,
    DeviceType,
    DiscoveryAuth,
    LogicalUnit,
    ScsiProduct,
    Target,
)
from storlever.names import EVERYONE
from tests.world import image

TARGETS = tuple(f"iqn.2026-01.test:{number}" for number in range(5))
USERS = tuple(f"user{number}" for number in range(6))
SECRETS = ("a first secret", "an other, with a comma=", "x" * 255, "s")
INITIATORS = ("iqn.2026-01.test:red_one", "eui.0123456789abcdef", "naa.0123456789abcdef")
ADDRESSES = ("127.0.0.1", "10.0.0.0/24", "10.0.0.1", "fd00::/64", "fd00::1", EVERYONE)
PRODUCTS = (None, None, ScsiProduct("ACME", "Anvil 2000", "1.0"), ScsiProduct("", "", ""))
LUNS = (1, 2, 11, 255)
KINDS = (*[DeviceType.DISK] * 5, DeviceType.CD, DeviceType.TAPE, DeviceType.CHANGER)
SHELF = 4
"""Files of each kind."""

Drawn = TypeVar("Drawn")


class Draw:
    """`folder` is for the files. No pass-through: that takes a device of this machine's."""

    def __init__(self, chance: random.Random, folder: Path) -> None:
        self._chance = chance
        self._missing = folder / "missing.img"
        self._images = [image(folder / f"image{at}.img", 1 + at) for at in range(SHELF)]
        self._tapes = [tape(folder / f"tape{at}.img") for at in range(SHELF)]

    def inventory(self, *, whole: bool) -> Inventory:
        """`whole`: nothing is missing that it stands on."""
        targets = [self._target(name, whole) for name in self._some(TARGETS, 1)]
        users = (None, *USERS)
        discovery = DiscoveryAuth(self._chance.choice(users), self._chance.choice(users))
        used = discovery.accounts.union(*(target.accounts for target in targets))
        accounts = [Account(name, self._chance.choice(SECRETS)) for name in sorted(used)]
        return Inventory.of(targets, accounts, discovery)

    def _target(self, name: str, whole: bool) -> Target:
        return Target(
            name,
            online=self._chance.random() < 0.8,
            access=Access(self._some(INITIATORS), self._some(ADDRESSES)),
            incoming=self._some(USERS) if self._chance.random() < 0.7 else (),
            outgoing=self._chance.choice((None, *USERS)),
            units=tuple(self._unit(lun, whole) for lun in sorted(self._some(LUNS))),
        )

    def _unit(self, lun: int, whole: bool) -> LogicalUnit:
        kind = self._chance.choice(KINDS)
        there = whole or self._chance.random() < 0.8
        shelf = self._tapes if kind is DeviceType.TAPE else self._images
        product = self._chance.choice(PRODUCTS)
        return LogicalUnit(
            lun,
            str(self._chance.choice(shelf) if there else self._missing),
            f"{self._chance.getrandbits(124):031x}",
            f"{self._chance.getrandbits(64):016X}",
            device_type=kind,
            backing_type=self._chance.choice(FITTING[kind]),
            direct_map=product is not None,
            write_cache=kind is not DeviceType.DISK or self._chance.random() < 0.7,
            readonly=self._chance.random() < 0.3,
            online=self._chance.random() < 0.8,
            product=product,
        )

    def _some(self, of: Sequence[Drawn], least: int = 0) -> tuple[Drawn, ...]:
        """In any order."""
        return tuple(self._chance.sample(of, self._chance.randint(least, len(of))))


def missing(inventory: Inventory) -> int:
    """How many LUNs want a file that is not there."""
    return sum(
        unit.opened and not Path(unit.backing_path).exists()
        for target in inventory.targets.values()
        for unit in target.units
    )


def tape(path: Path) -> Path:
    subprocess.run(
        [
            *("tgtimg", "--op", "new", "--device-type", "tape", "--type", "data"),
            *("--barcode", path.stem, "--size", "1", "--file", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    return path
