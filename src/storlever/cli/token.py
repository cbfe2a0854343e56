"""Make, list and revoke tokens. It works while the service runs, and while it does not."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable

from storlever import token
from storlever.cli import desk, output
from storlever.cli.verb import Verbs
from storlever.principal import Role

COLUMNS = ("name", "role", "created", "expires", "last_used")


def add(parser: ArgumentParser) -> None:
    verbs = Verbs(parser)
    create = verbs.plain("create", "make a token, and print it this once")
    create.add_argument(
        "--name", required=True, type=_checked(token.token_name), help="what it is called by"
    )
    create.add_argument(
        "--role", required=True, choices=[str(role) for role in Role if role], help="what it may do"
    )
    create.add_argument(
        "--expires",
        default=token.DEFAULT_LIFETIME,
        type=_checked(token.lifetime_text),
        help="90d, 12h, 30m or never (default: %(default)s)",
    )
    listed = verbs.plain("list", "who has which role, until when")
    listed.add_argument(
        "-o",
        "--output",
        choices=output.FORMS,
        default="table",
        help="as what (default: %(default)s)",
    )
    revoke = verbs.plain("revoke", "have a token refused from now on")
    revoke.add_argument("name", metavar="NAME")
    for each in (create, listed, revoke):
        desk.add_flags(each)


def _checked(rule: Callable[[str], str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            return rule(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return check


def run(arguments: Namespace) -> int:
    with desk.opened(arguments, new=arguments.action == "create") as found:
        match arguments.action:
            case "create":
                made = found.add_token(arguments.name, arguments.role, arguments.expires)
                print(made["token"])
            case "list":
                never = "never"
                tokens = found.tokens()
                if arguments.output == "table":
                    tokens = [
                        {key: value or never for key, value in each.items()} for each in tokens
                    ]
                output.rows(tokens, COLUMNS, arguments.output)
            case "revoke":
                found.remove_token(arguments.name)
    return 0
