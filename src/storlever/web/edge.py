"""What the HTTP edge is told of where it stands: who gets in without a token, by which names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from storlever.principal import Role


@dataclass(frozen=True, slots=True)
class Edge:
    """`open_loopback`: who is on this machine is an admin. `users`, `groups`: roles of a Unix
    socket's peers by number; `certificates`: roles by the common name of a client's certificate.
    `hosts`: names by which the service is called, besides those of loopback. `origins`: pages that
    may call it. `proxied`: every connection over TCP comes from a proxy that speaks TLS.
    `warnings`: what is told to everybody, since it should not be so."""

    open_loopback: bool = True
    users: Mapping[int, Role] = field(default_factory=dict)
    groups: Mapping[int, Role] = field(default_factory=dict)
    certificates: Mapping[str, Role] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()
    origins: tuple[str, ...] = ()
    proxied: bool = False
    warnings: tuple[str, ...] = ()
