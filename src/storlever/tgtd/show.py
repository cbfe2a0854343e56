"""tgtd's text, read. Pure; tolerant of garbage, and never fooled into taking it for structure.

`target show` prints what initiators call themselves, unescaped and with any newline they care to
send, so a session can forge whole sections of it. These rules keep forged lines out:

- sessions are those of a unit's statistics, which are numbers alone;
- targets are those of `lld show`, which prints nothing that an initiator chose;
- a header that occurs twice makes the whole text worthless: `Forged` is raised;
- within a target, the sections that count are the last of their title, and what an initiator
  wrote stands before them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import zip_longest

from msgspec import Struct

from storlever.model import (
    BackingType,
    Bindings,
    DeviceType,
    ObservedTarget,
    ObservedUnit,
    Session,
    Traffic,
)
from storlever.names import printable
from storlever.tgtd.wire import MAX_CID, MAX_SID, MAX_TID
from storlever.tgtd.words import removable


class Forged(ValueError):
    """The text holds a target header twice: somebody's name pretends to be tgtd's output."""


class Nexus(Struct, frozen=True):
    """One connection of a session, by the numbers that close it."""

    sid: int
    cid: int


_UNIT_HEADER = re.compile(r"        LUN: (\d{1,20})")
_SIZE = re.compile(r"(\d{1,20}) MB")
_HEADER = re.compile(r"        Target (-?\d{1,10}): (\S+)")
_TYPES = {
    "disk": DeviceType.DISK,
    "tape": DeviceType.TAPE,
    "cd/dvd": DeviceType.CD,
    "changer": DeviceType.CHANGER,
    "passthrough": DeviceType.PASSTHROUGH,
}
_STORES = {
    "rdwr": BackingType.RDWR,
    "aio": BackingType.AIO,
    "sg": BackingType.SG,
    "ssc": BackingType.SSC,
    "mmc": BackingType.RDWR,
    "smc": BackingType.RDWR,
}
_ANSWERS = {"Yes": True, "No": False}
_CONNECTION = re.compile(
    r"^Session: (\d{1,20})\n    Connection: (\d{1,10})\n        Initiator: ", re.MULTILINE
)
_SAID = re.compile(r"(.*) {8}(?:(?:RDMA )?IP Address: (\S*))?\n?", re.DOTALL)
UNKNOWN = "?"
"""Of a session that another one's name hides."""
_NEXUS = re.compile(r"^        I_T nexus: (\d{1,20})\n            Initiator: ", re.MULTILINE)
_NAMED = re.compile(
    r"([^\n]*) alias: ([^\n]*)\n            Connection: \d{1,10}\n"
    r"                IP Address: \S*\n"
)
_NO_ALIAS = "none"
_LUN_TITLE = "    LUN information:"
_ACCOUNT_TITLE = "    Account information:"
_ACL_TITLE = "    ACL information:"


def target_ids(text: str) -> dict[str, int]:
    """`lld show`: name -> tid."""
    found = (_HEADER.fullmatch(line) for line in text.split("\n"))
    numbered = ((match[2], int(match[1])) for match in found if match)
    return {name: tid for name, tid in numbered if -MAX_TID - 1 <= tid <= MAX_TID}


Seen = tuple[ObservedTarget, dict[int, int]]
"""A target, and LUN -> size in MB of 10^6 bytes."""


class TargetReader:
    """Reads `target show` of all, again and again, and what has not changed only once."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[str, Seen]] = {}

    def read(self, text: str, ids: Mapping[str, int]) -> dict[str, Seen]:
        """By name; targets of `ids` that the text does not hold are left out. Raises Forged."""
        read: dict[str, tuple[str, Seen]] = {}
        for name, block in _blocks(text, ids).items():
            known = self._read.get(name)
            if known is None or known[0] != block:
                known = block, _seen(name, block)
            read[name] = known
        self._read = read
        return {name: seen for name, (_, seen) in read.items()}

    def aliases(self, target: str, sessions: Iterable[Session]) -> dict[int, str]:
        """What these sessions of it called themselves besides, as the text last read tells, by
        number: only where nobody else can have said so."""
        block, _ = self._read.get(target, ("", None))
        return _aliases(block, {str(each.sid): each.initiator_name for each in sessions})


def _aliases(block: str, names: Mapping[str, str]) -> dict[int, str]:
    """`names`: of the sessions that there are, by number. A header of theirs that occurs twice is
    forged, and what stands between two that do not is of one session. It has an alias where it is
    just what tgtd prints for one of that name."""
    headers = [found for found in _NEXUS.finditer(block) if found[1] in names]
    count = Counter(header[1] for header in headers)
    ends = [*(header.start() for header in headers[1:]), block.rfind(_LUN_TITLE)]
    found = {}
    for header, end in zip(headers, ends, strict=False):
        said = _NAMED.fullmatch(block, header.end(), max(end, header.end()))
        if count[header[1]] > 1 or said is None or said[1] != names[header[1]]:
            continue
        if said[2] != _NO_ALIAS and " alias: " not in said[1]:
            found[int(header[1])] = printable(said[2])
    return found


def _blocks(text: str, ids: Mapping[str, int]) -> dict[str, str]:
    """What stands under each header of a target that there is, by name."""
    headers = {f"{tid}: {name}": name for name, tid in ids.items()}
    blocks: dict[str, list[str]] = {}
    current = None
    for piece in _pieces(text):
        header, _, block = piece.partition("\n")
        name = headers.get(header)
        if name in blocks:
            raise Forged(f"target {name} is listed twice")
        if name is not None:
            blocks[name], current = [block], name
        elif current is not None:
            blocks[current].append(f"Target {piece}")
    return {name: "\n".join(pieces) for name, pieces in blocks.items()}


def _pieces(text: str) -> Iterator[str]:
    """What follows each "Target " that begins a line, one after another: no other thread can do
    anything while many megabytes are split in one go."""
    start = 0 if text.startswith("Target ") else _next_header(text, 0)
    while start < len(text):
        end = _next_header(text, start)
        yield text[start + len("Target ") : end - 1]
        start = end


def _next_header(text: str, after: int) -> int:
    """Where the next line that begins with "Target " does; beyond the end where there is none."""
    at = text.find("\nTarget ", after)
    return len(text) + 1 if at < 0 else at + 1


def _seen(name: str, block: str) -> Seen:
    lines = block.split("\n")
    acl_at = _last(lines, _ACL_TITLE, len(lines))
    accounts_at = _last(lines, _ACCOUNT_TITLE, acl_at)
    units_at = _last(lines, _LUN_TITLE, accounts_at)
    found = [_unit(block) for block in _unit_blocks(lines[units_at + 1 : accounts_at])]
    target = ObservedTarget(
        name,
        ready="        State: ready" in lines[:4],
        acl=tuple(_indented(lines[acl_at + 1 :], 8)),
        bindings=_bindings(_indented(lines[accounts_at + 1 : acl_at], 8)),
        units=tuple(unit for unit, _ in found if unit.lun != 0),
    )
    return target, {unit.lun: size for unit, size in found}


def _last(lines: list[str], title: str, before: int) -> int:
    """tgtd cuts a long initiator name together with its newline, and then the title of the next
    section stands at the end of that line."""
    for at in range(before - 1, -1, -1):
        if lines[at].endswith(title):
            return at
    raise Forged(f"no {title.strip()!r} where there should be")


def _indented(lines: Iterable[str], depth: int) -> Iterator[str]:
    blanks = " " * depth
    return (line[depth:] for line in lines if line.startswith(blanks))


def _bindings(names: Iterable[str]) -> Bindings:
    incoming, outgoing = [], None
    for name in names:
        if name.endswith(" (outgoing)"):
            outgoing = name.removesuffix(" (outgoing)")
        else:
            incoming.append(name)
    return Bindings(tuple(incoming), outgoing)


def _unit_blocks(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    block: tuple[int, dict[str, str]] | None = None
    for line in lines:
        if match := _UNIT_HEADER.fullmatch(line):
            if block:
                yield block
            block = (int(match[1]), {})
        elif block and line.startswith(" " * 12):
            key, _, value = line[12:].partition(": ")
            block[1].setdefault(key, value)
    if block:
        yield block


def _unit(block: tuple[int, dict[str, str]]) -> tuple[ObservedUnit, int]:
    lun, said = block
    device = _TYPES.get(said.get("Type", ""))
    path = said.get("Backing store path")
    size = _SIZE.match(said.get("Size", ""))
    unit = ObservedUnit(
        lun=lun,
        device_type=device,
        backing_type=_STORES.get(said.get("Backing store type", "")),
        backing_path=None if path == "None" else path,
        scsi_id=said.get("SCSI ID"),
        serial_number=said.get("SCSI SN"),
        readonly=_ANSWERS.get(said.get("Readonly", "")),
        online=_online(device, said),
    )
    return unit, int(size[1]) if size else 0


def _online(device: DeviceType | None, said: Mapping[str, str]) -> bool | None:
    """A disk that is offline is one without its medium: only then does tgtd refuse I/O.

    None for a mix of the two that we never make, so that it is put right.
    """
    online = _ANSWERS.get(said.get("Online", ""))
    wanted = removable(device, online)
    shown = _ANSWERS.get(said.get("Removable media", ""))
    return online if wanted is None or shown is wanted else None


def discovery(text: str) -> Bindings:
    """`system show`: the accounts of discovery. An outgoing one alone is not shown by tgtd."""
    lines = text.split("\n")
    if _ACCOUNT_TITLE not in lines:
        return Bindings()
    at = lines.index(_ACCOUNT_TITLE)
    names = []
    for line in lines[at + 2 :]:
        if not line.startswith("    "):
            break
        names.append(line[4:])
    return _bindings(names)


def accounts(text: str) -> tuple[str, ...]:
    """`account show`: the names of all accounts."""
    return tuple(_indented(text.split("\n"), 4))


def portals(text: str) -> frozenset[str]:
    """`portal show`: HOST:PORT of each, IPv6 in brackets."""
    found = re.findall(r"^Portal: (\S+),\d+$", text, re.MULTILINE)
    return frozenset(found)


def nexuses(text: str) -> tuple[Nexus, ...]:
    """`connection show` of one target: every connection, to close it.

    A name can forge further connections, and cannot hide one. A number that tgtd does not count to
    is made up.
    """
    found = ((int(sid), int(cid)) for sid, cid in _CONNECTION.findall(text))
    return tuple(Nexus(sid, cid) for sid, cid in found if sid <= MAX_SID and cid <= MAX_CID)


def session_numbers(text: str) -> frozenset[str]:
    """`unit stats` of a target's controller: the numbers of its sessions, and nothing that an
    initiator chose."""
    rows = (line.split() for line in text.split("\n")[1:])
    return frozenset(row[2] for row in rows if len(row) > 3 and row[2].isdecimal())


def traffic(text: str) -> dict[tuple[int, int, int], Traffic]:
    """`system stats`: what was done, by tid, LUN and session number; numbers alone. Bytes have 64
    bits, commands and errors 32."""
    rows = (line.split() for line in text.split("\n")[1:])
    numbers = (
        list(map(int, row)) for row in rows if len(row) == 12 and all(map(str.isdecimal, row))
    )
    return {
        (row[0], row[1], row[2]): Traffic(row[5], row[6], row[9], row[10], row[11])
        for row in numbers
    }


def sessions(text: str, numbers: Set[str]) -> tuple[Session, ...]:
    """`connection show` of one target that has sessions of these numbers and no others.

    What stands between two headers that occur once is all of one connection, whatever newlines and
    headers its name holds. Where a header occurs twice, one of them is forged: of that session, and
    of the one before each of them, nothing is told but that it is there.
    """
    headers = [found for found in _CONNECTION.finditer(text) if found[1] in numbers]
    count = Counter(header[1] for header in headers)
    ends = [header.start() for header in headers[1:]]
    told: dict[str, Session] = {}
    for header, after, end in zip_longest(headers, headers[1:], ends):
        sure = count[header[1]] == 1 and (after is None or count[after[1]] == 1)
        told[header[1]] = _session(header, text[header.end() : end]) if sure else _doubtful(header)
    return tuple(told.values())


def _session(header: re.Match[str], said: str) -> Session:
    """A name that tgtd cut has no newline after it; the address of a peer that is gone is blank."""
    found = _SAID.fullmatch(said)
    name, address = (found[1], found[2]) if found else (said, "")
    known = printable(name.removesuffix("\n")), printable(address or "")
    return Session(*known, int(header[1]), min(int(header[2]), MAX_CID))


def _doubtful(header: re.Match[str]) -> Session:
    return Session(UNKNOWN, UNKNOWN, int(header[1]))
