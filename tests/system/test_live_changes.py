"""What changes under load rest on; script/measure-live-changes makes them in numbers."""

import os
from pathlib import Path

from tests.world import StorLever


def test_descriptor_0_of_tgtd_refuses_writes(running: StorLever) -> None:
    """Its workers write to it while another path is opened: that must not pass for written."""
    info = Path(f"/proc/{running.tgtd_pid()}/fdinfo/0").read_text()
    flags = int(info.partition("flags:")[2].split()[0], 8)
    assert flags & os.O_ACCMODE == os.O_RDONLY
