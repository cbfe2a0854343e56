"""What a tgtd's executable says of a known hole, on small ELF files made here."""

import struct
from itertools import accumulate
from pathlib import Path

import pytest

from storlever.tgtd.hole import known_hole

KINDS = [(2, "<"), (2, ">"), (1, "<"), (1, ">")]


def elf(*names: str, word: int = 2, order: str = "<") -> bytes:
    """An executable of no code, which imports these; `word` is 1 for 32 bits, 2 for 64."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    places = accumulate((len(name) + 1 for name in names), initial=1)
    wide = word == 2
    symbol = struct.Struct(order + ("I20x" if wide else "I12x"))
    symbols = b"".join(symbol.pack(at) for at, _ in zip([0, *places], ["", *names], strict=False))
    start = 64
    body = strings + symbols
    section = struct.Struct(order + ("4xI16xQQI20x" if wide else "4xI8xIII12x"))
    table = section.pack(11, start + len(strings), len(symbols), 1) + section.pack(
        3, start, len(strings), 0
    )
    header = struct.pack(
        order + ("24xQ10xHHH" if wide else "16xI10xHHH"), start + len(body), section.size, 2, 0
    )
    ident = b"\x7fELF" + bytes([word, 1 if order == "<" else 2])
    return (ident.ljust(16, b"\0") + header).ljust(start, b"\0") + body + table


def verdict(root: Path, content: bytes) -> str | None:
    file = root / "tgtd"
    file.write_bytes(content)
    return known_hole(file)


@pytest.mark.parametrize(("word", "order"), KINDS)
def test_import_of_rand_alone_is_the_hole(tmp_path: Path, word: int, order: str) -> None:
    said = verdict(tmp_path, elf("malloc", "rand", "free", word=word, order=order))
    assert said is not None
    assert said.startswith("this tgtd has CVE-2024-45751: ")


@pytest.mark.parametrize(("word", "order"), KINDS)
@pytest.mark.parametrize("names", [("getrandom",), ("rand", "getrandom")])
def test_import_of_getrandom_is_none(
    tmp_path: Path, names: tuple[str, ...], word: int, order: str
) -> None:
    assert verdict(tmp_path, elf("malloc", *names, word=word, order=order)) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (elf("srand", "rand_r", "malloc"), "it imports no source of randomness that is known"),
        (elf(), "it imports no source of randomness that is known"),
        (b"#!/bin/sh\n", "it is no ELF file that can be read"),
        (b"", "it is no ELF file that can be read"),
        (b"\x7fELF", "it is no ELF file that can be read"),
        (b"\x7fELF\x09\x09" + bytes(100), "it is no ELF file that can be read"),
        (elf("rand").replace(b"rand\0", b"rand\1"), "it is no ELF file that can be read"),
    ],
    ids=["others", "none", "script", "empty", "short", "strange", "endless name"],
)
def test_executable_that_does_not_tell_is_a_doubt_with_its_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    expected = f"cannot tell whether this tgtd has CVE-2024-45751: {reason}"
    assert verdict(tmp_path, content) == expected


def test_executable_that_was_cut_off_is_a_doubt(tmp_path: Path) -> None:
    whole = elf("rand", "getrandom")
    for length in range(len(whole)):
        assert str(verdict(tmp_path, whole[:length])).startswith("cannot tell whether "), length


def test_no_flipped_byte_raises(tmp_path: Path) -> None:
    whole = elf("rand", "getrandom")
    for at in range(len(whole)):
        verdict(tmp_path, whole[:at] + b"\xff" + whole[at + 1 :])


@pytest.mark.parametrize("path", ["missing", "."])
def test_executable_that_cannot_be_opened_is_a_doubt(tmp_path: Path, path: str) -> None:
    assert str(known_hole(tmp_path / path)).startswith("cannot tell whether ")
