"""What is so, as a set of facts that three witnesses tell independently: state file, API, tgtd.

A fact is a tuple of a kind and what it is about. No witness knows all kinds: `told_by_api` and
`told_by_tgtd` say what of the whole truth each can be expected to tell.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from storlever.inventory import Inventory
from storlever.names import EVERYONE, GUARD
from storlever.store import SqliteStore
from tests.keys import keys_in
from tests.world import StorLever

Fact = tuple[str | int, ...]
Facts = frozenset[Fact]

NOTHING: Facts = frozenset()


def told_by_api(truth: Facts) -> Facts:
    return frozenset(fact for fact in truth if fact[0] != "secret")


def told_by_tgtd(truth: Facts) -> Facts:
    """tgtd does not open the file of a LUN that is offline, nor show an outgoing account of
    discovery that stands alone."""
    away = {fact[1:] for fact in truth if fact[0] == "unit offline"}
    alone = not any(fact[0] == "discovery" for fact in truth)
    return frozenset(
        fact
        for fact in truth
        if fact[0] not in ("secret", "uncached")
        and not (fact[0] == "path" and fact[1:3] in away)
        and not (fact[0] == "discovery outgoing" and alone)
    )


def accounts(truth: Facts) -> set[str]:
    return {str(fact[1]) for fact in truth if fact[0] == "secret"}


# -- the state file


def in_the_store(state: Path) -> Facts:
    """From a copy of the file: the service keeps the file to itself. Nobody may be writing."""
    with TemporaryDirectory() as folder:
        for file in state.glob("state.db*"):
            shutil.copy(file, folder)
        store = SqliteStore(Path(folder) / "state.db", keys_in(state))
        try:
            return frozenset(_of(store.load()))
        finally:
            store.close()


def _of(inventory: Inventory) -> Iterator[Fact]:
    for name, account in inventory.accounts.items():
        yield "secret", name, account.secret
    yield from _discovery(inventory.discovery.incoming, inventory.discovery.outgoing)
    for name, target in inventory.targets.items():
        yield from _target(name, target.online, target.incoming, target.outgoing)
        for address in target.access.addresses:
            yield "admits", name, address
        for unit in target.units:
            yield from _unit(name, unit.lun, unit.backing_path, unit.readonly, unit.online)
            if not unit.write_cache:
                yield "uncached", name, unit.lun


def _target(
    name: str, online: bool, users: tuple[str, ...], outgoing: str | None
) -> Iterator[Fact]:
    yield "target", name
    if not online:
        yield "target offline", name
    for user in users:
        yield "user", name, user
    if outgoing:
        yield "outgoing", name, outgoing


def _unit(name: str, lun: int, path: str, readonly: bool, online: bool) -> Iterator[Fact]:
    yield "unit", name, lun
    yield "path", name, lun, path
    if readonly:
        yield "readonly", name, lun
    if not online:
        yield "unit offline", name, lun


def _discovery(incoming: str | None, outgoing: str | None) -> Iterator[Fact]:
    if incoming:
        yield "discovery", incoming
    if outgoing:
        yield "discovery outgoing", outgoing


# -- the API


def in_the_api(storlever: StorLever) -> Facts:
    return frozenset(_shown(storlever))


def _shown(storlever: StorLever) -> Iterator[Fact]:
    conf = storlever.get("/conf")
    yield from _discovery(
        conf["incomingdiscoveryuser"].removesuffix(":*"),
        conf["outgoingdiscoveryuser"].removesuffix(":*"),
    )
    for name in storlever.get("/target_list"):
        target = storlever.get(f"/target_list/{name}")
        outgoing = next(iter(target["outgoinguser_list"]), None)
        online = target["state"] != "offline"
        yield from _target(name, online, tuple(target["incominguser_list"]), outgoing)
        if target["state"] == "error":
            yield "error", name, target["reason"]
        for address in target["initiator_addr_list"]:
            yield "admits", name, address
        for unit in storlever.get(f"/target_list/{name}/lun_list"):
            yield from _unit(name, unit["lun"], unit["path"], unit["readonly"], unit["online"])
            if not unit["write_cache"]:
                yield "uncached", name, unit["lun"]
            if unit["state"] == "error":
                yield "error", name, unit["lun"], unit["reason"]


# -- tgtd, as its own tool shows it


def in_tgtd(storlever: StorLever) -> Facts:
    """An ACL of everybody is an empty list; the guard is nobody."""
    return frozenset(_printed(storlever))


def accounts_in_tgtd(storlever: StorLever) -> set[str]:
    names = storlever.admin("show", "account").splitlines()[1:]
    return {name.strip() for name in names} - {GUARD}


def blocks(storlever: StorLever) -> dict[str, str]:
    """Target name -> what tgtd shows of it."""
    found = {}
    for block in re.split(r"^Target \d+: ", storlever.show(), flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        found[name] = rest
    return found


def _printed(storlever: StorLever) -> Iterator[Fact]:
    system = storlever.admin("show", "system")
    incoming, outgoing = _users(system.partition("    Account information:\n")[2])
    yield from _discovery(next(iter(incoming), None), outgoing)
    for name, block in blocks(storlever).items():
        head, _, rest = block.partition("    LUN information:\n")
        units, _, rest = rest.partition("    Account information:\n")
        users, _, entries = rest.partition("    ACL information:\n")
        yield from _target(name, "State: ready" in head, *_users(users))
        for entry in entries.split():
            if entry != EVERYONE:
                yield "admits", name, entry
        for number, unit in re.findall(r"LUN: (\d+)\n((?: {12}.*\n)*)", units):
            if number != "0":
                yield from _printed_unit(name, int(number), unit)


def _users(text: str) -> tuple[tuple[str, ...], str | None]:
    """The incoming users, and the outgoing one, of a list that ends with its indentation."""
    names = re.match(r"(?:(?: .*)?\n)*", text)
    found = names[0].split("\n") if names else []
    listed = [name.strip() for name in found if name.strip() not in ("", GUARD)]
    mark = " (outgoing)"
    outgoing = next((name.removesuffix(mark) for name in listed if name.endswith(mark)), None)
    return tuple(name for name in listed if not name.endswith(mark)), outgoing


def _printed_unit(name: str, lun: int, text: str) -> Iterator[Fact]:
    said = dict(re.findall(r"^ +(.+?): (.*?) *$", text, flags=re.MULTILINE))
    online = said["Online"] == "Yes"
    path, readonly = said["Backing store path"], said["Readonly"] == "Yes"
    for fact in _unit(name, lun, path, readonly, online):
        if fact[0] != "path" or online:
            yield fact
