"""TLS as the service speaks it: three files, made into Python's own defaults of an SSL context."""

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from storlever import certificate
from storlever.clock import now
from storlever.errors import ConfigError

log = structlog.get_logger(__name__)

SOON = timedelta(days=14)
OTHER_KEY = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""What OpenSSL calls a key that is not the certificate's; the last one when its kind differs."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files. `client_ca`: clients are asked for a certificate, and need not have one;
    one that these did not sign ends the handshake."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def context(tls: Tls) -> tuple[ssl.SSLContext, datetime]:
    """TLS 1.2 or later, HTTP/1.1 in ALPN; and until when the certificate is valid, which the log is
    told, too.

    Raises ConfigError for files that cannot be read, do not fit, or that others could read the
    key from. An expired certificate is only warned of: clients that pin it go on, and the service.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2  # OpenSSL's configuration may say less
    made.options |= ssl.OP_NO_COMPRESSION
    made.set_alpn_protocols(["http/1.1"])
    pem = _content("tls_certificate", tls.certificate)
    try:
        reading = certificate.read(pem)
    except ValueError:
        raise ConfigError(
            f"tls_certificate: {tls.certificate} holds no certificate in PEM"
        ) from None
    _check_key(tls.key)
    try:
        made.load_cert_chain(tls.certificate, tls.key, _no_passphrase)
    except _Encrypted:
        raise ConfigError(f"tls_key: {tls.key} is encrypted; it must need no passphrase") from None
    except ssl.SSLError as error:
        raise ConfigError(_refused(tls, error)) from None
    if tls.client_ca is not None:
        _trust(made, tls.client_ca)
    _tell(tls, reading)
    return made, reading.valid_until


class Identity:
    """What the service shows who it is with; the files may be replaced meanwhile."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self.context, self._valid_until = context(tls)
        self._fault: str | None = None
        """Why the files were not taken when they were read again."""

    def read_again(self) -> None:
        """Raises ConfigError, and is what it was."""
        try:
            self.context, self._valid_until = context(self._tls)
        except ConfigError as error:
            self._fault = str(error)
            raise
        self._fault = None

    def valid_until(self) -> datetime:
        return self._valid_until

    def warnings(self) -> tuple[str, ...]:
        """What somebody should see to."""
        found = [f"the TLS files are not taken: {self._fault}"] if self._fault else []
        if self._valid_until < now() + SOON:
            found.append(f"the TLS certificate is valid until {self._valid_until.isoformat()}")
        return tuple(found)


def common_name(peer: dict[str, Any] | None) -> str | None:
    """Of the subject of a verified certificate, as `SSLSocket.getpeercert` gives it; None without
    one, and where there are several, since programs differ in which of them they go by."""
    subject = peer.get("subject", ()) if peer else ()
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None


class _Encrypted(Exception):
    pass


def _no_passphrase() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise _Encrypted


def _content(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}") from None


def _check_key(path: Path) -> None:
    """Root may share a key with a group, as Debian's ssl-cert does."""
    _content("tls_key", path)
    status = path.stat()
    if status.st_mode & (0o037 if status.st_uid == 0 else 0o077):
        raise ConfigError(
            f"tls_key: others than its owner may use {path}; its mode must be 0600, or 0640 where "
            "root owns it"
        )


def _refused(tls: Tls, error: ssl.SSLError) -> str:
    if error.reason in OTHER_KEY:
        return f"tls_key: {tls.key} is not the key of the certificate in {tls.certificate}"
    why = f": {error.reason.lower().replace('_', ' ')}" if error.reason else ""
    if error.reason and error.reason.startswith(("EE_", "CA_")):
        return f"tls_certificate: OpenSSL refuses {tls.certificate}{why}"
    return f"tls_key: {tls.key} holds no private key in PEM that OpenSSL takes{why}"


def _trust(made: ssl.SSLContext, client_ca: Path) -> None:
    _content("tls_client_ca", client_ca)
    try:
        made.load_verify_locations(client_ca)
    except ssl.SSLError:
        raise ConfigError(f"tls_client_ca: {client_ca} holds no certificate in PEM") from None
    made.verify_mode = ssl.CERT_OPTIONAL


def _tell(tls: Tls, reading: certificate.Reading) -> None:
    known = {
        "file": str(tls.certificate),
        "valid_until": reading.valid_until.isoformat(),
        "sha256": reading.fingerprint,
    }
    if reading.valid_until < now():
        log.warning("the TLS certificate has expired", **known)
    elif now() < reading.valid_from:
        log.warning("the TLS certificate is not valid yet", **known)
    else:
        log.info("TLS certificate", **known)
