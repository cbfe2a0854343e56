"""uvicorn's server, with TLS on some of its sockets and certificates that can be renewed.

uvicorn has one TLS setting for all sockets, and reads the files once.
"""

import asyncio
import functools
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable

import structlog
import uvicorn

from storlever.errors import ConfigError
from storlever.web import protocol
from storlever.web.tls import Identity

log = structlog.get_logger(__name__)


class Hangup:
    """Whether SIGHUP came; it may come before there is a server."""

    def __init__(self) -> None:
        self.came = False

    def note(self, *_: object) -> None:
        """A signal handler."""
        self.came = True


class Server(uvicorn.Server):
    """Serves the sockets that `run` is given in the clear, and `secure` over TLS.

    After each hangup the identity is read again, for connections from then on. `ready` is called
    once it serves, `leaving` when it is about to stop: what would never end must be ended then.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        hangup: Hangup,
        secure: list[socket.socket] | None = None,
        identity: Identity | None = None,
        *,
        ready: Callable[[], None] = lambda: None,
        leaving: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._hangup = hangup
        self._secure = secure or []
        self._identity = identity
        self._ready = ready
        self._leaving = leaving
        self._listeners: list[asyncio.Server] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._identity is not None:
            self._listeners = await self._listening(self._identity.context)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        if self._hangup.came:
            self._hangup.came = False
            await self._renew()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving()
        for listener in self._listeners:  # uvicorn would wait for handshakes that never end
            listener.close()
        await super().shutdown([*(sockets or []), *self._secure])

    async def _listening(self, tls: ssl.SSLContext) -> list[asyncio.Server]:
        """Each context needs listeners of its own; they share the sockets' queues."""
        # Of each connection's memory, 256 KiB by default; there may be many.
        SSLProtocol.max_size = protocol.CHUNK
        factory = functools.partial(
            protocol.HttpProtocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        loop = asyncio.get_running_loop()
        made: list[asyncio.Server] = []
        try:
            for each in self._secure:
                listener = await loop.create_server(
                    factory,
                    sock=each.dup(),
                    ssl=tls,
                    backlog=self.config.backlog,
                    ssl_handshake_timeout=protocol.PATIENCE,
                    # What waits to be sent counts into it, and has as long as in the clear.
                    ssl_shutdown_timeout=protocol.PATIENCE,
                )
                made.append(listener)
        except OSError:
            await _retire(made)
            raise
        return made

    async def _renew(self) -> None:
        if self._identity is None:
            log.info("SIGHUP changes nothing: there is no TLS")
            return
        try:
            self._identity.read_again()
            renewed = await self._listening(self._identity.context)
        except (ConfigError, OSError) as error:
            log.error("the TLS files are not taken, the old ones go on", reason=str(error))
            return
        old, self._listeners = self._listeners, renewed
        await _retire(old)


async def _retire(listeners: list[asyncio.Server]) -> None:
    loop = asyncio.get_running_loop()
    for listener in listeners:
        for each in listener.sockets:
            loop.remove_reader(each.fileno())
    # What they accepted becomes theirs in this round of the loop; once closed they would drop it.
    await asyncio.sleep(0)
    for listener in listeners:
        listener.close()
