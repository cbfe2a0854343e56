"""A world that the tests of one module share, for those that leave nothing behind in it."""

from collections.abc import Iterator

import pytest

from storlever.names import GUARD
from tests.world import StorLever, folder


@pytest.fixture(scope="module")
def running() -> Iterator[StorLever]:
    with folder() as path:
        service = StorLever(path)
        try:
            yield service.start()
        finally:
            service.close()


@pytest.fixture
def emptied(running: StorLever) -> Iterator[StorLever]:
    """A StorLever without targets, users and discovery users; the test must not kill its tgtd.

    What a test may do to it is undone through the API, so a fault that makes this fail, and a
    tgtd that died on the way, are failures of that test.
    """
    daemon = running.tgtd_pid()
    yield running
    for name in running.get("/target_list"):
        running.api("DELETE", f"/target_list/{name}?force=true", expect=200)
    nobody = {"incomingdiscoveryuser": "", "outgoingdiscoveryuser": ""}
    running.api("PUT", "/conf", nobody, expect=200)
    assert running.show() == ""
    assert set(running.admin("show", "account").split("\n    ")[1:]) <= {GUARD + "\n"}
    assert running.tgtd_pid() == daemon
