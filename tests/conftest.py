"""Fixtures for every kind of test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import StorLever, Tgtd, folder


@pytest.fixture
def root() -> Iterator[Path]:
    with folder() as path:
        yield path


@pytest.fixture
def tgtd(root: Path) -> Iterator[Tgtd]:
    """A running tgtd that is not StorLever's."""
    daemon = Tgtd(root)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.kill()


@pytest.fixture
def storlever(root: Path) -> Iterator[StorLever]:
    """A running StorLever with a tgtd of its own."""
    service = StorLever(root)
    try:
        yield service.start()
    finally:
        service.close()
