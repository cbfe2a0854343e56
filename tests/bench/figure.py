"""A figure: what was measured, and what it has to reach. Every figure is a ratio of two things
that were measured in the same run, or an amount of memory or time that was promised as such."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """`limit` None: nothing is asked of it, it explains another one. `n`: how many samples."""

    name: str
    value: float
    limit: float | None
    better: Literal["lower", "higher"]
    unit: str
    n: int

    @property
    def ok(self) -> bool:
        if self.limit is None:
            return True
        return self.value <= self.limit if self.better == "lower" else self.value >= self.limit

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "value": round(self.value, 4), "ok": self.ok}

    def line(self) -> str:
        sign = {"lower": "≤", "higher": "≥"}[self.better]
        asked = "" if self.limit is None else f"{sign} {self.limit:g}"
        verdict = "" if self.ok else "MISSED"
        return f"{self.value:10.3f} {self.unit:6} {asked:8} {verdict:7} n={self.n:<6} {self.name}"


def at_most(name: str, value: float, limit: float | None, n: int, unit: str = "x") -> Figure:
    return Figure(name, value, limit, "lower", unit, n)


def at_least(name: str, value: float, limit: float | None, n: int, unit: str = "x") -> Figure:
    return Figure(name, value, limit, "higher", unit, n)


def median(samples: Sequence[float]) -> float:
    return sorted(samples)[len(samples) // 2]


def p99(samples: Sequence[float]) -> float:
    return sorted(samples)[len(samples) * 99 // 100]


def timed(what: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def side_by_side(works: Mapping[str, Callable[[int], object]], n: int) -> dict[str, list[float]]:
    """The seconds of `n` calls of each, in turns, so that the machine's moods meet them all."""
    samples: dict[str, list[float]] = {name: [] for name in works}
    for number in range(n):
        for name, work in works.items():
            started = time.perf_counter()
            work(number)
            samples[name].append(time.perf_counter() - started)
    return samples
