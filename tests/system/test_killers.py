"""What kills or wrecks tgtd 1.0.85 when it is sent, asked for through the API in its nearest form.

Each test is followed by a look that tgtd is the same process, can show everything, and still has
its own standard input (deleting some LUNs closes descriptor 0, whatever that is).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.initiator import Initiator, discover
from tests.world import WIKI_TARGET, StorLever, folder, image, wait_until

PASSWORD = "long enough by far"


@pytest.fixture(scope="module")
def shared() -> Iterator[StorLever]:
    with folder() as root:
        service = StorLever(root)
        try:
            yield service.start()
        finally:
            service.close()


def descriptor_0(pid: int) -> str:
    return str(Path(f"/proc/{pid}/fd/0").readlink())


@pytest.fixture
def unharmed(shared: StorLever) -> Iterator[StorLever]:
    """The service, with an empty tgtd that must survive the test."""
    daemon = shared.tgtd_pid()
    assert daemon is not None
    before = descriptor_0(daemon)
    yield shared
    for mode in ("target", "system", "account", "portal"):
        shared.admin("show", mode)
    for name in shared.get("/target_list"):
        shared.api("DELETE", f"/target_list/{name}?force=true", expect=200)
    nobody = {"incomingdiscoveryuser": "", "outgoingdiscoveryuser": ""}
    shared.api("PUT", "/conf", nobody, expect=200)
    assert shared.show() == ""
    assert "Account information" not in shared.admin("show", "system")
    assert shared.tgtd_pid() == daemon
    assert descriptor_0(daemon) == before


def add_users(storlever: StorLever, target: str, count: int) -> list[str]:
    names = [f"user{number:02}" for number in range(count)]
    for name in names:
        body = {"username": name, "password": PASSWORD}
        storlever.api("POST", f"{target}/incominguser_list", body, expect=201)
    return names


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_user_goes_from_any_place_in_the_row(unharmed: StorLever, at: int) -> None:
    target = unharmed.add_target()
    names = add_users(unharmed, target, 3)
    unharmed.api("DELETE", f"{target}/incominguser_list/{names.pop(at)}", expect=200)
    assert WIKI_TARGET in unharmed.show()
    for name in names:
        with Initiator(unharmed.portal, WIKI_TARGET, user=name, password=PASSWORD):
            pass


def test_all_users_go_first_come_first_gone(unharmed: StorLever) -> None:
    target = unharmed.add_target()
    for name in add_users(unharmed, target, 18):
        unharmed.api("DELETE", f"{target}/incominguser_list/{name}", expect=200)
        assert WIKI_TARGET in unharmed.show()


def test_a_password_changes_in_the_middle_of_the_row(unharmed: StorLever) -> None:
    target = unharmed.add_target()
    names = add_users(unharmed, target, 4)
    body = {"password": "another long one"}
    unharmed.api("PUT", f"{target}/incominguser_list/{names[1]}", body, expect=200)
    assert WIKI_TARGET in unharmed.show()
    for name in names:
        password = "another long one" if name == names[1] else PASSWORD
        with Initiator(unharmed.portal, WIKI_TARGET, user=name, password=password):
            pass


def test_a_user_of_many_targets_and_of_discovery_goes_from_each(unharmed: StorLever) -> None:
    targets = [unharmed.add_target(f"{WIKI_TARGET}{number}") for number in range(3)]
    for target in targets:
        add_users(unharmed, target, 3)
    unharmed.api("PUT", "/conf", {"incomingdiscoveryuser": f"user00:{PASSWORD}"}, expect=200)
    changed = {"password": "another long one"}
    place = f"{targets[0]}/incominguser_list/user00?everywhere=true"
    unharmed.api("PUT", place, changed, expect=200)
    unharmed.api("PUT", "/conf", {"incomingdiscoveryuser": ""}, expect=200)
    for target in targets:
        unharmed.api("DELETE", f"{target}/incominguser_list/user00", expect=200)
        unharmed.admin("show", "system")
        unharmed.show()


def test_more_discovery_users_one_after_another_than_tgtd_has_room_for(
    unharmed: StorLever,
) -> None:
    for number in range(20):
        conf = {"incomingdiscoveryuser": f"user{number}:{PASSWORD}"}
        unharmed.api("PUT", "/conf", conf, expect=200)
        assert f"user{number}\n" in unharmed.admin("show", "system")
    unharmed.add_target()  # tgtd talks to nobody while it has none
    assert discover(unharmed.portal, user="user19", password=PASSWORD) == [WIKI_TARGET]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"iqn": ""},
        {"iqn": " "},
        {"iqn": "iqn.2026-01.test:" + "x" * 4000},
        {"iqn": "iqn.2026-01.test:a,b"},
        {"iqn": "iqn.2026-01.test:a\n    b"},
        {"iqn": "iqn.2026-01.test:a\0b"},
        {"iqn": "iqn.2026-01.test:under_score"},
        {"iqn": "iqn.2026-01.test:a=b"},
    ],
    ids=repr,
)
def test_a_target_without_a_sound_name_never_reaches_tgtd(
    unharmed: StorLever, body: dict[str, Any]
) -> None:
    unharmed.api("POST", "/target_list", body, expect=422)
    assert unharmed.show() == ""


@pytest.mark.parametrize("body", [{}, {"username": "", "password": ""}, {"username": "u"}])
@pytest.mark.parametrize("direction", ["incoming", "outgoing"])
def test_a_user_without_a_name_or_password_never_reaches_tgtd(
    unharmed: StorLever, direction: str, body: dict[str, Any]
) -> None:
    target = unharmed.add_target()
    unharmed.api("POST", f"{target}/{direction}user_list", body, expect=422)
    assert "user" not in unharmed.admin("show", "account")


@pytest.mark.parametrize(
    "body", [{"state": ""}, {"initiator_addr_list": [""]}, {"initiator_name_list": ["", ","]}]
)
def test_an_update_without_a_value_never_reaches_tgtd(
    unharmed: StorLever, body: dict[str, Any]
) -> None:
    target = unharmed.add_target()
    unharmed.api("PUT", target, body, expect=422)
    assert unharmed.get(target)["state"] == "ready"


@pytest.mark.parametrize(
    ("kind", "store"),
    [
        *(("disk", each) for each in ("ssc", "sg", "null", "mmc", "smc", "bsg", "rbd", "", None)),
        *(("cd", each) for each in ("null", "ssc", "sg")),
        *(("changer", each) for each in ("null", "ssc", "sg")),
        *(("tape", each) for each in ("rdwr", "aio", "null")),
        *(("pt", each) for each in ("rdwr", "null")),
        ("osd", "rdwr"),
    ],
)
def test_a_backing_type_that_tgtd_dies_of_never_reaches_it(
    unharmed: StorLever, kind: str, store: str | None
) -> None:
    target = unharmed.add_target()
    disk = str(image(unharmed.root / "disk.img"))
    body = {"lun": 1, "path": disk, "device_type": kind, "bs_type": store}
    unharmed.api("POST", f"{target}/lun_list", body, expect=422)
    lun = unharmed.add_lun(target, 1, Path(disk))
    change = {"device_type": kind, "bs_type": store}
    unharmed.api("PUT", lun, change, expect=422)
    assert unharmed.get(lun)["state"] == "ready"


def test_aio_luns_come_go_and_fail_without_closing_what_is_not_theirs(
    unharmed: StorLever,
) -> None:
    target = unharmed.add_target()
    disk = image(unharmed.root / "aio.img")
    for round_number in range(3):
        body: dict[str, Any] = {"lun": 1, "path": str(unharmed.root / "none"), "bs_type": "aio"}
        unharmed.api("POST", f"{target}/lun_list", body, expect=422)
        lun = unharmed.add_lun(target, 1, disk, bs_type="aio", online=round_number != 1)
        unharmed.api("PUT", lun, {"online": False}, expect=200)
        unharmed.api("PUT", lun, {"bs_type": "rdwr"}, expect=200)
        unharmed.api("PUT", lun, {"bs_type": "aio", "online": True}, expect=200)
        with Initiator(unharmed.portal, WIKI_TARGET) as session:
            session.ready()
            assert session.write(0, b"a" * 512).status == 0
        unharmed.api("DELETE", lun, expect=200)
        unharmed.show()


def test_an_aio_lun_whose_file_goes_while_it_is_offline_can_be_removed(
    unharmed: StorLever,
) -> None:
    target = unharmed.add_target()
    disk = image(unharmed.root / "going.img")
    lun = unharmed.add_lun(target, 1, disk, bs_type="aio", online=False)
    disk.unlink()
    assert unharmed.api("PUT", lun, {"online": True}).status_code in (409, 422)
    unharmed.api("DELETE", lun, expect=200)
    unharmed.add_lun(target, 1, image(unharmed.root / "other.img"), bs_type="aio")
    with Initiator(unharmed.portal, WIKI_TARGET) as session:
        assert session.ready().status == 0


@pytest.mark.parametrize("number", [0, -1, 256, 16383, 16384, 65536, 2**63, 2**64])
def test_a_lun_beyond_what_initiators_can_address_never_reaches_tgtd(
    unharmed: StorLever, number: int
) -> None:
    target = unharmed.add_target()
    body = {"lun": number, "path": str(image(unharmed.root / "disk.img"))}
    unharmed.api("POST", f"{target}/lun_list", body, expect=422)
    unharmed.api("DELETE", f"{target}/lun_list/{number}", expect=404)
    assert unharmed.show().count("LUN: ") == 1  # the controller


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "/dev/null,readonly=1"),
        ("path", "/x\0"),
        ("path", "/x\nTarget 9: forged"),
        ("path", "/" + "x" * 9000),
        ("scsi_id", "a,mode_page=zz"),
        ("scsi_id", "a\n"),
        ("scsi_sn", "a,path=/etc/passwd"),
        ("scsi_sn", "x" * 37),
    ],
)
def test_no_field_of_a_lun_smuggles_in_another_parameter(
    unharmed: StorLever, field: str, value: str
) -> None:
    target = unharmed.add_target()
    good = {"lun": 1, "path": str(image(unharmed.root / "disk.img"))}
    refused = unharmed.api("POST", f"{target}/lun_list", {**good, field: value}, expect=422)
    assert [fault["field"] for fault in refused.json()["errors"]] == [field]
    lun = unharmed.add_lun(target, 1, Path(str(good["path"])))
    before = unharmed.get(lun)
    unharmed.api("PUT", lun, {field: value}, expect=422)
    assert unharmed.get(lun) == before


def test_the_longest_values_of_every_field_work_together(unharmed: StorLever) -> None:
    name = "iqn.2026-01.test:" + "x" * (223 - 17)
    target = unharmed.add_target(name)
    user = {"username": "u" * 255, "password": "p," * 127}
    unharmed.api("POST", f"{target}/incominguser_list", user, expect=201)
    deep = unharmed.root / ("d" * 200) / ("e" * 200) / ("f" * 200)
    deep.mkdir(parents=True)
    disk = image(deep / ("g" * 200))
    unharmed.add_lun(target, 255, disk, scsi_id="i" * 36, scsi_sn="s" * 36)
    networks = [f"10.{high}.{low}.0/24" for high in range(4) for low in range(256)]
    addresses = {"initiator_addr_list": ["127.0.0.1", *networks[:1023]]}
    unharmed.api("PUT", target, addresses, expect=200)
    with Initiator(
        unharmed.portal, name, lun=255, user=user["username"], password=user["password"]
    ) as session:
        assert session.ready().status == 0
    assert json.dumps(unharmed.get(target)).count("/24") == 1023


def test_a_target_goes_with_everything_on_it_and_comes_again(unharmed: StorLever) -> None:
    disk = image(unharmed.root / "disk.img")
    for _ in range(5):
        target = unharmed.add_target()
        add_users(unharmed, target, 3)
        unharmed.add_lun(target, 1, disk)
        unharmed.add_lun(target, 2, image(unharmed.root / "aio.img"), bs_type="aio")
        login = {"user": "user01", "password": PASSWORD}
        with Initiator(unharmed.portal, WIKI_TARGET, **login) as session:  # type: ignore[arg-type]
            session.ready()
            unharmed.api("DELETE", target, expect=409)
            unharmed.api("DELETE", target + "?force=true", expect=200)
            wait_until(lambda session=session: not session.alive)
        assert unharmed.show() == ""
