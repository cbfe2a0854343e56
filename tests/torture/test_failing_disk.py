"""A disk that is full, that dies, or that turns read-only: writes are refused, reads go on."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.furnished import OFF, RICH, assert_furnished, furnish, seen_in_tgtd, service
from tests.torture.machine.disks import Disk, mounted, unplug
from tests.world import WIKI_TARGET, StorLever, wait_until

CHANGES = (
    ("PUT", f"/target_list/{RICH}/incominguser_list/joe", {"password": "x" * 250}),
    ("PUT", f"/target_list/{RICH}/lun_list/2", {"readonly": False}),
    ("PUT", f"/target_list/{OFF}", {"initiator_addr_list": ["10.0.0.1"]}),
    ("DELETE", f"/target_list/{OFF}", None),
    ("PUT", "/conf", {"incomingdiscoveryuser": ""}),
)


@contextmanager
def furnished_on(root: Path, disk: Disk) -> Iterator[StorLever]:
    with service(root, state_dir=str(disk.place / "state")) as storlever:
        yield furnish(storlever.start())


def until_refused(storlever: StorLever) -> tuple[list[str], str]:
    """Add targets until one is refused for want of room: those there are now, and its name."""
    for number in range(3000):
        name = f"iqn.2026-01.test:{number:04}"
        answer = storlever.api("POST", "/target_list", {"iqn": name})
        if answer.status_code != 201:
            assert (answer.status_code, answer.json()["code"]) == (507, "state-full")
            return storlever.get("/target_list"), name
    pytest.fail("the state never got full")


def kill_tgtd(storlever: StorLever) -> None:
    """And wait for the next one."""
    pid = storlever.tgtd_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: storlever.tgtd_pid() not in (None, pid) and storlever.answers(ready=True))


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_when_the_state_is_full_writes_are_507_undone_and_heal_by_themselves(
    root: Path, kind: str
) -> None:
    with mounted(root, kind) as disk, furnished_on(root, disk) as storlever:
        filler = disk.fill()
        names, refused = until_refused(storlever)
        assert refused not in names
        assert refused not in storlever.show()
        before = seen_in_tgtd(storlever)
        for method, path, body in CHANGES:
            answer = storlever.api(method, path, body, expect=507)
            assert answer.json()["code"] == "state-full"
        assert storlever.get("/target_list") == names
        assert seen_in_tgtd(storlever) == before
        assert_furnished(storlever)
        kill_tgtd(storlever)
        assert seen_in_tgtd(storlever) == before
        storlever.kill()
        storlever.start()
        assert storlever.get("/target_list") == names
        assert_furnished(storlever)
        filler.unlink()
        storlever.api("POST", "/target_list", {"iqn": refused}, expect=201)
        assert refused in storlever.show()
        storlever.kill()
        storlever.start()
        assert storlever.get("/target_list") == sorted([*names, refused])
        assert storlever.stop() == 0


@pytest.mark.parametrize("mishap", [Disk.cut_power, Disk.turn_read_only])
def test_when_the_state_cannot_be_written_writes_are_503_undone_and_reads_go_on(
    root: Path, mishap: Callable[[Disk], None]
) -> None:
    with mounted(root, "ext4") as disk, furnished_on(root, disk) as storlever:
        before = seen_in_tgtd(storlever)
        mishap(disk)
        for method, path, body in (*CHANGES, ("POST", "/target_list", {"iqn": WIKI_TARGET})):
            refused = storlever.api(method, path, body, expect=503)
            assert refused.json()["code"] == "state-unwritable"
        assert storlever.get("/target_list") == [OFF, RICH]
        wait_until(lambda: seen_in_tgtd(storlever) == before, 5)
        assert_furnished(storlever)
        unplug(storlever)
        disk.unmount()
        disk.check()
        disk.mount()
        storlever.start()
        assert storlever.get("/target_list") == [OFF, RICH]
        assert seen_in_tgtd(storlever) == before
        assert_furnished(storlever)
        assert storlever.stop() == 0
