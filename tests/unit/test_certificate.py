"""Certificates that sign themselves."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from storlever import certificate

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
HOSTS = ("san.example.com", "localhost", "10.0.0.1", "fd00::1")


def made(*hosts: str, days: int = certificate.VALID_DAYS) -> x509.Certificate:
    pem, _ = certificate.self_signed(hosts or HOSTS, NOW, days)
    return x509.load_pem_x509_certificate(pem)


def test_it_names_each_host_once_as_what_it_is() -> None:
    names = made(*HOSTS, "localhost").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert list(map(str, names.value.get_values_for_type(x509.DNSName))) == [
        "san.example.com",
        "localhost",
    ]
    addresses = names.value.get_values_for_type(x509.IPAddress)
    assert list(map(str, addresses)) == ["10.0.0.1", "fd00::1"]


def test_it_is_for_a_server_and_signs_nothing_but_itself() -> None:
    its = made().extensions
    uses = its.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.SERVER_AUTH]
    constraints = its.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca


def test_its_key_is_on_p_256_and_signed_it() -> None:
    pem, secret = certificate.self_signed(HOSTS, NOW)
    loaded = x509.load_pem_x509_certificate(pem)
    key = load_pem_private_key(secret, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert key.public_key() == loaded.public_key()
    loaded.verify_directly_issued_by(loaded)


def test_it_is_valid_from_an_hour_before_it_was_made_and_for_825_days_in_all() -> None:
    its = made()
    assert its.not_valid_before_utc == NOW - timedelta(hours=1)
    assert its.not_valid_after_utc - its.not_valid_before_utc == timedelta(days=825)


def test_no_two_have_a_key_or_a_serial_number_in_common() -> None:
    one, other = made(), made()
    assert one.serial_number != other.serial_number
    assert one.public_key() != other.public_key()


def test_a_name_too_long_for_a_subject_is_still_an_alternative_name() -> None:
    name = "a" * 60 + ".example.com"
    names = made(name).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [name]


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a,b",
        "https://a",
        "a:1",
        "-a",
        "a..b",
        "é.example",
        "a\n",
        "a" * 64,
        "10.0.0.0/8",
    ],
)
def test_what_is_neither_a_name_nor_an_address_is_refused_by_name(host: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name nor a numeric address") as refused:
        made("localhost", host)
    assert repr(host) in str(refused.value)


@pytest.mark.parametrize("days", [-1, 0, 36_501])
def test_days_out_of_bounds_are_refused(days: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 36500"):
        made(days=days)


def test_a_certificate_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one host"):
        certificate.self_signed((), NOW)


def test_its_fingerprint_and_dates_are_those_that_openssl_prints(tmp_path: Path) -> None:
    pem, _ = certificate.self_signed(HOSTS, NOW)
    file = tmp_path / "it.pem"
    file.write_bytes(pem)
    said = subprocess.run(
        ["openssl", "x509", "-in", file, *("-noout", "-fingerprint", "-sha256", "-enddate")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    reading = certificate.read(pem)
    assert said[0].partition("=")[2] == reading.fingerprint
    assert said[1].partition("=")[2] == f"{reading.valid_until:%b %e %H:%M:%S %Y} GMT"


def test_what_holds_no_certificate_is_a_value_error() -> None:
    _, secret = certificate.self_signed(HOSTS, NOW)
    for pem in (b"", b"nonsense", secret):
        with pytest.raises(ValueError, match=r"."):
            certificate.read(pem)
