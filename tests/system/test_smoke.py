"""The service as a whole, started and stopped."""

import signal

from tests.initiator import Initiator
from tests.world import WIKI_TARGET, StorLever, image, pid_alive


def test_data_written_over_iscsi_is_in_the_backing_file(storlever: StorLever) -> None:
    disk = image(storlever.root / "disk.img")
    storlever.add_lun(storlever.add_target(), 1, disk)
    with Initiator(storlever.portal, WIKI_TARGET) as initiator:
        initiator.ready()
        assert initiator.write(8, b"storlever" + b"\0" * 503).status == 0
        assert initiator.read(8, 1).data[:9] == b"storlever"
    assert disk.read_bytes()[8 * 512 :][:9] == b"storlever"


def test_an_interrupt_stops_service_and_tgtd_cleanly(storlever: StorLever) -> None:
    storlever.add_lun(storlever.add_target(), 1, image(storlever.root / "disk.img"))
    daemon = storlever.tgtd_pid()
    assert daemon is not None
    assert storlever.stop(signal.SIGINT) == 0
    assert not pid_alive(daemon)
