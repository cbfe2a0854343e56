"""The program: its commands, and how they end."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

from storlever import __version__
from storlever.cli import streams
from storlever.cli.advice import ADVICE, UNREACHABLE, advice
from storlever.cli.failure import Failure, Status
from storlever.cli.output import say
from storlever.client.errors import (
    ClientError,
    Conflict,
    NotFound,
    PreconditionFailed,
    Problem,
    Unavailable,
    Unreachable,
)
from storlever.errors import ConfigError, InUse, StateUnusable, StorLeverError
from storlever.errors import Conflict as TakenAlready
from storlever.errors import NotFound as NotThere

COMMANDS = {
    "serve": "run the service",
    "target": "list and show targets, make, change and delete them",
    "user": "CHAP users of targets",
    "lun": "what a target serves",
    "conf": "users of discovery sessions",
    "session": "who is logged in; close sessions",
    "access": "whether an initiator may log in, and why",
    "config": "all that is desired, as one document",
    "revision": "what changed, and all as it was before",
    "watch": "what happens, as it happens",
    "foreign": "targets in tgtd that somebody else made",
    "adopt": "take over one of those",
    "doctor": "look for what is wrong",
    "import": "take over a targets.conf",
    "export": "write a targets.conf",
    "token": "make, list and revoke tokens",
    "audit": "show what was asked for, by whom, and what came of it; or verify that",
    "cert": "make a certificate",
    "completion": "have a shell complete these commands",
}
"""Each is a module beside this one, which is imported when it is asked for: `add` gives a parser
its arguments, `run` does it."""
MODULES = {"import": "importing", "export": "exporting"}
"""Those that have another name than their command."""
COMPLETING = "_ARGCOMPLETE"
"""In the environment when a shell asks how a line can go on."""
STATUSES: dict[type[Exception], Status] = {
    InUse: Status.TRY_AGAIN,
    ConfigError: Status.USAGE,
    StateUnusable: Status.USAGE,
    NotThere: Status.NOT_FOUND,
    TakenAlready: Status.CONFLICT,
    NotFound: Status.NOT_FOUND,
    Conflict: Status.CONFLICT,
    PreconditionFailed: Status.CONFLICT,
    Unavailable: Status.UNAVAILABLE,
    Unreachable: Status.UNAVAILABLE,
    StorLeverError: Status.FAILED,
    ClientError: Status.FAILED,
}
"""The first that fits counts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    if COMPLETING in os.environ:
        said = os.environ.get("COMP_LINE", "").split()[1:]
        import_module("argcomplete").autocomplete(_parser(_command(said)))
    said = list(sys.argv[1:] if arguments is None else arguments)
    streams.open_all()
    given = _parser(_command(said)).parse_args(said)
    try:
        status = int(given.run(given))
        sys.stdout.flush()
        return status
    except (StorLeverError, ClientError, Failure) as error:
        _explain(error, given)
        return _status(error)
    except BrokenPipeError:  # of `storlever … | head`
        streams.forget_output()
        return Status.FAILED
    except OSError as error:
        if error.filename is not None:
            say(f"cannot use {error.filename}: {error.strerror}")
            return Status.USAGE
        streams.forget_output()
        say(f"cannot write the output: {error.strerror or error}")
        return Status.FAILED
    except KeyboardInterrupt:
        return Status.INTERRUPTED


def _command(said: Sequence[str]) -> str:
    return next((word for word in said if not word.startswith("-")), "")


def _status(error: Exception) -> Status:
    if isinstance(error, Failure):
        return error.status
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def _explain(error: Exception, given: argparse.Namespace) -> None:
    """What went wrong, and what to do next."""
    if isinstance(error, Unreachable):
        say(f"{UNREACHABLE[error.barrier][0]}: {error}")
    else:
        for line in _lines(error):
            say(line)
    for line in _more(error, given):
        say(line)


def _lines(error: Exception) -> list[str]:
    """Only what the command itself says has lines; in what others say, names could make some."""
    return str(error).split("\n") if isinstance(error, Failure) else [_worded(error)]


def _worded(error: Exception) -> str:
    """Without what to say in a request to have it all the same: the advice has that as a flag."""
    said = str(error)
    before, _, last = said.rpartition("; ")
    hinted = before and ("=true" in last or '": true' in last)
    return before if hinted and getattr(error, "code", "") in ADVICE else said


def _more(error: Exception, given: argparse.Namespace) -> Iterator[str]:
    if isinstance(error, Failure) and error.advice:
        yield error.advice
    if isinstance(error, Unreachable):
        yield (
            "it may have been done: look before you try again"
            if error.maybe_done
            else UNREACHABLE[error.barrier][1]
        )
    if isinstance(error, Problem):
        for each in error.blocking:
            yield f"in the way: {each.initiator} from {each.addr}"
        if error.status == 500:
            yield f"request id {error.request_id}"
    if told := advice(getattr(error, "code", ""), given):
        yield told


def _parser(chosen: str) -> argparse.ArgumentParser:
    """With the arguments of the command that is `chosen`."""
    parser = argparse.ArgumentParser(prog="storlever", description="Manage iSCSI targets of tgtd.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        its = commands.add_parser(name, help=summary, allow_abbrev=False)
        if name == chosen:
            command = import_module(f"storlever.cli.{MODULES.get(name, name)}")
            its.description = command.__doc__
            command.add(its)
            its.set_defaults(run=command.run)
    return parser
