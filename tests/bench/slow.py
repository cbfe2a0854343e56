"""slow.c, built, and a service on a disk that it makes slow."""

import subprocess
from pathlib import Path

from tests.world import StorLever


def built(folder: Path) -> Path:
    """The library."""
    library, source = folder / "slow.so", Path(__file__).with_name("slow.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library


class SlowlySyncing(StorLever):
    """Its disk takes 5 ms to make anything durable."""

    @property
    def environment(self) -> dict[str, str]:
        library = str(built(self.root))
        return {**super().environment, "LD_PRELOAD": library, "SLOW_SYNC": "5000"}
