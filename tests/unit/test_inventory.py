"""Edits of the inventory: what they refuse, and that any sequence of them keeps it consistent."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from storlever.errors import Conflict, Invalid, NotFound, StorLeverError
from storlever.inventory import DISCOVERY, Direction, Edit, Inventory
from storlever.model import Account, DiscoveryAuth, LogicalUnit, Target
from tests.unit import strategies as some

INCOMING, OUTGOING = Direction.INCOMING, Direction.OUTGOING
ONE, TWO = "iqn.2014-09.com.example:one", "iqn.2014-09.com.example:two"
GONE = "iqn.2014-09.com.example:gone"
ALICE, BOB = Account("alice", "alice's secret"), Account("bob", "bob's secret")
ALICE_AGAIN = Account("alice", "another secret")
UNIT = LogicalUnit(1, "/srv/a.img", "0123456789abcdef", "SN1")


def inventory(*targets: Target, discovery: DiscoveryAuth | None = None) -> Inventory:
    """Alice and bob are the only users there may be, each with the secret above."""
    auth = discovery or DiscoveryAuth()
    used = auth.accounts.union(*(target.accounts for target in targets))
    known = [account for account in (ALICE, BOB) if account.name in used]
    return Inventory.of(targets, known, auth)


# -- what is refused, by its code

REFUSED: dict[str, tuple[str, Inventory, Callable[[Inventory], Edit]]] = {
    "a target that exists": (
        "target-exists",
        inventory(Target(ONE)),
        lambda old: old.add_target(ONE),
    ),
    "to edit no target": (
        "target-not-found",
        inventory(),
        lambda old: old.edit_target(GONE, online=False),
    ),
    "to remove no target": ("target-not-found", inventory(), lambda old: old.remove_target(GONE)),
    "a user of no target": (
        "target-not-found",
        inventory(),
        lambda old: old.add_user(GONE, INCOMING, ALICE),
    ),
    "a user that is there": (
        "user-exists",
        inventory(Target(ONE, incoming=("alice",))),
        lambda old: old.add_user(ONE, INCOMING, ALICE),
    ),
    "an outgoing user that is there": (
        "user-exists",
        inventory(Target(ONE, outgoing="alice")),
        lambda old: old.add_user(ONE, OUTGOING, ALICE),
    ),
    "a second outgoing user": (
        "outgoing-user-exists",
        inventory(Target(ONE, outgoing="alice")),
        lambda old: old.add_user(ONE, OUTGOING, BOB),
    ),
    "another password for a user of another target": (
        "password-differs",
        inventory(Target(ONE, incoming=("alice",)), Target(TWO)),
        lambda old: old.add_user(TWO, INCOMING, ALICE_AGAIN),
    ),
    "another password for a user of the other direction": (
        "password-differs",
        inventory(Target(ONE, incoming=("alice",))),
        lambda old: old.add_user(ONE, OUTGOING, ALICE_AGAIN),
    ),
    "another password for a user of discovery": (
        "password-differs",
        inventory(Target(ONE), discovery=DiscoveryAuth("alice")),
        lambda old: old.add_user(ONE, INCOMING, ALICE_AGAIN),
    ),
    "another password in discovery for a user of a target": (
        "password-differs",
        inventory(Target(ONE, incoming=("alice",))),
        lambda old: old.set_discovery({INCOMING: ALICE_AGAIN}),
    ),
    "another password in discovery for the direction that stays": (
        "password-differs",
        inventory(discovery=DiscoveryAuth(None, "alice")),
        lambda old: old.set_discovery({INCOMING: ALICE_AGAIN}),
    ),
    "two passwords in discovery for one name": (
        "password-differs",
        inventory(),
        lambda old: old.set_discovery({INCOMING: ALICE, OUTGOING: ALICE_AGAIN}),
    ),
    "a password for one of two targets": (
        "password-shared",
        inventory(Target(ONE, incoming=("alice",)), Target(TWO, incoming=("alice",))),
        lambda old: old.set_secret(ONE, INCOMING, ALICE_AGAIN),
    ),
    "a password for one of two directions": (
        "password-shared",
        inventory(Target(ONE, incoming=("alice",), outgoing="alice")),
        lambda old: old.set_secret(ONE, INCOMING, ALICE_AGAIN),
    ),
    "a password of no user": (
        "user-not-found",
        inventory(Target(ONE, outgoing="alice")),
        lambda old: old.set_secret(ONE, INCOMING, ALICE_AGAIN, everywhere=True),
    ),
    "to remove no user": (
        "user-not-found",
        inventory(Target(ONE, incoming=("alice",))),
        lambda old: old.remove_user(ONE, OUTGOING, "alice"),
    ),
    "to remove a user of no target": (
        "target-not-found",
        inventory(),
        lambda old: old.remove_user(GONE, INCOMING, "alice"),
    ),
    "a LUN of no target": ("target-not-found", inventory(), lambda old: old.add_unit(GONE, UNIT)),
    "a LUN that exists": (
        "lun-exists",
        inventory(Target(ONE, units=(UNIT,))),
        lambda old: old.add_unit(ONE, replace(UNIT, backing_path="/srv/b.img")),
    ),
    "to edit no LUN": (
        "lun-not-found",
        inventory(Target(ONE)),
        lambda old: old.edit_unit(ONE, UNIT),
    ),
    "to remove no LUN": (
        "lun-not-found",
        inventory(Target(ONE, units=(UNIT,))),
        lambda old: old.remove_unit(ONE, 2),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_a_code_that_says_why(what: str) -> None:
    code, old, edit = REFUSED[what]
    with pytest.raises((Conflict, NotFound)) as caught:
        edit(old)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


def test_a_conflict_of_passwords_names_the_places() -> None:
    """Three of them, and that there are more."""
    targets = (Target(f"iqn.2014-09.com.example:{n}", incoming=("alice",)) for n in range(5))
    with pytest.raises(Conflict) as caught:
        inventory(*targets, Target(ONE)).add_user(ONE, INCOMING, ALICE_AGAIN)
    for n in range(3):
        assert f"incoming user of iqn.2014-09.com.example:{n}" in str(caught.value)
    assert str(caught.value).endswith("and others")


def test_a_conflict_of_passwords_can_be_with_discovery() -> None:
    old = inventory(Target(ONE), discovery=DiscoveryAuth(None, "alice"))
    with pytest.raises(Conflict, match=r"as outgoing user of discovery$"):
        old.add_user(ONE, INCOMING, ALICE_AGAIN)


def test_an_account_that_is_used_must_be_there() -> None:
    """So a state file that lost a row is noticed."""
    with pytest.raises(Invalid, match="alice"):
        Inventory.of([Target(ONE, incoming=("alice",))], [], DiscoveryAuth())


# -- what an edit holds


def test_the_same_user_with_the_same_password_is_shared() -> None:
    old = inventory(Target(ONE, incoming=("alice",)), Target(TWO))
    edit = old.add_user(TWO, OUTGOING, ALICE)
    assert edit == Edit({TWO: Target(TWO, outgoing="alice")})
    assert dict(old.after(edit).used_by) == {"alice": {ONE, TWO}}


def test_a_password_changes_everywhere_when_that_is_said() -> None:
    old = inventory(Target(ONE, incoming=("alice",)), Target(TWO, outgoing="alice"))
    edit = old.set_secret(ONE, INCOMING, ALICE_AGAIN, everywhere=True)
    assert edit == Edit({}, {"alice": ALICE_AGAIN})


def test_the_password_that_is_there_already_is_no_edit() -> None:
    old = inventory(Target(ONE, incoming=("alice",)), Target(TWO, outgoing="alice"))
    assert not old.set_secret(ONE, INCOMING, ALICE)


def test_the_last_user_of_an_account_takes_it_away() -> None:
    old = inventory(Target(ONE, incoming=("alice", "bob")), Target(TWO, incoming=("bob",)))
    assert old.remove_target(ONE) == Edit({ONE: None}, {"alice": None})


def test_discovery_keeps_the_direction_that_is_not_given() -> None:
    old = inventory(discovery=DiscoveryAuth("alice", "bob"))
    edit = old.set_discovery({INCOMING: None})
    assert edit == Edit({}, {"alice": None}, DiscoveryAuth(None, "bob"))


def test_discovery_may_change_a_password_that_only_it_uses() -> None:
    old = inventory(discovery=DiscoveryAuth("alice", "alice"))
    edit = old.set_discovery({INCOMING: ALICE_AGAIN, OUTGOING: None})
    assert edit == Edit({}, {"alice": ALICE_AGAIN}, DiscoveryAuth("alice"))


def test_users_are_bound_in_the_order_they_came() -> None:
    old = inventory(Target(ONE, incoming=("bob",)))
    assert old.after(old.add_user(ONE, INCOMING, ALICE)).target(ONE).incoming == ("bob", "alice")


def test_units_stand_by_number_whatever_order_they_came_in() -> None:
    old = inventory(Target(ONE, units=(replace(UNIT, lun=2),)))
    assert [unit.lun for unit in old.after(old.add_unit(ONE, UNIT)).target(ONE).units] == [1, 2]


@given(some.inventories(), st.data())
@settings(max_examples=25)
def test_an_edit_that_changes_nothing_is_empty(old: Inventory, data: st.DataObject) -> None:
    given = {
        direction: old.accounts.get(name) if name else None
        for direction, name in zip(
            Direction, (old.discovery.incoming, old.discovery.outgoing), strict=True
        )
    }
    assert not old.set_discovery(given)
    assert not old.set_discovery({})
    if not old.targets:
        return
    target = old.target(data.draw(st.sampled_from(sorted(old.targets))))
    access = target.access
    assert not old.edit_target(target.name)
    assert not old.edit_target(
        target.name, online=target.online, names=access.names, addresses=access.addresses
    )
    for unit in target.units:
        assert not old.edit_unit(target.name, unit)


@given(some.inventories())
@settings(max_examples=25)
def test_every_use_of_an_account_is_found(old: Inventory) -> None:
    uses = {(name, INCOMING, user) for name, each in old.targets.items() for user in each.incoming}
    uses |= {(name, OUTGOING, each.outgoing or "") for name, each in old.targets.items()}
    uses |= {(DISCOVERY, INCOMING, old.discovery.incoming or "")}
    uses |= {(DISCOVERY, OUTGOING, old.discovery.outgoing or "")}
    found = {(*place, name) for name in old.accounts for place in old.uses(name)}
    assert found == {use for use in uses if use[2]}


# -- any sequence of edits, beside a model that knows no accounts, only who uses which secret

NAMES = st.sampled_from((ONE, TWO))
USERS = st.sampled_from(("alice", "bob", "carol"))
ACCOUNTS = st.builds(Account, USERS, st.sampled_from(("first secret", "other secret")))
DIRECTIONS = st.sampled_from(Direction)
UNITS = st.builds(
    LogicalUnit,
    lun=st.sampled_from((1, 2)),
    backing_path=st.sampled_from(("/srv/a.img", "/srv/b.img")),
    scsi_id=st.just("0123456789abcdef"),
    serial_number=st.just("SN"),
    readonly=st.booleans(),
)


@dataclass
class Plain:
    """A target, or discovery, as a reader of the contract would write it down."""

    online: bool = True
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    users: dict[Direction, list[str]] = field(default_factory=lambda: {INCOMING: [], OUTGOING: []})
    units: dict[int, LogicalUnit] = field(default_factory=dict)


class Edits(RuleBasedStateMachine):
    """Every edit, tried on the inventory and on the model; what one refuses the other must too."""

    def __init__(self) -> None:
        super().__init__()
        self.inventory = Inventory()
        self.targets: dict[str, Plain] = {}
        self.discovery = Plain()
        self.secrets: dict[str, str] = {}

    def made(self, fits: bool, edit: Callable[[Inventory], Edit]) -> bool:
        """Whether the edit was made, which it must be just when it fits."""
        try:
            found = edit(self.inventory)
        except StorLeverError:
            assert not fits
            return False
        assert fits
        self.inventory = self.inventory.after(found)
        return True

    def uses(self, user: str) -> int:
        return sum(
            names.count(user)
            for place in (self.discovery, *self.targets.values())
            for names in place.users.values()
        )

    def settle(self) -> None:
        """A secret lives as long as somebody uses it."""
        self.secrets = {user: said for user, said in self.secrets.items() if self.uses(user)}

    @rule(name=NAMES)
    def add_target(self, name: str) -> None:
        if self.made(name not in self.targets, lambda old: old.add_target(name)):
            self.targets[name] = Plain()

    @rule(name=NAMES)
    def remove_target(self, name: str) -> None:
        if self.made(name in self.targets, lambda old: old.remove_target(name)):
            del self.targets[name]
            self.settle()

    @rule(name=NAMES, online=st.none() | st.booleans(), who=st.none() | st.just(("iqn.x:y",)))
    def edit_target(self, name: str, online: bool | None, who: tuple[str, ...] | None) -> None:
        fits = name in self.targets
        if self.made(fits, lambda old: old.edit_target(name, online=online, names=who)):
            target = self.targets[name]
            target.online = target.online if online is None else online
            target.names = target.names if who is None else who

    @precondition(lambda self: self.targets)
    @rule(name=NAMES, direction=DIRECTIONS, account=ACCOUNTS)
    def add_user(self, name: str, direction: Direction, account: Account) -> None:
        users = self.targets.get(name, Plain()).users[direction]
        fits = (
            name in self.targets
            and account.name not in users
            and not (direction is OUTGOING and users)
            and self.secrets.get(account.name, account.secret) == account.secret
        )
        if self.made(fits, lambda old: old.add_user(name, direction, account)):
            users.append(account.name)
            self.secrets[account.name] = account.secret

    @precondition(lambda self: self.secrets)
    @rule(name=NAMES, direction=DIRECTIONS, account=ACCOUNTS, everywhere=st.booleans())
    def set_secret(
        self, name: str, direction: Direction, account: Account, everywhere: bool
    ) -> None:
        user = account.name
        alone = self.uses(user) == 1 or self.secrets.get(user) == account.secret
        known = user in self.targets.get(name, Plain()).users[direction]
        edit = lambda old: old.set_secret(name, direction, account, everywhere=everywhere)  # noqa: E731
        if self.made(known and (everywhere or alone), edit):
            self.secrets[user] = account.secret

    @precondition(lambda self: self.secrets)
    @rule(name=NAMES, direction=DIRECTIONS, user=USERS)
    def remove_user(self, name: str, direction: Direction, user: str) -> None:
        users = self.targets.get(name, Plain()).users[direction]
        if self.made(user in users, lambda old: old.remove_user(name, direction, user)):
            users.remove(user)
            self.settle()

    @rule(given=st.dictionaries(DIRECTIONS, st.none() | ACCOUNTS))
    def set_discovery(self, given: dict[Direction, Account | None]) -> None:
        accounts = [account for account in given.values() if account]
        replaced = [user for direction in given for user in self.discovery.users[direction]]
        fits = len({account.name for account in accounts}) == len(set(accounts)) and all(
            self.secrets.get(account.name, account.secret) == account.secret
            or self.uses(account.name) == replaced.count(account.name)
            for account in accounts
        )
        if self.made(fits, lambda old: old.set_discovery(given)):
            for direction, account in given.items():
                self.discovery.users[direction] = [account.name] if account else []
            self.secrets |= {account.name: account.secret for account in accounts}
            self.settle()

    @precondition(lambda self: self.targets)
    @rule(name=NAMES, unit=UNITS)
    def add_unit(self, name: str, unit: LogicalUnit) -> None:
        fits = name in self.targets and unit.lun not in self.targets[name].units
        if self.made(fits, lambda old: old.add_unit(name, unit)):
            self.targets[name].units[unit.lun] = unit

    @precondition(lambda self: self.targets)
    @rule(name=NAMES, unit=UNITS)
    def edit_unit(self, name: str, unit: LogicalUnit) -> None:
        fits = name in self.targets and unit.lun in self.targets[name].units
        if self.made(fits, lambda old: old.edit_unit(name, unit)):
            self.targets[name].units[unit.lun] = unit

    @precondition(lambda self: self.targets)
    @rule(name=NAMES, lun=st.sampled_from((1, 2)))
    def remove_unit(self, name: str, lun: int) -> None:
        fits = name in self.targets and lun in self.targets[name].units
        if self.made(fits, lambda old: old.remove_unit(name, lun)):
            del self.targets[name].units[lun]

    @invariant()
    def the_inventory_is_what_was_asked_for(self) -> None:
        assert {name: _plain(target) for name, target in self.inventory.targets.items()} == (
            self.targets
        )
        auth = self.inventory.discovery
        assert self.discovery.users == {
            INCOMING: [auth.incoming] if auth.incoming else [],
            OUTGOING: [auth.outgoing] if auth.outgoing else [],
        }

    @invariant()
    def accounts_are_those_in_use(self) -> None:
        accounts = self.inventory.accounts.values()
        assert {account.name: account.secret for account in accounts} == self.secrets

    @invariant()
    def the_index_of_users_is_the_one_recomputed(self) -> None:
        inventory = self.inventory
        assert inventory == Inventory.of(
            inventory.targets.values(), inventory.accounts.values(), inventory.discovery
        )


def _plain(target: Target) -> Plain:
    return Plain(
        target.online,
        target.access.names,
        target.access.addresses,
        {INCOMING: list(target.incoming), OUTGOING: [target.outgoing] if target.outgoing else []},
        {unit.lun: unit for unit in target.units},
    )


TestAnySequenceOfEdits = Edits.TestCase
TestAnySequenceOfEdits.settings = settings(max_examples=60, stateful_step_count=30)


@given(some.inventories(), st.data())
@settings(max_examples=25)
def test_the_inventory_before_an_edit_stays_as_it_was(old: Inventory, data: st.DataObject) -> None:
    """It is what a refused write is put back to."""
    copy = Inventory.of(old.targets.values(), old.accounts.values(), old.discovery)
    name = data.draw(some.target_names.filter(lambda name: name not in old.targets))
    new = old.after(old.add_target(name))
    for gone in (name, *old.targets):
        new = new.after(new.remove_target(gone))
    assert old == copy
    assert set(new.accounts) == old.discovery.accounts
