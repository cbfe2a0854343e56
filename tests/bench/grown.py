"""Services that have many targets from their first start on."""

from pathlib import Path

from storlever.inventory import Edit
from storlever.model import BackingType, LogicalUnit, Target
from storlever.store import SqliteStore
from tests.keys import keys_in
from tests.world import StorLever, image

MEGABYTES = 1


def target_name(number: int) -> str:
    return f"iqn.2026-01.bench:{number}"


def path_of(number: int) -> str:
    """In the API."""
    return f"/target_list/{target_name(number)}"


def targets(root: Path, count: int) -> dict[str, Target]:
    """Open to everybody, with one LUN each, on files that this makes in `root`."""
    folder = root / "images"
    folder.mkdir(exist_ok=True)
    return {target_name(number): _target(folder, number) for number in range(count)}


def _target(folder: Path, number: int) -> Target:
    unit = LogicalUnit(
        lun=1,
        backing_path=str(image(folder / f"{number}.img", MEGABYTES)),
        backing_type=BackingType.RDWR,
        scsi_id=f"{number:031x}",
        serial_number=f"{number:016X}",
    )
    return Target(target_name(number), units=(unit,))


def grown(root: Path, count: int, kind: type[StorLever] = StorLever, **settings: str) -> StorLever:
    """Not started; `count` targets stand in its state file."""
    root.mkdir(exist_ok=True)
    storlever = kind(root, **settings)
    storlever.state.mkdir(mode=0o700)
    store = SqliteStore(storlever.state / "state.db", keys_in(storlever.state))
    store.commit(Edit(targets(root, count)))
    store.close()
    return storlever
