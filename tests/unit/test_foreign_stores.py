"""What a foreign target serves is not served by one of ours as well, unless that is wished."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from storlever.document import Document, TargetPart, UnitPart
from storlever.errors import Conflict
from storlever.tgtd.wire import Device, Mode, Op, Request
from storlever.writer import Write
from tests.unit.core import ACT, FOREIGN, Core
from tests.world import folder, image

T = "iqn.2026-01.test:one"
TID = 99


@pytest.fixture
def core() -> Iterator[Core]:
    """A target of ours with a LUN, and a foreign one, both known."""
    with folder() as path:
        for number in (1, 2, 3):
            image(path / f"{number}.img", number)
        core = Core(path)
        core.settle()
        core.service.add_target(T)
        add_unit(core, 2, "2.img")
        core.add_foreign()
        serve(core, "1.img")
        core.settle()
        yield core


def serve(core: Core, file: str) -> None:
    """What others' tgtadm would do."""
    parameters = (("path", f"{core.folder}/{file}"), ("bstype", "rdwr"))
    new = Request(Mode.UNIT, Op.NEW, TID, 1, device=Device.DISK, parameters=parameters)
    assert core.tgtd.exchange(new).error == 0


def add_unit(core: Core, lun: int, file: str, **fields: Any) -> None:
    core.service.add_unit(T, lun, {"backing_path": f"{core.folder}/{file}", **fields})


def apply(core: Core, lun: int, file: str) -> None:
    unit = UnitPart(lun, {"backing_path": f"{core.folder}/{file}"})
    core.service.apply(Document(targets=(TargetPart(T, units=(unit,)),)))


WAYS: dict[str, Callable[[Core, str], object]] = {
    "a new LUN": lambda core, file: add_unit(core, 1, file),
    "a LUN that moves": lambda core, file: core.service.edit_unit(
        T, 2, {"backing_path": f"{core.folder}/{file}"}
    ),
    "a document": lambda core, file: apply(core, 1, file),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_foreign_target_serves_is_refused_by_whatever_name(core: Core, way: str) -> None:
    (core.folder / "link.img").symlink_to("1.img")
    (core.folder / "hard.img").hardlink_to(core.folder / "1.img")
    before = core.shown()
    for file in ("1.img", "link.img", "hard.img"):
        with pytest.raises(
            Conflict, match=f"{file} is LUN 1 of the foreign target {FOREIGN}"
        ) as no:
            WAYS[way](core, file)
        assert no.value.code == "backing-store-in-use"
    assert core.shown() == before
    WAYS[way](core, "3.img")


def test_it_is_served_twice_if_that_is_wished(core: Core) -> None:
    add_unit(core, 1, "1.img", shared=True)
    assert core.service.unit(T, 1).state == "ready"


def test_what_others_let_go_of_since_the_last_look_is_free_at_once(core: Core) -> None:
    assert core.tgtd.exchange(Request(Mode.UNIT, Op.DELETE, TID, 1)).error == 0
    add_unit(core, 1, "1.img")
    assert core.service.unit(T, 1).state == "ready"


def test_a_rehearsal_refuses_it_too(core: Core) -> None:
    write = Write(ACT, lambda: add_unit(core, 1, "1.img"), rehearsed=True)
    (outcome,) = core.service.together([write])
    assert isinstance(outcome, Conflict)


def test_a_file_that_takes_the_place_of_theirs_is_free(core: Core) -> None:
    """tgtd has the old one open, under the same name: of that name it is refused."""
    add_unit(core, 1, "3.img")  # theirs are seen
    (core.folder / "1.img").rename(core.folder / "old.img")
    image(core.folder / "1.img", 1)
    (core.folder / "new.img").hardlink_to(core.folder / "1.img")
    add_unit(core, 3, "new.img")
    for file in ("1.img", "old.img"):
        with pytest.raises(Conflict):
            add_unit(core, 4, file)


def test_theirs_are_seen_by_a_write_that_needs_no_store(core: Core) -> None:
    """The sooner the better: what tgtd has open has another name when the next write comes."""
    core.service.edit_unit(T, 2, {"write_cache": False})
    (core.folder / "1.img").rename(core.folder / "old.img")
    image(core.folder / "1.img", 1)
    with pytest.raises(Conflict, match="foreign"):
        add_unit(core, 3, "old.img")
