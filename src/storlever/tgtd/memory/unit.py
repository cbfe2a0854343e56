"""A logical unit, which opens real files."""

import os
import stat
from dataclasses import dataclass, field

from storlever.tgtd.memory.failure import Refusal
from storlever.tgtd.wire import Device, Request, TgtError

_OWN_STORES = {Device.CD: "mmc", Device.CHANGER: "smc"}


@dataclass
class Unit:
    device: Device
    store: str
    scsi_id: str
    scsi_sn: str
    removable: bool
    path: str | None = None
    size: int = 0
    online: bool = False
    readonly: bool = False
    mode_page: str | None = None
    product: dict[str, str] = field(default_factory=dict)
    busy: int = 0
    """How many times a deletion is refused because of commands in flight."""

    def update(self, parameters: tuple[tuple[str, str], ...]) -> None:
        """One after another; the verdict is that on the last of online, path and mode_page."""
        verdict: TgtError | None = None
        for key, value in parameters:
            match key:
                case "scsi_id" | "scsi_sn":
                    setattr(self, key, value[:36])
                case "readonly" | "removable":
                    setattr(self, key, value == "1")
                case "online":
                    self.online = value == "1" and (
                        self.path is not None or self.device is not Device.CD
                    )
                    verdict = None
                case "mode_page":
                    self.mode_page, verdict = value, None
                case "path":
                    verdict = self._moved(value)
                case _:
                    self.product[key] = value
        if verdict is not None:
            raise Refusal(verdict)

    def _moved(self, path: str) -> TgtError | None:
        if self.online:
            return TgtError.INVALID_REQUEST
        self.path, self.size = None, 0
        if self.store == "aio":
            return TgtError.INVALID_REQUEST
        try:
            self.open(path)
        except Refusal as refusal:
            return refusal.error
        return None

    def open(self, path: str) -> None:
        """Raises Refusal for anything but a file or a block device; sg devices there are none."""
        try:
            status = os.stat(path)  # noqa: PTH116  a path may be anything here
        except OSError:
            raise Refusal(TgtError.INVALID_REQUEST) from None
        served = stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)
        if not served or self.store == "sg":
            raise Refusal(TgtError.INVALID_REQUEST)
        self.path, self.size, self.online = path, status.st_size, True


def new_unit(request: Request) -> Unit:
    """Raises Refusal."""
    parameters = dict(request.parameters)
    unit = Unit(
        request.device,
        _OWN_STORES.get(request.device) or parameters.get("bstype", "rdwr"),
        f"IET     {request.tid:04x}{request.lun:04x}",
        f"beaf{request.tid}{request.lun}",
        removable=True,
    )
    if "path" in parameters:
        unit.open(parameters["path"])
        unit.removable = request.device is not Device.DISK
    return unit
