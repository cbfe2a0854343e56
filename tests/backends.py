"""What the tests of backends have in common."""

from storlever.change import Change
from storlever.tgtd.backend import TgtdBackend
from storlever.tgtd.transport import Awaited, Transport
from storlever.tgtd.wire import Request


class Exchanging(Transport):
    """A transport that has the reply as soon as it is asked: with an `exchange` of its own."""

    def send(self, request: Request, *, pid: int | None = None) -> Awaited:
        reply = self.exchange(request, pid=pid)
        return lambda: reply


def apply(backend: TgtdBackend, *changes: Change) -> None:
    """One after another."""
    backend.hold([map(backend.talk, changes)])
