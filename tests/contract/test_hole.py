"""What tgtd's executable says of its challenges, against the challenges themselves."""

import socket
import struct
from pathlib import Path

from storlever.tgtd.hole import known_hole
from tests.world import WIKI_TARGET, Tgtd

LOGIN = 0x43
"""The opcode of an immediate login request (RFC 7143, 11.12)."""


def first_challenge(root: Path) -> str:
    """That of the first login at a tgtd that has just been started."""
    tgtd = Tgtd(root)
    try:
        tgtd.start()
        tgtd.admin("new", "target", "--tid", "1", "-T", WIKI_TARGET)
        tgtd.admin("new", "account", "--user", "joe", "--password", "wiki-secret-1")
        tgtd.admin("bind", "account", "--tid", "1", "--user", "joe")
        tgtd.admin("bind", "target", "--tid", "1", "-I", "ALL")
        return challenge(tgtd.portal)
    finally:
        tgtd.kill()


def challenge(portal: str) -> str:
    """CHAP_C as tgtd spells it."""
    host, _, port = portal.rpartition(":")
    who = {
        "InitiatorName": "iqn.2026-01.test:initiator",
        "TargetName": WIKI_TARGET,
        "SessionType": "Normal",
        "AuthMethod": "CHAP",
    }
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        assert asked(connection, who)["AuthMethod"] == "CHAP"
        return asked(connection, {"CHAP_A": "5"})["CHAP_C"]


def asked(connection: socket.socket, keys: dict[str, str]) -> dict[str, str]:
    """A step of the login in its security phase; the keys of the answer."""
    text = b"".join(f"{key}={value}\0".encode() for key, value in keys.items())
    isid = b"\x80\0\0\0\0\1"
    header = struct.pack(">BB2xI6sH24x", LOGIN, 0, len(text), isid, 0).ljust(48, b"\0")
    connection.sendall(header + text + bytes(-len(text) % 4))
    with connection.makefile("rb") as answer:
        length = int.from_bytes(answer.read(48)[5:8], "big")
        found = answer.read(length + -length % 4)[:length].rstrip(b"\0").decode()
    return dict(item.split("=", 1) for item in found.split("\0"))


def test_challenge_is_the_same_after_each_start_where_the_executable_says_so(root: Path) -> None:
    """The installed tgtd: whether it has the hole is the same by both signs."""
    tgtd = Tgtd(root)
    tgtd.start()
    try:
        assert tgtd.process is not None
        verdict = known_hole(Path(f"/proc/{tgtd.process.pid}/exe"))
    finally:
        tgtd.kill()
    repeats = first_challenge(root) == first_challenge(root)
    assert verdict is None or "has CVE-2024-45751" in verdict
    assert repeats == (verdict is not None)
