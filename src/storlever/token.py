"""Tokens: secrets that stand for a name and a role. Only their digests are kept."""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from storlever.principal import Role

MARK = "storlever_"
"""What a token begins with, so that people and scanners of leaked secrets know what it is."""
BYTES = 32
NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
LIFETIME = r"[1-9][0-9]{0,2}[mhd]"
DEFAULT_LIFETIME = "90d"
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
NEVER = "never"
_TIMES = ("created", "expires", "last_used")


class Token(Struct, frozen=True):
    """Times are in UTC, in whole seconds; `expires` None: it lasts until it is revoked."""

    name: str
    role: Role
    digest: str
    created: datetime
    expires: datetime | None = None
    last_used: datetime | None = None

    @classmethod
    def new(
        cls, name: str, role: Role, lifetime: timedelta | None, now: datetime
    ) -> tuple["Token", str]:
        """A token, and its secret: 256 random bits, as text that fits into a header and a URL."""
        secret, created = MARK + secrets.token_urlsafe(BYTES), now.replace(microsecond=0)
        expires = created + lifetime if lifetime is not None else None
        return cls(name, role, digest(secret), created, expires), secret

    def as_json(self) -> dict[str, str | None]:
        """Without the digest, which is nobody's business."""
        times = {name: getattr(self, name) for name in _TIMES}
        told = {
            name: time and time.isoformat().replace("+00:00", "Z") for name, time in times.items()
        }
        return {"name": self.name, "role": str(self.role), **told}

    def as_document(self) -> dict[str, str | int | None]:
        """All of it, as JSON."""
        times = {name: getattr(self, name) for name in _TIMES}
        told = {name: time and time.isoformat() for name, time in times.items()}
        return {"name": self.name, "role": int(self.role), "digest": self.digest, **told}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Token":
        """Raises ValueError, TypeError or KeyError for what is none."""
        times: dict[str, Any] = {
            name: document[name] and datetime.fromisoformat(document[name]) for name in _TIMES
        }
        return cls(document["name"], Role(document["role"]), document["digest"], **times)

    def expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires <= now


def digest(secret: str) -> str:
    """SHA-256 is enough for a secret that nobody can guess; it is looked up by this."""
    return hashlib.sha256(secret.encode()).hexdigest()


def token_name(text: str) -> str:
    """Raises ValueError."""
    if not re.fullmatch(NAME, text):
        raise ValueError("must be 1 to 64 letters, digits and . _ @ -, and begin with one of those")
    return text


def lifetime(text: str) -> timedelta | None:
    """90d, 12h, 30m; None for `never`. Raises ValueError."""
    if text == NEVER:
        return None
    if not re.fullmatch(LIFETIME, text):
        raise ValueError(f"must be 1 to 999 of d, h or m, like {DEFAULT_LIFETIME}, or {NEVER}")
    return int(text[:-1]) * UNITS[text[-1]]


def lifetime_text(text: str) -> str:
    """It as it is. Raises ValueError for what is no lifetime."""
    lifetime(text)
    return text
