"""Changes that are under way at the same time.

tgtd takes one request after another, and most of the time between two of them is ours: while it is
at one, the next ones are made ready.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial

from storlever.errors import StorLeverError, Unavailable
from storlever.tgtd.refusal import TgtRefusal
from storlever.tgtd.transport import Awaited
from storlever.tgtd.wire import Reply, Request

ABREAST = 4
"""Lanes at a time. tgtd serves nobody while it makes a LUN (0.8 to 2 ms), and takes what has come
meanwhile before it looks at its hosts again: more of them would let hosts wait longer."""
ALONE = None
"""What a talk yields first that must not be held while another one is."""

Talk = Generator[Request | None, str, None]
"""One change: it yields its requests, and gets the text of each answer, or has what came in its
place raised in it: TgtRefusal, or Unavailable."""
Lane = Iterator[Talk]
"""Changes that come one after another. The next talk is asked for when the one before has ended."""


class Conversation:
    """Holds the talks of several lanes, which must not depend on each other."""

    def __init__(self, send: Callable[[Request], Awaited]) -> None:
        self._send = send
        self._lanes: deque[Lane] = deque()
        """Those that are between two talks."""
        self._talks: deque[tuple[Lane, Talk, Awaited]] = deque()
        """Those that await an answer, the one that was asked for first before the others."""
        self._lonely: tuple[Lane, Talk] | None = None
        self._errors: list[Exception] = []

    def hold(self, lanes: Iterable[Lane]) -> None:
        """Until all lanes have ended. Where a talk or a lane raises, no other talk is begun; those
        that are under way go on to their end, and then it is raised. Of several errors, that is the
        one after which the least is known."""
        coming = iter(lanes)
        while True:
            if self._room and (lane := self._between(coming)):
                self._begin(lane)
            elif self._talks:
                self._go_on()
            elif self._lonely:
                self._hold_alone(*self._lonely)
            else:
                break
        if self._errors:
            raise max(self._errors, key=_gravity)

    @property
    def _room(self) -> bool:
        return not self._errors and not self._lonely and len(self._talks) < ABREAST

    def _between(self, coming: Iterator[Lane]) -> Lane | None:
        return self._lanes.popleft() if self._lanes else next(coming, None)

    def _begin(self, lane: Lane) -> None:
        try:
            talk = next(lane, None)
        except Exception as error:
            self._errors.append(error)
            return
        if talk is not None:
            self._step(lane, talk, partial(next, talk))

    def _go_on(self) -> None:
        lane, talk, awaited = self._talks.popleft()
        try:
            reply = awaited()
        except Exception as error:
            self._step(lane, talk, partial(talk.throw, error))
            return
        if reply.error:
            self._step(lane, talk, partial(talk.throw, TgtRefusal(reply.error)))
        else:
            self._step(lane, talk, partial(talk.send, reply.text))

    def _step(self, lane: Lane, talk: Talk, resume: Callable[[], Request | None]) -> None:
        try:
            request = resume()
        except StopIteration:
            self._lanes.appendleft(lane)
        except Exception as error:
            self._errors.append(error)
        else:
            if request is ALONE:
                self._lonely = lane, talk
            else:
                self._talks.append((lane, talk, self._sent(request)))

    def _hold_alone(self, lane: Lane, talk: Talk) -> None:
        if self._errors:
            talk.close()
        else:
            self._step(lane, talk, partial(next, talk))
            while self._talks:
                self._go_on()
        self._lonely = None

    def _sent(self, request: Request) -> Awaited:
        try:
            return self._send(request)
        except Unavailable as error:
            return partial(_raised, error)


def _gravity(error: Exception) -> int:
    if isinstance(error, Unavailable):
        return 2  # tgtd may still do what it was asked
    return 0 if isinstance(error, StorLeverError) else 1


def _raised(error: Unavailable) -> Reply:
    raise error
