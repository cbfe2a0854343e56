"""Write all that is desired as a file of another program's: targets.conf, for tgt-admin.

For a file of StorLever's own, see `storlever config export`.
"""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from storlever.cli import output, reach, rendering, verb
from storlever.cli.failure import Failure, Status

if TYPE_CHECKING:
    from storlever.client import Client

run = verb.run


def add(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=("targets.conf",), required=True, help="as what")
    parser.add_argument(
        "--secrets",
        action="store_true",
        help="with the passwords, which it takes where there are users (an admin's)",
    )
    reach.add_flags(parser)
    parser.set_defaults(verb=_export)


def _export(client: "Client", arguments: Namespace) -> int:
    document = client.config(secrets=arguments.secrets)
    if document["user_list"] and not arguments.secrets:
        raise Failure(
            "a targets.conf has the passwords in it, for all to read who can read the file",
            status=Status.USAGE,
            advice="say --secrets, and keep the file: (umask 077; storlever export … > FILE)",
        )
    text, missing = rendering.render(document)
    print(text, end="")
    for each in missing:
        output.say(f"not written: {each}")
    return Status.FAILED if missing else Status.DONE
