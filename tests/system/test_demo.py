"""The demonstration in script/, which doubles as the proof that the wiki page's lines work."""

import subprocess
from pathlib import Path

DEMO = Path(__file__).parents[2] / "script" / "demo"


def test_the_demo_meets_no_surprise_and_shows_every_line_of_the_wiki_page() -> None:
    done = subprocess.run([DEMO], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wiki = done.stdout.partition("A target for an initiator")[0]
    assert wiki.count("$ curl -v -X") == 21  # the twenty operations, and a look that it is gone
    assert "1048576 bytes of 0xa5, as written" in done.stdout
