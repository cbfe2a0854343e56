"""X.509 certificates: one that signs itself, and what can be read from one. No files here.

RFC 5280; the fingerprint is what `openssl x509 -fingerprint -sha256` prints after its "=".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 825
"""The most that Apple's clients take."""
MAX_DAYS = 36_500
MAX_COMMON_NAME = 64
EARLIER = timedelta(hours=1)
"""The clocks of clients may be slow."""
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Reading:
    """What people want to know of a certificate; the times are in UTC."""

    fingerprint: str
    valid_from: datetime
    valid_until: datetime


def read(pem: bytes) -> Reading:
    """Of the first certificate in `pem`. Raises ValueError where there is none."""
    first = x509.load_pem_x509_certificates(pem)[0]
    digest = first.fingerprint(hashes.SHA256()).hex(":").upper()
    return Reading(digest, first.not_valid_before_utc, first.not_valid_after_utc)


def self_signed(hosts: Sequence[str], now: datetime, days: int = VALID_DAYS) -> tuple[bytes, bytes]:
    """A certificate for a server by these names and addresses, and its new P-256 key; both PEM.

    Raises ValueError for a host that is neither, for none, and for days out of 1 to 36,500.
    """
    if not hosts:
        raise ValueError("needs at least one host")
    if not 1 <= days <= MAX_DAYS:
        raise ValueError(f"the days must be from 1 to {MAX_DAYS}")
    names = [_general_name(host) for host in dict.fromkeys(hosts)]
    key = ec.generate_private_key(ec.SECP256R1())
    itself = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:MAX_COMMON_NAME])])
    signing_only = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(itself)
        .issuer_name(itself)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now - EARLIER + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(signing_only, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), secret


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    if not _DNS_NAME.fullmatch(host) or len(host) > 253:
        raise ValueError(f"{host!r} is neither a DNS name nor a numeric address")
    return x509.DNSName(host)
