"""Settings, frozen: from flags, environment and a TOML file, in this order of precedence.

One table lists them; an unknown key is an error in all three.
"""

import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from storlever import failpoint
from storlever.endpoint import Endpoint
from storlever.errors import ConfigError

ENVIRONMENT_PREFIX = "STORLEVER_"
NOT_SETTINGS = frozenset({failpoint.VARIABLE})
"""Of this prefix, and for developers only."""


def _listen(text: str) -> Endpoint | Path:
    """HOST:PORT on loopback, or unix:PATH."""
    if text.startswith("unix:"):
        if not text.startswith("unix:/"):
            raise ValueError("a Unix socket needs an absolute path: unix:/PATH")
        return Path(text.removeprefix("unix:"))
    endpoint = Endpoint.parse(text)
    if endpoint.host != "localhost" and not _is_loopback(endpoint.host):
        raise ValueError(
            "only loopback addresses and unix:/PATH: authentication comes first, and StorLever "
            "has none yet"
        )
    return endpoint


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _portal(text: str) -> Endpoint:
    endpoint = Endpoint.parse(text)
    try:
        return Endpoint(str(ip_address(endpoint.host)), endpoint.port)
    except ValueError:
        raise ValueError("the host must be a numeric address") from None


def _folder(text: str) -> Path:
    if not text:
        raise ValueError("must not be empty")
    return Path(text).absolute()


def _root(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError("must be an absolute path")
    return Path(text)


def _control_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 32767:
        raise ValueError("must be a number from 0 to 32767")
    return int(text)


def _threads(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 128:
        raise ValueError("must be a number from 1 to 128")
    return int(text)


def _word(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text

    return parse


def _setting(
    parse: Callable[[str], Any], default: str | tuple[str, ...], metavar: str, text: str
) -> Any:
    many = isinstance(default, tuple)
    value = tuple(map(parse, default)) if isinstance(default, tuple) else parse(default)
    return field(
        default=value, metadata={"parse": parse, "many": many, "metavar": metavar, "help": text}
    )


@dataclass(frozen=True, slots=True)
class Settings:
    listen: tuple[Endpoint | Path, ...] = _setting(
        _listen, ("127.0.0.1:6543",), "HOST:PORT|unix:PATH", "where to serve HTTP"
    )
    state_dir: Path = _setting(_folder, "/var/lib/storlever", "DIR", "where the state is kept")
    backing_root: tuple[Path, ...] = _setting(
        _root, ("/",), "DIR", "where the files and devices behind LUNs may lie, links resolved"
    )
    tgtd: str = _setting(
        _word("auto", "own", "attach"),
        "auto",
        "auto|own|attach",
        "own: run a tgtd; attach: use one that runs; auto: attach if one runs, else own",
    )
    tgt_control_port: int = _setting(_control_port, "0", "N", "control port of tgtd, 0 to 32767")
    tgt_io_threads: int = _setting(
        _threads, "16", "N", "I/O threads that an owned tgtd starts for each LUN"
    )
    portal: tuple[Endpoint, ...] = _setting(
        _portal, ("127.0.0.1:3260",), "HOST:PORT", "where an owned tgtd serves iSCSI"
    )
    log_format: str = _setting(_word("text", "json"), "text", "text|json", "format of the log")


def add_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of these settings")
    for item in fields(Settings):
        many = item.metadata["many"]
        parser.add_argument(
            "--" + item.name.replace("_", "-"),
            metavar=item.metadata["metavar"],
            action="append" if many else "store",
            help=item.metadata["help"] + (" (repeatable)" if many else ""),
        )


def load(flags: Namespace, environment: Mapping[str, str]) -> Settings:
    """Raises ConfigError, naming the setting and where it was said."""
    said = _from_environment(environment)
    default = said.pop("config", None)
    file = flags.config or default
    said = {**(_from_file(Path(file)) if file else {}), **said, **_from_flags(flags)}
    return Settings(**said)


def _from_flags(flags: Namespace) -> dict[str, Any]:
    given = {item.name: getattr(flags, item.name) for item in fields(Settings)}
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
    """Keys are the flags' names; dashes and underscores are the same."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    said: dict[str, Any] = {}
    known = {item.name: item for item in fields(Settings)}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ConfigError(f"unknown setting {key} in {path}")
        if isinstance(value, bool | float | dict):
            raise ConfigError(f"{key} in {path}: has the wrong type")
        several = known[name].metadata["many"] and not isinstance(value, list)
        said[name] = _parsed(name, [value] if several else value, f"{key} in {path}")
    return said


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
