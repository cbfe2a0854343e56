"""What the core did so far, in figures: counted where it is done, read by whoever measures."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic


@dataclass(slots=True)
class Span:
    """How often something was done, how often it failed, and the seconds that took."""

    count: int = 0
    failures: int = 0
    seconds: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """For one thread at a time."""
        started = monotonic()
        try:
            yield
        except BaseException:
            self.failures += 1
            raise
        finally:
            self.count += 1
            self.seconds += monotonic() - started


@dataclass(slots=True)
class Tally:
    """`drift`: changes that passes made to what was right before, in the same life of tgtd;
    `restarts`: lives of tgtd after the first that was seen."""

    passes: Span = field(default_factory=Span)
    commits: Span = field(default_factory=Span)
    drift: int = 0
    restarts: int = 0
