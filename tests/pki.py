"""Certificates that tests make up: a server's pair, and an authority that signs clients."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from storlever import certificate

HOSTS = ("localhost", "127.0.0.1")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path

    def replace(self, other: "Pair") -> None:
        """The other's content takes the place of this one's, as an admin would: by renaming."""
        for old, new in ((self.certificate, other.certificate), (self.key, other.key)):
            new.rename(old)

    @property
    def fingerprint(self) -> str:
        return certificate.read(self.certificate.read_bytes()).fingerprint


def written(folder: Path, name: str, made: bytes, key: bytes) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    pair.certificate.write_bytes(made)
    pair.key.touch(0o600)
    pair.key.write_bytes(key)
    return pair


def server_pair(folder: Path, name: str = "server", now: datetime | None = None) -> Pair:
    """Self-signed, valid for a year from `now` on."""
    made, key = certificate.self_signed(HOSTS, now or datetime.now(UTC), 365)
    return written(folder, name, made, key)


class Authority:
    """Signs clients' certificates; `file` is its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._stem = f"{name}-client"
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named([name])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(self._name, self._name, self._key.public_key())
        made = builder.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(made.public_bytes(Encoding.PEM))

    def client(self, *common_names: str) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(common_names), self._name, key.public_key())
        made = builder.sign(self._key, hashes.SHA256())
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        name = "-".join([self._stem, *common_names])
        return written(self._folder, name, made.public_bytes(Encoding.PEM), secret)


def _named(common_names: Sequence[str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
