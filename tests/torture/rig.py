"""What every torture test has: how often, which seed, and a history that failures leave."""

import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HISTORIES = Path(__file__).parents[2] / "build" / "torture"


def runs(push: int, release: int) -> pytest.MarkDecorator:
    """How often the test tries: on each push, and before a release."""
    return pytest.mark.runs(push=push, release=release)


@dataclass
class Torture:
    """One torture test under way; `chance` is all the randomness it may use."""

    name: str
    runs: int
    seed: int
    folder: Path
    chance: random.Random = field(init=False)
    figures: dict[str, Any] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311  not for secrets
        self.folder.mkdir(parents=True, exist_ok=True)
        self._history = (self.folder / "history.jsonl").open("a", buffering=1)
        print(f"{self.name}: seed {self.seed}, n {self.runs}; history in {self.folder}")

    def note(self, event: str, **said: Any) -> None:
        """A line of the history; from any thread."""
        at = round(time.monotonic() - self._started, 4)
        self._history.write(json.dumps({"at": at, "event": event, **said}, default=repr) + "\n")

    def figure(self, **figures: Any) -> None:
        """What came out, for the report of the run."""
        self.figures |= figures

    def told(self) -> str:
        figures = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        return f"{self.name}: seed {self.seed}, n {self.runs}: {figures}"

    def close(self) -> None:
        self._history.close()
