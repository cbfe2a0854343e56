"""Holes of tgtd that its executable gives away.

CVE-2024-45751: CHAP challenges came from rand() without a seed, so each start sends the same ones
in the same order, and who has seen the answers can log in. tgt 1.0.93 takes them from getrandom()
(fujita/tgt, abd8e0d), and so do patched older ones, such as Debian's 1.0.85-1+deb12u1: so the
version says nothing, and what the executable imports does. rand() had no other use in it.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CVE = "CVE-2024-45751"
_DYNSYM = 11  # elf(5): SHT_DYNSYM
_LAYOUTS = {
    1: ("16xI10xHHH", "4xI8xIII12x", "I12x"),
    2: ("24xQ10xHHH", "4xI16xQQI20x", "I20x"),
}
"""By word size: the header after its ident, an entry of the section table, and one of the symbol
table; of which the offset, size and count of sections; type, offset, length and link; the name."""
_MOST = 1 << 24
"""Bytes of a table; tgtd's have some 30,000."""


def known_hole(executable: Path) -> str | None:
    """A sentence for the operator, None when there is none; an executable that does not tell is
    no good news, and has a sentence as well. Raises nothing.

    `/proc/PID/exe` is what runs even when the file was replaced meanwhile; reading it takes all
    capabilities of that process, or CAP_SYS_PTRACE (proc(5)). It cannot change while the process
    lives, so once is enough.
    """
    try:
        with executable.open("rb") as file:
            imported = frozenset(_dynamic_symbols(file))
    except OSError as error:
        return _doubt(error.strerror or str(error))
    except (ValueError, LookupError, OverflowError, struct.error):
        return _doubt("it is no ELF file that can be read")
    if b"getrandom" in imported:
        return None
    if b"rand" in imported:
        return (
            f"this tgtd has {CVE}: whoever has recorded CHAP logins can repeat them after it is "
            "restarted; install tgt 1.0.93 or later, or a package that is patched for it"
        )
    return _doubt("it imports no source of randomness that is known")


def _doubt(reason: str) -> str:
    return f"cannot tell whether this tgtd has {CVE}: {reason}"


def _dynamic_symbols(file: BinaryIO) -> Iterator[bytes]:
    """The names in its dynamic symbol table, of either word size and byte order (elf(5)).

    Raises OSError, ValueError, LookupError, OverflowError or struct.error for anything else.
    """
    ident = file.read(16)
    if ident[:4] != b"\x7fELF":
        raise ValueError("no ELF file")
    order = {1: "<", 2: ">"}[ident[5]]
    header, section, symbol = (struct.Struct(order + layout) for layout in _LAYOUTS[ident[4]])
    start, size, count, _ = header.unpack(_at(file, 16, header.size))
    sections = list(section.iter_unpack(_at(file, start, size * count)))
    for kind, offset, length, link in sections:
        if kind == _DYNSYM:
            names = _at(file, *sections[link][1:3])
            for (name,) in symbol.iter_unpack(_at(file, offset, length)):
                yield names[name : names.index(b"\0", name)]


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    if length > _MOST:
        raise ValueError("too large")
    file.seek(offset)
    found = file.read(length)
    if len(found) < length:
        raise ValueError("too short")
    return found
