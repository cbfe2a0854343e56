"""Settings, frozen: from flags, environment and a TOML file, in this order of precedence.

One table lists them; an unknown key is an error in all three.
"""

import re
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from storlever import failpoint
from storlever.endpoint import Endpoint
from storlever.errors import ConfigError
from storlever.principal import Role

ENVIRONMENT_PREFIX = "STORLEVER_"
NOT_SETTINGS = frozenset({failpoint.VARIABLE})
"""Of this prefix, and for developers only."""


def _listen(text: str) -> Endpoint | Path:
    """HOST:PORT, https:// before it for TLS; or unix:PATH."""
    if text.startswith("unix:"):
        if not text.startswith("unix:/"):
            raise ValueError("a Unix socket needs an absolute path: unix:/PATH")
        return Path(text.removeprefix("unix:"))
    bare = text.removeprefix("https://")
    return replace(Endpoint.parse(bare), secure=bare != text)


def _role_of(text: str) -> tuple[str, Role]:
    """NAME=ROLE."""
    name, _, role = text.rpartition("=")
    if not name:
        raise ValueError("must be NAME=ROLE")
    return name, Role.parse(role)


def _host(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9.-]+", text.lower()):
        raise ValueError("must be a host name, without a port")
    return text.lower()


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+", text):
        raise ValueError("must be like https://panel.example.com, without a path")
    return text


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ValueError(f"must be a number from {least} to {most}")
        return int(text)

    return parse


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return text.lower() == "true"


def _portal(text: str) -> Endpoint:
    endpoint = Endpoint.parse(text)
    try:
        return Endpoint(str(ip_address(endpoint.host)), endpoint.port)
    except ValueError:
        raise ValueError("the host must be a numeric address") from None


def _path(text: str) -> Path:
    if not text:
        raise ValueError("must not be empty")
    return Path(text).absolute()


def _file(text: str) -> Path | None:
    return Path(text).absolute() if text else None


def _root(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError("must be an absolute path")
    return Path(text)


def _word(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text

    return parse


def _setting(
    parse: Callable[[str], Any], default: str | tuple[str, ...] | None, metavar: str, text: str
) -> Any:
    many = isinstance(default, tuple)
    value: Any = None
    if default is not None:
        value = tuple(map(parse, default)) if isinstance(default, tuple) else parse(default)
    return field(
        default=value, metadata={"parse": parse, "many": many, "metavar": metavar, "help": text}
    )


@dataclass(frozen=True, slots=True)
class Settings:
    listen: tuple[Endpoint | Path, ...] = _setting(
        _listen, ("127.0.0.1:6543",), "[https://]HOST:PORT|unix:PATH", "where to serve HTTP"
    )
    tls_certificate: Path | None = _setting(
        _file, "", "FILE", "certificate for https://, with those that lead to its root; PEM"
    )
    tls_key: Path | None = _setting(_file, "", "FILE", "its private key; PEM")
    tls_client_ca: Path | None = _setting(
        _file, "", "FILE", "who signs the certificates that clients may show; PEM"
    )
    state_dir: Path = _setting(_path, "/var/lib/storlever", "DIR", "where the state is kept")
    key_file: Path | None = _setting(
        _path, None, "FILE", "the key to the secrets in the state; made on the first start"
    )
    """None: as `keyfile.default` says."""
    backing_root: tuple[Path, ...] = _setting(
        _root, ("/",), "DIR", "where the files and devices behind LUNs may lie, links resolved"
    )
    tgtd: str = _setting(
        _word("auto", "own", "attach"),
        "auto",
        "auto|own|attach",
        "own: run a tgtd; attach: use one that runs; auto: attach if one runs, else own",
    )
    tgt_control_port: int = _setting(
        _number(0, 32767), "0", "N", "control port of tgtd, 0 to 32767"
    )
    tgt_io_threads: int = _setting(
        _number(1, 128), "16", "N", "I/O threads that an owned tgtd starts for each LUN"
    )
    portal: tuple[Endpoint, ...] = _setting(
        _portal, ("127.0.0.1:3260",), "HOST:PORT", "where an owned tgtd serves iSCSI"
    )
    auth_loopback: str = _setting(
        _word("open", "token"),
        "open",
        "open|token",
        "open: whoever is on this machine is an admin; token: they need one too",
    )
    behind_tls_proxy: bool = _setting(
        _truth,
        "false",
        "true|false",
        "whether a proxy that speaks TLS is all that gets here over TCP",
    )
    insecure_no_tls: bool = _setting(
        _truth,
        "false",
        "true|false",
        "whether tokens and passwords may cross a network in the clear",
    )
    allow_host: tuple[str, ...] = _setting(
        _host, (), "NAME", "a name that the service is called by, besides its addresses"
    )
    allow_origin: tuple[str, ...] = _setting(
        _origin, (), "URL", "a site whose pages may call the API in a browser"
    )
    socket_group: str = _setting(
        str, "", "GROUP", "the group that may connect to the Unix sockets of listen"
    )
    socket_role: tuple[tuple[str, Role], ...] = _setting(
        _role_of, (), "[@]NAME=ROLE", "the role of a user, or of a @group, on Unix sockets"
    )
    client_role: tuple[tuple[str, Role], ...] = _setting(
        _role_of, (), "NAME=ROLE", "the role of a client certificate's common name"
    )
    audit_days: int = _setting(_number(1, 36500), "365", "N", "days that the audit is kept")
    audit_entries: int = _setting(
        _number(1, 100_000_000), "200000", "N", "entries of the audit that are kept at most"
    )
    revisions: int = _setting(
        _number(0, 1_000_000), "1000", "N", "changes that can be undone; 0 forgets old passwords"
    )
    log_format: str = _setting(_word("text", "json"), "text", "text|json", "format of the log")

    @property
    def open_loopback(self) -> bool:
        """Whether who connects on this machine is taken for its administrator."""
        return self.auth_loopback == "open" and not self.behind_tls_proxy

    @property
    def secure(self) -> tuple[Endpoint, ...]:
        """Where TLS is spoken."""
        return tuple(each for each in self.listen if isinstance(each, Endpoint) and each.secure)

    @property
    def exposed(self) -> tuple[Endpoint, ...]:
        """Where others than this machine can connect."""
        return tuple(
            where for where in self.listen if isinstance(where, Endpoint) and not where.is_loopback
        )


def _require_safe(settings: Settings) -> None:
    """Raises ConfigError where tokens would cross a network in the clear."""
    if settings.insecure_no_tls or settings.behind_tls_proxy:
        return
    for where in settings.exposed:
        if not where.secure:
            raise ConfigError(
                f"listen {where}: is not a loopback address, so it needs TLS: https://{where}; or "
                "behind_tls_proxy, where a proxy has it; or insecure_no_tls, if it must be so"
            )


def add_flags(parser: ArgumentParser, *names: str) -> None:
    """Flags for these settings, or for all."""
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of these settings")
    for item in fields(Settings):
        if names and item.name not in names:
            continue
        many = item.metadata["many"]
        parser.add_argument(
            "--" + item.name.replace("_", "-"),
            metavar=item.metadata["metavar"],
            action="append" if many else "store",
            nargs="?" if item.type is bool else None,
            const="true" if item.type is bool else None,
            help=item.metadata["help"] + (" (repeatable)" if many else ""),
        )


def load(flags: Namespace, environment: Mapping[str, str]) -> Settings:
    """Raises ConfigError, naming the setting and where it was said."""
    said = _from_environment(environment)
    default = said.pop("config", None)
    file = flags.config or default
    said = {**(_from_file(Path(file)) if file else {}), **said, **_from_flags(flags)}
    settings = Settings(**said)
    _require_safe(settings)
    _check_tls(settings)
    return settings


def _check_tls(settings: Settings) -> None:
    if settings.client_role and settings.tls_client_ca is None:
        raise ConfigError("client_role: means nothing without tls_client_ca")
    secure = settings.secure
    for name in ("tls_certificate", "tls_key"):
        if secure and getattr(settings, name) is None:
            raise ConfigError(f"{name}: is needed to listen on {secure[0].url}")
    for name in ("tls_certificate", "tls_key", "tls_client_ca"):
        if not secure and getattr(settings, name) is not None:
            raise ConfigError(f"{name}: means nothing where no https:// is in listen")


def _from_flags(flags: Namespace) -> dict[str, Any]:
    given = {item.name: getattr(flags, item.name, None) for item in fields(Settings)}
    return {
        name: _parsed(name, value, "--" + name.replace("_", "-"))
        for name, value in given.items()
        if value is not None
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Several values of one setting are separated by blanks."""
    said: dict[str, Any] = {}
    known = {item.name: item for item in fields(Settings)}
    for key, text in environment.items():
        if not key.startswith(ENVIRONMENT_PREFIX) or key in NOT_SETTINGS:
            continue
        name = key.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name == "config":
            said[name] = text
        elif name not in known or key != key.upper():
            raise ConfigError(f"unknown setting {key} in the environment")
        else:
            many = known[name].metadata["many"]
            said[name] = _parsed(name, text.split() if many else text, key)
    return said


def _from_file(path: Path) -> dict[str, Any]:
    """Keys are the flags' names; dashes and underscores are the same, and so is a table: `key` in
    [tls] is `tls_key`."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    said: dict[str, Any] = {}
    known = {item.name: item for item in fields(Settings)}
    for key, value in _flat(content, known):
        name = _name(key)
        if name not in known:
            raise ConfigError(f"unknown setting {key} in {path}")
        if name in said:
            raise ConfigError(f"{key} in {path}: is said twice")
        misplaced = isinstance(value, bool) and known[name].type is not bool
        if misplaced or isinstance(value, float | dict):
            raise ConfigError(f"{key} in {path}: has the wrong type")
        several = known[name].metadata["many"] and not isinstance(value, list)
        said[name] = _parsed(name, [value] if several else value, f"{key} in {path}")
    return said


def _flat(
    table: Mapping[str, Any], known: Container[str], above: str = ""
) -> Iterator[tuple[str, Any]]:
    """What stands in the table and those in it, with its dotted key."""
    for key, value in table.items():
        if isinstance(value, dict) and _name(above + key) not in known:
            yield from _flat(value, known, f"{above}{key}.")
        else:
            yield above + key, value


def _name(key: str) -> str:
    return re.sub("[-.]", "_", key)


def _parsed(name: str, value: Any, where: str) -> Any:
    item = next(item for item in fields(Settings) if item.name == name)
    parse = item.metadata["parse"]
    try:
        if not item.metadata["many"]:
            return parse(str(value))
        if not value:
            raise ValueError("needs at least one value")
        return tuple(dict.fromkeys(parse(str(each)) for each in value))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
