"""Could what concurrent callers were told have happened one call after another?

The search of Wing and Gong (1993): put the calls in an order, one by one, always one that began
before any of the others ended; give up an order as soon as the model answers otherwise than the
caller was. That the same calls led to the same state before is remembered (Lowe, 2017).
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)
Ask = TypeVar("Ask", bound=Hashable)
Model = Callable[[State, Ask], tuple[Hashable, State]]
"""What is answered in a state, and the state that follows."""


@dataclass(frozen=True)
class Call(Generic[Ask]):
    """`answer` None: the caller was told nothing. It was done between `start` and `end`, or
    never."""

    start: float
    end: float
    ask: Ask
    answer: Hashable


def unexplained(
    calls: Iterable[Call[Ask]], state: State, model: Model[State, Ask]
) -> tuple[Call[Ask], ...]:
    """Empty if there is an order, else the calls that are left over where the search came
    furthest: at least one of those that began first has an answer that cannot be."""
    history = _History(sorted(calls, key=lambda call: call.start))
    seen: set[tuple[int, Hashable]] = set()
    left = history.answered
    ahead = [(0, state)]
    while ahead:
        done, state = ahead.pop()
        if not history.answered & ~done:
            return ()
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if (history.answered & ~done).bit_count() < left.bit_count():
            left = history.answered & ~done
        for number in history.next(done):
            call = history.calls[number]
            answer, after = model(state, call.ask)
            if call.answer is None or call.answer == answer:
                ahead.append((done | 1 << number, after))
    return tuple(call for number, call in enumerate(history.calls) if left >> number & 1)


class _History(Generic[Ask]):
    """Calls by the time they began. Sets of them are numbers with a bit for each."""

    def __init__(self, calls: list[Call[Ask]]) -> None:
        self.calls = calls
        self.answered = sum(
            1 << number for number, call in enumerate(calls) if call.answer is not None
        )

    def next(self, done: int) -> Iterator[int]:
        """Those that may follow upon `done`: no call that is left out must come before them, and
        none that is done after them."""
        begun = self.calls[done.bit_length() - 1].start if done else 0.0
        ended = float("inf")
        for number, call in enumerate(self.calls):
            if call.start > ended:
                break
            if done >> number & 1:
                continue
            if call.end >= begun:
                yield number
            if call.answer is not None:
                ended = min(ended, call.end)
