"""The names that a request may call the service by.

A service on loopback is within reach of every web page its administrator opens; this ends DNS
rebinding.
"""

import re
from ipaddress import ip_address

LOCAL_NAMES = frozenset({"localhost"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")


def host_of(header: str) -> str | None:
    """The host of a Host header, in lower case and without brackets; None when malformed."""
    match = _HOST.fullmatch(header)
    return match[1].strip("[]").lower() if match else None


def is_local(host: str) -> bool:
    """Whether a host is this machine by its very spelling; 127.0.0.1.example.com is not."""
    if host in LOCAL_NAMES:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
