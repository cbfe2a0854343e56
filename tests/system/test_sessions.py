"""Sessions of real hosts: told, counted, ended, shut out."""

from typing import Any

import pytest

from tests.initiator import Initiator, LoginError
from tests.pdu import RawInitiator
from tests.system.test_hostile_names import NAMES, require_printable
from tests.world import StorLever, image, wait_until

T = "iqn.2026-01.test:one"
HOST, OTHER = "iqn.2026-01.test:host", "iqn.2026-01.test:other"


@pytest.fixture
def sessions(storlever: StorLever) -> str:
    """Where they are, in the API."""
    target = storlever.add_target(T, initiator_name_list=[HOST, OTHER])
    storlever.add_lun(target, 1, image(storlever.root / "a.img", 1))
    return f"{target}/session_list"


def only(storlever: StorLever, sessions: str, name: str) -> dict[str, Any]:
    def seen() -> dict[str, Any] | None:
        found = [each for each in storlever.get(sessions) if each["initiator"] == name]
        return found[0] if len(found) == 1 else None

    told: dict[str, Any] = wait_until(seen)
    return told


def test_a_session_comes_is_counted_and_goes(storlever: StorLever, sessions: str) -> None:
    with Initiator(storlever.portal, T, name=HOST) as disk:
        disk.ready()
        told = only(storlever, sessions, HOST)
        assert told["connections"] == [{"cid": 0, "addr": "127.0.0.1"}]
        for lba in range(4):
            assert disk.write(lba, b"x" * 512).status == 0

        def counted() -> bool:
            found: dict[str, Any] = storlever.get(f"{sessions}/{told['id']}")
            return bool((found["written_bytes"], found["writes"]) == (2048, 4))

        wait_until(counted)
    wait_until(lambda: storlever.get(sessions) == [])
    answer = storlever.api("GET", f"{sessions}/{told['id']}", expect=404)
    assert answer.json()["code"] == "session-not-found"


def test_a_host_that_is_shut_out_stays_out_and_the_others_stay_in(
    storlever: StorLever, sessions: str
) -> None:
    with (
        Initiator(storlever.portal, T, name=HOST) as host,
        Initiator(storlever.portal, T, name=OTHER) as other,
    ):
        told = only(storlever, sessions, HOST)
        answer = storlever.api("DELETE", f"{sessions}/{told['id']}?block=true", expect=200)
        assert answer.json() == {"closed": 1, "removed": [{"initiator_name": HOST}]}
        assert not host.alive
        with pytest.raises(LoginError), Initiator(storlever.portal, T, name=HOST):
            pass
        assert other.ready().status == 0
    storlever.kill()
    storlever.start()
    assert storlever.get(f"/target_list/{T}")["initiator_name_list"] == [OTHER]


def test_whatever_an_initiator_calls_itself_the_list_is_sound(storlever: StorLever) -> None:
    """One entry for each that is there, printable, and an alias of none that lies."""
    sessions = storlever.add_target(T) + "/session_list"
    for what, (name, alias) in NAMES.items():
        with RawInitiator(storlever.portal, T, name, alias):
            wait_until(lambda: len(storlever.get(sessions)) == 1)
            (told,) = storlever.get(sessions)
            require_printable(told["initiator"] + (told["alias"] or ""))
            assert told["connections"] == [{"cid": 0, "addr": "127.0.0.1"}], what
        wait_until(lambda: storlever.get(sessions) == [])
