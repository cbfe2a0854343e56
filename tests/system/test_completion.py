"""Real shells complete the commands, with what the service has."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shell import Shell
from tests.world import STORLEVER, StorLever, image

IQN = "iqn.2026-01.test:complete"
PASSWORD = "a long password"
Complete = Callable[[Shell, str], str]


@pytest.fixture
def shell(emptied: StorLever) -> Shell:
    shell = Shell(emptied)
    shell.environment |= {
        "PATH": f"{STORLEVER.parent}:{os.environ['PATH']}",
        "HOME": str(emptied.root),
        "TERM": "dumb",
    }
    shell.told("target", "create", IQN)
    shell.told("lun", "add", IQN, str(image(emptied.root / "c.img")), "--lun", "42")
    shell.told("user", "add", IQN, "joeline", "--password-file", "-", typed=PASSWORD)
    return shell


LINES = [
    ("storlever tar", "target"),
    ("storlever target sh", "show"),
    ("storlever target set --st", "--state"),
    ("storlever target set x --state off", "offline"),
    (f"storlever lun show {IQN} ", "42"),
    (f"storlever user remove {IQN} joe", "joeline"),
]


def bash(shell: Shell, line: str) -> str:
    """What bash would put in place of the last word; a colon begins a word of its own there."""
    script = f"""
        eval "$(storlever completion bash)"
        COMP_LINE={line!r} COMP_POINT=${{#COMP_LINE}} COMP_TYPE=9
        COMP_WORDS=($COMP_LINE) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _python_argcomplete storlever
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return ran(shell, "bash", "--norc", "-c", script)


def fish(shell: Shell, line: str) -> str:
    script = f"storlever completion fish | source; complete -C {line!r}"
    return ran(shell, "fish", "--no-config", "-c", script)


def ran(shell: Shell, *command: str) -> str:
    done = subprocess.run(
        command,
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr


def zsh(shell: Shell, line: str) -> str:
    """What stands at the prompt after a Tab: zsh completes in its editor only."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], shell.environment)  # noqa: S606
    try:
        setup = (
            "PS1='READY> '; autoload -U compinit; compinit -D -u; "
            'eval "$(storlever completion zsh)"; echo DO"NE"\n'
        )
        os.write(terminal, setup.encode())
        assert "DONE" in seen(terminal, "DONE\r")
        os.write(terminal, f"{line}\t".encode())
        return seen(terminal, None)
    finally:
        os.kill(child, 9)
        os.close(terminal)
        os.waitpid(child, 0)


def seen(terminal: int, end: str | None, seconds: float = 20.0) -> str:
    """What appears up to `end`; or until nothing more does for a while."""
    text, deadline = "", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 3.0)[0]:
            break
        text += os.read(terminal, 65536).decode(errors="replace")
        if end and end in text:
            break
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\x08", "", text)


@pytest.mark.parametrize(("line", "word"), LINES)
def test_bash_completes(shell: Shell, line: str, word: str) -> None:
    assert word in bash(shell, line)


@pytest.mark.parametrize(("line", "word"), LINES)
def test_fish_completes(shell: Shell, line: str, word: str) -> None:
    assert word in fish(shell, line)


@pytest.mark.parametrize(("line", "word"), LINES)
def test_zsh_completes(shell: Shell, line: str, word: str) -> None:
    assert word in zsh(shell, line)


@pytest.mark.parametrize("complete", [bash, fish, zsh])
def test_a_name_with_a_colon_is_completed(shell: Shell, complete: Complete) -> None:
    assert "lete" in complete(shell, f"storlever target show {IQN[:-4]}")


@pytest.fixture
def nowhere(tmp_path: Path) -> Shell:
    shell = Shell(StorLever(tmp_path))
    shell.environment["PATH"] = f"{STORLEVER.parent}:{os.environ['PATH']}"
    shell.environment["HOME"] = str(tmp_path)
    return shell


@pytest.mark.parametrize("complete", [bash, fish])
def test_without_a_service_nothing_is_offered_and_nothing_said(
    nowhere: Shell, complete: Complete
) -> None:
    found = complete(nowhere, "storlever target show iqn.")
    assert "Traceback" not in found
    assert "storlever:" not in found
    assert "iqn" not in found
