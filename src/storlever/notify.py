"""Word to the service manager that started us, where one did and wants it (sd_notify(3))."""

import contextlib
import socket
from collections.abc import MutableMapping

VARIABLE = "NOTIFY_SOCKET"


class Manager:
    """Whoever listens on the socket; nobody where there is none."""

    def __init__(self, address: str) -> None:
        # An address that starts with @ has a NUL there (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def taken_from(cls, environment: MutableMapping[str, str]) -> "Manager":
        """Out of it, too: a tgtd that found it would say that *it* is ready, as ours."""
        return cls(environment.pop(VARIABLE, ""))

    def tell(self, state: str) -> None:
        """Such as READY=1. Raises nothing: what comes of a word that is lost is the manager's."""
        if self._address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(1)
                with contextlib.suppress(OSError):
                    sender.sendto(state.encode(), self._address)
