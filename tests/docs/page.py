"""Examples of the documentation: what a page says to type, and what it says comes of it.

They stand in fenced blocks of `console`: lines with `$ ` are typed (with `> `: the rest of them),
what follows is printed. There `…` stands for anything. `console` blocks of one page are one story,
told by one shell in a machine of its own: network, processes and the folders that it writes to.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mounts import LET_GO_OF_OTHERS
from tests.world import folder

_BLOCK = re.compile(r"^```(?:\{code-block\} )?console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MACHINE = f"""
set -e
{LET_GO_OF_OTHERS}
ip link set lo up
for place in /run /srv /var/lib; do mount -t tmpfs none $place; done
mkdir -p /run/tgtd /etc/storlever
mount -t tmpfs none /etc/storlever
cd /srv
HOME=/srv exec bash "$@"
"""
_STORY = """
set +e
for step in "$1"/*.step; do
    if [[ $(< "$step") == "storlever serve"* ]]; then
        eval "$(< "$step") &" > "${step%.step}.out" 2> "$1"/log
        disown; for _ in {1..200}; do grep -q Try: "${step%.step}.out" && break; sleep 0.05; done
    else
        eval "$(< "$step")" > "${step%.step}.out" 2>&1 < /dev/null
    fi
    echo $? > "${step%.step}.status"
done
"""


@dataclass(frozen=True)
class Step:
    """`line` is its number on the page; `expected` is what the page says is printed."""

    line: int
    typed: str
    expected: str


@dataclass(frozen=True)
class Told:
    step: Step
    printed: str
    status: int

    @property
    def as_expected(self) -> bool:
        """A failure is one that the page shows."""
        pieces = map(re.escape, self.step.expected.rstrip().split("…"))
        shown = re.fullmatch(".*".join(pieces), self.printed.rstrip(), re.DOTALL)
        fails = self.step.expected.startswith(("storlever:", "curl:", "not "))
        return bool(shown) and (self.status != 0) == fails


def steps(page: Path) -> Iterator[Step]:
    text = page.read_text()
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1)) + 1
        yield from _steps(block[1], line)


def _steps(block: str, line: int) -> Iterator[Step]:
    typed, expected, at = "", "", line
    for number, text in enumerate(block.splitlines(), line):
        if text.startswith("$ "):
            if typed:
                yield Step(at, typed, expected)
            typed, expected, at = text[2:], "", number
        elif text.startswith("> ") and not expected:
            typed += f"\n{text[2:]}"
        else:
            expected += f"{text}\n"
    if typed:
        yield Step(at, typed, expected)


def told(page: Path, seconds: float = 120) -> list[Told]:
    """What becomes of each step of a page."""
    with folder() as place:
        story = list(steps(page))
        for number, step in enumerate(story):
            (place / f"{number:03}.step").write_text(step.typed + "\n")
        (place / "story.sh").write_text(_STORY)
        path = f"PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        subprocess.run(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("env", "-i", path, "LC_ALL=C.UTF-8", "TERM=dumb"),
                *("sh", "-c", _MACHINE, "sh", str(place / "story.sh"), str(place)),
            ],
            check=True,
            timeout=seconds,
        )
        return [_told(place / f"{number:03}", step) for number, step in enumerate(story)]


def _told(at: Path, step: Step) -> Told:
    printed = at.with_suffix(".out").read_text()
    return Told(step, printed, int(at.with_suffix(".status").read_text()))
