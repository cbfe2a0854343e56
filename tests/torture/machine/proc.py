"""What a process has, as the kernel tells it (proc(5))."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """How many descriptors and threads; resident memory in KiB."""

    descriptors: int
    threads: int
    resident: int


def sample(pid: int) -> Sample:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Sample(
        sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        int(status["Threads"]),
        int(status["VmRSS"].split()[0]),
    )


def starved(pid: int) -> float:
    """Seconds for which its first thread could have run, and others had the processors."""
    nanoseconds = Path(f"/proc/{pid}/schedstat").read_text().split()[1]
    return int(nanoseconds) / 1e9
