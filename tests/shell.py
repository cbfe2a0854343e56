"""Somebody who uses the commands."""

import json
import os
import subprocess
from typing import Any

from storlever.cli.failure import Status
from tests.terminal import at_terminal
from tests.world import STORLEVER, StorLever


class Shell:
    """With what they need in the environment."""

    def __init__(self, service: StorLever, **environment: str) -> None:
        self.service = service
        self.environment = {
            "PATH": os.environ["PATH"],
            "STORLEVER_SOCKET": str(service.state / "run/api.sock"),
            **environment,
        }

    def run(self, *words: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [STORLEVER, *words],
            env=self.environment,
            input=typed or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def told(self, *words: str, typed: str | None = None) -> str:
        done = self.run(*words, typed=typed)
        assert done.returncode == 0, done
        return done.stdout

    def found(self, *words: str) -> Any:
        return json.loads(self.told(*words, "-o", "json"))

    def fails(self, status: Status, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == status, done
        assert "Traceback" not in done.stderr
        return done.stderr

    def asked(self, *words: str, typed: list[tuple[str, str]]) -> tuple[int, str]:
        """At a terminal: the exit status, and what is to be seen there."""
        return at_terminal([STORLEVER, *words], typed, self.environment)
