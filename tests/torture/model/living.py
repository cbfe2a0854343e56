"""A service that is asked, killed, and meddled with at random, beside what a user believes of it.

Every rule is one thing that may happen. What a request must answer, and what is so afterwards, is
known from the belief alone; `quiesce` compares the belief with the API, and with tgtd.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storlever.errors import StorLeverError, Unavailable
from storlever.inventory import Direction
from storlever.model import Account, BackingType, DeviceType
from storlever.service import Service
from tests.torture.model.belief import INCOMING, OUTGOING, WAYS, Belief, Others
from tests.torture.model.compare import in_tgtd, require_same
from tests.torture.model.lunbelief import FITTING, Shelf
from tests.torture.model.moves import Move
from tests.torture.model.stranger import USER, Deed, Stranger
from tests.torture.model.worlds import World

TARGETS = tuple(f"iqn.2026-01.test:{number}" for number in range(3))
USERS = ("alice", "bob", "carol")
SECRETS = ("a first secret", "an other, with a comma=", "s")
LUNS = (1, 2, 255)
DISKS = ("one.img", "two.img", "three.img")
TAPES = ("one.tape", "two.tape")
ODD = ("link.img", "blank.img", "small.img", "missing.img", ".")

DISRUPTIONS = ("glance", "restart", "be reborn", "kill", "kill unseen", "kill unseen", "end")

targets = st.sampled_from(TARGETS)
ways = st.sampled_from(WAYS)
users = st.sampled_from((*USERS, USER))
secrets = st.sampled_from(SECRETS)
luns = st.sampled_from(LUNS)
forced = st.booleans()
access: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "online": st.booleans(),
        "names": st.lists(
            st.sampled_from(("iqn.2026-01.test:red", "eui.0123456789abcdef")), unique=True
        ).map(tuple),
        "addresses": st.lists(
            st.sampled_from(("127.0.0.1", "10.0.0.0/24", "fd00::1", "ALL")), unique=True, max_size=2
        ).map(tuple),
    },
)
kinds = st.sampled_from(("disk", "disk", "disk", *FITTING))
fields: dict[str, st.SearchStrategy[Any]] = {
    "device_type": kinds,
    "backing_type": st.sampled_from(("rdwr", "aio", "ssc", "sg")),
    "write_cache": st.booleans(),
    "readonly": st.booleans(),
    "online": st.booleans(),
    "shared": st.booleans(),
    "scsi_id": st.sampled_from(("", "f" * 31, "=" * 36)),
    "serial_number": st.sampled_from(("", "SN-1", "9" * 36)),
    "direct_map": st.sampled_from((False, False, False, True)),
}


@st.composite
def some_fields(draw: st.DrawFn, most: int = 3) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=most))
    return {name: draw(fields[name]) for name in names}


@st.composite
def new_luns(draw: st.DrawFn) -> dict[str, Any]:
    """Most of them on what fits them."""
    kind = draw(kinds)
    shelf = {"tape": TAPES, "cd": (*DISKS, "blank.img")}.get(kind, DISKS)
    file = draw(st.sampled_from((*shelf, *shelf, *shelf, *ODD)))
    return {
        "backing_path": file,
        "readonly": draw(st.booleans()),
        "shared": draw(st.booleans()),
        **draw(some_fields(2)),
        "device_type": kind,
    }


changes_of_luns = some_fields() | st.builds(
    lambda file, rest: {"backing_path": file, **rest},
    st.sampled_from((*DISKS, *TAPES, *ODD)),
    some_fields(1),
)
pairs = st.none() | st.tuples(st.sampled_from(USERS), secrets)


class Living(RuleBasedStateMachine):
    """`folder` holds the files; `world` makes a new one for each run."""

    folder: ClassVar[Path]
    figures: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make()
        others = Others()
        self.belief = Belief(others, Shelf(TAPES))
        self.stranger = Stranger(self.world, others, str(self.folder / "theirs.img"))
        self.killed = False
        self.settled = False
        """Whether the service has looked at this life of tgtd."""
        self.calm = False
        """Whether nothing but requests has come since all was seen to be well."""

    def make(self) -> World:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.stranger.settle_in()
        self.settle()
        for number, name in enumerate(TARGETS[:2]):
            self.add_target(name)
            self.add_user_to(name, INCOMING, "alice", SECRETS[0])
            self.add_user_to(name, OUTGOING, "bob", SECRETS[1])
            self.add_lun_to(name, 1, {"backing_path": DISKS[number], "write_cache": number == 0})
        self.quiesce()

    def teardown(self) -> None:
        """What was left undone is brought to its end too, unless the run failed already."""
        if sys.exc_info()[0] is None:
            self.quiesce()

    @invariant()
    def tgtd_lives_as_long_as_it_is_let(self) -> None:
        assert self.world.alive is not self.killed

    def settle(self) -> int:
        sessions = self.world.sessions()
        changes = self.world.settle()
        self.require_sessions(sessions)
        self.settled = True
        self.stranger.gone.clear()
        return changes

    # -- requests

    def ask(self, move: Move, call: Callable[[Service], object]) -> None:
        before, sessions = in_tgtd(self.belief), self.world.sessions()
        try:
            call(self.world.service)
        except StorLeverError as error:
            self.figures[error.code] += 1
            self.require_right(error, move)
            if isinstance(error, Unavailable):
                self.recover()
        else:
            self.figures["done"] += 1
            assert not move.refusals, move.refusals
            move.done()
            assert self.settled or in_tgtd(self.belief) == before
        self.require_sessions(sessions, move.closes)

    def require_right(self, error: StorLeverError, move: Move) -> None:
        """A right answer is a true one, or one that the service cannot know to be false, as it
        has not looked since."""
        if isinstance(error, Unavailable):
            assert not self.settled, error
        elif error.code in ("target-foreign", "user-foreign") and move.names & self.stranger.gone:
            pass
        else:
            said = {(kind, code) for kind, code in move.refusals if isinstance(error, kind)}
            assert error.code in {code for _, code in said}, (error, move.refusals)

    def require_sessions(self, before: dict[str, list[int]], closes: str | None = None) -> None:
        if self.world.alive:
            after = self.world.sessions()
            for name in before.keys() - {closes}:
                assert after.get(name) == before[name]

    def busy(self, name: str) -> bool:
        return self.world.alive and name in self.world.sessions()

    def a_target(self, data: st.DataObject) -> str:
        """More often one that is there."""
        there = sorted(self.belief.targets)
        return data.draw(st.sampled_from(there) | targets if there else targets, "target")

    def a_user(self, data: st.DataObject) -> tuple[str, str, str]:
        """Target, way and name; more often of one that is there."""
        there = sorted(self.belief.users_of_targets())
        anyone = st.tuples(targets, ways, users)
        return data.draw(st.sampled_from(there) | anyone if there else anyone, "user")

    def a_lun(self, data: st.DataObject) -> tuple[str, int]:
        """More often one that is there."""
        there = sorted(self.belief.luns())
        any_ = st.tuples(targets, luns)
        return data.draw(st.sampled_from(there) | any_ if there else any_, "LUN")

    @rule(data=st.data())
    def add_one_more_target(self, data: st.DataObject) -> None:
        """More often one that is not there."""
        missing = sorted(set(TARGETS) - self.belief.targets.keys())
        name = data.draw(st.sampled_from(missing) | targets if missing else targets, "target")
        self.add_target(name)

    def add_target(self, name: str) -> None:
        self.ask(self.belief.add_target(name), lambda service: service.add_target(name))

    @rule(data=st.data(), given=access, force=forced)
    def edit_target(self, data: st.DataObject, given: dict[str, Any], force: bool) -> None:
        name = self.a_target(data)
        move = self.belief.edit_target(name, given, busy=self.busy(name), force=force)
        self.ask(move, lambda service: service.edit_target(name, **given, force=force))

    @rule(data=st.data(), force=forced)
    def remove_target(self, data: st.DataObject, force: bool) -> None:
        name = self.a_target(data)
        move = self.belief.remove_target(name, busy=self.busy(name), force=force)
        self.ask(move, lambda service: service.remove_target(name, force=force))

    @rule(data=st.data(), way=ways, user=users, secret=secrets, known=st.booleans())
    def add_user(self, data: st.DataObject, way: str, user: str, secret: str, known: bool) -> None:
        """`known`: with the secret that the user has already, if it has one."""
        secret = self.belief.secrets.get(user, secret) if known else secret
        self.add_user_to(self.a_target(data), way, user, secret)

    def add_user_to(self, name: str, way: str, user: str, secret: str) -> None:
        move = self.belief.add_user(name, way, user, secret)
        account = Account(user, secret)
        self.ask(move, lambda service: service.add_user(name, Direction(way), account))

    @rule(data=st.data(), secret=st.none() | secrets, everywhere=forced)
    def set_secret(self, data: st.DataObject, secret: str | None, everywhere: bool) -> None:
        name, way, user = self.a_user(data)
        move = self.belief.set_secret(name, way, user, secret, everywhere=everywhere)
        where = (name, Direction(way), user)
        self.ask(move, lambda service: service.set_secret(*where, secret, everywhere=everywhere))

    @rule(data=st.data())
    def remove_user(self, data: st.DataObject) -> None:
        name, way, user = self.a_user(data)
        move = self.belief.remove_user(name, way, user)
        self.ask(move, lambda service: service.remove_user(name, Direction(way), user))

    @rule(given=st.dictionaries(ways, pairs, min_size=1))
    def set_discovery(self, given: dict[str, tuple[str, str] | None]) -> None:
        asked = {Direction(way): pair and Account(*pair) for way, pair in given.items()}
        move = self.belief.set_discovery(given)
        self.ask(move, lambda service: service.set_discovery(asked))

    @rule(data=st.data(), lun=luns, given=new_luns())
    def add_lun(self, data: st.DataObject, lun: int, given: dict[str, Any]) -> None:
        self.add_lun_to(self.a_target(data), lun, given)

    def add_lun_to(self, name: str, lun: int, given: dict[str, Any]) -> None:
        given = self.placed(given)
        move = self.belief.add_lun(name, lun, given)
        self.ask(move, lambda service: service.add_unit(name, lun, _typed(given)))
        self.belief.learn(name, lun, self.world.service)

    @rule(data=st.data(), given=changes_of_luns)
    def edit_lun(self, data: st.DataObject, given: dict[str, Any]) -> None:
        (name, lun), given = self.a_lun(data), self.placed(given)
        move = self.belief.edit_lun(name, lun, given)
        self.ask(move, lambda service: service.edit_unit(name, lun, _typed(given)))

    @rule(data=st.data())
    def remove_lun(self, data: st.DataObject) -> None:
        name, lun = self.a_lun(data)
        move = self.belief.remove_lun(name, lun)
        self.ask(move, lambda service: service.remove_unit(name, lun))

    def placed(self, given: dict[str, Any]) -> dict[str, Any]:
        if "backing_path" not in given:
            return given
        return {**given, "backing_path": str(self.folder / given["backing_path"])}

    # -- what comes besides

    @rule()
    def quiesce(self) -> None:
        """A pass puts everything right, and another one finds nothing to do."""
        if self.killed:
            self.start()
        changes = self.settle()
        assert changes == 0 or not self.calm
        assert self.settle() == 0
        require_same(self.world, self.belief)
        assert self.stranger.untouched(self.world.printed())
        self.calm = True
        self.figures["quiesced"] += 1

    @rule(what=st.sampled_from(DISRUPTIONS))
    def disrupt(self, what: str) -> None:
        """`be reborn`, `kill unseen`: a request comes before the service has looked.
        `end`: tgtd ends and does not come back before somebody misses it."""
        self.figures[what] += 1
        match what:
            case "glance":
                self.glance()
            case "restart" | "be reborn":
                self.world.be_reborn()
                self.settled = False
            case "kill" | "kill unseen" | "end":
                self.kill()
        if what in ("restart", "kill"):
            self.recover()
        elif what == "kill unseen":
            self.start()

    def glance(self) -> None:
        """As the loop does between two passes."""
        with contextlib.suppress(Unavailable):
            if self.world.passes.glance(self.world.service.inventory):
                return
        self.recover()

    def kill(self) -> None:
        if not self.killed:
            self.world.kill()
        self.killed, self.settled, self.calm = True, False, False

    def start(self) -> None:
        self.world.start()
        self.killed = False
        self.stranger.settle_in()

    def recover(self) -> None:
        if self.killed:
            self.start()
        self.settle()

    @rule(data=st.data())
    def others_change_what_is_theirs(self, data: st.DataObject) -> None:
        if self.world.alive:
            self.meddle(data, [self.stranger.of_theirs(self.belief, TARGETS, USERS)])

    @rule(data=st.data())
    def others_change_discovery(self, data: st.DataObject) -> None:
        if self.world.alive:
            self.meddle(data, [self.stranger.of_discovery()])

    @rule(data=st.data())
    def others_change_what_is_ours(self, data: st.DataObject) -> None:
        shown = self.world.printed().targets if self.world.alive else {}
        if ours := sorted(self.belief.targets.keys() & shown.keys()):
            name = data.draw(st.sampled_from(ours), "target")
            self.meddle(data, self.stranger.of_ours(name))

    def meddle(self, data: st.DataObject, possible: list[list[Deed]]) -> None:
        """`possible` is by kind, and each kind as likely as the others."""
        kinds = [st.sampled_from(deeds) for deeds in possible if deeds]
        if kinds:
            self.stranger.do(data.draw(st.one_of(kinds), "deed"))
            self.calm = False
            self.figures["meddled"] += 1


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    types = {"device_type": DeviceType, "backing_type": BackingType}
    return {name: types[name](value) if name in types else value for name, value in given.items()}
