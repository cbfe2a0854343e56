"""What a user believes: plain dicts, and for every request why it must be refused, if it must.

Written from the documentation of the API, not from the service: nothing of `inventory` is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from storlever.errors import Conflict
from storlever.service import Service
from tests.torture.model.lunbelief import Lun, Shelf
from tests.torture.model.moves import NO_LUN, NO_TARGET, NO_USER, Move, against

INCOMING, OUTGOING = WAYS = ("incoming", "outgoing")
DISCOVERY = "discovery"

Users = Mapping[str, tuple[str, str] | None]
"""Way -> name and secret, or None for nobody."""


class Others:
    """What is in tgtd and is not ours: seen by all, and not to be touched."""

    def __init__(self) -> None:
        self.targets: set[str] = set()
        self.accounts: set[str] = set()
        """Those that we do not use."""
        self.bound: set[str] = set()
        """Those that their targets use, ours or not."""


@dataclass
class Belief:
    """`others` is shared with those others, who keep it up to date."""

    others: Others
    shelf: Shelf
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    discovery: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(WAYS))

    # -- targets

    def add_target(self, name: str) -> Move:
        def done() -> None:
            new: dict[str, Any] = {"online": True, "names": (), "addresses": ()}
            self.targets[name] = {**new, INCOMING: [], OUTGOING: None, "luns": {}}

        no = against(
            (name in self.targets, Conflict, "target-exists"),
            (name in self.others.targets, Conflict, "target-foreign"),
        )
        return Move(no, done, frozenset({name}))

    def edit_target(self, name: str, given: dict[str, Any], *, busy: bool, force: bool) -> Move:
        """`busy`: it has sessions."""
        if name not in self.targets:
            return NO_TARGET
        leaving = self.targets[name]["online"] and given.get("online") is False
        no = against((busy and leaving and not force, Conflict, "sessions-active"))
        closes = name if force and leaving else None
        return Move(no, lambda: self.targets[name].update(given), closes=closes)

    def remove_target(self, name: str, *, busy: bool, force: bool) -> Move:
        if name not in self.targets:
            return NO_TARGET

        def done() -> None:
            del self.targets[name]
            self._forget_unused()

        no = against((busy and not force, Conflict, "sessions-active"))
        return Move(no, done, closes=name)

    # -- users

    def uses(self, user: str) -> Iterator[tuple[str, str]]:
        """Every place and way in which it is used."""
        for name, target in self.targets.items():
            if user in target[INCOMING]:
                yield name, INCOMING
            if user == target[OUTGOING]:
                yield name, OUTGOING
        yield from ((DISCOVERY, way) for way in WAYS if self.discovery[way] == user)

    def users_of_targets(self) -> set[tuple[str, str, str]]:
        """Target, way and name of each."""
        found = {(name, way, user) for user in self.secrets for name, way in self.uses(user)}
        return {each for each in found if each[0] != DISCOVERY}

    def add_user(self, name: str, way: str, user: str, secret: str) -> Move:
        if name not in self.targets:
            return NO_TARGET
        target = self.targets[name]

        def done() -> None:
            if way == INCOMING:
                target[INCOMING].append(user)
            else:
                target[OUTGOING] = user
            self.secrets[user] = secret

        no = against(
            ((name, way) in self.uses(user), Conflict, "user-exists"),
            (way == OUTGOING and bool(target[OUTGOING]), Conflict, "outgoing-user-exists"),
            (self.secrets.get(user, secret) != secret, Conflict, "password-differs"),
            (self._is_theirs(user, secret), Conflict, "user-foreign"),
        )
        return Move(no, done, frozenset({user}))

    def set_secret(
        self, name: str, way: str, user: str, secret: str | None, *, everywhere: bool
    ) -> Move:
        if missing := self._missing_user(name, way, user):
            return missing
        if secret is None or secret == self.secrets[user]:
            return Move()
        shared = set(self.uses(user)) != {(name, way)}
        no = against(
            (shared and not everywhere, Conflict, "password-shared"),
            (self._is_theirs(user, secret), Conflict, "user-foreign"),
        )
        return Move(no, lambda: self.secrets.update({user: secret}), frozenset({user}))

    def remove_user(self, name: str, way: str, user: str) -> Move:
        if missing := self._missing_user(name, way, user):
            return missing
        target = self.targets[name]

        def done() -> None:
            if way == INCOMING:
                target[INCOMING].remove(user)
            else:
                target[OUTGOING] = None
            self._forget_unused()

        return Move(done=done, names=frozenset({user}))

    def set_discovery(self, given: Users) -> Move:
        """A way that is not given keeps its user."""
        asked = [pair for pair in given.values() if pair]
        going = {(DISCOVERY, way) for way in given}
        differs = any(
            self.secrets.get(user, secret) != secret and set(self.uses(user)) - going
            for user, secret in asked
        )

        def done() -> None:
            self.discovery |= {way: pair[0] if pair else None for way, pair in given.items()}
            self.secrets |= dict(asked)
            self._forget_unused()

        no = against(
            (differs or len(dict(asked)) < len(set(asked)), Conflict, "password-differs"),
            (any(self._is_theirs(*pair) for pair in asked), Conflict, "user-foreign"),
        )
        return Move(no, done, frozenset(user for user, _ in asked))

    def _is_theirs(self, user: str, secret: str) -> bool:
        """Somebody else has the user, or uses one of ours and would meet another secret."""
        if user in self.secrets:
            return user in self.others.bound and self.secrets[user] != secret
        return user in self.others.accounts

    def _missing_user(self, name: str, way: str, user: str) -> Move | None:
        if name not in self.targets:
            return NO_TARGET
        return None if (name, way) in self.uses(user) else NO_USER

    def _forget_unused(self) -> None:
        """Users whom others use as well are theirs from then on."""
        for user in [user for user in self.secrets if not any(self.uses(user))]:
            del self.secrets[user]
            self.others.accounts |= {user} & self.others.bound

    # -- LUNs

    def add_lun(self, name: str, lun: int, given: Lun) -> Move:
        if name not in self.targets:
            return NO_TARGET
        luns = self.targets[name]["luns"]
        new = self.shelf.new(given)
        no = against((lun in luns, Conflict, "lun-exists"))
        no |= self.shelf.against(new, self._rest((name, lun)))
        return Move(no, lambda: luns.update({lun: new}))

    def learn(self, name: str, lun: int, service: Service) -> None:
        """The identity that a LUN was given when it was asked for without one."""
        fields = self.targets.get(name, {"luns": {}})["luns"].get(lun, {})
        for key in ("scsi_id", "serial_number"):
            if fields.get(key) == "":
                fields[key] = getattr(service.unit(name, lun).unit, key)
                assert len(fields[key]) >= 16

    def edit_lun(self, name: str, lun: int, given: Lun) -> Move:
        if name not in self.targets:
            return NO_TARGET
        luns = self.targets[name]["luns"]
        if lun not in luns:
            return NO_LUN
        new = self.shelf.changed(luns[lun], given)
        no = self.shelf.against(new, self._rest((name, lun)))
        return Move(no, lambda: luns.update({lun: new}))

    def remove_lun(self, name: str, lun: int) -> Move:
        if name not in self.targets:
            return NO_TARGET
        luns = self.targets[name]["luns"]
        return Move(done=lambda: luns.pop(lun)) if lun in luns else NO_LUN

    def luns(self) -> set[tuple[str, int]]:
        """Target and number of each."""
        return {(name, lun) for name, target in self.targets.items() for lun in target["luns"]}

    def _rest(self, place: tuple[str, int]) -> list[Lun]:
        """All LUNs but one."""
        return [
            each
            for name, target in self.targets.items()
            for lun, each in target["luns"].items()
            if (name, lun) != place
        ]
