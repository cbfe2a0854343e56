"""What a type checker makes of a program that uses the clients."""

from pathlib import Path

from mypy import api

EXAMPLE = """
from typing import assert_type
from storlever.client import AsyncClient, Client, Conflict, operations
from storlever.client.shapes import Closed, Done, Lun, Rehearsal, Session, Target

IQN = "iqn.2026-01.com.example:disk"


def waiting(client: Client) -> None:
    assert_type(client.targets(), tuple[str, ...])
    assert_type(client.target(IQN), Target)
    assert_type(client.create_lun(IQN, 1, "/srv/a.img", readonly=True), Done)
    assert_type(client.close_session(IQN, 3, block=True), Closed)
    assert_type(client.rehearse(operations.delete_target(IQN, force=True)), Rehearsal)
    assert_type(client.do(operations.luns(IQN)), tuple[Lun, ...])
    assert_type(client.do(operations.target(IQN).tagged()).value, Target)
    for event in client.events():
        assert_type(event.id, str)
    try:
        client.delete_target(IQN)
    except Conflict as error:
        assert_type(error.blocking[0].initiator, str)


async def asyncio(client: AsyncClient) -> None:
    assert_type(await client.targets(), tuple[str, ...])
    assert_type(await client.sessions(IQN), tuple[Session, ...])
    assert_type(await client.create_lun(IQN, 1, "/srv/a.img"), Done)
    assert_type(await client.portals(), tuple[str, ...])
    async for event in client.events():
        assert_type(event.type, str)
"""
MISTAKES = """
from storlever.client import Client

def wrong(client: Client) -> None:
    client.set_target("iqn.x", state="closed")
    client.create_lun("iqn.x", "1", "/a")
    client.no_such_thing()
    client.target("iqn.x").colour
"""


def checked(tmp_path: Path, text: str) -> str:
    file = tmp_path / "example.py"
    file.write_text(text)
    nothing = ["--config-file=", "--cache-dir", str(tmp_path / "cache")]
    report, trouble, _ = api.run(["--strict", "--follow-imports=silent", *nothing, str(file)])
    assert trouble == ""
    return report


def test_both_clients_are_typed_for_those_who_use_them(tmp_path: Path) -> None:
    assert checked(tmp_path, EXAMPLE).startswith("Success")


def test_a_mistake_in_a_call_is_found_without_running_it(tmp_path: Path) -> None:
    lines = checked(tmp_path, MISTAKES).splitlines()[:-1]
    assert [line.split(":")[1] for line in lines if ": error: " in line] == ["5", "6", "7", "8"]
