"""Asks a running service whatever its own OpenAPI document allows, and what it forbids, and holds
each answer against that document (schemathesis does both)."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import Case, HookContext
from schemathesis.engine import StopReason, events, from_schema
from schemathesis.engine.recorder import CheckNode, ScenarioRecorder
from schemathesis.hooks import unregister

from tests.torture.http.sound import Sound
from tests.torture.rig import Torture

ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "412", "429", "5xx"]
REJECTED = ["400", "401", "403", "404", "405", "409", "412", "415", "422", "429", "5xx"]
WHOLES = ("post_target", "put_config")
"""Operations whose bodies have parts that depend on each other beyond what a schema says."""


@dataclass
class Examiner:
    """`folder`: where every path of a request is made to lead; `known`: names that are likely to be
    there, by parameter or field, and how likely one is to be asked for; `token`: who asks, if not
    nobody."""

    url: str
    torture: Torture
    folder: Path
    known: dict[str, tuple[float, list[str]]]
    token: str | None = None
    statuses: Counter[int] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def examine(self) -> None:
        """The document's own examples, every edge of every field, `runs` random requests an
        operation, and operations in a row that lead from one to the other."""
        with self._hooks():
            document = schemathesis.openapi.from_url(
                f"{self.url}/openapi.json", config=self._config()
            ).exclude(operation_id="get_events")  # whose answer has no end
            for event in from_schema(document).execute():
                self._note(event)

    def _config(self) -> schemathesis.Config:
        words = {name.replace(".", "-"): values for name, (_, values) in self.known.items()}
        return schemathesis.Config.from_dict(
            {
                "seed": self.torture.seed,
                "base-url": self.url,
                "continue-on-failure": True,
                # A tag that is sound is mostly of something else.
                "checks": {
                    "positive_data_acceptance": {"expected-statuses": ACCEPTED},
                    "negative_data_rejection": {"expected-statuses": REJECTED},
                },
                "operations": [
                    {
                        "include-operation-id": name,
                        "checks": {
                            "positive_data_acceptance": {"expected-statuses": [*ACCEPTED, "422"]}
                        },
                    }
                    for name in WHOLES
                ],
                "generation": {"max-examples": self.torture.runs, "database": "none"},
                "headers": {"Authorization": f"Bearer {self.token}"} if self.token else {},
                "dictionaries": {name: {"values": values} for name, values in words.items()},
                "parameters": {
                    name: {"dictionary": name.replace(".", "-"), "probability": often}
                    for name, (often, _) in self.known.items()
                },
            }
        )

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        """Schemathesis knows a hook by its name."""
        sound = Sound(self.folder)

        def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
            sound.make(case)

        schemathesis.hook(before_call)
        try:
            yield
        finally:
            unregister(before_call)

    def _note(self, event: events.EngineEvent) -> None:
        match event:
            case events.ScenarioFinished():
                self._note_scenario(event.recorder)
            case events.PhaseFinished():
                self.torture.note("phase", name=event.phase.name, status=event.status)
            case events.NonFatalError():
                self._fail(f"{event.label}: {event.info.title}: {event.value}")
            case events.FatalError():
                raise event.exception
            case events.EngineFinished():
                assert event.stop_reason is StopReason.COMPLETED

    def _note_scenario(self, scenario: ScenarioRecorder) -> None:
        for node in scenario.cases.values():
            self.operations.add(node.value.operation.label)
        for interaction in scenario.interactions.values():
            if interaction.response is None:
                self._fail(f"no answer to {interaction.request.method} {interaction.request.uri}")
            else:
                self.statuses[interaction.response.status_code] += 1
        for checks in scenario.checks.values():
            for check in checks:
                if check.failure_info and not _throttled(check) and not _rehearsed(check):
                    found = check.failure_info
                    self._fail(f"{check.name}: {found.failure.message}\n{found.code_sample}")

    def _fail(self, what: str) -> None:
        self.torture.note("failure", what=what)
        self.failures.append(what)


def _throttled(check: CheckNode) -> bool:
    """Who asks without a token, to see that this is refused, is soon refused with 429."""
    assert check.failure_info is not None
    return check.name == "ignored_auth" and "429" in str(check.failure_info.failure)


def _rehearsed(check: CheckNode) -> bool:
    """What was only rehearsed to be deleted is there."""
    assert check.failure_info is not None
    deleted = re.search("-X DELETE .*dry_run=true", check.failure_info.code_sample)
    return check.name == "use_after_free" and deleted is not None
