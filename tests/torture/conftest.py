"""`--runs`, `--seed` and `--release` reach a torture test as its `torture`."""

import logging
import secrets
import shutil
from collections.abc import Generator, Iterator

import pytest
import structlog

from tests.torture.rig import HISTORIES, Torture

REPORT = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[REPORT] = report.passed
    return report


@pytest.fixture
def torture(request: pytest.FixtureRequest) -> Iterator[Torture]:
    """The history of a run that failed is kept, and named in what the test prints."""
    often = request.node.get_closest_marker("runs").kwargs
    options = request.config.option
    runs = options.runs or often["release" if options.release else "push"]
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    name = request.node.name.removeprefix("test_")
    made = Torture(name, runs, seed, HISTORIES / f"{name}-{seed}")
    try:
        yield made
    finally:
        made.close()
        request.node.user_properties.append(("torture", made.told()))
        if request.node.stash.get(REPORT, False):
            shutil.rmtree(made.folder)
        else:
            print(f"the history is kept in {made.folder}")


@pytest.fixture
def quiet() -> Iterator[None]:
    """What fails is for the history to tell, not for a log in between."""
    level = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=level)
    yield
    structlog.reset_defaults()
