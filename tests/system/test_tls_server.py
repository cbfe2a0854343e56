"""The server class by itself: who a client is, and authorities that come and go."""

import asyncio
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from storlever.web.protocol import HttpProtocol
from storlever.web.server import Hangup, Server
from storlever.web.tls import Identity, Tls
from tests.pki import Authority, Pair, server_pair
from tests.world import wait_until


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """The scheme of the request, and whose client certificate came with it."""
    told = {"scheme": scope["scheme"], "client": scope["state"].get("client_certificate")}
    await JSONResponse(told)(scope, receive, send)


@dataclass
class Served:
    server: Server
    hangup: Hangup
    pair: Pair
    authority: Authority
    plain: int
    """A port."""
    secure: int

    def get(self, who: Pair | None = None) -> Any:
        client = ssl.create_default_context(cafile=self.pair.certificate)
        if who is not None:
            client.load_cert_chain(who.certificate, who.key)
        return asked(http.client.HTTPSConnection("127.0.0.1", self.secure, context=client))


def asked(connection: http.client.HTTPConnection) -> Any:
    try:
        connection.request("GET", "/")
        return json.load(connection.getresponse())
    finally:
        connection.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    pair, authority, hangup = server_pair(tmp_path), Authority(tmp_path), Hangup()
    config = uvicorn.Config(tell, http=HttpProtocol, lifespan="off", log_config=None)
    identity = Identity(Tls(pair.certificate, pair.key, authority.file))
    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        socket.create_server(("127.0.0.1", 0)) as secure,
    ):
        server = Server(config, hangup, [secure], identity)
        ports = plain.getsockname()[1], secure.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([plain],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield Served(server, hangup, pair, authority, *ports)
        finally:
            server.should_exit = True
            thread.join(10)
        assert not thread.is_alive()
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)


def test_a_client_is_known_by_the_common_name_of_its_certificate(served: Served) -> None:
    assert served.get(served.authority.client("joe"))["client"] == "joe"


def test_a_client_without_a_certificate_or_with_two_names_in_it_is_nobody(served: Served) -> None:
    assert served.get()["client"] is None
    assert served.get(served.authority.client("joe", "tim"))["client"] is None


def test_who_a_client_is_stays_with_its_connection(served: Served) -> None:
    assert served.get(served.authority.client("joe"))["client"] == "joe"
    assert served.get()["client"] is None


def test_each_kind_of_socket_says_its_scheme(served: Served) -> None:
    assert served.get()["scheme"] == "https"
    assert asked(http.client.HTTPConnection("127.0.0.1", served.plain))["scheme"] == "http"


def test_an_authority_that_is_gone_at_a_hangup_vouches_for_nobody_any_more(
    served: Served, tmp_path: Path
) -> None:
    joe = served.authority.client("joe")
    assert served.get(joe)["client"] == "joe"
    Authority(tmp_path, "another").file.rename(served.authority.file)
    served.hangup.note()
    wait_until(lambda: not served.hangup.came)

    def is_turned_away() -> bool:
        try:
            served.get(joe)
        except (ssl.SSLError, ConnectionError):
            return True
        return False

    wait_until(is_turned_away)
    assert served.get()["client"] is None


def test_no_connection_is_lost_to_renewals_as_fast_as_can_be(served: Served) -> None:
    """A connection that is accepted just before its listener is closed is the one to lose."""
    answers, done = [], threading.Event()
    client = ssl.create_default_context(cafile=served.pair.certificate)

    def ask() -> None:
        while not done.is_set():
            made = http.client.HTTPSConnection(
                "127.0.0.1", served.secure, timeout=5, context=client
            )
            answers.append(asked(made))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        loop = wait_until(lambda: served.server._listeners)[0].get_loop()
        for _ in range(300):
            asyncio.run_coroutine_threadsafe(served.server._renew(), loop).result(10)
            time.sleep(0.005)
        done.set()
        for each in asking:
            each.result()
    assert len(answers) > 50
