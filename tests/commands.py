"""The reference of the commands in docs/cli.md, as it is made of their parsers."""

from argparse import SUPPRESS, Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

from storlever.cli import program

FILE = Path(__file__).parent.parent / "docs" / "cli.md"
MARK = "<!-- From here on made by script/generate. -->\n"
ELSEWHERE = {"serve": "see [serve.md](serve.md) for its settings"}
CONNECTION = "connection"
"""The flags that all have, which are told once."""


def text() -> str:
    """What the file has to hold; what stands above the mark is written by people."""
    head, mark, _ = FILE.read_text().partition(MARK)
    assert mark, f"{FILE} has lost its mark"
    return head + MARK + "\n" + "\n".join(_reference())


def leaves() -> Iterator[tuple[str, ArgumentParser]]:
    """Every command that does something, by its words."""
    for name in program.COMMANDS:
        found = _children(program._parser(name))[name]
        yield from _below(f"storlever {name}", found)


def _below(words: str, parser: ArgumentParser) -> Iterator[tuple[str, ArgumentParser]]:
    children = _children(parser)
    if not children:
        yield words, parser
    for name, child in children.items():
        yield from _below(f"{words} {name}", child)


def _children(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            return dict(action.choices)
    return {}


def _reference() -> Iterator[str]:
    for words, parser in leaves():
        taken = [each for each in _own(parser) if not each.option_strings]
        yield f"### {' '.join([words, *(_metavar(each) for each in taken)])}"
        about = (parser.description or "").strip().rstrip(".").replace("\n", " ")
        name = words.removeprefix("storlever ")
        yield f"{about}; {ELSEWHERE[name]}.\n" if name in ELSEWHERE else f"{about}.\n"
        flags = [] if name in ELSEWHERE else [each for each in _own(parser) if each.option_strings]
        yield from (f"- {_flag(each)}" for each in (*taken, *flags) if each.help)
        yield ""


def _own(parser: ArgumentParser) -> list[Action]:
    connection = {
        id(action)
        for group in parser._action_groups
        if group.title == CONNECTION
        for action in group._group_actions
    }
    return [
        each
        for each in parser._actions
        if id(each) not in connection and each.help != SUPPRESS and each.dest != "help"
    ]


def _flag(action: Action) -> str:
    value = _metavar(action) if action.nargs != 0 else ""
    names = ", ".join(action.option_strings)
    words = " ".join(each for each in (names, value) if each)
    return f"`{words}`: {_help(action)}"


def _metavar(action: Action) -> str:
    if action.choices and action.metavar is None:
        word = "|".join(str(each) for each in action.choices)
    else:
        word = str(
            action.metavar or (action.dest.upper() if action.option_strings else action.dest)
        )
    return {"*": f"[{word} …]", "?": f"[{word}]"}.get(str(action.nargs), word)


def _help(action: Action) -> str:
    default = action.default
    return (
        str(action.help).replace("%(default)s", str(default)).replace("%(default)g", str(default))
    )


if __name__ == "__main__":
    FILE.write_text(text())
