"""Settings: the same from flags, environment and TOML; what is not allowed is an error."""

import argparse
import os
import subprocess
from pathlib import Path

import pytest

from storlever import config
from storlever.config import Settings
from storlever.errors import ConfigError
from storlever.principal import Role
from tests.world import STORLEVER

EVERYTHING = Settings(
    listen=(
        config._listen("127.0.0.1:7000"),
        config._listen("https://127.0.0.1:7001"),
        Path("/run/x.sock"),
    ),
    tls_certificate=Path("/etc/x.pem"),
    tls_key=Path("/etc/x.key"),
    tls_client_ca=Path("/etc/ca.pem"),
    state_dir=Path("/var/lib/x"),
    key_file=Path("/etc/x.key"),
    tgtd="attach",
    tgt_control_port=12,
    tgt_io_threads=3,
    portal=(config._portal("10.0.0.1:3260"), config._portal("[::1]:3261")),
    log_format="json",
    backing_root=(Path("/srv/ab"), Path("/dev")),
)


def load(
    *flags: str, toml: str | None = None, folder: Path = Path("/"), **environment: str
) -> Settings:
    """`toml`: the content of a file in `folder` that --config names."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    config.add_flags(parser)
    said = list(flags)
    if toml is not None:
        file = folder / "storlever.toml"
        file.write_text(toml)
        said += ["--config", str(file)]
    return config.load(parser.parse_args(said), {"PATH": "/bin", **environment})


def test_with_nothing_said_everything_is_on_loopback() -> None:
    settings = load()
    assert list(map(str, settings.listen)) == ["127.0.0.1:6543"]
    assert list(map(str, settings.portal)) == ["127.0.0.1:3260"]
    assert (settings.tgtd, settings.tgt_control_port) == ("auto", 0)
    assert settings.key_file is None


ACCESS = Settings(
    auth_loopback="token",
    behind_tls_proxy=True,
    allow_host=("san.example.com", "san"),
    allow_origin=("https://panel.example.com",),
    socket_group="storage",
    socket_role=(("alice", Role.OPERATOR), ("@storage", Role.READER)),
    client_role=(("ci = 1", Role.ADMIN),),
    listen=(config._listen("https://127.0.0.1:1"),),
    tls_certificate=Path("/c"),
    tls_key=Path("/k"),
    tls_client_ca=Path("/ca"),
    audit_days=30,
    audit_entries=1000,
    revisions=0,
)


def test_who_may_is_said_in_the_same_three_ways(tmp_path: Path) -> None:
    flags = (
        *("--auth-loopback", "token", "--behind-tls-proxy", "--allow-host", "SAN.example.com"),
        *("--allow-host", "san", "--allow-origin", "https://panel.example.com"),
        *("--socket-group", "storage", "--socket-role", "alice=operator"),
        *("--socket-role", "@storage=reader", "--client-role", "ci = 1=admin"),
        *("--audit-days", "30", "--audit-entries", "1000", "--tls-client-ca", "/ca"),
        *("--revisions", "0"),
        *("--listen", "https://127.0.0.1:1", "--tls-certificate", "/c", "--tls-key", "/k"),
    )
    toml = """
        behind_tls_proxy = true
        auth.loopback = "token"
        client-role = "ci = 1=admin"
        revisions = 0
        listen = "https://127.0.0.1:1"
        tls = {client_ca = "/ca", certificate = "/c", key = "/k"}
        [allow]
        host = ["san.example.com", "san"]
        origin = "https://panel.example.com"
        [socket]
        group = "storage"
        role = ["alice=operator", "@storage=reader"]
        [audit]
        days = 30
        entries = 1000
    """
    assert load(*flags) == load(toml=toml, folder=tmp_path) == ACCESS
    assert not load("--behind-tls-proxy", "false").behind_tls_proxy
    environment = load(STORLEVER_BEHIND_TLS_PROXY="true", STORLEVER_SOCKET_ROLE="a=reader b=admin")
    assert environment.behind_tls_proxy
    assert environment.socket_role == (("a", Role.READER), ("b", Role.ADMIN))


def test_flags_environment_and_toml_say_the_same(tmp_path: Path) -> None:
    flags = (
        *("--listen", "127.0.0.1:7000", "--listen", "https://127.0.0.1:7001"),
        *("--listen", "unix:/run/x.sock", "--tls-certificate", "/etc/x.pem"),
        *("--tls-key", "/etc/x.key", "--tls-client-ca", "/etc/ca.pem"),
        *("--state-dir", "/var/lib/x", "--key-file", "/etc/x.key"),
        *("--tgtd", "attach", "--tgt-control-port", "12"),
        *("--tgt-io-threads", "3", "--portal", "10.0.0.1:3260", "--portal", "[::1]:3261"),
        *("--log-format", "json", "--backing-root", "/srv/ab", "--backing-root", "/dev"),
    )
    toml = """
        listen = ["127.0.0.1:7000", "https://127.0.0.1:7001", "unix:/run/x.sock"]
        state_dir = "/var/lib/x"
        key_file = "/etc/x.key"
        tgtd = "attach"
        tgt-control-port = 12
        tgt_io_threads = 3
        portal = ["10.0.0.1:3260", "[::1]:3261"]
        log_format = "json"
        backing-root = ["/srv/ab", "/dev"]
        [tls]
        certificate = "/etc/x.pem"
        key = "/etc/x.key"
        client-ca = "/etc/ca.pem"
    """
    assert EVERYTHING.listen[1] != config._listen("127.0.0.1:7001")
    assert load(*flags) == EVERYTHING
    assert load(toml=toml, folder=tmp_path) == EVERYTHING
    assert (
        load(
            STORLEVER_LISTEN="127.0.0.1:7000 https://127.0.0.1:7001 unix:/run/x.sock",
            STORLEVER_TLS_CERTIFICATE="/etc/x.pem",
            STORLEVER_TLS_KEY="/etc/x.key",
            STORLEVER_TLS_CLIENT_CA="/etc/ca.pem",
            STORLEVER_STATE_DIR="/var/lib/x",
            STORLEVER_KEY_FILE="/etc/x.key",
            STORLEVER_TGTD="attach",
            STORLEVER_TGT_CONTROL_PORT="12",
            STORLEVER_TGT_IO_THREADS="3",
            STORLEVER_PORTAL="10.0.0.1:3260 [::1]:3261",
            STORLEVER_LOG_FORMAT="json",
            STORLEVER_BACKING_ROOT="/srv/ab /dev",
        )
        == EVERYTHING
    )


def test_a_backing_root_is_an_absolute_path() -> None:
    assert load().backing_root == (Path("/"),)
    for said in ("srv", "./srv", "~/srv", ""):
        with pytest.raises(ConfigError, match=r"^--backing-root: must be an absolute path$"):
            load("--backing-root", said)


def test_flags_come_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    toml = "tgt_io_threads = 1\ntgt_control_port = 1\nportal = '10.0.0.1:1'\n"
    settings = load(
        *("--tgt-io-threads", "3", "--portal", "10.0.0.3:3"),
        toml=toml,
        folder=tmp_path,
        STORLEVER_TGT_IO_THREADS="2",
        STORLEVER_TGT_CONTROL_PORT="2",
        STORLEVER_PORTAL="10.0.0.2:2",
    )
    assert (settings.tgt_io_threads, settings.tgt_control_port) == (3, 2)
    assert list(map(str, settings.portal)) == ["10.0.0.3:3"]


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "named.toml"
    file.write_text("tgt_control_port = 5")
    assert load(STORLEVER_CONFIG=str(file)).tgt_control_port == 5


def test_an_unknown_key_is_an_error_in_the_environment_and_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown setting STORLEVER_PORTALS in the environment"):
        load(STORLEVER_PORTALS="127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"unknown setting STORLEVER_portal in the environment"):
        load(STORLEVER_portal="127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"unknown setting portals in .*storlever\.toml"):
        load(toml="portals = []", folder=tmp_path)
    with pytest.raises(ConfigError, match=r"unknown setting tgtd_\.portal in"):
        load(toml="[tgtd_]\nportal = 1", folder=tmp_path)


def test_a_table_is_the_first_part_of_its_keys_names(tmp_path: Path) -> None:
    toml = "[tgt]\ncontrol-port = 3\n[tgt.io]\nthreads = 4\n[log]\n"
    settings = load(toml=toml, folder=tmp_path)
    assert (settings.tgt_control_port, settings.tgt_io_threads) == (3, 4)


@pytest.mark.parametrize(
    "toml", ["tls_key = 'a'\ntls-key = 'b'", "tls_key = 'a'\n[tls]\nkey = 'b'"]
)
def test_a_setting_said_twice_in_the_file_is_an_error(tmp_path: Path, toml: str) -> None:
    with pytest.raises(ConfigError, match=r"tls.key in .*storlever\.toml: is said twice"):
        load(toml=toml, folder=tmp_path)


@pytest.mark.parametrize(
    ("said", "missing"),
    [([], "tls_certificate"), (["--tls-certificate", "/x"], "tls_key")],
)
def test_https_needs_a_certificate_and_a_key(said: list[str], missing: str) -> None:
    with pytest.raises(ConfigError, match=f"^{missing}: is needed .* https://127.0.0.1:1$"):
        load("--listen", "127.0.0.1:2", "--listen", "https://127.0.0.1:1", *said)


def test_fail_points_are_for_the_environment_alone_and_no_setting(tmp_path: Path) -> None:
    assert load(STORLEVER_FAILPOINTS="/x") == load()
    with pytest.raises(ConfigError, match=r"unknown setting STORLEVER_FAILPOINT "):
        load(STORLEVER_FAILPOINT="/x")
    with pytest.raises(ConfigError, match=r"unknown setting failpoints in"):
        load(toml="failpoints = '/x'", folder=tmp_path)


def run(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program itself, which must end by itself."""
    clean = {key: value for key, value in os.environ.items() if "STORLEVER" not in key}
    return subprocess.run(
        [STORLEVER, "serve", *flags],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_an_unknown_flag_is_an_error_and_so_is_a_shortened_one() -> None:
    for flag in ("--portals", "--port", "--tgt-control"):
        done = run(flag, "1")
        assert done.returncode == 2
        assert flag in done.stderr


@pytest.mark.parametrize(
    "listen",
    [
        "0.0.0.0:6543",
        "[::]:6543",
        "192.168.1.15:6543",
        "[fe80::1]:6543",
        "example.com:6543",
    ],
)
def test_listening_beyond_loopback_is_refused_without_tls(tmp_path: Path, listen: str) -> None:
    refused = pytest.raises(ConfigError, match="needs TLS")
    with refused:
        load("--listen", listen)
    with refused:
        load(STORLEVER_LISTEN=listen)
    with refused:
        load(toml=f"listen = '{listen}'", folder=tmp_path)
    for said in ("--behind-tls-proxy", "--insecure-no-tls"):
        assert load("--listen", listen, said).exposed
    files = ("--tls-certificate", "/c", "--tls-key", "/k")
    assert load("--listen", f"https://{listen}", *files).exposed


def test_the_program_says_so_and_ends_with_status_2(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = run("--listen", "0.0.0.0:6543", "--state-dir", str(state))
    assert done.returncode == 2
    assert done.stderr.startswith("storlever: listen 0.0.0.0:6543: is not a loopback address")
    assert not state.exists()


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.255.1.2:1", "[::1]:1", "localhost:1"])
def test_every_loopback_address_may_be_listened_on(listen: str) -> None:
    assert list(map(str, load("--listen", listen).listen)) == [listen]


@pytest.mark.parametrize(
    ("name", "bad", "why"),
    [
        ("listen", "127.0.0.1", "HOST:PORT"),
        ("listen", "127.0.0.1:0", "port"),
        ("listen", "127.0.0.1:65536", "port"),
        ("listen", "::1:80", "brackets"),
        ("listen", "http://127.0.0.1:80", "HOST:PORT"),
        ("listen", "https://127.0.0.1:80/", "port"),
        ("listen", "https://", "HOST:PORT"),
        ("listen", "unix:relative", "absolute path"),
        ("portal", "example.com:3260", "numeric address"),
        ("portal", "127.0.0.1:x", "port"),
        ("portal", "127.0.0.1,portal=0.0.0.0:3260", "numeric address"),
        ("tgtd", "maybe", "auto or own or attach"),
        ("auth_loopback", "closed", "open or token"),
        ("behind_tls_proxy", "yes", "true or false"),
        ("allow_host", "san:80", "without a port"),
        ("allow_origin", "panel", "without a path"),
        ("allow_origin", "https://panel/x", "without a path"),
        ("socket_role", "alice", "NAME=ROLE"),
        ("socket_role", "=admin", "NAME=ROLE"),
        ("client_role", "x=root", "reader, operator, admin"),
        ("audit_days", "0", "1 to 36500"),
        ("revisions", "-1", "0 to 1000000"),
        ("tgt_control_port", "-1", "0 to 32767"),
        ("tgt_control_port", "32768", "0 to 32767"),
        ("tgt_io_threads", "0", "1 to 128"),
        ("tgt_io_threads", "many", "1 to 128"),
        ("log_format", "xml", "text or json"),
        ("state_dir", "", "empty"),
        ("key_file", "", "empty"),
    ],
)
def test_a_bad_value_is_refused_with_the_name_of_its_setting(
    tmp_path: Path, name: str, bad: str, why: str
) -> None:
    flag = "--" + name.replace("_", "-")
    variable = f"STORLEVER_{name.upper()}"
    with pytest.raises(ConfigError, match=f"{flag}: .*({why})"):
        load(f"{flag}={bad}")
    with pytest.raises(ConfigError, match=f"{name} in .*toml: .*({why})"):
        load(toml=f"{name} = '{bad}'", folder=tmp_path)
    if bad:
        with pytest.raises(ConfigError, match=f"{variable}: .*({why})"):
            load(folder=tmp_path, **{variable: bad})


@pytest.mark.parametrize("value", ["true", "1.5", "{x = 1}", "[]", "[['127.0.0.1:1']]"])
def test_a_wrong_type_in_the_file_is_refused_with_the_name_of_its_setting(
    tmp_path: Path, value: str
) -> None:
    with pytest.raises(ConfigError, match=r"portal in .*toml: "):
        load(toml=f"portal = {value}", folder=tmp_path)


@pytest.mark.parametrize("content", [b"portal = ", b"\xff", b"portal = 1\nportal = 2"])
def test_a_file_that_is_no_toml_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load("--config", str(file))


def test_a_file_that_is_not_there_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load("--config", str(tmp_path / "none.toml"))


def test_a_value_said_twice_counts_once() -> None:
    assert len(load("--portal", "127.0.0.1:1", "--portal", "127.0.0.1:1").portal) == 1
