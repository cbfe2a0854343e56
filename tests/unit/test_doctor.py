"""What the doctor makes of what it finds: each check both ways."""

from dataclasses import replace
from pathlib import Path

import pytest

from storlever.cli import doctor
from storlever.cli.doctor import FAIL, OK, WARN
from storlever.client.shapes import Readiness, Target
from tests.world import free_port

IQN = "iqn.2026-01.test:one"
SOUND = Readiness("ready", None, (), (), ())
CLOSED = Target(IQN, "ready", None, ("10.0.0.1",), (), (), (), None, 0)
MIB = 1 << 20


def test_a_tgtd_is_found_on_the_path_or_missed(tmp_path: Path) -> None:
    assert doctor.tgtd(str(tmp_path)).level == WARN
    (tmp_path / "tgtd").touch(mode=0o755)
    assert doctor.tgtd(str(tmp_path)).level == OK


@pytest.mark.parametrize(("mode", "level"), [(0o600, OK), (0o640, FAIL), (0o604, FAIL)])
def test_secrets_that_others_may_read_fail(tmp_path: Path, mode: int, level: str) -> None:
    tmp_path.chmod(0o700)
    for name in ("state.db", "secret.key"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o600)
    (tmp_path / "secret.key").chmod(mode)
    found = {each.level for each in doctor.state(tmp_path) if "secret.key" in each.what}
    assert found == {level}


def test_a_state_folder_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    (found,) = doctor.state(tmp_path / "none")
    assert found.level == WARN


@pytest.mark.parametrize(("free", "level"), [(512, OK), (511, WARN), (32, WARN), (31, FAIL)])
def test_a_state_without_room_is_told(free: int, level: str) -> None:
    assert doctor.room(Path("/a"), free * MIB).level == level


@pytest.mark.parametrize(("used", "levels"), [("900", [OK]), ("901", [WARN]), ("", []), (None, [])])
def test_aio_contexts_that_run_out_are_told(
    tmp_path: Path, used: str | None, levels: list[str]
) -> None:
    (tmp_path / "aio-max-nr").write_text("1000\n")
    if used is not None:
        (tmp_path / "aio-nr").write_text(used)
    assert [each.level for each in doctor.aio(tmp_path)] == levels


@pytest.mark.parametrize(("seconds", "level"), [(0, OK), (5, OK), (6, WARN), (-6, WARN)])
def test_clocks_that_disagree_are_told(seconds: int, level: str) -> None:
    date = "Fri, 02 Jan 2026 03:04:05 GMT"
    (found,) = doctor.clock(date, 1767323045 + seconds)
    assert found.level == level


def test_without_a_date_nothing_is_said_of_clocks() -> None:
    assert list(doctor.clock(None, 0)) == []


@pytest.mark.parametrize(
    ("readiness", "level"),
    [
        (SOUND, OK),
        (replace(SOUND, status="unavailable", reason="tgtd is down"), FAIL),
        (replace(SOUND, failing=("LUN 1: gone",)), FAIL),
        (replace(SOUND, foreign=(IQN,)), WARN),
        (replace(SOUND, warnings=("this tgtd has a hole",)), WARN),
    ],
)
def test_what_the_service_says_of_itself_is_judged(readiness: Readiness, level: str) -> None:
    *_, last = sorted((each.level for each in doctor.told(readiness)), key=[OK, WARN, FAIL].index)
    assert last == level


@pytest.mark.parametrize(
    ("target", "level"),
    [
        (CLOSED, OK),
        (replace(CLOSED, initiator_addr_list=()), WARN),
        (replace(CLOSED, initiator_addr_list=("ALL",)), WARN),
        (replace(CLOSED, initiator_addr_list=(), incominguser_list=("joe",)), OK),
        (replace(CLOSED, initiator_addr_list=(), initiator_name_list=("iqn.2026-01.a:b",)), OK),
    ],
)
def test_a_target_that_admits_everyone_is_told(target: Target, level: str) -> None:
    (found,) = doctor.targets([target])
    assert found.level == level


@pytest.mark.parametrize("where", ["nowhere", "localhost:none", ":"])
def test_a_portal_that_is_no_address_fails(where: str) -> None:
    assert doctor.portal(where).level == FAIL


def test_a_portal_where_nobody_listens_fails() -> None:
    assert doctor.portal(f"127.0.0.1:{free_port()}").level == FAIL
