"""targets.conf and the real tgt-admin: what it makes of a file is what we take of it, and what we
write it makes into the same."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storlever.cli.importing import read
from storlever.cli.rendering import render
from storlever.cli.translation import NOBODY
from tests.world import Tgtd, folder, image

ONE, TWO = "iqn.2026-01.test:one", "iqn.2026-01.test:two"


@pytest.fixture
def tgtd() -> Iterator[Tgtd]:
    with folder() as path:
        made = Tgtd(path)
        try:
            made.start()
            yield made
        finally:
            made.kill()


def load(tgtd: Tgtd, file: Path) -> None:
    done = subprocess.run(
        ["tgt-admin", "-C", str(tgtd.control_port), "-c", str(file), "-e"],
        env=tgtd.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done


def shown(tgtd: Tgtd) -> dict[str, dict[str, Any]]:
    """What tgtd has, by the names of targets."""
    found = {}
    for block in re.split(r"^Target \d+: ", tgtd.admin("show", "target"), flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        units, _, ends = rest.partition("    Account information:\n")
        accounts, _, acl = ends.partition("    ACL information:\n")
        found[name] = {
            "state": re.findall("State: (.*)", units)[0],
            "luns": [unit(each) for each in units.split("        LUN: ")[2:]],
            "users": sorted(accounts.split("\n        ")),
            "acl": sorted(acl.split()),
        }
    for each in found.values():
        each["users"] = sorted(word.strip() for word in each["users"] if word.strip())
    return found


def unit(block: str) -> dict[str, Any]:
    fields = dict(re.findall(r"^ +([A-Z][^:\n]*): (.*)$", block, flags=re.MULTILINE))
    return {
        "lun": int(block.partition("\n")[0]),
        "path": fields["Backing store path"],
        "store": fields["Backing store type"],
        "readonly": fields["Readonly"] == "Yes",
        "online": fields["Online"] == "Yes",
        "scsi_id": fields["SCSI ID"],
        "scsi_sn": fields["SCSI SN"],
    }


def expected(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The same of a document that has all its fields."""
    return {
        each["iqn"]: {
            "state": each["state"],
            "luns": [
                {
                    **{key: lun[key] for key in ("lun", "path", "readonly", "online")},
                    **{key: lun[key] for key in ("scsi_id", "scsi_sn")},
                    "store": lun.get("bs_type", "rdwr"),
                }
                for lun in each["lun_list"]
            ],
            "users": sorted(
                [
                    *each["incominguser_list"],
                    *(f"{name} (outgoing)" for name in each["outgoinguser_list"]),
                ]
            ),
            "acl": sorted(acl(each)),
        }
        for each in document["target_list"]
    }


def acl(target: dict[str, Any]) -> list[str]:
    addresses, names = target["initiator_addr_list"], target["initiator_name_list"]
    if not addresses:
        addresses = [NOBODY] if names else ["ALL"]
    return [*addresses, *names]


def test_what_tgt_admin_makes_of_a_file_is_what_is_taken_of_it(tgtd: Tgtd) -> None:
    """Numbers, defaults, repetitions, merged blocks, files that are not there, identities."""
    stores = {name: image(tgtd.root / f"{name}.img") for name in "zyxwv"}
    file = tgtd.root / "targets.conf"
    (tgtd.root / "more.conf").write_text(f"<target {TWO}>\ninitiator-address 10.0.0.2\n</target>\n")
    file.write_text(f"""
        default-driver iscsi
        include {tgtd.root}/mor*.conf
        <target {TWO}>
            backing-store {stores["z"]}   # the first to stand here, the last by its path
            backing-store {tgtd.root}/none.img
            backing-store {stores["y"]}
            readonly 1
            incominguser joe "secret-of-joe"
            incominguser tim secret-of-tim
            outgoinguser otto secret-of-otto
            initiator-address 10.0.0.1 \\

            state offline
        </target>
        <target {ONE}>
            controller_tid 9
            <backing-store {stores["x"]}>
                lun 1
                write-cache off
                scsi_id 0123
            </backing-store>
            <backing-store {stores["v"]}>
                readonly 0
                online 0
            </backing-store>
            <direct-store {stores["w"]}>
                scsi_sn 4567
            </direct-store>
            readonly 1
        </target>
    """)
    document, remarks = read(str(file), keep_identities=True)
    load(tgtd, file)
    seen = shown(tgtd)
    assert [each.text for each in remarks] == [f"backing-store {tgtd.root}/none.img"]
    assert seen == expected(document)
    assert [lun["lun"] for lun in seen[ONE]["luns"]] == [1, 2, 3]


def test_what_is_written_tgt_admin_makes_into_the_same(tgtd: Tgtd) -> None:
    shared = image(tgtd.root / "shared disk.img")
    plain: dict[str, Any] = {
        "device_type": "disk",
        "bs_type": "rdwr",
        "direct_map": False,
        "write_cache": True,
        "readonly": False,
        "online": True,
        "shared": True,
        "scsi_id": "IET     00010001",
        "scsi_sn": "beaf11",
        "path": str(shared),
    }
    document: dict[str, Any] = {
        "version": 1,
        "conf": {"incomingdiscoveryuser": "disco", "outgoingdiscoveryuser": ""},
        "user_list": [
            {"username": name, "password": f"p@ss-of/{name}=%+:"}
            for name in ("disco", "joe", "tim/1")
        ],
        "target_list": [
            {
                "iqn": ONE,
                "state": "offline",
                "initiator_addr_list": [],
                "initiator_name_list": ["iqn.2026-01.test:host_a"],
                "incominguser_list": ["joe", "tim/1"],
                "outgoinguser_list": ["disco"],
                "lun_list": [{**plain, "lun": 7}, {**plain, "lun": 200, "scsi_id": "b"}],
            },
            {
                "iqn": TWO,
                "state": "ready",
                "initiator_addr_list": ["10.0.0.0/8", "fe80::1"],
                "initiator_name_list": [],
                "incominguser_list": [],
                "outgoinguser_list": [],
                "lun_list": [
                    {
                        **plain,
                        "lun": 1,
                        "path": str(image(tgtd.root / "own.img")),
                        "write_cache": False,
                        "readonly": True,
                        "online": False,
                        "shared": False,
                        "scsi_id": "0123456789abcdef",
                    }
                ],
            },
        ],
    }
    del document["target_list"][0]["lun_list"][1:]  # tgt-admin has a store once in a target
    document["target_list"][1]["lun_list"].append({**plain, "lun": 9, "scsi_id": "c"})
    text, missing = render(document)
    assert missing == []
    file = tgtd.root / "targets.conf"
    file.write_text(text)
    load(tgtd, file)
    assert shown(tgtd) == expected(document)
    assert "disco" in tgtd.admin("show", "system")
    again, remarks = read(str(file))
    assert remarks == []
    assert again == {**document, "conf": {"incomingdiscoveryuser": "disco"}}
