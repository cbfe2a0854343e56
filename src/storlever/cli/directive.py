"""The grammar of targets.conf: what tgt-admin gets of Perl's Config::General, with the options that
it says (UseApacheInclude, IncludeDirectories, IncludeGlob, MergeDuplicateBlocks), and no more.

One directive a line, `key value` or `key = value`; blocks from `<key name>` to `</…>`, which nest,
and of which those of one key and name are one; `#` and C comments; a line goes on after a
backslash; `include` puts other files in its place.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from storlever.cli.failure import Failure

DEEPEST = 16
"""Blocks within blocks; targets.conf has two."""


LONGEST = 4096
"""Characters of a line, with those that it goes on in: some of the grammar takes the square of it
to read."""


@dataclass(frozen=True, slots=True)
class Place:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Malformed(Failure):
    """tgt-admin would not take the file either."""

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(f"{place}: {why}")


@dataclass(frozen=True, slots=True)
class Directive:
    """`value`: None where there is none."""

    key: str
    value: str | None
    place: Place


@dataclass(frozen=True, slots=True)
class Block:
    """`name`: None where it has none. In it, what is repeated is in the order of the file."""

    key: str
    name: str | None
    place: Place
    directives: tuple[Directive, ...] = ()
    blocks: tuple["Block", ...] = ()


Include = Callable[[str, Place], Sequence[tuple[str, str]]]
"""The files that an `include` means, each once and with its content. Raises Malformed."""
Line = tuple[Place, str]


def parse(file: str, text: str, include: Include) -> Block:
    """All of it, as a block without a key. Raises Malformed."""
    return _block("", None, Place(file, 1), deque(_lines(file, text, include)), 0)


# -- lines


def _lines(file: str, text: str, include: Include) -> Iterator[Line]:
    """Those that say something, whole and trimmed, of this file and those that it includes."""
    for place, line in _joined(_uncommented(file, text)):
        included = _included(line)
        if included is None:
            yield from _opened(place, line)
        else:
            for name, content in include(included, place):
                yield from _lines(name, content, include)


def _uncommented(file: str, text: str) -> Iterator[Line]:
    within = False
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole
        if len(line) > LONGEST:
            raise _too_long(Place(file, number))
        if re.search(r"/\*.*\*/", line):
            line = re.sub(r"\s*/\*.*\*/\s*", "", line, count=1, flags=re.ASCII)
        elif re.match(r"\s*/\*", line, re.ASCII):
            within = True
        elif "*/" in line:
            within = False
            line = re.sub(r"^.*\*/", "", line)
        if not within:
            yield Place(file, number), re.sub(r"(?<!\\)#.*$", "", line)


def _joined(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines that end in a backslash with those after them."""
    begun: Line | None = None
    for place, text in lines:
        line = text.lstrip(BLANKS) if begun else text
        start, before = begun or (place, "")
        if begun and re.search(r"<.*/>", line):  # the library forgets what the block goes on
            raise Malformed(start, "this line goes on in one with an empty block")
        if len(before) + len(line) > LONGEST:
            raise _too_long(start)
        if re.search(r"(?<!\\)\\$", line):
            begun = start, before + line[:-1].lstrip(BLANKS)
            continue
        begun = None
        whole = (before + line).strip(BLANKS)
        if whole:
            yield start, whole
    if begun:
        raise Malformed(begun[0], "this line goes on, and the file ends")


def _too_long(place: Place) -> Malformed:
    return Malformed(place, f"this line has more than {LONGEST} characters")


BLANKS = " \t\n\r\f\v"


def _included(line: str) -> str | None:
    quoted = re.match(r"""(?i:include|includeoptional)\s*(["'])(.*?)(?<!\\)\1$""", line, re.ASCII)
    if quoted:
        return quoted[2]
    plain = re.match(r"(?i:include|includeoptional)\s+(.+)$", line, re.ASCII)
    return plain[1] if plain else None


def _opened(place: Place, line: str) -> Iterator[Line]:
    """A block that is empty, `<key name/>`, as its two ends."""
    if re.match(r"<[^/].*/>$", line):
        yield place, line[:-2] + ">"
        yield place, "</>"
    else:
        yield place, line


# -- blocks


def _block(key: str, name: str | None, place: Place, lines: deque[Line], depth: int) -> Block:
    """What is in it, of the lines up to its end; those are taken away."""
    if depth > DEEPEST:
        raise Malformed(place, f"more than {DEEPEST} blocks within each other")
    directives, blocks = [], []
    while lines:
        at, line = lines.popleft()
        if re.fullmatch(r"</.*>", line):
            if not depth:
                raise Malformed(at, f"{line} ends what was not begun")
            break
        if begun := re.fullmatch(r"<([^/].*)>", line):
            blocks.append(_block(*_title(begun[1]), at, lines, depth + 1))
        else:
            directives.append(_directive(at, line))
    else:
        if depth:
            raise Malformed(place, f"<{key}> has no end")
    return Block(key, name, place, tuple(directives), _merged(blocks))


def _title(text: str) -> tuple[str, str | None]:
    """Key and name; both may stand in quotes."""
    if whole := re.fullmatch(r'"([^"]+)"', text):
        return whole[1], None
    found = re.fullmatch(r'(?:"([^"]+)"|(\S+))(?:\s+(?:"([^"]+)"|(.*)))?', text, re.ASCII)
    if not found:
        return text, None
    name = found[3] or found[4]
    return found[1] or found[2], None if name is None else name.strip(BLANKS)


def _directive(place: Place, line: str) -> Directive:
    if re.search(r"^[^=]+?\s*=\s*<<|^\S+?\s+<<", line, re.ASCII):
        raise Malformed(place, "here-documents are not understood")
    key, *rest = re.split(r"\s*=\s*|\s+", line, maxsplit=1, flags=re.ASCII)
    if not rest:
        return Directive(key, None, place)
    value = rest[0]
    if value.startswith('"') and value.endswith('"'):
        value = value.removeprefix('"').removesuffix('"')
    return Directive(key, re.sub(r'\\([$\\"#])', r"\1", value), place)


def _merged(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Those of one key and name as one."""
    found: dict[tuple[str, str | None], Block] = {}
    for each in blocks:
        before = found.get((each.key, each.name), Block(each.key, each.name, each.place))
        found[each.key, each.name] = Block(
            each.key,
            each.name,
            before.place,
            before.directives + each.directives,
            _merged(before.blocks + each.blocks),
        )
    return tuple(found.values())
