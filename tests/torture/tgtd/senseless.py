"""Changes of tgtd in no order and of no sense, some of them with hostile words in every field."""

import random
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import astuple

from storlever.change import (
    Admit,
    BindIncoming,
    BindOutgoing,
    Change,
    CreateAccount,
    CreateTarget,
    CreateUnit,
    DeleteAccount,
    DeleteTarget,
    DeleteUnit,
    Deny,
    EndSessions,
    SetReady,
    UnbindIncoming,
    UnbindOutgoing,
    UpdateUnit,
)
from storlever.model import FITTING, Account, DeviceType, LogicalUnit, ScsiProduct
from storlever.names import GUARD
from storlever.observed import Observed
from tests.torture.machine.drawn import ADDRESSES, INITIATORS, PRODUCTS, Draw

TARGETS = tuple(f"iqn.2026-01.test:{number}" for number in range(4))
USERS = (GUARD, *(f"user{number}" for number in range(20)))
"""More than the 16 whom tgtd has room for in discovery."""
LUNS = (1, 2, 3, 255)
FIELDS = (
    *("scsi_id", "serial_number", "product", "readonly", "write_cache", "online"),
    *("backing_path", "device_type", "backing_type"),
)

WORDS = (
    *("", " ", ",", "=", "a,b", "a=b", ",user=root", ",RedirectCallback=/bin/sh", ",debug=on"),
    *("\0", "a\0b", "\n", "x\nTarget 1: y", "\r\n", "\t", "\x1b[2J", "\x7f", "\x85", "\u2028"),
    *("é", "☃" * 341, "☃" * 342, "x" * 1022, "x" * 1023, "x" * 1024, "x" * 9000, "\udc80"),
    *("%s%n", "../../etc", "$(reboot)", "`id`", "'", '"', "\\", "ALL", "all", "-1", "\ufeffa"),
)
NUMBERS = (
    *(0, 1, -1, 127, 255, 256, 16384, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1),
    *(2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30),
)


def words(chance: random.Random) -> str:
    """A text that somebody may have thought of, several of them, or noise."""
    if chance.random() < 0.2:
        return "".join(chr(chance.randrange(0x3000)) for _ in range(chance.randrange(40)))
    return "".join(chance.choice(WORDS) for _ in range(chance.choice((1, 1, 2, 3))))


class Senseless:
    """`hostility`: how likely a word is a hostile one. `folder` is for files."""

    def __init__(self, chance: random.Random, folder: Path, hostility: float) -> None:
        self._chance = chance
        self._hostility = hostility
        Draw(chance, folder)  # makes files of every kind
        self._paths = [*map(str, sorted(folder.glob("*.img"))), str(folder), "/nowhere/at-all"]

    def change(self, seen: Observed) -> Change:
        """The more one takes away, the rarer it is, so that there is much to be taken away.

        Of what is `seen` only the last slots are used, as hardly any other is ever let go.
        """
        makers: dict[Callable[[], Change], int] = {
            self._create_unit: 10,
            self._update_unit: 16,
            lambda: DeleteUnit(self._target(), self._lun()): 2,
            lambda: CreateTarget(self._target()): 6,
            lambda: DeleteTarget(self._target()): 1,
            lambda: CreateAccount(Account(self._user(), self._word("a long secret"))): 8,
            lambda: DeleteAccount(self._user()): 4,
            lambda: BindIncoming(self._place(), self._user()): 12,
            lambda: UnbindIncoming(self._place(), self._user()): 6,
            lambda: self._unbind_last(seen): 2,
            lambda: BindOutgoing(self._place(), self._user()): 3,
            lambda: UnbindOutgoing(self._place(), self._user()): 2,
            lambda: Admit(self._target(), self._entry()): 2,
            lambda: Deny(self._target(), self._entry()): 2,
            lambda: EndSessions(self._target(), self._flip()): 1,
            lambda: SetReady(self._target(), self._flip()): 2,
        }
        [make] = self._chance.choices(list(makers), list(makers.values()))
        return make()

    def _unbind_last(self, seen: Observed) -> Change:
        place = self._place()
        there = place is None or place in seen.targets
        slots = seen.bindings(place).incoming if there else ()
        return UnbindIncoming(place, slots[-1] if slots else self._user())

    def _create_unit(self) -> Change:
        return CreateUnit(self._target(), self._unit())

    def _update_unit(self) -> Change:
        some = self._chance.sample(FIELDS, self._chance.randint(0, len(FIELDS)))
        return UpdateUnit(self._target(), self._unit(), tuple(some))

    def _unit(self) -> LogicalUnit:
        kind = self._chance.choice((*[DeviceType.DISK] * 4, *DeviceType))
        said = self._chance.choice(PRODUCTS)
        product = said and ScsiProduct(*map(self._word, astuple(said)))
        return LogicalUnit(
            self._lun(),
            self._word(self._chance.choice(self._paths)),
            self._word(f"{self._chance.getrandbits(124):031x}"),
            self._word("SN"),
            device_type=kind,
            backing_type=self._chance.choice(FITTING[kind]),
            write_cache=kind is not DeviceType.DISK or self._flip(),
            readonly=self._flip(),
            online=self._flip(),
            product=product,
        )

    def _word(self, usual: str) -> str:
        return words(self._chance) if self._chance.random() < self._hostility else usual

    def _target(self) -> str:
        return self._word(self._chance.choice(TARGETS))

    def _place(self) -> str | None:
        return None if self._chance.random() < 0.4 else self._target()

    def _user(self) -> str:
        return self._word(self._chance.choice(USERS))

    def _entry(self) -> str:
        return self._word(self._chance.choice((*ADDRESSES, *INITIATORS)))

    def _lun(self) -> int:
        hostile = self._chance.random() < self._hostility
        return self._chance.choice(NUMBERS if hostile else LUNS)

    def _flip(self) -> bool:
        return self._chance.random() < 0.5
