"""Look for what is wrong, or may become so, and say what to do about it.

What lies on the service's machine is looked at only where it is this one: where it is asked by its
socket.
"""

import os
import shutil
import socket
import stat
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from storlever.cli import connect, output, reach
from storlever.cli.advice import ADVICE, UNREACHABLE
from storlever.cli.failure import Status
from storlever.client import operations
from storlever.client.errors import ClientError, Unreachable
from storlever.names import printable

if TYPE_CHECKING:
    from storlever.client import Client
    from storlever.client.shapes import Readiness, Target

OK, WARN, FAIL = "OK", "WARN", "FAIL"
LITTLE, TOO_LITTLE = 512 << 20, 32 << 20
"""Bytes of room for the state."""
ASKEW = 5.0
"""Seconds between two clocks that count."""
BUSY = 0.9
"""Of what may be used of the machine's aio contexts."""


@dataclass(frozen=True, slots=True)
class Finding:
    level: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.level:4}  {self.what}" + (f": {self.advice}" if self.advice else "")


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--portal",
        metavar="HOST:PORT",
        action="append",
        help="where initiators log in (repeatable; default: what the service tells)",
    )
    reach.add_flags(parser)


def run(arguments: Namespace) -> int:
    """FAILED where anything is wrong."""
    failed = False
    for each in examine(arguments):
        failed |= each.level == FAIL
        print(printable(str(each)), flush=True)
    return Status.FAILED if failed else Status.DONE


def examine(arguments: Namespace) -> Iterator[Finding]:
    """Raises Failure where the flags make no sense."""
    options = reach.options(arguments, os.environ)
    yield tgtd(os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if options["socket"]:
        yield from state(options["socket"].parent.parent)
        yield from aio(Path("/proc/sys/fs"))
    with reach.client(options) as client:
        try:
            yield from service(client)
            host = urlsplit(options["url"]).hostname or "localhost"
            portals = arguments.portal or connect.reachable(client.portals(), host)
            if not portals:
                yield Finding(WARN, "tgtd has no portal that is known", "say --portal HOST:PORT")
            yield from map(portal, portals)
        except Unreachable as error:
            what, advice = UNREACHABLE[error.barrier]
            yield Finding(FAIL, f"{what}: {error}", advice)
        except ClientError as error:
            advice = ADVICE.get(getattr(error, "code", ""), "see its log")
            yield Finding(FAIL, f"the service does not tell: {error}", advice)


# -- this machine


def tgtd(path: str) -> Finding:
    """`path`: the folders to look in."""
    if found := shutil.which("tgtd", path=path):
        return Finding(OK, f"tgtd is {found}")
    return Finding(WARN, "there is no tgtd on this machine", "install tgt, unless it is elsewhere")


def state(folder: Path) -> Iterator[Finding]:
    """`folder`: where the service keeps its state."""
    try:
        yield from _private(folder, 0o700)
        for name in ("state.db", "secret.key"):
            if (folder / name).exists():
                yield from _private(folder / name, 0o600)
        yield room(folder, shutil.disk_usage(folder).free)
    except OSError as error:
        yield Finding(WARN, f"cannot look at {folder}: {error.strerror}", "run it as root")


def room(folder: Path, free: int) -> Finding:
    """`free`: bytes."""
    said = f"{output.size(free)} free for the state in {folder}"
    if free >= LITTLE:
        return Finding(OK, said)
    level = FAIL if free < TOO_LITTLE else WARN
    return Finding(level, said, "make room: without, nothing can be changed")


def _private(path: Path, mode: int) -> Iterator[Finding]:
    found = stat.S_IMODE(path.stat().st_mode)
    if found & 0o077:
        yield Finding(FAIL, f"others may use {path} ({found:04o})", f"chmod {mode:04o} {path}")
    else:
        yield Finding(OK, f"{path} is nobody else's")


def aio(folder: Path) -> Iterator[Finding]:
    """`folder`: that of aio-nr and aio-max-nr."""
    try:
        used, most = (int((folder / name).read_text()) for name in ("aio-nr", "aio-max-nr"))
    except (OSError, ValueError):
        return  # a kernel without aio
    said = f"{used} of {most} aio contexts are in use"
    if used > BUSY * most:
        yield Finding(WARN, said, "LUNs with bs_type aio need more: raise fs.aio-max-nr")
    else:
        yield Finding(OK, said)


# -- the service


def service(client: "Client") -> Iterator[Finding]:
    """Raises ClientError."""
    date = client.do(operations.ready().read_as(lambda raw: raw.headers.get("date")))
    yield from clock(date, time.time())
    yield from told(client.ready())
    yield from targets(client.targets_in_full())


def clock(date: str | None, now: float) -> Iterator[Finding]:
    """`date`: as HTTP has it, in whole seconds."""
    if date is None:
        return
    apart = abs(parsedate_to_datetime(date).timestamp() - now)
    if apart > ASKEW:
        yield Finding(
            WARN,
            f"this clock and the service's are {apart:.0f} seconds apart",
            "set them: tokens and certificates end by the clock",
        )
    else:
        yield Finding(OK, "this clock and the service's agree")


def told(readiness: "Readiness") -> Iterator[Finding]:
    if readiness.status == "ready":
        missing = ", but for:" if readiness.failing else ""
        yield Finding(OK, f"the service is ready, and tgtd has what it should{missing}")
    else:
        yield Finding(FAIL, f"not ready: {readiness.reason}", "see its log, and tgtd's")
    for each in readiness.failing:
        yield Finding(FAIL, each, "bring it back, or remove it")
    for each in readiness.foreign:
        yield Finding(WARN, f"{each} is somebody else's", "storlever adopt, or leave it so")
    for each in readiness.warnings:
        yield Finding(WARN, each)


def targets(found: Iterable["Target"]) -> Iterator[Finding]:
    """Whom they admit."""
    wide = [each.iqn for each in found if not each.incominguser_list and _open(each)]
    for iqn in wide:
        advice = f"storlever target set {iqn} --initiator …, or user add"
        yield Finding(WARN, f"{iqn} admits everyone", advice)
    if not wide:
        yield Finding(OK, "no target admits everyone")


def _open(target: "Target") -> bool:
    """Whether it asks nobody where they come from."""
    addresses = target.initiator_addr_list
    return "ALL" in addresses or not (addresses or target.initiator_name_list)


def portal(where: str) -> Finding:
    host, _, port = where.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), 2.0):
            return Finding(OK, f"{where} accepts connections")
    except (OSError, ValueError) as error:
        advice = "see storlever's --portal, and the firewall"
        return Finding(FAIL, f"nobody serves iSCSI at {where}: {error}", advice)
