"""A document of ours as a targets.conf, for tgt-admin.

tgt-admin hands what it reads to a shell, as root. So only what no shell could take for anything
else is written. A target of which anything has another character is not written at all: without
its user or its list it would admit more than it should.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from storlever.cli.translation import NOBODY

Json = Mapping[str, Any]
HARMLESS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+=:./-")
SPACED = HARMLESS | {" "}
"""Within quotes, as tgt-admin has paths and identities."""


class Unsayable(Exception):
    """There is no way to write this one thing."""


def render(document: Json) -> tuple[str, list[str]]:
    """The file, and what is not in it, a sentence each. The document has passwords."""
    passwords = {each["username"]: each.get("password") for each in document["user_list"]}
    paths = Counter(lun["path"] for target in document["target_list"] for lun in target["lun_list"])
    missing: list[str] = []
    lines = ["# Written by storlever export.", "default-driver iscsi"]
    for key in ("incomingdiscoveryuser", "outgoingdiscoveryuser"):
        if name := document["conf"].get(key):
            lines += _tried(missing, key, lambda: [f"{key} {_user(name, passwords)}"])  # noqa: B023
    for target in document["target_list"]:
        what = f"target {target['iqn']}"
        lines += _tried(missing, what, lambda: [*_target(target, passwords, paths)])  # noqa: B023
    return "\n".join([*lines, ""]), missing


def _tried(missing: list[str], what: str, write: Any) -> list[str]:
    try:
        lines: list[str] = write()
    except Unsayable as why:
        missing.append(f"{what}: {why}")
        return []
    return lines


def _target(target: Json, passwords: Mapping[str, str], paths: Counter[str]) -> Iterator[str]:
    yield f"\n<target {_safe(target['iqn'], 'name')}>"
    addresses, initiators = target["initiator_addr_list"], target["initiator_name_list"]
    if initiators and not addresses:
        addresses = [NOBODY]
    yield from (f"    initiator-address {_safe(each, 'address')}" for each in addresses)
    yield from (f"    initiator-name {_safe(each, 'name')}" for each in initiators)
    for direction in ("incoming", "outgoing"):
        for name in target[f"{direction}user_list"]:
            yield f"    {direction}user {_user(name, passwords)}"
    if target["state"] == "offline":
        yield "    state offline"
    stores = Counter((lun["direct_map"], lun["path"]) for lun in target["lun_list"])
    for (_, path), count in stores.items():
        if count > 1:
            raise Unsayable(f"{count} of its LUNs serve {path}, which tgt-admin would take for one")
    for lun in target["lun_list"]:
        yield from (f"    {line}" for line in _lun(lun, several=paths[lun["path"]] > 1))
    yield "</target>"


def _lun(lun: Json, *, several: bool) -> Iterator[str]:
    key = "direct-store" if lun["direct_map"] else "backing-store"
    path = _safe(lun["path"], "path", SPACED)
    if "  " in path or path.endswith((" ", "/")):
        raise Unsayable(f"the path {path} cannot be written")
    yield f"<{key} {path}>"
    yield f"    lun {lun['lun']}"
    if lun["device_type"] != "disk":
        yield f"    device-type {lun['device_type']}"
    if lun["device_type"] != "cd":
        yield f"    bs-type {lun['bs_type']}"
    if not lun["write_cache"]:
        yield "    write-cache off"
    if lun["readonly"]:
        yield "    readonly 1"
    if not lun["online"]:
        yield "    online 0"
    if several:
        yield "    allow-in-use yes"
    yield f"    scsi_id {_safe(lun['scsi_id'], 'scsi_id', SPACED)}"
    yield f"    scsi_sn {_safe(lun['scsi_sn'], 'scsi_sn', SPACED)}"
    yield f"</{key}>"


def _user(name: str, passwords: Mapping[str, str]) -> str:
    password = passwords.get(name)
    if not password:
        raise Unsayable(f"the password of {name} is not known")
    return f"{_safe(name, 'user')} {_safe(password, f'password of {name}', shown=False)}"


def _safe(text: str, what: str, harmless: frozenset[str] = HARMLESS, *, shown: bool = True) -> str:
    """Raises Unsayable. What begins with = would lose that to the grammar."""
    if not text or not harmless.issuperset(text) or text.startswith("="):
        raise Unsayable(
            f"the {what}{f' {text}' if shown else ''} has characters that tgt-admin's shell may "
            "take for something else"
        )
    return text
