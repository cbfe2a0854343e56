"""Users and groups of this machine, by name and by number."""

import grp
import pwd
from functools import lru_cache

from storlever.errors import ConfigError


@lru_cache(1024)
def name_of(uid: int) -> str:
    """The number itself where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def uid_of(name: str, setting: str) -> int:
    """Raises ConfigError."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"{setting}: there is no user {name}") from None


def gid_of(name: str, setting: str) -> int:
    """Raises ConfigError."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"{setting}: there is no group {name}") from None
