"""Take over a targets.conf of tgt-admin: its targets, users and LUNs become StorLever's.

What is there already and not in the file stays. Each thing that is not taken, or means something
else here, is told with its file and line.
"""

import errno
import os
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING

from storlever.cli import output, reach, verb
from storlever.cli.directive import Malformed, Place, parse
from storlever.cli.failure import Failure, Status
from storlever.cli.translation import Json, Remark, Translation
from storlever.cli.verb import write
from storlever.client import operations
from storlever.names import printable

if TYPE_CHECKING:
    from storlever.client import Client

SPECIAL = frozenset("*?[{\\")
LARGEST = 16 << 20
"""Bytes of a file."""
MOST_MEANT = 1000
"""Patterns that one with braces may stand for."""


def add(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="such as /etc/tgt/targets.conf")
    parser.add_argument(
        "--strict", action="store_true", help="do nothing if anything in it cannot be taken"
    )
    parser.add_argument(
        "--keep-identities",
        action="store_true",
        help="have hosts know the disks by what tgtd made up for them, as it was started",
    )
    parser.add_argument(
        "--print",
        dest="form",
        choices=("json", "yaml"),
        help="print what would be applied, passwords included, and ask no service",
    )
    parser.add_argument("--force", action="store_true", help="close sessions in the way")
    verb.writing(parser, _import)
    parser.set_defaults(timeout=reach.LONG)


def run(arguments: Namespace) -> int:
    """Raises Failure or ClientError."""
    document, remarks = read(arguments.file, keep_identities=arguments.keep_identities)
    for each in sorted(remarks, key=lambda each: (each.place.file, each.place.line)):
        print(printable(str(each)), file=sys.stderr)
    if arguments.strict and not all(each.taken for each in remarks):
        raise Failure("not everything can be taken, so nothing was")
    if not document["target_list"] and not document["conf"]:
        raise Failure(f"nothing in {arguments.file} can be taken, so nothing was")
    if arguments.form:
        output.whole(document, arguments.form)
        return Status.DONE
    arguments.document = document
    return verb.run(arguments)


def _import(client: "Client", arguments: Namespace) -> int:
    return write(
        client, arguments, operations.apply_config(arguments.document, force=arguments.force)
    )


def read(file: str, *, keep_identities: bool = False) -> tuple[Json, list[Remark]]:
    """Raises Failure."""
    files = Files(Path(file).resolve().parent)
    text = files.first(file)
    translation = Translation(_is_there, keep_identities)
    return translation.document(parse(file, text, files.included)), translation.remarks


def _is_there(path: str) -> bool:
    return Path(path).exists() and not Path(path).is_dir()


@dataclass(slots=True)
class Files:
    """Each is read once, as Config::General does, so that they can include each other."""

    folder: Path
    seen: set[Path] = field(default_factory=set)

    def first(self, file: str) -> str:
        try:
            self.seen.add(Path(file).resolve())
            return _read(Path(file))
        except OSError as error:
            raise Failure(f"cannot read {file}: {error.strerror}", status=Status.USAGE) from None

    def included(self, pattern: str, place: Place) -> Sequence[tuple[str, str]]:
        """A pattern may mean no file at all; a name must be there. A folder means all its files."""
        if sum(1 for _ in islice(_braces(pattern), MOST_MEANT + 1)) > MOST_MEANT:
            raise Malformed(place, f"include {pattern}: stands for more than {MOST_MEANT} patterns")
        found = self._found(pattern)
        if not found and not SPECIAL & set(pattern):
            raise Malformed(place, f"include {pattern}: there is no such file")
        read = []
        for each in found:
            if (known := each.resolve()) in self.seen:
                continue
            self.seen.add(known)
            if not each.is_file():  # of a pipe or a device there may be no end
                raise Malformed(place, f"include {each}: is no file")
            try:
                read.append((str(each), _read(each)))
            except OSError as error:
                raise Malformed(place, f"include {each}: {error.strerror}") from None
        return read

    def _found(self, pattern: str) -> list[Path]:
        """From where one stands, else from beside the file."""
        for start in ("", f"{self.folder}/"):
            if SPECIAL & set(pattern):
                found = [each for one in _braces(start + pattern) for each in _matching(one)]
            else:
                found = _files(Path(start + pattern))
            if found or pattern.startswith("/"):
                return found
        return []


def _matching(pattern: str) -> list[Path]:
    found = sorted(glob(pattern))  # noqa: PTH207  Path.glob takes no absolute pattern
    return [Path(each) for each in found if Path(each).is_file()]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(each for each in path.iterdir() if each.is_file())
    return [path] if path.exists() else []


def _braces(pattern: str) -> Iterator[str]:
    """`{a,b}` as a and b; those within braces are left as they are."""
    parts = re.split(r"\{([^}]*)\}", pattern)
    words = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return map("".join, product(*words))


def _read(path: Path) -> str:
    """Raises OSError."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(errno.EFBIG, f"is larger than {LARGEST} bytes")
    if b"\0" in content:
        raise OSError(errno.EINVAL, "is no text")
    return os.fsdecode(content).removeprefix("\ufeff")
