"""The documentation builds without a warning, and its examples do what it says they do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import steps, told

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [page for page in (*sorted(DOCS.glob("*.md")), ROOT / "README.md") if list(steps(page))]


@pytest.mark.parametrize("builder", ["html", "man"])
def test_it_builds_and_no_reference_leads_nowhere(builder: str, tmp_path: Path) -> None:
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going"]
    done = subprocess.run(
        [*sphinx, "-b", builder, "-d", tmp_path / "trees", DOCS, tmp_path / builder],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_do_what_it_says(page: Path) -> None:
    for each in told(page):
        where = f"{page.name}:{each.step.line}"
        assert each.as_expected, (
            f"{where}: $ {each.step.typed}\n--- printed, with status {each.status}\n{each.printed}"
            f"--- expected\n{each.step.expected}"
        )


def test_there_are_examples() -> None:
    assert {page.stem for page in PAGES} >= {"start", "backup"}


def codes(page: str) -> set[str]:
    """What stands in the column of codes of a page's tables."""
    column = {"errors.md": 2, "troubleshooting.md": 1}[page]
    rows = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]
    cells = [row.split("|")[column] for row in rows if len(row.split("|")) > column]
    return {code for cell in cells for code in re.findall(r"`([a-z-]+)`", cell)}


def raised() -> set[str]:
    """The codes of all errors that a request may meet, as the source has them."""
    words = "\n".join(file.read_text() for file in (ROOT / "src/storlever").rglob("*.py"))
    return set(re.findall(r"code(?:=|: str = | = )\"([a-z]+(?:-[a-z]+)+)\"", words)) - {
        "not-found",  # of none in particular
        "state-unusable",  # at the start alone
    }


def test_every_code_that_is_raised_is_explained() -> None:
    assert raised() <= codes("errors.md")


def test_whoever_meets_a_code_is_told_what_to_do() -> None:
    assert codes("troubleshooting.md") == codes("errors.md")
