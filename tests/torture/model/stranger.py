"""Somebody else with tools for tgtd, in what is theirs and in what is ours.

They do anything but what tgtd dies of (a user unbound from a slot that is not the last), and what
tgtd does not show: another password, write cache or product.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from storlever.names import GUARD
from storlever.tgtd.wire import EVERY, Mode, Op, Request
from tests.others import unchecked
from tests.torture.model.belief import Belief, Others
from tests.torture.model.moves import nothing
from tests.torture.model.worlds import World
from tests.torture.tgtd.printed import Printed, Target

TARGET, USER = "iqn.2026-01.foreign:theirs", "stranger"
FIRST_TID = 30000
LUNS = (2, 77, 300)
ENTRIES = ("ALL", "10.9.9.9", "iqn.2026-01.foreign:i", "", "a\tb", "iqn.2026-01.test:red")
UPDATES = (
    (("readonly", "1"),),
    (("readonly", "0"),),
    (("online", "0"),),
    (("removable", "1"), ("online", "0")),
    (("removable", "0"), ("online", "1")),
    (("scsi_id", "theirs"),),
    (("scsi_sn", "THEIRS"),),
)


@dataclass(frozen=True)
class Deed:
    """`noted` is called when it is done, for those to know of it who did it."""

    words: str
    requests: tuple[Request, ...] = field(repr=False)
    noted: Callable[[], None] = field(repr=False, default=nothing)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """How hypothesis tells it."""
        printer.text(self.words)


class Stranger:
    """Keeps `others` up to date. `path` is a file for the LUNs that it makes."""

    def __init__(self, world: World, others: Others, path: str) -> None:
        self._world = world
        self._others = others
        self._path = path
        self._lives = 0
        self._highest = FIRST_TID
        """Target number of this life that was ever seen: what the service takes for one of its
        targets, of which it does not know yet that it is gone, must not be one of theirs."""
        self._blocks: dict[str, str] = {}
        self.gone: set[str] = set()
        """Names that were theirs, which the service may not have noticed."""

    def settle_in(self) -> None:
        """A target with a user, in a tgtd that has nothing of theirs."""
        others = self._others
        self.gone |= others.targets | others.accounts | others.bound
        for names in (others.targets, others.accounts, others.bound):
            names.clear()
        self._lives += 1
        self._highest = FIRST_TID + self._lives % 4  # in the next life it may be one of ours
        self.do(self._made(TARGET))
        self.do(self._user_made(USER))
        self.do(self._bound(USER, self._highest))

    def do(self, deed: Deed) -> None:
        for request in deed.requests:
            self._world.tell(request)
        deed.noted()
        targets = self._look().targets
        self._blocks = {name: targets[name].text for name in sorted(self._others.targets)}

    def _look(self) -> Printed:
        printed = self._world.printed()
        numbers = (target.number for target in printed.targets.values())
        self._highest = max((self._highest, *numbers))
        return printed

    def untouched(self, printed: Printed) -> bool:
        """Whether their targets look as they left them."""
        names = printed.targets.keys() & self._blocks.keys()
        return self._blocks == {name: printed.targets[name].text for name in names}

    # -- in what is theirs

    def of_theirs(
        self, belief: Belief, names: tuple[str, ...], users: tuple[str, ...]
    ) -> list[Deed]:
        """They may take any of these names that is free."""
        printed, others = self._look(), self._others
        mine = printed.targets[TARGET]
        taken = {*belief.targets, *printed.targets, *belief.secrets, *printed.accounts}
        ours = sorted(printed.accounts & belief.secrets.keys() - {*mine.incoming})
        return [
            *(self._made(name) for name in names if name not in taken),
            *(
                self._unmade(name, printed.targets[name].number)
                for name in sorted(others.targets - {TARGET})
            ),
            *(self._user_made(user) for user in users if user not in taken),
            *(self._user_unmade(user) for user in sorted(others.accounts - printed.bound())),
            *(self._bound(user, mine.number) for user in ours),
            *(self._unbound(user, mine.number) for user in mine.incoming[1:][-1:]),
        ]

    def _made(self, name: str) -> Deed:
        tid = self._highest + 1
        request = unchecked(Mode.TARGET, Op.NEW, ("targetname", name), tid=tid)
        return Deed(f"make {name}", (request,), lambda: self._others.targets.add(name))

    def _unmade(self, name: str, tid: int) -> Deed:
        def noted() -> None:
            self._others.targets.discard(name)
            self.gone.add(name)

        return Deed(f"remove {name}", (unchecked(Mode.TARGET, Op.DELETE, tid=tid),), noted)

    def _user_made(self, user: str) -> Deed:
        pair = ("user", user), ("password", "of theirs")
        request = unchecked(Mode.ACCOUNT, Op.NEW, *pair)
        return Deed(f"make user {user}", (request,), lambda: self._others.accounts.add(user))

    def _user_unmade(self, user: str) -> Deed:
        def noted() -> None:
            self._others.accounts.discard(user)
            self.gone.add(user)

        request = unchecked(Mode.ACCOUNT, Op.DELETE, ("user", user))
        return Deed(f"remove user {user}", (request,), noted)

    def _bound(self, user: str, tid: int) -> Deed:
        request = unchecked(Mode.ACCOUNT, Op.BIND, ("user", user), tid=tid)
        return Deed(f"use {user}", (request,), lambda: self._others.bound.add(user))

    def _unbound(self, user: str, tid: int) -> Deed:
        def noted() -> None:
            self._others.bound.discard(user)
            self.gone.add(user)

        request = unchecked(Mode.ACCOUNT, Op.UNBIND, ("user", user), tid=tid)
        return Deed(f"do not use {user}", (request,), noted)

    # -- in discovery, which is everybody's

    def of_discovery(self) -> list[Deed]:
        """An outgoing user that stands alone is not shown, so none of theirs is left so."""
        printed = self._look()
        possible = _with_users("discovery", EVERY, printed.incoming, printed.outgoing)
        alone = len(printed.incoming) == 1 and printed.outgoing is not None
        return [deed for deed in possible if not (alone and deed.words.startswith("UNBIND user"))]

    # -- in what is ours

    def of_ours(self, name: str) -> list[list[Deed]]:
        """By kind."""
        target = self._look().targets[name]
        tid = target.number
        states = [
            unchecked(Mode.TARGET, Op.UPDATE, ("state", state), tid=tid)
            for state in ("ready", "offline")
        ]
        return [
            [Deed(f"delete {name}", (unchecked(Mode.TARGET, Op.DELETE, tid=tid, force=True),))],
            [Deed(f"state of {name}: {state.parameters}", (state,)) for state in states],
            list(_with_access(name, target)),
            list(_with_users(name, tid, target.incoming, target.outgoing)),
            list(self._with_new_luns(name, target)),
            *[list(self._with_lost_luns(name, target))] * 2,
            *[list(_with_changed_luns(name, target))] * 2,
        ]

    def _with_new_luns(self, name: str, target: Target) -> Iterator[Deed]:
        for lun in LUNS:
            if lun not in target.luns:
                yield Deed(f"make LUN {lun} of {name}", (self._new_lun(target.number, lun),))

    def _with_lost_luns(self, name: str, target: Target) -> Iterator[Deed]:
        for lun in target.luns:
            delete = unchecked(Mode.UNIT, Op.DELETE, tid=target.number, lun=lun)
            new = self._new_lun(target.number, lun)
            yield Deed(f"delete LUN {lun} of {name}", (delete,))
            yield Deed(f"replace LUN {lun} of {name}", (delete, new))

    def _new_lun(self, tid: int, lun: int) -> Request:
        return unchecked(Mode.UNIT, Op.NEW, ("path", self._path), tid=tid, lun=lun)


def _with_changed_luns(name: str, target: Target) -> Iterator[Deed]:
    for lun in target.luns:
        for said in UPDATES:
            update = unchecked(Mode.UNIT, Op.UPDATE, *said, tid=target.number, lun=lun)
            yield Deed(f"update LUN {lun} of {name}: {said}", (update,))


def _with_access(name: str, target: Target) -> Iterator[Deed]:
    """Names of initiators are always bound as such here, and all else as addresses."""
    for entry in sorted({*ENTRIES, *target.acl}):
        op = Op.UNBIND if entry in target.acl else Op.BIND
        key = "initiator-name" if entry.startswith(("iqn.", "eui.")) else "initiator-address"
        request = unchecked(Mode.TARGET, op, (key, entry), tid=target.number)
        yield Deed(f"{op.name} {entry!r} of {name}", (request,))


def _with_users(
    place: str, tid: int, incoming: tuple[str, ...], outgoing: str | None
) -> Iterator[Deed]:
    possible = [(Op.BIND, USER, False)] if USER not in incoming else []
    if incoming and incoming[-1] != GUARD:
        possible.append((Op.UNBIND, incoming[-1], False))
    if outgoing:
        possible.append((Op.UNBIND, outgoing, True))
    elif incoming:
        possible.append((Op.BIND, USER, True))
    for op, user, out in possible:
        request = unchecked(Mode.ACCOUNT, op, ("user", user), tid=tid, outgoing=out)
        yield Deed(f"{op.name} {'outgoing ' * out}user {user} of {place}", (request,))
