"""What the core asks of the daemon (`tgtd.backend` answers it), and of the notes for its own next
life (`notes`; in memory, `twins`)."""

from collections.abc import Generator, Iterable, Iterator
from typing import Any, Protocol

from storlever.change import Change
from storlever.model import Pending, Sample, Session
from storlever.observed import Observed


class Peer(Protocol):
    """One life of the daemon; equal for the same life, str() for the notes."""

    @property
    def pid(self) -> int: ...


Talk = Generator[Any, Any, None]
"""A change that is being made; how it goes on is between a backend and itself."""


class Backend(Protocol):
    """What stands between a plan and a daemon. Everything raises Unavailable."""

    @property
    def hole(self) -> str | None:
        """What the daemon is known to be vulnerable to, as a sentence."""

    @property
    def portals(self) -> tuple[str, ...]:
        """Where the daemon serves iSCSI, as HOST:PORT, by the last `observe`."""

    @property
    def stall(self) -> float:
        """Seconds for which the last `observe` kept the daemon from serving anybody."""

    def ensure(self) -> Peer:
        """Find the daemon, or start it where it is ours."""

    def observe(self) -> Observed:
        """Everything the daemon shows; secrets and write caches are unknown."""

    def familiar(self, known: Observed) -> bool:
        """Whether a cheap look shows the same targets, users and discovery users as are known."""

    def talk(self, change: Change) -> Talk:
        """One change, which is made while it is held. Raises Refused or Conflict when the daemon
        will not."""

    def hold(self, lanes: Iterable[Iterator[Talk]]) -> None:
        """Hold talks: of a lane one after another, of different lanes at the same time. Where one
        raises, no more are begun; those under way go on to their end, and then it is raised."""

    def require_fit(self, change: Change) -> None:
        """Raises what the change would meet before the daemon is asked: Unfit."""

    def sessions(self, target: str, *, hurry: bool = False) -> tuple[Session, ...]:
        """The sessions of a target now; callable from any thread. `hurry`: at once, or Unavailable
        is raised, which says nothing."""

    def aliases(self, target: str, sessions: Iterable[Session]) -> dict[int, str]:
        """What sessions called themselves besides, by number, where that is beyond doubt; callable
        from any thread."""

    def sample(self) -> Sample:
        """What went through every session to every LUN; callable from any thread."""

    def close(self, target: str, sid: int) -> None:
        """Close a session, if it is there. Raises Refused."""

    def unit_size(self, target: str, lun: int) -> int | None:
        """The bytes that initiators see."""

    def unit_identity(self, target: str, lun: int) -> str | None:
        """The backing store that was opened for it; None where that is not known, or none was."""


class Notes(Protocol):
    """What the next life of the service must know and a power cut may take."""

    def settled(self) -> str | None:
        """The life of the daemon that has what is stored, but for what is pending."""

    def settle(self, peer: str) -> None:
        """An empty one where there is none."""

    def pending(self) -> Pending:
        """What unfinished writes were changing."""

    def begin(self, pending: Pending) -> None:
        """Raises StateFailed."""

    def finish(self) -> None: ...
