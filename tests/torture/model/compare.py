"""Belief, API and tgtd say the same; as far as each of them tells."""

from typing import Any

from storlever.names import GUARD
from storlever.service import Service
from storlever.status import TargetStatus, UnitStatus
from tests.torture.model.belief import INCOMING, OUTGOING, Belief
from tests.torture.model.lunbelief import Lun
from tests.torture.model.worlds import TwinWorld, World
from tests.torture.tgtd.printed import Printed, expected, found


def in_tgtd(belief: Belief) -> object:
    """What a request cannot change while tgtd is not there."""
    return expected(belief), dict(belief.secrets), dict(belief.discovery)


def require_same(world: World, belief: Belief) -> None:
    _require_api(world.service, belief, world.sessions())
    printed = world.printed()
    equal(printed.targets.keys(), belief.targets.keys() | belief.others.targets, "targets")
    wanted = expected(belief)
    equal({name: found(printed, name) for name in wanted}, wanted, "tgtd")
    everybody = belief.secrets.keys() | belief.others.accounts | belief.others.bound
    equal(printed.accounts - {GUARD}, everybody, "users")
    _require_discovery(printed, belief)
    if isinstance(world, TwinWorld):
        _require_untold(world, belief)


def equal(told: Any, wanted: Any, where: str) -> None:
    """Says where two values differ, which may be dicts in dicts."""
    if isinstance(told, dict) and isinstance(wanted, dict):
        for key in told.keys() | wanted.keys():
            equal(told.get(key, "nothing"), wanted.get(key, "nothing"), f"{where} {key}")
    assert told == wanted, f"{where}: {told} instead of {wanted}"


def _require_api(service: Service, belief: Belief, sessions: dict[str, list[int]]) -> None:
    health = service.health()
    equal((health.down, health.failing), (None, ()), "health")
    equal(health.foreign, tuple(sorted(belief.others.targets)), "foreign")
    equal(service.target_names(), sorted(belief.targets), "target_list")
    inventory = service.inventory
    discovery = {INCOMING: inventory.discovery.incoming, OUTGOING: inventory.discovery.outgoing}
    equal(discovery, belief.discovery, "conf")
    equal({name: each.secret for name, each in inventory.accounts.items()}, belief.secrets, "users")
    for name, wanted in belief.targets.items():
        said = service.target(name)
        equal(_told(said), _expected(wanted), name)
        equal(sorted(session.sid for session in said.sessions), sessions.get(name, []), name)
        luns = {status.unit.lun: status for status in service.units(name)}
        equal(
            {lun: _told_lun(status) for lun, status in luns.items()},
            {lun: _expected_lun(fields) for lun, fields in wanted["luns"].items()},
            name,
        )


def _expected(wanted: dict[str, Any]) -> dict[str, object]:
    return {
        "state": "ready" if wanted["online"] else "offline",
        "names": wanted["names"],
        "addresses": wanted["addresses"],
        INCOMING: tuple(wanted[INCOMING]),
        OUTGOING: wanted[OUTGOING],
    }


def _told(said: TargetStatus) -> dict[str, object]:
    assert said.reason is None
    target = said.target
    return {
        "state": said.state,
        "names": target.access.names,
        "addresses": target.access.addresses,
        INCOMING: target.incoming,
        OUTGOING: target.outgoing,
    }


def _told_lun(said: UnitStatus) -> Lun:
    assert said.reason is None
    unit = said.unit
    fields = {name: getattr(unit, name) for name in _FIELDS}
    return fields | {"state": said.state}


_FIELDS = (
    *("backing_path", "backing_type", "device_type", "direct_map", "write_cache", "readonly"),
    *("online", "shared", "scsi_id", "serial_number"),
)


def _expected_lun(fields: Lun) -> Lun:
    return fields | {"state": "ready" if fields["online"] else "offline"}


def _require_discovery(printed: Printed, belief: Belief) -> None:
    """Who asks for no users there does not take away those of others; an outgoing user that
    stands alone is not printed."""
    incoming, outgoing = (belief.discovery[way] for way in (INCOMING, OUTGOING))
    if incoming:
        equal((printed.incoming, printed.outgoing), ((GUARD, incoming), outgoing), "discovery")
    elif outgoing:
        equal(printed.incoming, (), "discovery")
    else:
        assert not {*printed.incoming, printed.outgoing} & {GUARD, *belief.secrets}


def _require_untold(world: TwinWorld, belief: Belief) -> None:
    """Passwords and write caches, which tgtd keeps to itself."""
    secrets = world.secrets()
    equal({name: secrets[name] for name in belief.secrets}, belief.secrets, "secrets in tgtd")
    cached = world.cached()
    disks = {
        (name, lun): fields["write_cache"]
        for name, target in belief.targets.items()
        for lun, fields in target["luns"].items()
        if fields["device_type"] == "disk"
    }
    equal({place: cached[place] for place in disks}, disks, "write caches")
