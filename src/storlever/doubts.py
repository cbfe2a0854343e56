"""Names of which tgtd may have something else than what is stored, noted for the next life of the
service, should this one end at once (docs/decisions/0009)."""

from storlever.errors import StateFailed
from storlever.model import NOTHING_PENDING, Pending
from storlever.protocols import Notes, Peer


class Doubts:
    """Kept by `knowledge`; `enforcer` and `passes` tell what they begin and how it ends. Needs the
    caller's lock."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.half_done = NOTHING_PENDING
        """Of writes that are neither in force nor put back: nothing of them is known."""
        self._unfinished = NOTHING_PENDING
        """Of writes that are in force, and not durable."""

    def begin(self, names: Pending) -> None:
        """A write of them begins. Raises StateFailed, and it is half done all the same."""
        self.half_done = names.joined(self.half_done)
        self._note()

    def enforced(self, names: Pending, left: Pending) -> None:
        """Their write is in force. `left`: what was half done before it."""
        self._unfinished, self.half_done = names.joined(self._unfinished), left

    def abandon(self) -> Pending:
        """What is in force will not be durable: it is half done, too. Returns what was before."""
        left = self.half_done
        self._unfinished, self.half_done = NOTHING_PENDING, self._unfinished.joined(left)
        return left

    def put_back(self, left: Pending) -> None:
        """All but that is as it was. Raises StateFailed."""
        self.half_done = left
        self._note()

    def finish(self) -> None:
        """All that is in force is durable."""
        self._unfinished = NOTHING_PENDING
        if not self.half_done:  # else a note of too much does no harm
            self._notes.finish()

    def settle(self, peer: Peer | None) -> None:
        """All is in that life of tgtd as it is stored."""
        self.half_done = NOTHING_PENDING
        self._notes.finish()
        self._notes.settle(str(peer))

    def settle_but(self, left: Pending) -> None:
        """All but that, though tgtd was looked at as a whole."""
        try:
            self.put_back(left)
        except StateFailed:
            self._notes.settle("")

    def is_settled(self, peer: Peer) -> bool:
        """Whether this life of tgtd has what is stored, but for what `earlier` tells."""
        return str(peer) == self._notes.settled()

    def earlier(self, peer: Peer | None) -> Pending:
        """What was noted last, if that was in this life of tgtd."""
        noted = self._notes.pending()
        return noted if noted.peer == str(peer) else NOTHING_PENDING

    def _note(self) -> None:
        names = self.half_done.joined(self._unfinished)
        if names:
            self._notes.begin(names)
        else:
            self._notes.finish()
