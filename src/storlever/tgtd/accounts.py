"""What is asked of tgtd about accounts, and who is bound to a target or, where that is None, to
discovery.

Stands on `life`.
"""

import contextlib

from storlever.model import Account, Bindings
from storlever.tgtd import show
from storlever.tgtd.conversation import Talk
from storlever.tgtd.life import Life
from storlever.tgtd.refusal import TgtRefusal
from storlever.tgtd.wire import EVERY, Mode, Op, Request, TgtError


def names(life: Life) -> tuple[str, ...]:
    return show.accounts(life.ask(Request(Mode.ACCOUNT, Op.SHOW)))


def discovery(life: Life) -> Bindings:
    return show.discovery(life.ask(Request(Mode.SYSTEM, Op.SHOW)))


def creation(account: Account) -> Request:
    pair = (("user", account.name), ("password", account.secret))
    return Request(Mode.ACCOUNT, Op.NEW, parameters=pair)


def deletion(life: Life, name: str) -> Request:
    user = (("user", name),)
    return Request(Mode.ACCOUNT, Op.DELETE, parameters=user, patience=life.patience)


def binding(life: Life, op: Op, target: str | None, name: str, *, outgoing: bool) -> Request:
    tid = EVERY if target is None else life.tid(target)
    return Request(Mode.ACCOUNT, op, tid=tid, outgoing=outgoing, parameters=(("user", name),))


def bind_outgoing(life: Life, target: str | None, name: str) -> Talk:
    """tgtd does not show an outgoing account of discovery that stands alone: make room."""
    request = binding(life, Op.BIND, target, name, outgoing=True)
    try:
        yield request
    except TgtRefusal as refusal:
        if target is not None or refusal.number != TgtError.OUTGOING_EXISTS:
            raise
        unbind_any(life)
        yield request


def unbind_any(life: Life) -> None:
    """The outgoing account of discovery, whichever it is, if there is one."""
    for name in names(life):
        with contextlib.suppress(TgtRefusal):
            life.ask(binding(life, Op.UNBIND, None, name, outgoing=True))
            return
