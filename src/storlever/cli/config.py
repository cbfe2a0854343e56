"""All that is desired, as one document: to keep, compare, and bring back."""

import json
import sys
from argparse import ArgumentParser, Namespace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storlever.cli import output, reach, verb
from storlever.cli.failure import Failure, Status
from storlever.cli.verb import Verbs, found
from storlever.client import operations

if TYPE_CHECKING:
    from storlever.client import Client

run = verb.run


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    exported = verbs.other("export", "print the document", _export)
    exported.add_argument(
        "-o", "--output", choices=("json", "yaml"), default="json", help="(default: %(default)s)"
    )
    exported.add_argument(
        "--secrets", action="store_true", help="with passwords (an admin's); keep it to yourself"
    )
    applied = verbs.writing("apply", "have what a document says; all of it, or nothing", _apply)
    applied.add_argument("file", metavar="FILE", help="JSON or YAML; - for standard input")
    applied.add_argument(
        "--prune", action="store_true", help="what its lists do not name goes (asks)"
    )
    applied.add_argument("-y", "--yes", action="store_true", help="do not ask")
    applied.add_argument(
        "--force", action="store_true", help="although much goes, or sessions are in the way"
    )
    applied.set_defaults(timeout=reach.LONG)


def _export(client: "Client", arguments: Namespace) -> int:
    output.whole(found(client, operations.config(secrets=arguments.secrets)), arguments.output)
    return Status.DONE


def _apply(client: "Client", arguments: Namespace) -> int:
    """Where nothing can go, nobody is asked."""
    document = read(arguments.file)
    call = operations.apply_config(document, prune=arguments.prune, force=arguments.force)
    targets = document.get("target_list")
    verb.note(f"applying {verb.count(len(targets or ()), 'target')}")
    if arguments.prune or arguments.force:
        return verb.write(client, arguments, call, asking=lambda: verb.foretold(client, call))
    return verb.write(client, arguments, call)


def read(file: str) -> dict[str, Any]:
    """Raises Failure."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise Failure(f"cannot read {file}: {why}", status=Status.USAGE) from None
    document = _parsed(file, text)
    if not isinstance(document, dict):
        raise Failure(f"{file} holds no document: it is no object", status=Status.USAGE)
    return document


def _parsed(file: str, text: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise Failure(f"{file} is no JSON: {error}", status=Status.USAGE) from None
    yaml = import_module("yaml")
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # the latter: of a date that is none
        raise Failure(f"{file} is no YAML: {_told(error)}", status=Status.USAGE) from None


def _told(error: Exception) -> str:
    """In a line, and without what stands there: it may be a password."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"
