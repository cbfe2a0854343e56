"""What is asked of tgtd about connections: which sessions a target has, and closing them.

Stands on `life`.
"""

import time
from collections.abc import Iterable

from storlever.model import Session
from storlever.tgtd import show
from storlever.tgtd.life import Life
from storlever.tgtd.refusal import TgtRefusal, translated
from storlever.tgtd.wire import CONTROLLER, Mode, Op, Request, TgtError


def sessions(life: Life, tid: int, *, hurry: bool) -> tuple[Session, ...]:
    """Which of them are there is asked for once a text: no two sessions of a tgtd have the same
    number, so the same text is told by the same sessions."""
    text = _connections(life, tid, hurry=hurry)
    if not text:
        return ()
    known, found = life.told.get(tid, ("", ()))
    if known != text:
        stats = Request(
            Mode.UNIT, Op.STATS, tid=tid, lun=CONTROLLER, patience=life.patience, hurry=hurry
        )
        found = show.sessions(text, show.session_numbers(life.ask(stats)))
        life.told[tid] = text, found
    return found


def nexuses(life: Life, tid: int) -> tuple[show.Nexus, ...]:
    """() when tgtd does not have the target. Raises what a refusal means."""
    try:
        return show.nexuses(_connections(life, tid))
    except TgtRefusal as refusal:
        if refusal.number == TgtError.NO_TARGET:
            return ()
        raise translated(refusal.number, None) from None


def close(life: Life, tid: int, found: Iterable[show.Nexus]) -> None:
    for nexus in found:
        request = Request(Mode.CONNECTION, Op.DELETE, tid=tid, sid=nexus.sid, cid=nexus.cid)
        try:
            life.ask(request)
        except TgtRefusal as refusal:
            if refusal.number not in (TgtError.NO_SESSION, TgtError.NO_CONNECTION):
                raise


def end(life: Life, target: str, *, force: bool) -> bool:
    """Whether there are none any more. The ACL is empty by now, so nobody comes back while
    connections are being closed."""
    tid = life.tid(target)
    for _ in range(50):
        found = nexuses(life, tid)
        if not found:
            return True
        if not force:
            break
        close(life, tid, found)
        time.sleep(0.01)
    return False


def _connections(life: Life, tid: int, *, hurry: bool = False) -> str:
    """It may have to wait for what tgtd does before."""
    request = Request(Mode.CONNECTION, Op.SHOW, tid=tid, patience=life.patience, hurry=hurry)
    return life.ask(request)
