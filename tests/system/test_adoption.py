"""A target that others made in a real tgtd becomes ours while a real initiator works on it."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.initiator import Initiator, LoginError
from tests.scsi import serial_number
from tests.system.furnished import portal_of, seen_in_tgtd, service
from tests.system.test_sessions_survive import BLOCKS, Worker
from tests.world import StorLever, folder, image, wait_until

THEIRS = "iqn.2026-01.com.example:theirs"
WORKER = "iqn.2014-09.com.example:worker"
SECRET = "a-foreign-secret"
TID = "77"
FOREIGN = "/storlever/api/v1/foreign_list"
USERS = [
    {"username": "joe", "password": SECRET},
    {"username": "out", "password": "their-own-secret"},
]


@pytest.fixture
def storlever() -> Iterator[StorLever]:
    with folder() as root, service(root) as made:
        image(root / "theirs.img", BLOCKS >> 11)
        image(root / "second.img", 1)
        yield made.start()


def by_hand(storlever: StorLever) -> None:
    """As tgtadm makes it."""
    admin, disk = storlever.admin, storlever.root / "theirs.img"
    admin("new", "target", "-t", TID, "-T", THEIRS)
    admin("new", "logicalunit", "-t", TID, "-l", "1", "-b", str(disk))
    admin("new", "logicalunit", "-t", TID, "-l", "2", "-b", str(storlever.root / "second.img"))
    admin("update", "logicalunit", "-t", TID, "-l", "2", "-P", "readonly=1,vendor_id=ACME")
    for user, password in (("out", "their-own-secret"), ("joe", SECRET)):
        admin("new", "account", "--user", user, "--password", password)
    admin("bind", "account", "-t", TID, "--user", "joe")
    admin("bind", "account", "-t", TID, "--user", "out", "--outgoing")
    admin("bind", "target", "-t", TID, "-I", "127.0.0.0/8")
    admin("bind", "target", "-t", TID, "-Q", WORKER)


def by_file(storlever: StorLever) -> None:
    """As tgt-admin makes it of a targets.conf."""
    conf = storlever.root / "targets.conf"
    conf.write_text(
        f"""
        <target {THEIRS}>
            <backing-store {storlever.root}/theirs.img>
                lun 1
                allow-in-use yes
            </backing-store>
            <backing-store {storlever.root}/second.img>
                lun 2
                readonly 1
                vendor_id ACME
                allow-in-use yes
            </backing-store>
            incominguser joe {SECRET}
            outgoinguser out their-own-secret
            initiator-address 127.0.0.0/8
            initiator-name {WORKER}
        </target>
        """
    )
    port = str(storlever.settings["tgt_control_port"])
    subprocess.run(
        ["tgt-admin", "-C", port, "-e", "-c", str(conf)], env=storlever.environment, check=True
    )


def sees(storlever: StorLever) -> list[dict[str, Any]]:
    """The foreign targets, once a pass saw one."""
    return wait_until(lambda: storlever.http.get(FOREIGN).json(), 30)  # type: ignore[no-any-return]


def adopt(storlever: StorLever, users: list[dict[str, str]]) -> Any:
    return storlever.http.post(f"{FOREIGN}/{THEIRS}/adopt", json={"user_list": users})


@contextmanager
def working(storlever: StorLever) -> Iterator[Worker]:
    login = {"user": "joe", "password": SECRET}
    with Initiator(portal_of(storlever), THEIRS, **login) as session:  # type: ignore[arg-type]
        session.ready()
        worker = Worker(session)
        worker.start()
        try:
            yield worker
        finally:
            worker.stop()


@pytest.mark.parametrize("make", [by_hand, by_file])
def test_an_initiator_at_work_does_not_notice_the_adoption(
    storlever: StorLever, make: Callable[[StorLever], None]
) -> None:
    make(storlever)
    assert [each["iqn"] for each in sees(storlever)] == [THEIRS]
    with working(storlever) as worker:
        worker.goes_on()
        (before,) = connections(storlever)
        answer = adopt(storlever, USERS)
        assert answer.status_code == 201, answer.text
        worker.goes_on()
        assert connections(storlever) == [before]
        shown = storlever.get(f"/target_list/{THEIRS}")
        assert (shown["state"], len(shown["session_list"])) == ("ready", 1)
        assert storlever.http.get(FOREIGN).json() == []
        storlever.kill()
        storlever.start()
        worker.goes_on()
        assert connections(storlever) == [before]
    with pytest.raises(LoginError), Initiator(portal_of(storlever), THEIRS):
        pass
    first = identity(storlever)
    pid = storlever.tgtd_pid()
    assert pid is not None
    subprocess.run(["kill", "-9", str(pid)], check=True)
    wait_until(lambda: storlever.tgtd_pid() not in (None, pid) and storlever.answers(ready=True))
    assert identity(storlever) == first
    with pytest.raises(LoginError), Initiator(portal_of(storlever), THEIRS):
        pass


def identity(storlever: StorLever) -> str:
    with Initiator(
        portal_of(storlever),
        THEIRS,
        user="joe",
        password=SECRET,
        target_user="out",
        target_password="their-own-secret",
    ) as session:
        session.ready()
        return serial_number(session)


def connections(storlever: StorLever) -> list[str]:
    """Their numbers, which are new with each session."""
    text = storlever.admin("show", "conn", "-t", tid(storlever))
    return [line for line in text.splitlines() if line.startswith("Session")]


def tid(storlever: StorLever) -> str:
    line = next(line for line in storlever.show().splitlines() if line.endswith(f": {THEIRS}"))
    return line.partition(":")[0].removeprefix("Target ")


def test_what_is_refused_changes_nothing_in_tgtd(storlever: StorLever) -> None:
    by_hand(storlever)
    sees(storlever)
    before = seen_in_tgtd(storlever)
    assert adopt(storlever, USERS[:1]).json()["code"] == "invalid"
    storlever.admin("bind", "target", "-t", TID, "-I", "10.0.0.1/8")
    answer = adopt(storlever, USERS)
    assert answer.json()["code"] == "not-adoptable"
    assert "10.0.0.0/8" in answer.json()["detail"]
    storlever.admin("unbind", "target", "-t", TID, "-I", "10.0.0.1/8")
    Path(storlever.root / "theirs.img").rename(storlever.root / "elsewhere.img")
    assert adopt(storlever, USERS).json()["code"] == "backing-store-missing"
    image(storlever.root / "theirs.img", 3)
    assert adopt(storlever, USERS).json()["code"] == "backing-store-changed"
    assert seen_in_tgtd(storlever) == before
