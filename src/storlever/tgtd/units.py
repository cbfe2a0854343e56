"""What is asked of tgtd about units: making, changing and removing them.

Stands on `life`, on `words` for what to say, on `openings` for what it is to open, and on
`connections` for one that must go.
"""

import contextlib

from storlever import failpoint
from storlever.errors import Swapped
from storlever.model import LogicalUnit
from storlever.tgtd import connections
from storlever.tgtd.conversation import Talk
from storlever.tgtd.life import Life
from storlever.tgtd.openings import Opening, Openings
from storlever.tgtd.refusal import TgtRefusal
from storlever.tgtd.wire import Mode, Op, Request
from storlever.tgtd.words import DEVICES, Parameters, attributes, completion, creation, ejection


def create(life: Life, openings: Openings, target: str, unit: LogicalUnit) -> Talk:
    """In two requests, so that no initiator meets the unit before it is as wished.

    Only an aio unit, which must have its path from the start, can be met for a moment
    writable and with tgtd's own identity by initiators that are logged in.
    """
    opening = (yield from openings.begin(unit, life.pid)) if unit.opened else None
    tid = life.tid(target)
    yield Request(
        Mode.UNIT,
        Op.NEW,
        tid=tid,
        lun=unit.lun,
        device=DEVICES[unit.device_type],
        parameters=creation(unit),
    )
    failpoint.reached("unit.made")
    try:
        if rest := completion(unit):
            yield _update(tid, unit, rest)
    except TgtRefusal:
        life.ask_patiently(_deletion(tid, unit.lun))
        raise
    openings.let_go((target, unit.lun))  # of one that somebody else removed
    if opening is not None:
        _require_right(life, openings, target, unit, opening)


def update(
    life: Life, openings: Openings, target: str, unit: LogicalUnit, fields: tuple[str, ...]
) -> Talk:
    opening = (yield from openings.begin(unit, life.pid)) if "backing_path" in fields else None
    tid = life.tid(target)
    try:
        yield _update(tid, unit, attributes(unit, fields))
    except TgtRefusal:
        if opening is not None:  # could the old path not be left? Then this says so.
            yield _update(tid, unit, (("online", "0"),))
        raise
    if rest := ejection(unit, fields):
        yield _update(tid, unit, rest)
    if opening is not None:
        _require_right(life, openings, target, unit, opening)


def delete(life: Life, openings: Openings, target: str, lun: int) -> None:
    life.ask_patiently(_deletion(life.tid(target), lun))
    openings.let_go((target, lun))


def _require_right(
    life: Life, openings: Openings, target: str, unit: LogicalUnit, opening: Opening
) -> None:
    """Raises Swapped where tgtd opened something else than what was looked at: the path was
    made to lead elsewhere in between, and initiators must not have that."""
    if not openings.end(target, unit, opening, life.pid):
        _discard(life, life.tid(target), unit)
        openings.let_go((target, unit.lun))
        raise Swapped(f"{unit.backing_path} was replaced while it was being opened")


def _discard(life: Life, tid: int, unit: LogicalUnit) -> None:
    """Of initiators that keep commands in flight the sessions are closed: they may be in
    league with who replaced the file."""
    with contextlib.suppress(TgtRefusal):
        life.ask(_update(tid, unit, (("online", "0"), ("removable", "1"))))
    life.ask_patiently(
        _deletion(tid, unit.lun),
        lambda: connections.close(life, tid, connections.nexuses(life, tid)),
    )


def _update(tid: int, unit: LogicalUnit, parameters: Parameters) -> Request:
    return Request(Mode.UNIT, Op.UPDATE, tid=tid, lun=unit.lun, parameters=parameters)


def _deletion(tid: int, lun: int) -> Request:
    return Request(Mode.UNIT, Op.DELETE, tid=tid, lun=lun)
