"""Fixtures for every kind of test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import StorLever, Tgtd, folder


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torture")
    group.addoption("--runs", type=int, help="how often a torture test tries")
    group.addoption("--seed", type=int, help="where its randomness starts")
    group.addoption("--release", action="store_true", help="as often as before a release")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What came out of the torture tests stands at the end, whether they passed or not."""
    told = sorted(
        text
        for report in terminalreporter.getreports("")  # those of what came after the tests
        for name, text in report.user_properties
        if name == "torture"
    )
    if told:
        terminalreporter.section("torture")
        for text in told:
            terminalreporter.line(text)


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
