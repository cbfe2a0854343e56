"""Changes that are under way at the same time.

tgtd takes one request after another, and most of the time between two of them is ours: so the next
ones lie with it when it is done with one (docs/decisions/0035).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial

from storlever.errors import StorLeverError, Unavailable
from storlever.tgtd.refusal import text_of
from storlever.tgtd.reply import Reply
from storlever.tgtd.transport import Awaited
from storlever.tgtd.wire import Request

ABREAST = 4
"""Lanes at a time. tgtd serves nobody while it makes a LUN (0.8 to 2 ms), and takes what has come
meanwhile before it looks at its hosts again: more of them would let hosts wait longer."""
ALONE = None
"""What a talk yields first, and once, that must not be held while another one is."""

Talk = Generator[Request | None, str, None]
"""One change: it yields its requests, and gets the text of each answer, or has what came in its
place raised in it: TgtRefusal, or Unavailable."""
Talks = Iterator[Talk]
"""Those of a lane: the next one is asked for when the one before has ended."""


class Conversation:
    """Holds the talks of several lanes, which must not depend on each other."""

    def __init__(self, send: Callable[[Request], Awaited]) -> None:
        self._send = send
        self._between: list[Talks] = []
        """The lanes that are between two talks."""
        self._awaiting: deque[tuple[Talks, Talk, Awaited]] = deque()
        """Those that await an answer, the one that was asked for first before the others."""
        self._alone: tuple[Talks, Talk] | None = None
        """The one that is held alone, or is to be as soon as no other is under way."""
        self._errors: list[Exception] = []

    def hold(self, lanes: Iterable[Talks]) -> None:
        """Until all lanes have ended. Where a talk or a lane raises, no other talk is begun; those
        that are under way go on to their end, and then it is raised. Of several errors, that is the
        one after which the least is known. Once tgtd does not answer, it is asked nothing more."""
        coming = iter(lanes)
        while True:
            if self._room and (lane := self._next_lane(coming)):
                self._begin(lane)
            elif self._awaiting:
                self._go_on()
            elif self._alone:
                self._hold_alone(*self._alone)
            else:
                break
        if self._errors:
            raise max(self._errors, key=_gravity)

    @property
    def _room(self) -> bool:
        return not self._errors and not self._alone and len(self._awaiting) < ABREAST

    def _next_lane(self, coming: Iterator[Talks]) -> Talks | None:
        return self._between.pop() if self._between else next(coming, None)

    def _begin(self, lane: Talks) -> None:
        try:
            talk = next(lane, None)
        except Exception as error:
            self._errors.append(error)
            return
        if talk is not None:
            self._advance(lane, talk, partial(next, talk))

    def _go_on(self) -> None:
        lane, talk, awaited = self._awaiting.popleft()
        try:
            text = text_of(awaited())
        except Exception as error:
            resume = partial(talk.throw, error)
        else:
            resume = partial(talk.send, text)
        self._advance(lane, talk, resume)

    def _advance(self, lane: Talks, talk: Talk, resume: Callable[[], Request | None]) -> None:
        """Up to its next request, or to its end."""
        try:
            request = resume()
        except StopIteration:
            self._between.append(lane)
        except Exception as error:
            self._errors.append(error)
        else:
            if request is ALONE:
                self._alone = lane, talk
            else:
                self._awaiting.append((lane, talk, self._sent(request)))

    def _hold_alone(self, lane: Talks, talk: Talk) -> None:
        if self._errors:
            talk.close()
        else:
            self._advance(lane, talk, partial(next, talk))
            while self._awaiting:
                self._go_on()
        self._alone = None

    def _sent(self, request: Request) -> Awaited:
        for error in self._errors:
            if isinstance(error, Unavailable):
                return partial(_raised, error)
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
