"""The Python client and the real service: every operation, over every way in, and through the
service's death."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storlever.client import (
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unreachable,
    operations,
)
from storlever.client.shapes import Direction, NewLun, User
from tests.initiator import Initiator
from tests.pki import Authority, server_pair
from tests.world import StorLever, free_port, image

IQN = "iqn.2026-01.test:client"
PASSWORD = "a long password"
DIRECTIONS: tuple[Direction, ...] = ("incoming", "outgoing")


@pytest.fixture
def client(emptied: StorLever) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{emptied.port}") as made:
        yield made


def test_each_of_the_twenty_operations_can_be_called(client: Client, emptied: StorLever) -> None:
    client.create_target(IQN)
    assert client.targets() == (IQN,)
    client.set_target(IQN, initiator_addr_list=["10.0.0.0/8"])
    assert client.target(IQN).initiator_addr_list == ("10.0.0.0/8",)
    for direction in DIRECTIONS:
        name = f"{direction}/user"
        done = client.add_user(IQN, name, "short", direction=direction)
        assert done.location is not None
        assert "12" in done.warnings[0]
        assert client.users(IQN, direction=direction) == (name,)
        assert client.user(IQN, name, direction=direction).username == name
        client.set_password(IQN, name, PASSWORD, direction=direction)
        client.remove_user(IQN, name, direction=direction)
    client.create_lun(IQN, 1, str(image(emptied.root / "client.img")), write_cache=False)
    client.set_lun(IQN, 1, readonly=True)
    (lun,) = client.luns(IQN)
    assert lun == client.lun(IQN, 1)
    assert (lun.readonly, lun.write_cache, lun.size) == (True, False, 16 << 20)
    client.set_conf(incomingdiscoveryuser=f"disco:{PASSWORD}")
    assert client.conf().incomingdiscoveryuser == "disco:*"
    client.delete_lun(IQN, 1)
    client.delete_target(IQN)
    assert client.targets() == ()
    assert client.ready().status == "ready"


def test_a_target_is_made_with_all_of_it_and_seen_in_full(
    client: Client, emptied: StorLever
) -> None:
    path = str(image(emptied.root / "whole.img"))
    whole = operations.create_target(
        IQN,
        state="offline",
        initiator_addr_list=["10.0.0.1"],
        initiator_name_list=["iqn.2026-01.test:host"],
        incominguser_list=[User("joe", PASSWORD)],
        outgoinguser_list=[User("tim", PASSWORD)],
        lun_list=[NewLun(7, path, readonly=True)],
    )
    assert "LUN 7" in str(client.rehearse(whole).steps)
    assert client.targets() == ()
    client.do(whole)
    (target,) = client.targets_in_full()
    assert (target.iqn, target.state, target.session_list) == (IQN, "offline", None)
    assert (target.incominguser_list, target.outgoinguser_list) == (("joe",), ("tim",))
    assert [(lun.lun, lun.path, lun.readonly) for lun in client.luns(IQN)] == [(7, path, True)]
    client.create_target(IQN, state="offline", initiator_addr_list=["10.0.0.1"], exists_ok=True)


def test_what_is_gone_may_be_gone(client: Client) -> None:
    client.delete_target(IQN, missing_ok=True)
    with pytest.raises(NotFound):
        client.delete_target(IQN)


def test_what_somebody_else_has_changed_is_not_overwritten(client: Client) -> None:
    client.create_target(IQN)
    seen = client.do(operations.target(IQN).tagged())
    assert seen.etag is not None
    call = operations.set_target(IQN, state="offline").matching(seen.etag)
    client.set_target(IQN, initiator_addr_list=["10.0.0.1"])
    with pytest.raises(PreconditionFailed):
        client.do(call)
    assert client.target(IQN).state == "ready"


def test_the_portals_are_told(client: Client, emptied: StorLever) -> None:
    assert client.portals() == (emptied.portal,)


def test_tokens_and_the_audit_can_be_asked_for(client: Client) -> None:
    made = client.create_token("bob", "reader", "1d")
    assert client.token("bob").expires == made.expires
    assert [each.name for each in client.tokens()] == ["bob"]
    page = client.audit(limit=1)
    assert page.entries[0]["operation"] == "post_token"
    client.delete_token("bob")
    with pytest.raises(NotFound):
        client.token("bob")


def test_what_goes_wrong_has_its_kind(client: Client, emptied: StorLever) -> None:
    with pytest.raises(NotFound) as missing:
        client.target(IQN)
    assert missing.value.code == "target-not-found"
    with pytest.raises(Invalid) as invalid:
        client.create_target("not a name")
    assert invalid.value.errors[0].field == "iqn"
    client.create_target(IQN)
    with Initiator(emptied.portal, IQN), pytest.raises(Conflict) as conflict:
        client.delete_target(IQN)
    assert conflict.value.code == "sessions-active"
    assert conflict.value.blocking


def test_a_token_has_its_role_over_the_socket_and_over_tcp(emptied: StorLever) -> None:
    url = f"http://127.0.0.1:{emptied.port}"
    socket = emptied.state / "run/api.sock"
    with Client(socket=socket) as admin:
        token = admin.create_token("reader", "reader").token
    try:
        for reader in (Client(url, token=token), Client(socket=socket, token=token)):
            with reader:
                assert reader.targets() == ()
                with pytest.raises(Forbidden):
                    reader.create_target(IQN)
    finally:
        with Client(socket=socket) as admin:
            admin.delete_token("reader")


def test_tls_is_trusted_by_its_file_and_tells_who_asks_by_token_or_certificate(
    tmp_path: Path,
) -> None:
    server, authority = server_pair(tmp_path), Authority(tmp_path)
    url = f"https://127.0.0.1:{free_port()}"
    service = StorLever(
        tmp_path,
        tls_certificate=str(server.certificate),
        tls_key=str(server.key),
        tls_client_ca=str(authority.file),
        client_role="automat=reader",
    )
    service.settings["listen"] += f" {url}"
    try:
        service.start()
        with Client(f"http://127.0.0.1:{service.port}") as admin:
            token = admin.create_token("me", "admin").token
        with Client(url, ca_file=server.certificate, token=token) as client:
            client.create_target(IQN)
        with Client(url, token=token, patience=0) as client, pytest.raises(Unreachable):
            client.targets()
        own = authority.client("automat")
        pair = (own.certificate, own.key)
        with Client(url, ca_file=server.certificate, certificate=pair) as client:
            assert client.targets() == (IQN,)
            with pytest.raises(Forbidden):
                client.delete_target(IQN)
    finally:
        service.close()


def test_calls_go_on_when_the_service_is_killed_and_started_again(tmp_path: Path) -> None:
    """What is answered has been done, and what was done before its answer got lost is done."""
    service = StorLever(tmp_path)
    names = [f"{IQN}{number}" for number in range(60)]
    failures: list[Exception] = []

    def work(mine: list[str]) -> None:
        with Client(f"http://127.0.0.1:{service.port}", patience=30) as client:
            for name in mine:
                try:
                    client.set_target(name, initiator_addr_list=["10.0.0.1"])
                    assert client.target(name).initiator_addr_list == ("10.0.0.1",)
                    client.delete_target(name)
                except Exception as error:
                    failures.append(error)

    try:
        service.start()
        for name in names:
            service.add_target(name)
        kill_while(
            service, [threading.Thread(target=work, args=(names[at::3],)) for at in range(3)]
        )
        assert failures == []
        assert service.get("/target_list") == []
    finally:
        service.close()


def test_a_create_is_done_once_although_its_answer_is_lost(tmp_path: Path) -> None:
    """The service is killed under them; none is answered that it is there already."""
    service = StorLever(tmp_path)
    names = [f"{IQN}{number}" for number in range(120)]
    failures: list[Exception] = []

    def work(mine: list[str]) -> None:
        with Client(f"http://127.0.0.1:{service.port}", patience=30) as client:
            for name in mine:
                try:
                    client.create_target(name)
                    client.add_user(name, f"user-of-{name[-3:]}", PASSWORD)
                except Exception as error:
                    failures.append(error)

    try:
        service.start()
        kill_while(
            service, [threading.Thread(target=work, args=(names[at::4],)) for at in range(4)]
        )
        assert failures == []
        assert set(service.get("/target_list")) == set(names)
    finally:
        service.close()


def kill_while(service: StorLever, threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.3)
        service.kill()
        service.start()
    for thread in threads:
        thread.join(60)


def test_many_calls_run_at_once_in_asyncio(emptied: StorLever) -> None:
    names = [f"{IQN}{number}" for number in range(20)]

    async def make() -> tuple[str, ...]:
        async with AsyncClient(f"http://127.0.0.1:{emptied.port}") as client:
            await asyncio.gather(*(client.create_target(name) for name in names))
            return await client.targets()

    assert set(asyncio.run(make())) == set(names)
