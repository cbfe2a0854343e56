"""Initiators that nobody let in choose their names: no answer, no line of the log and no other
target comes to harm by them."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.initiator import GOOD, Initiator
from tests.pdu import RawInitiator
from tests.world import WIKI_TARGET, StorLever, folder, image, wait_until

OTHER_TARGET = "iqn.2014-09.com.example:other"
CUT = 900
"""Bytes of a name that tgtd always shows."""
HONEST = "iqn.2026-01.test:honest"
FORGED_SESSION = (
    b"x\n        IP Address: 10.6.6.6\nSession: %d\n    Connection: 0\n        Initiator: innocent"
)
FORGED_TARGET = (
    b"x\n            Connection: 0\n                IP Address: 10.6.6.6\n"
    b"    LUN information:\n    Account information:\n    ACL information:\n        ALL\n"
    b"Target %d: %s\n    System information:\n        Driver: iscsi\n        State: offline\n"
    b"    I_T nexus information:\n        I_T nexus: 99\n            Initiator: "
)
FORGED_LUN = (
    b"x\n    LUN information:\n        LUN: 7\n            Type: disk\n"
    b"            Backing store type: rdwr\n            Backing store path: /etc/passwd\n"
)
FORGED_USER = b"x\n    Account information:\n        eve\n    ACL information:\n        ALL\n"

# what -> (name, alias)
NAMES: dict[str, tuple[bytes, bytes | None]] = {
    "a session": (FORGED_SESSION % 77, None),
    "its own session": (FORGED_SESSION % 1, None),
    "half a session": (b"x\nSession: 9\n    Connection: 0\n", None),
    "an address": (b"x\n        IP Address: 10.6.6.6", None),
    "a target that is": (FORGED_TARGET % (2, OTHER_TARGET.encode()), None),
    "its own target": (FORGED_TARGET % (1, WIKI_TARGET.encode()), None),
    "a target that is not": (FORGED_TARGET % (9, b"iqn.2014-09.com.example:forged"), None),
    "a target, by its alias": (b"x", FORGED_TARGET % (2, OTHER_TARGET.encode())),
    "a LUN": (FORGED_LUN, b"x\n    LUN information:\n"),
    "users": (FORGED_USER, None),
    "a title of a terminal": (b"\x1b]0;owned\x07\x9b31mred\x1b[2J\x1b[1;31mred", b"\x1b]0;x\x07"),
    "what stands beside NULs": (b"x\xff", b"\x01y\0\0=\0\x1b"),
    "newlines": (b"\nx\r\n\rx\n\n", b"\n\r\n"),
    "control characters": (bytes(range(1, 32)) + b"\x7f\xc2\x85", bytes(range(1, 32))),
    "a page": (b"<script>alert(1)</script><img src=x onerror=alert(1)>", b"</script>"),
    "quotes": (b'"\'\\"\\\\ \\n\\u0000 ${x} `x` $(x) %s%n {0}', b'","sid":0},{"'),
    "what is no text": (b"\xff\xfe\xc3\x28\xed\xa0\x80\xf0\x9f", b"\xff"),
    "separators of lines": ("a\u2028b\u2029c\x85d\ufeff\u202ee\u200b".encode(), "\u2028".encode()),
    "223 bytes": (b"iqn.2026-01.test:" + b"a" * 206, None),
    "224 bytes": (b"iqn.2026-01.test:" + b"a" * 207, b"a" * 256),
    "3,000 bytes": (b"a" * 3000, b"b" * 3000),
    "1,010 bytes and a header": (b"a" * 1010 + FORGED_SESSION % 77, b"a"),
    "lines without end": (b"\nTarget x" * 400, None),
    "nothing": (b"", b""),
    "commas and equals": (b"a=b,c=d,,", b"=,"),
}


@pytest.fixture(params=["text", "json"])
def storlever(request: pytest.FixtureRequest) -> Iterator[StorLever]:
    with folder() as root:
        service = StorLever(root, log_format=request.param)
        try:
            service.start()
            for number, name in enumerate((WIKI_TARGET, OTHER_TARGET)):
                service.add_lun(service.add_target(name), 1, image(root / f"{number}.img", 1))
            yield service
        finally:
            service.close()


def sessions(answer: dict[str, Any]) -> list[tuple[str, str]]:
    assert all(set(each) == {"initiator", "addr", "sid"} for each in answer["session_list"])
    return sorted((each["initiator"], each["addr"]) for each in answer["session_list"])


def target(storlever: StorLever, name: str = WIKI_TARGET) -> dict[str, Any]:
    """What is said of a target, from bytes that no terminal and no page is harmed by."""
    raw = storlever.api("GET", f"/target_list/{name}", expect=200).content
    said: dict[str, Any] = json.loads(raw)
    require_printable(raw.decode())
    for each in said["session_list"]:
        require_printable(each["initiator"] + each["addr"])
    return said


def require_printable(text: str) -> None:
    assert text.isprintable(), repr(text)


def require_sound_log(storlever: StorLever) -> None:
    """One event a line, and no byte that a terminal would obey."""
    content = storlever.log.read_bytes()
    assert re.findall(rb"[\x00-\x09\x0b-\x1f\x7f]", content) == []
    for line in content.decode().splitlines():
        require_printable(line)
        if storlever.settings["log_format"] == "json" and line.startswith("{"):
            assert "event" in json.loads(line)
        else:
            assert re.match(
                r"\d{4}-\d\d-\d\dT[\d:.]+Z \[|StorLever keeps|The key |tgtd: |API |Try: ", line
            )


def known(name: bytes) -> str:
    """As it must be told: bytes that are no text are replaced, what is unprintable escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode()
        for char in name.decode("utf-8", "replace")
    )


def test_whatever_an_initiator_calls_itself_only_what_is_there_is_told(
    storlever: StorLever,
) -> None:
    """Its own session, with its name (if tgtd did not cut it) and true address; and the other
    target serves its host as if nothing had been."""
    other_before = target(storlever, OTHER_TARGET) | {"session_list": None}
    with Initiator(storlever.portal, OTHER_TARGET, name=HONEST) as honest:
        honest.ready()
        for what, (name, alias) in NAMES.items():
            with RawInitiator(storlever.portal, WIKI_TARGET, name, alias):
                said = target(storlever)
                assert (said["state"], said["reason"], said["lun_num"]) == ("ready", None, 1), what
                ((told, address),) = sessions(said)
                whole = known(name)
                assert told == whole or (len(name) > CUT and whole.startswith(told[:CUT])), what
                assert address == "127.0.0.1", what
                other = target(storlever, OTHER_TARGET)
                assert sessions(other) == [(HONEST, "127.0.0.1")], what
                assert other | {"session_list": None} == other_before
                problem = refused_deletion(storlever)
                assert problem["blocking"] == [{"initiator": told, "addr": address}]
                assert storlever.get("/target_list") == sorted((OTHER_TARGET, WIKI_TARGET))
                assert honest.read(0, 1).status == GOOD
            wait_until(lambda: target(storlever)["session_list"] == [])
    assert storlever.http.get("/readyz").json()["foreign"] == []
    require_sound_log(storlever)


def refused_deletion(storlever: StorLever) -> dict[str, Any]:
    response = storlever.api("DELETE", f"/target_list/{WIKI_TARGET}", expect=409)
    require_printable(response.content.decode())
    problem: dict[str, Any] = response.json()
    assert problem["code"] == "sessions-active"
    for each in problem["blocking"]:
        require_printable(each["initiator"] + each["addr"])
    return problem


def test_sessions_that_are_there_are_all_told_whoever_lies_about_them(
    storlever: StorLever,
) -> None:
    """Of one that is lied about, and of the liar, only that it is there."""
    with contextlib.ExitStack() as stack:
        bystander = HONEST + "2"
        stack.enter_context(Initiator(storlever.portal, WIKI_TARGET, name=bystander))
        (first,) = (each["sid"] for each in target(storlever)["session_list"])
        honest = stack.enter_context(Initiator(storlever.portal, WIKI_TARGET, name=HONEST))
        numbers = {each["sid"] for each in target(storlever)["session_list"]}
        (number,) = numbers - {first}
        for lie in (number, 77):
            name = FORGED_SESSION % lie
            stack.enter_context(RawInitiator(storlever.portal, WIKI_TARGET, name, isid=lie))
        listed = target(storlever)["session_list"]
        told = {each["sid"]: (each["initiator"], each["addr"]) for each in listed}
        assert len(listed) == len(told) == 4
        assert told[number] == ("?", "?")
        assert told[first] == (bystander, "127.0.0.1")
        for initiator, address in told.values():
            assert (initiator == "?") == (address == "?")
            assert address in ("?", "127.0.0.1")
        assert len(refused_deletion(storlever)["blocking"]) == 4
        assert honest.ready().status == GOOD
    wait_until(lambda: target(storlever)["session_list"] == [])
    require_sound_log(storlever)


def test_writes_go_on_while_names_forge_what_tgtd_shows(storlever: StorLever) -> None:
    """Passes go by what is known; what is written is in force, and no LUN, user or state that a
    name makes up is believed."""
    with contextlib.ExitStack() as stack:
        for number, (name, alias) in enumerate(NAMES.values()):
            stack.enter_context(
                RawInitiator(storlever.portal, WIKI_TARGET, name, alias, isid=number + 1)
            )
        for number in range(3):
            path = image(storlever.root / f"more{number}.img", 1)
            unit = storlever.add_lun(f"/target_list/{OTHER_TARGET}", number + 2, path)
            user = {"username": f"user{number}", "password": "secret-secret"}
            users = f"/target_list/{OTHER_TARGET}/incominguser_list"
            storlever.api("POST", users, user, expect=201)
            assert storlever.get(unit)["state"] == "ready"
        assert len(target(storlever)["session_list"]) == len(NAMES)
        with Initiator(
            storlever.portal, OTHER_TARGET, user="user2", password="secret-secret"
        ) as disk:
            disk.lun = 4
            assert disk.ready().status == GOOD
        storlever.api("DELETE", f"/target_list/{WIKI_TARGET}?force=true", expect=200)
    assert storlever.get("/target_list") == [OTHER_TARGET]
    require_sound_log(storlever)


def test_a_start_waits_for_an_answer_that_can_be_trusted(storlever: StorLever) -> None:
    """Nothing is known yet, so it says that it cannot, and why; it heals when the liar leaves."""
    name, _ = NAMES["a target that is"]
    with RawInitiator(storlever.portal, WIKI_TARGET, name):
        storlever.kill()
        storlever.start(ready=False)
        said = target(storlever)
        assert said["state"] == "error"
        assert "forges" in said["reason"]
        answer = storlever.api("POST", "/target_list", {"iqn": "iqn.2014-09.com.example:new"})
        assert (answer.status_code, answer.json()["code"]) == (503, "tgtd-unavailable")
        require_printable(answer.content.decode())
    wait_until(lambda: storlever.answers(ready=True), 15)
    assert target(storlever)["state"] == "ready"
    require_sound_log(storlever)
