"""How the commands reach a service that runs."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from ipaddress import ip_address
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from storlever.cli.failure import Failure, Status

if TYPE_CHECKING:
    from storlever.client import Client

STATE_DIR = "/var/lib/storlever"
SOCKET = "run/api.sock"
USUAL = 30.0
LONG = 600.0
"""Seconds for what is about all targets."""
URL = "http://127.0.0.1:6543"


def add_flags(parser: ArgumentParser, *, state_dir: bool = True) -> None:
    """Where the service is, and who asks. Without `state_dir`: the parser has that flag."""
    group = parser.add_argument_group("connection")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--url", help=f"of the service, such as {URL} (STORLEVER_URL)")
    where.add_argument("--socket", metavar="PATH", help="its Unix socket (STORLEVER_SOCKET)")
    if state_dir:
        where.add_argument(
            "--state-dir", metavar="DIR", help="its state folder, for the socket there"
        )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        help="with the token (STORLEVER_TOKEN_FILE, STORLEVER_TOKEN)",
    )
    group.add_argument(
        "--ca-file", metavar="FILE", help="who signs its certificate; PEM (STORLEVER_CA_FILE)"
    )
    group.add_argument("--client-certificate", metavar="FILE", help="to show it; PEM")
    group.add_argument("--client-key", metavar="FILE", help="of that certificate; PEM")
    group.add_argument(
        "--insecure-no-tls",
        action="store_true",
        help="send the token and passwords over a network in the clear",
    )
    group.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="go on trying, if the service is not there or busy (default: %(default)g)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < inf:
        raise ArgumentTypeError("must be a number of seconds, 0 or more")
    return seconds


def elsewhere(arguments: Namespace, environment: Mapping[str, str]) -> bool:
    """Whether a service is named that is to be asked, whatever the state folder holds."""
    return bool(arguments.url or arguments.socket or "STORLEVER_URL" in environment)


@contextmanager
def opened(arguments: Namespace) -> Iterator["Client"]:
    """Raises Failure."""
    with client(options(arguments, os.environ)) as found:
        yield found


def client(options: dict[str, Any]) -> "Client":
    """The HTTP library comes with it, so only whoever asks a service waits for that."""
    kind = import_module("storlever.client").Client
    try:
        made: Client = kind(**options)
    except (OSError, ValueError) as error:
        raise Failure(f"cannot connect: {error}", status=Status.USAGE) from None
    return made


def options(arguments: Namespace, environment: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of Client. Raises Failure."""
    url, socket = _where(arguments, environment)
    token = _token(arguments.token_file, environment)
    if token and not socket and not arguments.insecure_no_tls and _in_the_clear(url):
        raise Failure(
            f"the token would cross the network in the clear to {url}",
            status=Status.USAGE,
            advice="use https://, or --insecure-no-tls if it must be so",
        )
    ca_file = arguments.ca_file or environment.get("STORLEVER_CA_FILE")
    return {
        "url": url,
        "socket": socket,
        "token": token,
        "ca_file": Path(ca_file) if ca_file else None,
        "certificate": _certificate(arguments),
        "timeout": getattr(arguments, "timeout", USUAL),
        "patience": arguments.wait,
    }


def _where(arguments: Namespace, environment: Mapping[str, str]) -> tuple[str, Path | None]:
    """What is said, flags first; else the socket in the usual state folder, if it is there."""
    if arguments.url:
        return arguments.url, None
    if arguments.socket:
        return URL, Path(arguments.socket)
    if arguments.state_dir:
        return URL, Path(arguments.state_dir) / SOCKET
    if url := environment.get("STORLEVER_URL"):
        return url, None
    if socket := environment.get("STORLEVER_SOCKET"):
        return URL, Path(socket)
    usual = Path(environment.get("STORLEVER_STATE_DIR", STATE_DIR)) / SOCKET
    return URL, usual if _is_mine(usual) else None


def _is_mine(socket: Path) -> bool:
    try:
        return socket.is_socket() and os.access(socket, os.W_OK)
    except OSError:
        return False


def _token(file: str | None, environment: Mapping[str, str]) -> str | None:
    """Never an argument: everybody on a machine may read those."""
    file = file or environment.get("STORLEVER_TOKEN_FILE")
    if not file:
        return environment.get("STORLEVER_TOKEN")
    try:
        token = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read the token: {error}", status=Status.USAGE) from None
    if not token or not token.isascii() or not token.isprintable():
        raise Failure(f"{file} holds no token", status=Status.USAGE)
    return token


def _certificate(arguments: Namespace) -> tuple[Path, Path] | None:
    if not arguments.client_certificate:
        return None
    key = arguments.client_key or arguments.client_certificate
    return Path(arguments.client_certificate), Path(key)


def _in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme != "https" and not is_local(parts.hostname or "")


def is_local(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
