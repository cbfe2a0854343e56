"""What a schema cannot say of a request, made right. So a request is taken or refused for what the
schema says of it, and not for something else."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from schemathesis import Case

from storlever import names
from storlever.web.writing import KEY
from tests.world import image

ADDRESS = "10.0.0.1"
NOT_HERE = ("tape", "ssc", "pt")
"""Kinds of LUNs that a plain file does not do for."""
FILES = ("rdwr", "aio")
"""Backing types that it does for."""
FREE = range(2, 250)
"""Numbers of new LUNs, where the first one is asked for: it is there already."""


class Sound:
    """Every path is led to a file in `folder`, a new one each time: nothing else of this machine is
    ever asked to be served."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number: Iterator[int] = count()

    def make(self, case: Case[Any]) -> None:
        headers: Any = case.headers or {}
        body = case.body
        if re.fullmatch(KEY, headers.get("Idempotency-Key", "")):
            # One that another request had is refused.
            headers["Idempotency-Key"] = f"{next(self._number)}"
        if not isinstance(body, dict):
            return
        if "/lun_list" in case.path:
            self._make_unit(body, created=case.method == "POST")
        for target in (body, *_members(body, "target_list")):
            for unit in _members(target, "lun_list"):
                self._make_unit(unit, created=True)
            if isinstance(addresses := target.get("initiator_addr_list"), list):
                target["initiator_addr_list"] = [_known(entry) for entry in addresses]

    def _make_unit(self, unit: dict[str, Any], *, created: bool) -> None:
        number = next(self._number)
        _fit(unit, created=created, number=number)
        if _leads_somewhere(unit.get("path")):
            unit["path"] = str(image(self._folder / f"{number}.img", 1))


def _members(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """What a list in a body has of objects, if it is one."""
    found = body.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _leads_somewhere(path: object) -> bool:
    return isinstance(path, str) and path.startswith("/") and "/.." not in path


def _fit(body: dict[str, Any], *, created: bool, number: int) -> None:
    """Fields that depend on each other, or on what is there."""
    if body.get("direct_map") is True:
        body["direct_map"] = False
    if body.get("device_type") in NOT_HERE:
        body["device_type"] = "disk"
    if body.get("bs_type") in ("sg", "ssc"):
        body["bs_type"] = FILES[number % len(FILES)]
    kind = body.get("device_type", "disk" if created else "")
    if kind != "disk" and body.get("write_cache", not kind) is False:
        body["write_cache"] = True
    lun = body.get("lun")
    if isinstance(lun, int | float) and lun in range(1, 256) and lun is not True:
        if created:  # 1.0 is an integer to a schema
            body["lun"] = FREE[number % len(FREE)] if lun == 1 else int(lun)
        else:
            del body["lun"]


def _known(entry: Any) -> Any:
    """Which of the addresses that look like some are such, and which networks tgtd tells apart."""
    if isinstance(entry, str) and re.fullmatch(names.INITIATOR_ADDRESS, entry):
        try:
            names.initiator_address(entry)
        except ValueError:
            return ADDRESS
    return entry
