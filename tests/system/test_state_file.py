"""The state folder belongs to one service, and what is in it to its owner."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from storlever.cli.failure import Status
from storlever.keyfile import KeyFile
from tests.system.furnished import RICH, assert_furnished, furnish, refusal, service, tgtds_of
from tests.world import StorLever


@pytest.fixture
def furnished(root: Path) -> Iterator[StorLever]:
    with service(root) as made:
        yield furnish(made.start())


def test_a_state_file_in_use_ends_the_second_start_and_the_first_serves_on(
    furnished: StorLever,
) -> None:
    with service(furnished.root) as second:
        second.settings["tgt_control_port"] = "8"
        said = refusal(second, Status.TRY_AGAIN)
        assert f"the state folder {furnished.state} is in use by another StorLever" in said
        assert second.tgtd_pid() is None
    assert_furnished(furnished)


def test_a_state_folder_that_cannot_be_made_ends_the_start(root: Path) -> None:
    with service(root) as storlever:
        (root / "state").write_text("a file")
        assert f"cannot use the state folder {root}/state" in refusal(storlever)
        assert tgtds_of(storlever) == []


def test_a_lock_that_cannot_be_had_ends_the_start(root: Path) -> None:
    with service(root) as storlever:
        (root / "state" / "lock").mkdir(parents=True)
        said = refusal(storlever)
        assert f"cannot use the state folder {root}/state: Is a directory" in said
        assert tgtds_of(storlever) == []


def test_what_the_service_keeps_is_for_its_owner_alone(furnished: StorLever) -> None:
    assert stat.S_IMODE(furnished.state.stat().st_mode) == 0o700
    kept = list(furnished.state.rglob("*"))
    assert len(kept) >= 4
    for path in kept:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_the_key_may_lie_elsewhere_and_is_no_more_to_be_had_there(root: Path) -> None:
    key = root / "elsewhere.key"
    with service(root, key_file=str(key)) as storlever:
        furnish(storlever.start())
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert not list(storlever.state.glob("*.key"))
        body = {"lun": 9, "path": str(key)}
        refused = storlever.api("POST", f"/target_list/{RICH}/lun_list", body, expect=422)
        assert "belongs to StorLever itself" in refused.text
        storlever.kill()
        storlever.start()
        assert_furnished(storlever)


def test_a_key_that_systemd_hands_over_is_taken(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = root / "credentials" / "storlever.key"
    credential.parent.mkdir(mode=0o700)
    KeyFile(credential).first()
    credential.chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credential.parent))
    with service(root) as storlever:
        furnish(storlever.start())
        assert not list(storlever.state.glob("*.key"))
        assert f"The key to the secrets in it: {credential}\n" in storlever.log.read_text()


def test_a_loose_umask_opens_nothing(root: Path) -> None:
    before = os.umask(0)
    try:
        with service(root) as storlever:
            furnish(storlever.start())
            test_what_the_service_keeps_is_for_its_owner_alone(storlever)
    finally:
        os.umask(before)
