"""A command at a terminal: what it asks, and what somebody types."""

import os
import pty
import select
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def at_terminal(
    command: Sequence[str | Path],
    typed: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
    seconds: float = 20.0,
) -> tuple[int, str]:
    """Its exit status, and all that was to be seen. Of `typed`, each is the end of what is to be
    seen first, and the answer to it."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(command[0], [str(word) for word in command], dict(environment))  # noqa: S606
    seen, answers = b"", list(typed)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                seen += os.read(terminal, 65536)
            except OSError:  # EIO: the command has ended
                break
            if answers and answers[0][0].encode() in seen[-200:]:
                os.write(terminal, answers.pop(0)[1].encode() + b"\n")
        else:
            os.kill(child, 9)
            raise AssertionError(f"still waiting after: {seen!r}")
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), seen.decode()
