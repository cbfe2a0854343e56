"""A service with one of everything, and what must be true of it whatever it has been through."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.initiator import Initiator, LoginError, discover
from tests.world import STORLEVER, StorLever, image

RICH = "iqn.2026-01.test:rich"
OFF = "iqn.2026-01.test:off"
SECRETS = {
    "joe": "S3CRET-of-incoming-joe",
    "tim": "S3CRET-of-outgoing-tim",
    "dora": "S3CRET-of-discovery-dora",
    "otto": "S3CRET-of-discovery-otto",
}


@contextmanager
def service(root: Path, **settings: str) -> Iterator[StorLever]:
    """Not started yet; nothing of it is left at the end."""
    made = StorLever(root, log_format="json", **settings)
    try:
        yield made
    finally:
        made.close()


def refusal(storlever: StorLever, status: int = 2) -> str:
    """Start the program, which must end by itself with this status; what it says."""
    done = subprocess.run(
        [STORLEVER, "serve"],
        env=storlever.environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def furnish(storlever: StorLever) -> StorLever:
    """Users of every kind, a LUN with every flag, a target that is offline."""
    rich = storlever.add_target(RICH)
    for direction, user in (("incoming", "joe"), ("outgoing", "tim")):
        body = {"username": user, "password": SECRETS[user]}
        storlever.api("POST", f"{rich}/{direction}user_list", body, expect=201)
    flags: list[dict[str, bool]] = [{"write_cache": False}, {"readonly": True}, {"online": False}]
    for lun, flag in enumerate(flags, 1):
        storlever.add_lun(rich, lun, image(storlever.root / f"rich{lun}.img"), **flag)
    storlever.api("PUT", storlever.add_target(OFF), {"state": "offline"}, expect=200)
    conf = {
        "incomingdiscoveryuser": f"dora:{SECRETS['dora']}",
        "outgoingdiscoveryuser": f"otto:{SECRETS['otto']}",
    }
    storlever.api("PUT", "/conf", conf, expect=200)
    return storlever


def portal_of(storlever: StorLever) -> str:
    """Where its tgtd serves, also when that is not StorLever's to choose."""
    return storlever.admin("show", "portal").removeprefix("Portal: ").partition(",")[0]


def joe(storlever: StorLever, lun: int = 1) -> Initiator:
    """An initiator with mutual CHAP."""
    return Initiator(
        portal_of(storlever),
        RICH,
        lun=lun,
        user="joe",
        password=SECRETS["joe"],
        target_user="tim",
        target_password=SECRETS["tim"],
    )


def assert_furnished(storlever: StorLever) -> None:
    """Everything of `furnish` is in force, as initiators see it."""
    portal = portal_of(storlever)
    with joe(storlever) as disk:
        assert disk.ready().status == 0
        assert not disk.mode_sense(8)[6] & 0x04, "WCE is set"
        assert disk.write(0, b"w" * 512).status == 0
    with joe(storlever, lun=2) as disk:
        assert disk.ready().status == 0
        assert disk.mode_sense(8)[2] & 0x80, "WP is not set"
        assert disk.write(0, b"w" * 512).sense == (7, 0x27, 0)
    with joe(storlever, lun=3) as disk:
        disk.ready()
        sense = disk.read(0, 1).sense
        assert sense is not None
        assert sense[0] == 2, f"an offline LUN answers {sense}"
    for refused in (
        Initiator(portal, RICH),
        Initiator(portal, RICH, user="joe", password="another long one"),
        Initiator(portal, OFF),
    ):
        with pytest.raises(LoginError), refused:
            pass
    with pytest.raises(LoginError):
        discover(portal)
    found = discover(
        portal,
        user="dora",
        password=SECRETS["dora"],
        target_user="otto",
        target_password=SECRETS["otto"],
    )
    assert RICH in found
    assert (storlever.get(f"/target_list/{OFF}")["state"]) == "offline"


def events(storlever: StorLever) -> list[dict[str, Any]]:
    """What the service has logged."""
    lines = storlever.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def passes_with_changes(storlever: StorLever) -> int:
    return sum(event["event"] == "pass" for event in events(storlever))


def starts_of_tgtd(storlever: StorLever) -> int:
    return sum(event["event"] == "tgtd started" for event in events(storlever))


def tgtds_of(storlever: StorLever) -> list[int]:
    """Every tgtd that runs with this service's management socket, one that listens or not."""
    mark = os.fsencode(f"TGT_IPC_SOCKET={storlever.environment['TGT_IPC_SOCKET']}")
    found = []
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0")
            if mine and (entry / "comm").read_text() == "tgtd\n":
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def seen_in_tgtd(storlever: StorLever) -> list[str]:
    """What `show` says, without what may differ from life to life: target numbers and order."""
    lines = [re.sub(r"^Target \d+: ", "", line) for line in storlever.show().splitlines()]
    return sorted(line for line in lines if not re.search("IET  |beaf", line))  # of LUN 0
