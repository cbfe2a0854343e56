"""What is asked of tgtd about targets: making and removing them, their state, their ACL.

Stands on `life`.
"""

from collections.abc import Generator, Mapping
from itertools import count

from storlever.errors import Refused
from storlever.tgtd import show
from storlever.tgtd.conversation import ALONE, Talk
from storlever.tgtd.life import Life
from storlever.tgtd.refusal import TgtRefusal
from storlever.tgtd.wire import MAX_TID, SEGMENT_LENGTH, Mode, Op, Request, TgtError

_NAME, _ADDRESS = "initiator-name", "initiator-address"
SEGMENT = (SEGMENT_LENGTH, str(256 << 10))
"""How many bytes a host may send in one piece: as many as tgtd asks for at a time. With tgtd's own
8 KiB, long writes take up to twice the time (docs/performance.md)."""


def create(life: Life, name: str) -> Talk:
    if life.last >= MAX_TID:  # free numbers are found by looking at those that are taken
        yield ALONE
    tid = yield from _new(life, name)
    try:
        yield Request(Mode.TARGET, Op.UPDATE, tid=tid, parameters=(SEGMENT,))
    except TgtRefusal:
        yield Request(Mode.TARGET, Op.DELETE, tid=tid)
        raise
    life.ids[name] = tid


def _new(life: Life, name: str) -> Generator[Request, str, int]:
    """A number that is free as far as we know; if it is not, the numbers are looked up."""
    ids = life.ids
    for _ in range(3):
        tid = _free_id(life, ids)
        parameters = (("targetname", name),)
        try:
            yield Request(Mode.TARGET, Op.NEW, tid=tid, parameters=parameters)
        except TgtRefusal as refusal:
            ids = show.target_ids((yield Request(Mode.DRIVER, Op.SHOW)))
            if refusal.number != TgtError.TARGET_EXISTS or name in ids:
                raise
            life.last = max((life.last, *ids.values()))
        else:
            return tid
    raise Refused(f"cannot create target {name}: tgtd's target numbers keep changing")


def _free_id(life: Life, ids: Mapping[str, int]) -> int:
    """One past the highest; the lowest that is free where somebody has taken tgtd's last."""
    if life.last < MAX_TID:
        life.last += 1
        return life.last
    taken = frozenset(ids.values())
    return next(number for number in count(1) if number not in taken)


def delete(life: Life, name: str) -> None:
    tid, patience = life.tid(name), life.patience
    life.ask_patiently(Request(Mode.TARGET, Op.DELETE, tid=tid, patience=patience))
    life.ids.pop(name, None)
    life.told.pop(tid, None)


def readiness(life: Life, target: str, ready: bool) -> Request:
    state = (("state", "ready" if ready else "offline"),)
    return Request(Mode.TARGET, Op.UPDATE, tid=life.tid(target), parameters=state)


def admission(life: Life, target: str, entry: str) -> Request:
    key = _NAME if entry.startswith(("iqn.", "eui.", "naa.")) else _ADDRESS
    return Request(Mode.TARGET, Op.BIND, tid=life.tid(target), parameters=((key, entry),))


def deny(life: Life, target: str, entry: str) -> Talk:
    """Somebody else may have bound anything as a name or as an address: not there is gone."""
    tid = life.tid(target)
    for key in (_NAME, _ADDRESS):
        try:
            yield Request(Mode.TARGET, Op.UNBIND, tid=tid, parameters=((key, entry),))
        except TgtRefusal as refusal:
            if refusal.number != TgtError.NO_ACL:
                raise
