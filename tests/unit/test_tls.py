"""TLS contexts: what they ask for, and which files they refuse."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from storlever.errors import ConfigError
from storlever.web.tls import Identity, Tls, common_name, context
from tests.pki import Authority, Pair, server_pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return server_pair(tmp_path)


def refusal(tls: Tls) -> str:
    with pytest.raises(ConfigError) as refused:
        context(tls)
    return str(refused.value)


def test_it_speaks_tls_1_2_and_later_uncompressed_and_asks_no_client_for_anything(
    pair: Pair,
) -> None:
    made, _ = context(Tls(pair.certificate, pair.key))
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert made.options & ssl.OP_NO_COMPRESSION
    assert made.verify_mode == ssl.CERT_NONE


def test_with_an_authority_for_clients_it_asks_them_for_a_certificate_without_insisting(
    tmp_path: Path, pair: Pair
) -> None:
    made, _ = context(Tls(pair.certificate, pair.key, Authority(tmp_path).file))
    assert made.verify_mode == ssl.CERT_OPTIONAL
    assert len(made.get_ca_certs()) == 1


@pytest.mark.parametrize("setting", ["certificate", "key", "client_ca"])
def test_a_file_that_cannot_be_read_is_refused_with_its_setting(
    tmp_path: Path, pair: Pair, setting: str
) -> None:
    ours = {"certificate": pair.certificate, "key": pair.key, "client_ca": pair.certificate}
    for gone, why in ((tmp_path / "gone", "No such file"), (tmp_path, "Is a directory")):
        said = refusal(Tls(**{**ours, setting: gone}))
        assert said.startswith(f"tls_{setting}: cannot read {gone}: {why}")


@pytest.mark.parametrize("setting", ["certificate", "key", "client_ca"])
def test_a_file_that_holds_something_else_is_refused_with_its_setting(
    tmp_path: Path, pair: Pair, setting: str
) -> None:
    other = tmp_path / "other"
    other.touch(0o600)
    other.write_text("-----BEGIN NONSENSE-----\n")
    ours = {"certificate": pair.certificate, "key": pair.key, "client_ca": pair.certificate}
    said = refusal(Tls(**{**ours, setting: other}))
    assert said.startswith(f"tls_{setting}: {other} holds no ")


def test_the_key_of_another_certificate_is_refused(tmp_path: Path, pair: Pair) -> None:
    other = server_pair(tmp_path, "other")
    said = refusal(Tls(pair.certificate, other.key))
    assert said == f"tls_key: {other.key} is not the key of the certificate in {pair.certificate}"


def test_a_key_of_another_kind_is_refused_the_same_way(tmp_path: Path, pair: Pair) -> None:
    key = made_by_openssl(tmp_path, "genpkey", "-algorithm", "RSA", "-out")
    assert "is not the key of the certificate" in refusal(Tls(pair.certificate, key))


def test_a_key_that_needs_a_passphrase_is_refused_and_nobody_is_asked_for_it(
    tmp_path: Path, pair: Pair
) -> None:
    encrypt = ["pkcs8", "-topk8", "-in", str(pair.key), "-passout", "pass:x", "-out"]
    key = made_by_openssl(tmp_path, *encrypt)
    said = refusal(Tls(pair.certificate, key))
    assert said == f"tls_key: {key} is encrypted; it must need no passphrase"


def made_by_openssl(folder: Path, *command: str) -> Path:
    key = folder / "openssl.key"
    key.touch(0o600)
    subprocess.run(["openssl", *command, key], check=True, capture_output=True)
    return key


def test_a_certificate_with_too_short_a_key_is_refused_and_is_the_one_to_blame(
    tmp_path: Path,
) -> None:
    key, file = tmp_path / "short.key", tmp_path / "short.pem"
    key.touch(0o600)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:512", "-nodes", "-subj", "/CN=x"),
            *("-keyout", key, "-out", file),
        ],
        check=True,
        capture_output=True,
    )
    assert refusal(Tls(file, key)).startswith(f"tls_certificate: OpenSSL refuses {file}: ee key")


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o602, 0o620])
def test_a_key_that_others_may_use_is_refused(pair: Pair, mode: int) -> None:
    pair.key.chmod(mode)
    said = refusal(Tls(pair.certificate, pair.key))
    assert said.startswith(f"tls_key: others than its owner may use {pair.key}; its mode must be")


def test_roots_key_may_be_for_a_group_to_read(pair: Pair) -> None:
    pair.key.chmod(0o640)
    if pair.key.stat().st_uid == 0:
        context(Tls(pair.certificate, pair.key))
    else:
        assert "others than its owner" in refusal(Tls(pair.certificate, pair.key))


@pytest.mark.parametrize(
    ("days", "said"),
    [(0, "TLS certificate"), (-366, "has expired"), (2, "is not valid yet")],
)
def test_the_log_says_which_certificate_it_is_and_warns_out_of_its_time(
    tmp_path: Path, days: int, said: str
) -> None:
    pair = server_pair(tmp_path, now=datetime.now(UTC) + timedelta(days=days))
    with structlog.testing.capture_logs() as lines:
        context(Tls(pair.certificate, pair.key))
    assert len(lines) == 1
    assert said in lines[0]["event"]
    assert lines[0]["log_level"] == ("warning" if days else "info")
    assert lines[0]["sha256"] == pair.fingerprint


@pytest.mark.parametrize(("age", "warned"), [(0, False), (350, False), (352, True), (366, True)])
def test_a_certificate_that_ends_soon_is_warned_of(tmp_path: Path, age: int, warned: bool) -> None:
    """It is valid for 365 days."""
    pair = server_pair(tmp_path, now=datetime.now(UTC) - timedelta(days=age))
    warnings = Identity(Tls(pair.certificate, pair.key)).warnings()
    assert any("valid until" in each for each in warnings) is warned


def test_the_one_common_name_of_a_subject_is_its_and_of_several_none() -> None:
    country, joe, tim = (("countryName", "IS"),), (("commonName", "joe"),), (("commonName", "tim"),)
    assert common_name({"subject": (country, joe)}) == "joe"
    assert common_name({"subject": (joe, tim)}) is None
    assert common_name({"subject": (joe + tim,)}) is None
    assert common_name({"subject": (country,)}) is None
    assert common_name({}) is None
    assert common_name(None) is None
