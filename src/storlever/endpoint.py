"""Where something listens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """HOST:PORT, with IPv6 hosts in brackets."""

    host: str
    port: int
    secure: bool = False
    """Whether TLS is spoken there; never part of the text."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    def called(self, names: Sequence[str]) -> "Endpoint":
        """As clients may call it: every address is none."""
        try:
            wild = ip_address(self.host).is_unspecified
        except ValueError:
            wild = False
        return replace(self, host=names[0] if names else "ADDRESS") if wild else self

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self}"

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        host, _, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not bare or (":" in bare) != (bare != host) or not port.isascii():
            raise ValueError("must be HOST:PORT, with an IPv6 address in brackets")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError("the port must be from 1 to 65535")
        return cls(bare, int(port))
