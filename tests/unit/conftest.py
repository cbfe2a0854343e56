"""How hypothesis runs here: a slow machine is no failure, and a failure says how to repeat it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.points import Control, armed

settings.register_profile("unit", deadline=None, print_blob=True)
settings.load_profile("unit")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    """Fail points, armed for one test."""
    with armed(tmp_path) as control:
        yield control
