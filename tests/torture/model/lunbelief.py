"""What a user believes of LUNs: which fields they have, and on what they may stand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from storlever.errors import Conflict, Invalid
from tests.torture.model.moves import Refusal, against

FITTING = {
    "disk": ("rdwr", "aio"),
    "cd": ("rdwr", "aio"),
    "changer": ("rdwr", "aio"),
    "tape": ("ssc",),
    "pt": ("sg",),
}
"""Device type -> backing types; the first is the default."""
FIELDS = {
    "device_type": "disk",
    "direct_map": False,
    "write_cache": True,
    "readonly": False,
    "online": True,
    "shared": False,
    "scsi_id": "",
    "serial_number": "",
}
"""A new LUN's, but for the path and the backing type. An empty identity is one not known yet."""
BLOCK = 512

Lun = dict[str, Any]
"""By the names that the service has for the fields."""


class Shelf:
    """`tapes` are the names of files that are tapes."""

    def __init__(self, tapes: Iterable[str]) -> None:
        self._tapes = frozenset(tapes)

    def new(self, given: Lun) -> Lun:
        return self.changed(FIELDS, given)

    def changed(self, old: Lun, given: Lun) -> Lun:
        """An empty identity asks for none; a backing type that does not fit any more goes."""
        said = {key: value for key, value in given.items() if value != ""}
        new = {**old, **said}
        fitting = FITTING[new["device_type"]]
        if "backing_type" not in said and new.get("backing_type") not in fitting:
            new["backing_type"] = fitting[0]
        return new

    def against(self, lun: Lun, rest: Iterable[Lun]) -> frozenset[Refusal]:
        """What is wrong with a LUN, alone or beside the rest."""
        return against(
            (lun["backing_type"] not in FITTING[lun["device_type"]], Invalid, "invalid"),
            (not lun["write_cache"] and lun["device_type"] != "disk", Invalid, "invalid"),
            (lun["direct_map"], Invalid, "invalid"),  # nothing here is a SCSI device
            (not self._can_serve(lun), Invalid, "invalid"),
            (any(_quarrel(lun, other) for other in rest), Conflict, "backing-store-in-use"),
        )

    def _can_serve(self, lun: Lun) -> bool:
        path = Path(lun["backing_path"])
        if not path.is_file():
            return False
        match lun["device_type"]:
            case "disk":
                return path.stat().st_size >= BLOCK
            case "tape":
                return path.name in self._tapes
            case "cd":
                return path.stat().st_size > 0 or not lun["readonly"]
            case "changer":
                return True
        return False


def _quarrel(one: Lun, other: Lun) -> bool:
    """Both stand on the same store, and neither puts up with it."""
    same = Path(one["backing_path"]).resolve() == Path(other["backing_path"]).resolve()
    agreed = one["shared"] or other["shared"] or (one["readonly"] and other["readonly"])
    return same and not agreed
