"""Make a certificate for https://."""

import os
import socket
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

from storlever import certificate
from storlever.errors import ConfigError


def add(parser: ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    its = kinds.add_parser(
        "self-signed",
        help="one that clients must be given to trust",
        description="Make a key and a certificate that signs itself, and say its fingerprint.",
        allow_abbrev=False,
    )
    its.add_argument(
        "--host",
        metavar="NAME",
        nargs="+",
        action="extend",
        help="name or address that clients use (default: this machine's name, and localhost)",
    )
    its.add_argument("--certificate", metavar="FILE", type=Path, required=True, help="to write")
    its.add_argument("--key", metavar="FILE", type=Path, required=True, help="to write, mode 0600")
    its.add_argument("--days", metavar="N", type=int, help="how long it is valid (default: 825)")


def run(arguments: Namespace) -> int:
    """Raises ConfigError: a host or a number of days is wrong, or a file is there already."""
    hosts = arguments.host or [socket.gethostname(), "localhost"]
    days = certificate.VALID_DAYS if arguments.days is None else arguments.days
    try:
        made, key = certificate.self_signed(hosts, datetime.now(UTC), days)
    except ValueError as error:
        raise ConfigError(f"cannot make the certificate: {error}") from None
    _write(arguments.key, key, 0o600)
    try:
        _write(arguments.certificate, made, 0o644)
    except ConfigError:
        arguments.key.unlink()
        raise
    print(f"SHA-256 fingerprint: {certificate.read(made).fingerprint}")
    print(f"tls_certificate = {_toml(arguments.certificate)}")
    print(f"tls_key = {_toml(arguments.key)}")
    return 0


def _write(path: Path, content: bytes, mode: int) -> None:
    """A new file, or none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        path.unlink()
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _toml(path: Path) -> str:
    escaped = str(path.absolute()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
