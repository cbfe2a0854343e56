"""Somebody else with a tgtadm, who changes anything of anybody's but what tgtd dies of."""

import random
import re
from pathlib import Path

from storlever.model import ObservedTarget
from storlever.names import GUARD
from storlever.observed import Observed
from tests.world import Tgtd, image

TID, TARGET, USERS = "30000", "iqn.2026-01.foreign:theirs", ("annie", "bert")
LUN = "77"

Words = tuple[str, ...]
"""Arguments of tgtadm: the operation, the mode, and the rest."""


class Meddler:
    """`folder` is for the files of the LUNs it makes."""

    def __init__(self, tgtd: Tgtd, chance: random.Random, folder: Path) -> None:
        self._tgtd = tgtd
        self._chance = chance
        self._images = [str(image(folder / f"theirs{at}.img", 1)) for at in range(3)]

    def settle_in(self) -> None:
        """A target and users of its own, in each new life of tgtd."""
        admin = self._tgtd.admin
        admin("new", "target", "--tid", TID, "-T", TARGET)
        admin("bind", "target", "--tid", TID, "-I", "127.0.0.1")
        for user in USERS:
            admin("new", "account", "--user", user, "--password", "of theirs")
        admin("bind", "account", "--tid", TID, "--user", USERS[0])

    def own_block(self) -> str:
        """What tgtd shows of its own target."""
        found = re.search(
            rf"^Target {TID}: .*?(?=^Target |\Z)", self._shown(), re.MULTILINE | re.DOTALL
        )
        return found[0] if found else ""

    def meddle(self, seen: Observed) -> Words:
        """Change something of what was `seen` a moment ago; what was asked for."""
        listed = re.findall(r"^Target (\d+): (.*)$", self._shown(), re.MULTILINE)
        numbers = {name: number for number, name in listed}
        possible = self._in_general(seen)
        if ours := sorted(numbers.keys() & seen.targets.keys() - {TARGET}):
            name = self._chance.choice(ours)
            possible += self._with_target(numbers[name], seen.targets[name], seen)
        words = self._chance.choice(possible)
        self._tgtd.admin(*words, check=False)
        return words

    def _shown(self) -> str:
        return self._tgtd.admin("show", "target")

    def _in_general(self, seen: Observed) -> list[Words]:
        """Discovery, and accounts of ours put to their own use."""
        possible: list[Words] = [("bind", "account", "--user", USERS[1], "--outgoing")]
        if last := seen.discovery.incoming[1:][-1:]:
            possible.append(("unbind", "account", "--user", *last))
            possible.append(("bind", "account", "--user", USERS[0]))
        if outgoing := seen.discovery.outgoing:
            possible.append(("unbind", "account", "--user", outgoing, "--outgoing"))
        ours = sorted(seen.accounts.keys() - {GUARD, *USERS})
        return possible + [("bind", "account", "--tid", TID, "--user", user) for user in ours]

    def _with_target(self, tid: str, target: ObservedTarget, seen: Observed) -> list[Words]:
        place = ("--tid", tid)
        state = self._chance.choice(("ready", "offline"))
        return [
            ("delete", "target", *place, "--force"),
            ("update", "target", *place, "--name", "state", "--value", state),
            *self._with_access(place, target),
            *self._with_users(place, target, seen),
            *self._with_units(place, target),
        ]

    def _with_access(self, place: Words, target: ObservedTarget) -> list[Words]:
        possible: list[Words] = [
            ("bind", "target", *place, "-I", "ALL"),
            ("bind", "target", *place, "-I", "10.9.9.9"),
            ("bind", "target", *place, "-Q", "iqn.2026-01.foreign:initiator"),
        ]
        for entry in target.acl:
            flag = "-Q" if entry.startswith(("iqn.", "eui.", "naa.")) else "-I"
            possible.append(("unbind", "target", *place, flag, entry))
        return possible

    def _with_users(self, place: Words, target: ObservedTarget, seen: Observed) -> list[Words]:
        """Incoming users come and go in the last slot only."""
        users = sorted(seen.accounts.keys() - {GUARD, *target.bindings.incoming})
        user = self._chance.choice(users)
        possible: list[Words] = [("bind", "account", *place, "--user", user)]
        if last := target.bindings.incoming[-1:]:
            possible.append(("unbind", "account", *place, "--user", *last))
        if outgoing := target.bindings.outgoing:
            possible.append(("unbind", "account", *place, "--user", outgoing, "--outgoing"))
        else:
            possible.append(("bind", "account", *place, "--user", user, "--outgoing"))
        return possible

    def _with_units(self, place: Words, target: ObservedTarget) -> list[Words]:
        path = self._chance.choice(self._images)
        possible: list[Words] = [
            ("new", "logicalunit", *place, "--lun", LUN, "--backing-store", path)
        ]
        for unit in target.units:
            which = (*place, "--lun", str(unit.lun))
            possible.append(("delete", "logicalunit", *which))
            possible += [
                ("update", "logicalunit", *which, "--params", change)
                for change in (
                    "readonly=0",
                    "readonly=1",
                    "removable=1,online=0",
                    "removable=0,online=1",
                    "scsi_id=theirs",
                    "scsi_sn=THEIRS",
                )
            ]
        return possible
