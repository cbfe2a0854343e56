"""Secrets at rest: sealed with one key, each to the place where it stands.

AES-256-GCM (NIST SP 800-38D) with a nonce of 96 random bits. The text of a sealed secret is "v1:"
and the base64 of nonce, ciphertext and tag: 28 bytes more than the secret, whose length shows.
"""

import hmac
import os
from base64 import b64decode, b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE, _TAG = 12, 16
"""Bytes."""
_FORM = "v1:"


class Unsealable(ValueError):
    """Damaged, from elsewhere, or sealed with another key: which of these cannot be told."""


class Seal:
    """Raises ValueError for a key that has not 32 bytes.

    `mark` tells keys apart, and tells nothing of the key: 16 hexadecimal digits.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self.mark = hmac.digest(key, b"storlever key mark", "sha256")[:8].hex()
        self._key = key
        self._cipher = AESGCM(key)

    def derived(self, purpose: str) -> bytes:
        """Another secret of 32 bytes, which tells nothing of the key."""
        return hmac.digest(self._key, f"storlever {purpose}".encode(), "sha256")

    def __repr__(self) -> str:
        return f"Seal({self.mark})"

    def seal(self, secret: str, bound_to: str) -> str:
        """Never twice the same."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, secret.encode(), bound_to.encode())
        return _FORM + b64encode(nonce + sealed).decode()

    def open(self, text: str, bound_to: str) -> str:
        """Raises Unsealable."""
        try:
            if not text.startswith(_FORM):
                raise ValueError
            sealed = b64decode(text.removeprefix(_FORM), validate=True)
            if len(sealed) < _NONCE + _TAG:
                raise ValueError
            return self._cipher.decrypt(
                sealed[:_NONCE], sealed[_NONCE:], bound_to.encode()
            ).decode()
        except (InvalidTag, ValueError):
            raise Unsealable("it is damaged, or was sealed elsewhere") from None
