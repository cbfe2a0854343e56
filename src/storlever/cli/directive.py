"""The grammar of targets.conf: what tgt-admin gets of Perl's Config::General, with the options that
it says (UseApacheInclude, IncludeDirectories, IncludeGlob, MergeDuplicateBlocks), and no more.

One directive a line, `key value` or `key = value`; blocks from `<key name>` to `</…>`, which nest,
and of which those of one key and name are one; `#` and C comments; a line goes on after a
backslash; `include` puts other files in its place.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from storlever.cli.failure import Failure

DEEPEST = 16
"""Blocks within blocks; targets.conf has two."""


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
    """`name`: None where it has none; blanks may be at its end. In it, what is repeated is in the
    order of the file."""

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
            yield place, line
        else:
            for name, content in include(included, place):
                yield from _lines(name, content, include)


def _uncommented(file: str, text: str) -> Iterator[Line]:
    within = False
    for number, whole in enumerate(text.removesuffix("\n").split("\n"), 1):
        line = whole
        if re.search(r"/\*.*\*/", line):
            line = re.sub(r"\s*/\*.*\*/\s*", "", line, count=1, flags=re.ASCII)
        elif re.match(r"\s*/\*", line, re.ASCII):
            within = not re.search(r"\*/\s*$", line, re.ASCII)  # the library takes /*/ for its end
        elif "*/" in line:
            within = False
            line = re.sub(r"^.*\*/", "", line)
        if not within:
            yield Place(file, number), re.sub(r"(?<!\\)#.*$", "", line)


def _joined(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines that end in a backslash with those after them; empty blocks as their two ends. What the
    library makes of other things within a line that goes on, nobody means: they are refused."""
    begun: Line | None = None
    for place, text in lines:
        if re.search(r"(?<!\\)\\$", text):
            start, before = begun or (place, "")
            begun = start, before + text[:-1].lstrip(BLANKS)
            continue
        if re.search(r"^\s*[^=]+?\s*=\s*<<|^\s*\S+?\s+<<", text, re.ASCII):
            raise Malformed(place, "here-documents are not understood")
        if re.search(r"<[^/].*/>\s*$", text, re.ASCII):
            if begun:
                raise Malformed(place, "an empty block stands in a line that goes on")
            yield from _ends(place, text.lstrip(BLANKS))
        elif begun:
            yield from _whole(begun[0], begun[1] + text.lstrip(BLANKS))
        elif line := text.strip(BLANKS):
            yield place, line
        begun = None
    if begun:
        raise Malformed(begun[0], "this line goes on, and the file ends")


def _whole(place: Place, text: str) -> Iterator[Line]:
    """Of a line that went on."""
    line = text.strip(BLANKS)
    if _included(line) is not None:
        raise Malformed(place, "an include goes on in another line")
    if line:
        yield place, line


def _ends(place: Place, text: str) -> Iterator[Line]:
    """Of an empty block, `<key name/>`."""
    if not re.match(r"<\S", text, re.ASCII) or not text.endswith("/>"):
        raise Malformed(place, "an empty block must be all of its line, without blanks around it")
    yield place, text[:-2] + ">"
    yield place, "</>>"


BLANKS = " \t\n\r\f\v"


def _included(line: str) -> str | None:
    quoted = re.match(r"""(?i:include|includeoptional)\s*(["'])(.*?)(?<!\\)\1$""", line, re.ASCII)
    if quoted:
        return quoted[2]
    plain = re.match(r"(?i:include|includeoptional)\s+(.+)$", line, re.ASCII)
    return plain[1] if plain else None


# -- blocks


def _block(key: str, name: str | None, place: Place, lines: deque[Line], depth: int) -> Block:
    """What is in it, of the lines up to its end; those are taken away."""
    if depth > DEEPEST:
        raise Malformed(place, f"more than {DEEPEST} blocks within each other")
    directives, blocks = [], []
    while lines:
        at, line = lines.popleft()
        if re.fullmatch(r"</.+>", line):
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
    return _one(Block(key, name, place, tuple(directives), tuple(blocks)))


def _title(text: str) -> tuple[str, str | None]:
    """Key and name; both may stand in quotes."""
    if whole := re.fullmatch(r'"([^"]+)"', text):
        return whole[1], None
    found = re.fullmatch(r'(?:"([^"]+)"|(\S+))(?:\s+(?:"([^"]+)"|(.*)))?', text, re.ASCII)
    if not found:
        return text, None
    return found[1] or found[2], found[3] or found[4]


def _directive(place: Place, line: str) -> Directive:
    key, *rest = re.split(r"\s*=\s*|\s+", line, maxsplit=1, flags=re.ASCII)
    if not rest:
        return Directive(key, None, place)
    value = rest[0]
    if value.startswith('"') and value.endswith('"'):
        value = value.removeprefix('"').removesuffix('"')
    return Directive(key, re.sub(r'\\([$\\"#])', r"\1", value), place)


def _one(block: Block) -> Block:
    """With those blocks in it as one that have one key and name. Raises Malformed for a key of
    which the library would mix one thing into another."""
    found: dict[tuple[str, str], Block] = {}
    kinds = {each.key: "a line" for each in block.directives}
    for each in block.blocks:
        kind = "a block without a name" if each.name is None else "a block with a name"
        if kinds.setdefault(each.key, kind) != kind:
            raise Malformed(
                each.place, f"{each.key} stands here as {kinds[each.key]} and as {kind}"
            )
        known = each.key, (each.name or "").strip(BLANKS)
        before = found.get(known)
        if before and before.name != each.name:
            raise Malformed(
                each.place, f"<{each.key} {known[1]}> has other blanks at its end before"
            )
        found[known] = _one(_added(before, each)) if before else each
    return replace(block, blocks=tuple(found.values()))


def _added(block: Block, more: Block) -> Block:
    return replace(
        block, directives=block.directives + more.directives, blocks=block.blocks + more.blocks
    )
