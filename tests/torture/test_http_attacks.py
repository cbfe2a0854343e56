"""The HTTP edge under attack: whatever comes to its port, others are served within a second, its
memory stays bounded, nobody holds a connection for longer than 15 s, and tgtd notices nothing."""

from collections.abc import Iterator

import pytest

from tests.torture.crowd import MANNERS, crowds
from tests.torture.rig import Torture, runs
from tests.torture.siege import Siege
from tests.world import StorLever, folder

@pytest.fixture(scope="module")
def siege() -> Iterator[Siege]:
    """One service for all attacks: what one of them leaves behind counts against the next."""
    with folder() as root:
        storlever = StorLever(root)
        try:
            yield Siege.of(storlever.start())
        finally:
            storlever.close()


@runs(push=1, release=20)
@pytest.mark.parametrize("what", MANNERS)
def test_crowds_that_keep_the_service_waiting_are_gone_soon(
    siege: Siege, torture: Torture, what: str
) -> None:
    longest = 0.0
    for _ in range(torture.runs):
        with siege.attack(), crowds(siege.port, MANNERS[what].values()) as peers:
            longest = max(longest, siege.wait_until_gone(peers))
        siege.report(torture, connections=len(peers), longest=f"{longest:.1f} s")
