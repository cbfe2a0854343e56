"""Who asks: by token, by client certificate, by a Unix socket's peer, or by being on this machine.

Tokens come as `Authorization: Bearer TOKEN`, or as the password of HTTP Basic from clients that
know nothing else. A token that is presented and no good is refused whatever else would let its
bearer in. Failures are counted by address and by token; after too many, all that is no good token
hears how long to wait. A good one is always heard: nobody can lock out its bearer, and to guess one
takes 2^255 attempts.
"""

import base64
import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from storlever.clock import now
from storlever.errors import Throttled, Unauthenticated
from storlever.principal import NOBODY, Principal, Role
from storlever.service import Service
from storlever.throttle import Throttle
from storlever.token import Token, digest
from storlever.user import name_of
from storlever.web.edge import Edge
from storlever.web.hosts import is_local
from storlever.web.peer import UnixPeer

BURST = 10
INTERVAL = 6.0
"""Seconds in which one more failure is forgiven."""
FORWARDING = re.compile(
    "(x-)?forwarded.*|via|x-(real|client|cluster-client|original-forwarded)-?.*"
    "|(client|true-client|cf-connecting)-ip"
)
"""Headers of proxies: who sends one is on this machine, and who asks is perhaps not."""


class Authentication:
    def __init__(self, edge: Edge, service: Service) -> None:
        self._edge = edge
        self._service = service
        self._throttle = Throttle(BURST, INTERVAL)
        self._tokens: Mapping[str, Token] = {}
        self._by_digest: dict[str, Token] = {}

    def principal(self, scope: Scope, headers: Headers, address: str) -> Principal:
        """Raises Unauthenticated for a token that is no good."""
        given = headers.getlist("authorization")
        if not given:
            return self._without_token(scope, headers, address)
        secret = _secret(given[0]) if len(given) == 1 else None
        token = self._known().get(digest(secret)) if secret else None
        if token is None:
            detail = "no such token here: it was revoked, or is another service's"
            if secret is None:
                detail = "must be Authorization: Bearer TOKEN, or Basic with it as the password"
            raise self.failure(address, "token-unknown", detail, secret or "")
        if token.expired(now()):
            detail = f"token {token.name} has expired"
            raise self.failure(address, "token-expired", detail, secret or "", token.name)
        self._service.note_use(token.name)
        return Principal(f"token:{token.name}", token.role, address, token.digest)

    def failure(
        self, address: str, code: str, detail: str, secret: str = "", who: str = ""
    ) -> Unauthenticated:
        """One more from there, and with this token."""
        keys = [f"address {_network(address)}"] + ([f"token {digest(secret)}"] if secret else [])
        wait = self._throttle.fail(*keys)
        return (
            Throttled(wait)
            if wait
            else Unauthenticated(detail, code=code, who=f"token:{who}" if who else "")
        )

    def _without_token(self, scope: Scope, headers: Headers, address: str) -> Principal:
        state = scope["state"]
        peer: UnixPeer | None = state.get("peer")
        if peer is not None:
            return Principal(f"user:{name_of(peer.uid)}", self._role(peer))
        certificate: str | None = state.get("client_certificate")
        if certificate is not None:
            role = self._edge.certificates.get(certificate, Role.NOBODY)
            return Principal(f"certificate:{certificate}", role, address)
        if self._edge.open_loopback and _on_this_machine(scope, headers):
            return Principal("loopback", Role.ADMIN, address)
        return Principal(NOBODY, Role.NOBODY, address)

    def _role(self, peer: UnixPeer) -> Role:
        by_group = [role for gid, role in self._edge.groups.items() if gid in peer.gids]
        return max([self._edge.users.get(peer.uid, Role.NOBODY), *by_group])

    def _known(self) -> Mapping[str, Token]:
        tokens = self._service.inventory.tokens
        if tokens is not self._tokens:
            self._tokens = tokens
            self._by_digest = {token.digest: token for token in tokens.values()}
        return self._by_digest

    def address(self, scope: Scope, headers: Headers) -> str:
        """Where a request comes from; "" for a Unix socket."""
        hops = headers.getlist("x-forwarded-for")
        by_proxy = scope["scheme"] == "http" and "peer" not in scope["state"]
        if self._edge.proxied and by_proxy and hops:
            return _without_port(hops[-1].rpartition(",")[2].strip()[:64])
        host, _ = scope.get("client") or ("", 0)
        return str(host)


def _on_this_machine(scope: Scope, headers: Headers) -> bool:
    """Packets for a loopback address that come from elsewhere are dropped by the kernel. What comes
    over TLS has come for somebody who is asked who they are."""
    server, _ = scope.get("server") or ("", 0)
    return (
        scope["scheme"] == "http"
        and is_local(server)
        and not any(FORWARDING.fullmatch(name) for name in headers)
    )


def _secret(header: str) -> str | None:
    """The token of an Authorization header; None when there is none in it."""
    scheme, _, text = header.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return text.strip() or None
        case "basic":
            try:
                decoded = base64.b64decode(text.strip(), validate=True).decode()
            except ValueError:
                return None
            return decoded.partition(":")[2] or None
        case _:
            return None


def _without_port(hop: str) -> str:
    """Some proxies add one: 192.0.2.1:1234, [2001:db8::1]:1234."""
    match = re.fullmatch(r"\[(.+)\](:\d+)?|([0-9.]+):\d+", hop)
    return (match[1] or match[3]) if match else hop


def _network(address: str) -> str:
    """Who has an IPv6 address has 2^64 of them."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(int(found) >> 64) if isinstance(found, IPv6Address) else address
