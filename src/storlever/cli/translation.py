"""What a targets.conf means: a document of ours, and remarks on what is not, or not so, in it.

As tgt-admin reads it (tgt, scripts/tgt-admin, and targets.conf(5)): targets in the order of their
names; in each, first backing-stores, then direct-stores, by their paths; a LUN without a number
gets the lowest that no other one of the target says; a store that is not there is skipped and
takes no number; what stands in a target counts for its LUNs that do not say otherwise; of a user,
the first password counts.

Nothing is taken that would admit more than the file does: a target is not taken at all where none
of its initiators, or none of its users, can be.
"""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from storlever import names
from storlever.cli.directive import Block, Directive, Malformed, Place

Json = dict[str, Any]
There = Callable[[str], bool]
NOBODY = "255.255.255.255"
"""No initiator has this address. With it, a file says that names alone admit; without any address,
tgt-admin admits everyone."""

IN_QUOTES = frozenset('"$`\\')
UNQUOTED = frozenset("$`;&|<>()*?[{~#\n")
"""What a shell takes for its own, in double quotes and without; tgt-admin runs one."""
FOR_A_SHELL = "it has characters that tgt-admin's shell takes for its own"

STORES = {"backing-store": False, "direct-store": True}
"""Whether the LUN passes on what the device says of itself."""
OF_LUNS = frozenset(
    {
        *("write-cache", "scsi_id", "scsi_sn", "readonly", "online", "device-type", "bs-type"),
        *("allow-in-use", "lun", "removable", "block-size"),
    }
)
OF_TARGETS = frozenset(
    {
        *("driver", "incominguser", "outgoinguser", "initiator-address", "initiator-name"),
        *("controller_tid", "state"),
    }
)
OF_ALL = frozenset(
    {
        *("default-driver", "incomingdiscoveryuser", "outgoingdiscoveryuser", "ignore-errors"),
    }
)
LONG_WORD = re.compile(r"(\S{79})\S{2,}")
"""In remarks a word has at most 80 characters."""
DEVICE_TYPES = ("disk", "tape", "ssc", "cd", "changer", "pt")
BACKING_TYPES = ("rdwr", "aio", "ssc", "sg")
IMPLIED = {"cd": "mmc", "changer": "smc"}
"""Backing types that tgtd takes for these devices, whatever is said."""


@dataclass(frozen=True, slots=True)
class Remark:
    """`text`: as it stands there, without passwords. `taken`: it is, but means something else."""

    place: Place
    text: str
    why: str
    taken: bool = False

    def __str__(self) -> str:
        word = "note" if self.taken else "not taken"
        told = LONG_WORD.sub(r"\1…", f"{self.text}: {self.why}")
        return f"{self.place}: {word}: {told}"


class Skipped(Exception):
    """This one thing cannot be taken."""


@dataclass(slots=True)
class Translation:
    """`identities`: give LUNs what hosts know them by in a tgtd that has just been started."""

    there: There
    identities: bool = False
    remarks: list[Remark] = field(default_factory=list)
    _passwords: dict[str, str] = field(default_factory=dict, repr=False)
    _paths: Counter[str] = field(default_factory=Counter)
    _used: set[str] = field(default_factory=set)
    _number: int = 0

    def document(self, top: Block) -> Json:
        """Raises Malformed."""
        conf = self._conf(top)
        blocks = [each for each in top.blocks if each.key == "target"]
        for each in top.blocks:
            if each.key != "target":
                self._skip(each.place, f"<{each.key}>", "there is no such block")
        self._paths = Counter(path for each in blocks for path, _, _ in _stores(each))
        driver = _single(top, "default-driver") or "iscsi"
        targets = [self._target(each, driver) for each in sorted(blocks, key=_name)]
        found = [target for target in targets if target is not None]
        used = {name for name in conf.values() if name}
        for target in found:
            used |= {*target["incominguser_list"], *target["outgoinguser_list"]}
        users = [{"username": name, "password": self._passwords[name]} for name in sorted(used)]
        return {"version": 1, "conf": conf, "user_list": users, "target_list": found}

    # -- what is for all

    def _conf(self, top: Block) -> dict[str, str]:
        """A direction that the file does not name is left as it is."""
        conf: dict[str, str] = {}
        for each in sorted(top.directives, key=lambda each: each.key):
            if each.key in ("incomingdiscoveryuser", "outgoingdiscoveryuser"):
                if each.key in conf:
                    self._skip(each.place, each.key, "it is there already; the first one counts")
                elif name := self._user(each):
                    conf[each.key] = name
            elif each.key not in OF_ALL:
                self._skip(each.place, each.key, "StorLever has no such setting")
        return conf

    # -- a target

    def _target(self, block: Block, driver: str) -> Json | None:
        name = _name(block)
        self._number = self._tid(block)
        try:
            if (said := _single(block, "driver") or driver) != "iscsi":
                raise Skipped(f"its driver is {said}")
            target = {
                "iqn": _checked(names.target_name, name),
                "state": self._state(block),
                **self._access(block),
                **self._users(block),
                "lun_list": self._luns(block),
            }
        except Skipped as why:
            self._skip(block.place, f"<target {name}>", str(why))
            return None
        self._remark_rest(block)
        return target

    def _tid(self, block: Block) -> int:
        said = _single(block, "controller_tid")
        return int(said) if said and said.isascii() and said.isdigit() else self._number + 1

    def _state(self, block: Block) -> str:
        said = _single(block, "state") or "ready"
        if said not in ("ready", "offline"):
            raise Skipped(f"its state is {said}")
        return said

    def _access(self, block: Block) -> Json:
        """Raises Skipped where nothing would be left of a list, which would admit everyone."""
        addresses = self._list(block, "initiator-address", names.initiator_address)
        initiators = self._list(block, "initiator-name", names.initiator_name)
        if addresses == [NOBODY] and initiators:
            addresses = []
        elif initiators and not addresses:
            self.remarks.append(
                Remark(
                    block.place,
                    f"<target {_name(block)}>",
                    "tgt-admin admits everyone here, whatever initiator-name says; now these "
                    "names alone are admitted",
                    taken=True,
                )
            )
        return {"initiator_addr_list": addresses, "initiator_name_list": initiators}

    def _list(self, block: Block, key: str, rule: Callable[[str], str]) -> list[str]:
        found, said = [], _all(block, key)
        for each in said:
            try:
                found.append(_checked(rule, each.value or ""))
            except Skipped as why:
                self._skip(each.place, f"{key} {each.value or ''}", str(why))
        if said and not found:
            raise Skipped(f"no {key} of it can be taken, and without one it would admit everyone")
        return sorted(dict.fromkeys(found))

    def _users(self, block: Block) -> Json:
        said = _all(block, "incominguser")
        incoming = [name for each in said if (name := self._user(each))]
        if said and not incoming:
            raise Skipped("no incominguser of it can be taken, and without one it asks nobody")
        outgoing: list[str] = []
        for each in _all(block, "outgoinguser"):
            if outgoing:
                self._skip(each.place, _without_password(each), "a target has one outgoing user")
            elif name := self._user(each):
                outgoing = [name]
        return {
            "incominguser_list": sorted(dict.fromkeys(incoming)),
            "outgoinguser_list": outgoing,
        }

    def _user(self, said: Directive) -> str | None:
        """Its name; None where it cannot be taken."""
        words = (said.value or "").split(" ")
        text = _without_password(said)
        if len(words) < 2 or not words[1]:
            raise Malformed(said.place, f"{text}: has no password")
        try:
            name = _checked(names.chap_name, _unquoted(words[0]))
            password = _checked(names.chap_secret, _unquoted(words[1]))
        except Skipped as why:
            self._skip(said.place, text, str(why))
            return None
        if self._passwords.setdefault(name, password) != password:
            why_not = "it has another password before; the first one counts"
            self.remarks.append(Remark(said.place, text, why_not, taken=True))
        return name

    # -- its LUNs

    def _luns(self, block: Block) -> list[Json]:
        found: dict[int, Json] = {}
        stores = list(_stores(block))
        alone = _lun_said(block)
        taken = {said for _, _, own in stores if own and (said := _lun_said(own)) is not None}
        for path, direct, own in stores:
            try:
                self._require_free(path, own or block, block)
                said = alone if alone is not None or own is None else _lun_said(own)
                number = _lowest(taken) if said is None else said
                taken.add(number)  # tgt-admin gives it to this one, whether we can or not
                if number in found:
                    raise Skipped(f"another one has the number {number}")
                found[number] = self._lun(path, number, direct=direct, own=own, target=block)
                self._used.add(path)
            except Skipped as why:
                text = f"{'direct' if direct else 'backing'}-store {path}"
                self._skip(_place_of(block, path, own), text, str(why))
        return [found[number] for number in sorted(found)]

    def _require_free(self, path: str, store: Block, target: Block) -> None:
        """Raises Skipped where tgt-admin does."""
        if not self.there(path):
            raise Skipped("it is not there, and tgt-admin skips it")
        allowed = _setting("allow-in-use", store, target) == "yes"
        if path in self._used and not allowed:
            raise Skipped("another LUN has it, and allow-in-use does not say yes")

    def _lun(
        self, path: str, number: int, *, direct: bool, own: Block | None, target: Block
    ) -> Json:
        if not names.LUN_MIN <= number <= names.LUN_MAX:
            raise Skipped(f"a LUN's number is {names.LUN_MIN} to {names.LUN_MAX}")
        if set(path) & IN_QUOTES:
            raise Skipped(FOR_A_SHELL)
        lun: Json = {"lun": number, "path": _checked(names.backing_path, path)}
        said = _Settings(own, target)
        lun |= said.types()
        lun |= {
            "direct_map": direct,
            "write_cache": said.text("write-cache") != "off",  # tgt-admin warns of other words
            "readonly": said.number("readonly", 0) != 0,
            "online": said.number("online", 1) != 0,
            "shared": self._paths[path] > 1 and said.text("allow-in-use") == "yes",
        }
        said.require_usual(lun["device_type"])
        lun |= self._identity(said, number)
        for each in own.directives if own else ():
            if each.key not in OF_LUNS:
                self._skip(each.place, each.key, "StorLever has no such setting")
        return lun

    def _identity(self, said: "_Settings", number: int) -> Json:
        """tgtd's own, where it is to be kept, are of the numbers of target and LUN."""
        found = {}
        made = (f"IET     {self._number:04x}{number:04x}", f"beaf{self._number}{number}")
        for key, rule, own in zip(
            ("scsi_id", "scsi_sn"), (names.scsi_id, names.serial_number), made, strict=True
        ):
            text = said.text(key) or (own if self.identities else "")
            if set(text) & IN_QUOTES:
                raise Skipped(f"{key}: {FOR_A_SHELL}")
            if text:
                found[key] = _checked(rule, text)
        return found

    def _remark_rest(self, block: Block) -> None:
        known = OF_TARGETS | OF_LUNS | STORES.keys()
        for each in block.directives:
            if each.key not in known:
                self._skip(each.place, each.key, "StorLever has no such setting")
        for inner in block.blocks:
            if inner.key not in STORES:
                self._skip(inner.place, f"<{inner.key}>", "there is no such block")

    def _skip(self, place: Place, text: str, why: str) -> None:
        self.remarks.append(Remark(place, text, why))


@dataclass(frozen=True, slots=True)
class _Settings:
    """Of a LUN: its own, or those of its target."""

    own: Block | None
    target: Block

    def text(self, key: str) -> str | None:
        return _setting(key, self.own or self.target, self.target)

    def number(self, key: str, default: int) -> int:
        """As tgtd reads it. Raises Skipped for what it takes for 0."""
        text = self.text(key)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit()) or len(text) > 9:
            raise Skipped(f"{key} {text}: must be 0 or 1")
        return int(text)

    def types(self) -> Json:
        """Raises Skipped."""
        device, store = self.text("device-type") or "disk", self.text("bs-type")
        if device not in DEVICE_TYPES:
            raise Skipped(f"device-type {device} is not served")
        if store and store not in (*BACKING_TYPES, IMPLIED.get(device)):
            raise Skipped(f"bs-type {store} is not served")
        found = {"device_type": "tape" if device == "ssc" else device}
        return found | ({"bs_type": store} if store in BACKING_TYPES else {})

    def require_usual(self, device: str) -> None:
        """Raises Skipped for what no LUN of ours is."""
        if (self.text("block-size") or "512") != "512":
            raise Skipped(f"block-size {self.text('block-size')} is not served")
        if device == "disk" and self.number("removable", 0):
            raise Skipped("a disk is not removable")


def _stores(target: Block) -> Iterator[tuple[str, bool, Block | None]]:
    """Path, whether it is direct, its block, in the order of tgt-admin. Raises Malformed."""
    for key, direct in STORES.items():
        plain = _all(target, key)
        blocks = [each for each in target.blocks if each.key == key]
        found: dict[str, Block | None] = {}
        for each in plain:
            if not each.value:
                raise Malformed(each.place, f"{key} has no value")
            found[each.value] = None
        for block in blocks:
            found[_name(block)] = block
        yield from ((path, direct, found[path]) for path in sorted(found))


def _place_of(target: Block, path: str, own: Block | None) -> Place:
    if own:
        return own.place
    return next(each.place for each in target.directives if each.value == path)


def _lun_said(block: Block) -> int | None:
    said = _single(block, "lun")
    if said is None:
        return None
    if not (said.isascii() and said.isdigit()) or len(said) > 5:
        raise Malformed(_all(block, "lun")[0].place, f"lun {said}: must be a number")
    return int(said)


def _lowest(taken: set[int]) -> int:
    return next(number for number in range(1, len(taken) + 2) if number not in taken)


def _all(block: Block, key: str) -> Sequence[Directive]:
    return [each for each in block.directives if each.key == key]


def _single(block: Block, key: str) -> str | None:
    """Raises Malformed where it stands more than once, or has no value."""
    found = _all(block, key)
    if not found:
        return None
    if len(found) > 1:
        raise Malformed(found[1].place, f"{key} stands here more than once")
    if not found[0].value:
        raise Malformed(found[0].place, f"{key} has no value")
    return found[0].value


def _setting(key: str, own: Block, target: Block) -> str | None:
    said = _single(own, key)
    return said if said is not None else _single(target, key)


def _name(block: Block) -> str:
    name = (block.name or "").strip()
    if not name:
        raise Malformed(block.place, f"<{block.key}> has no name")
    return name


def _checked(rule: Callable[[str], str], text: str) -> str:
    """Raises Skipped with the rule that is broken."""
    try:
        return rule(text)
    except ValueError as error:
        raise Skipped(str(error)) from None


def _unquoted(word: str) -> str:
    """As the shell hands it on that tgt-admin gives it to, unquoted. Raises Skipped where that
    would do more."""
    try:
        words = [] if set(word) & UNQUOTED else shlex.split(word)
    except ValueError:
        words = []
    if len(words) != 1:
        raise Skipped(FOR_A_SHELL)
    return words[0]


def _without_password(said: Directive) -> str:
    return f"{said.key} {(said.value or '').partition(' ')[0]}".rstrip()
