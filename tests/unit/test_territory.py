"""Which part of this machine may be served, and who can change what a path leads to."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storlever.backing import Machine, OffLimits, Unusable
from storlever.territory import SETTLED, Territory, is_fixed

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's files")


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(1024))
    return path


def served(path: Path | str, territory: Territory) -> bool:
    """Whether it is, which both ways to look must agree on."""
    answers = set()
    for look in (Machine(territory).inspect, Machine(territory).look):
        try:
            look(str(path))
            answers.add(True)
        except OffLimits:
            answers.add(False)
    (answer,) = answers
    return answer


# -- the roots


@pytest.fixture
def territory(tmp_path: Path) -> Territory:
    return Territory(tmp_path / "state", roots=[tmp_path / "one", tmp_path / "two"])


def test_what_lies_below_any_root_is_served(tmp_path: Path, territory: Territory) -> None:
    for name in ("one/a", "two/a", "two/deep/er/a"):
        assert served(made(tmp_path / name), territory)


def test_what_lies_beside_the_roots_is_not_served(tmp_path: Path, territory: Territory) -> None:
    for name in ("a", "one.img", "three/one/a"):
        assert not served(made(tmp_path / name), territory)


def test_the_rule_names_the_roots(tmp_path: Path, territory: Territory) -> None:
    rule = f"must lie below {tmp_path}/one or {tmp_path}/two, links resolved"
    with pytest.raises(OffLimits, match=rule):
        Machine(territory).inspect(str(made(tmp_path / "a")))


def test_links_are_resolved_before_a_path_is_judged(tmp_path: Path, territory: Territory) -> None:
    inside, outside = made(tmp_path / "one/a"), made(tmp_path / "b")
    (tmp_path / "state").mkdir()
    (tmp_path / "way in").symlink_to(inside)
    (tmp_path / "one/way out").symlink_to(outside)
    (tmp_path / "one/folder").symlink_to(tmp_path)
    assert served(tmp_path / "way in", territory)
    assert not served(tmp_path / "one/way out", territory)
    assert not served(tmp_path / "one/folder/b", territory)
    assert served(tmp_path / "one/folder/state/../one/a", territory)


def test_a_root_may_be_a_link_itself(tmp_path: Path) -> None:
    made(tmp_path / "real/a")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert served(tmp_path / "link/a", Territory(tmp_path / "state", roots=[tmp_path / "link"]))


def test_everything_lies_below_the_root_of_all(tmp_path: Path) -> None:
    territory = Territory(tmp_path / "state", roots=[tmp_path / "one", Path("/")])
    assert served(made(tmp_path / "a"), territory)


def test_what_is_not_there_is_missing_and_not_forbidden(
    tmp_path: Path, territory: Territory
) -> None:
    with pytest.raises(Unusable, match="does not exist") as caught:
        Machine(territory).inspect(str(tmp_path / "gone"))
    assert caught.value.code == "backing-store-missing"


# -- what the kernel makes up


@pytest.mark.parametrize(
    "path", ["/proc/kallsyms", "/proc/self/maps", "/proc/version", "/sys/kernel/uevent_seqnum"]
)
def test_what_the_kernel_makes_up_is_not_served(path: str) -> None:
    assert not served(path, Territory(Path("/nowhere")))


def test_what_the_kernel_makes_up_is_known_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/version")
    assert not served(tmp_path / "link", Territory(Path("/nowhere")))


def test_a_file_in_memory_is_none_that_the_kernel_makes_up() -> None:
    path = Path("/dev/shm") / f"storlever-{os.getpid()}"  # noqa: S108  a tmpfs
    try:
        assert served(made(path), Territory(Path("/nowhere")))
    finally:
        path.unlink()


@pytest.mark.parametrize("path", ["/dev/null", "/dev/mem", "/dev/kmsg", "/dev/port", "/dev/tty"])
def test_a_character_device_that_is_no_sg_device_is_never_served(path: str) -> None:
    if not os.path.lexists(path):
        pytest.skip("this machine has none")
    with pytest.raises(Unusable, match="sg device"):
        Machine(Territory(Path("/nowhere"))).look(path)


# -- StorLever's own folder, whose list is kept


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder that nothing happened in lately."""
    made(tmp_path / "state/state.db")
    made(tmp_path / "state/run/notes")
    past = time.time_ns() - 2 * SETTLED
    for folder in (tmp_path / "state/run", tmp_path / "state"):
        os.utime(folder, ns=(past, past))
    return tmp_path / "state"


def test_what_comes_later_is_ours_as_well(tmp_path: Path, private: Path) -> None:
    """Files, folders and what is in them, however short ago; and what goes is ours no more."""
    territory = Territory(private)
    assert served(made(tmp_path / "a"), territory)
    for name in ("later", "run/later", "new/er/later"):
        made(private / name)
        (tmp_path / "link").hardlink_to(private / name)
        assert not served(tmp_path / "link", territory)
        (private / name).unlink()
        assert served(tmp_path / "link", territory)
        (tmp_path / "link").unlink()


def test_two_changes_within_one_tick_of_the_clock_are_both_seen(
    tmp_path: Path, private: Path
) -> None:
    """The folder's time is the same after both: what was seen after the first must not be kept."""
    territory = Territory(private)
    now = time.time_ns()
    for name in ("first", "second"):
        made(private / name)
        (tmp_path / name).hardlink_to(private / name)
        os.utime(private, ns=(now, now))
        assert not served(tmp_path / name, territory)


def test_a_folder_that_is_made_later_is_ours(tmp_path: Path) -> None:
    territory = Territory(tmp_path / "state")
    assert served(made(tmp_path / "a"), territory)
    assert not served(made(tmp_path / "state/state.db"), territory)


# -- who can change what a path leads to


@pytest.fixture
def folder(root: Path) -> Iterator[Path]:
    """Not below what pytest makes, which may be anyone's."""
    path = root / "settled"
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


def test_below_folders_of_our_own_a_path_is_settled(folder: Path) -> None:
    assert is_fixed(str(made(folder / "deep/a")))


def test_whoever_may_write_into_a_folder_can_change_what_is_in_it(folder: Path) -> None:
    path = str(made(folder / "deep/a"))
    for mode in (0o775, 0o757):
        folder.chmod(mode)
        assert not is_fixed(path)


def test_in_a_sticky_folder_only_the_owner_can(folder: Path) -> None:
    path = made(folder / "a")
    folder.chmod(0o1777)
    assert is_fixed(str(path))


@ROOT_ONLY
def test_in_a_sticky_folder_the_owner_of_a_file_can(folder: Path) -> None:
    path = made(folder / "a")
    folder.chmod(0o1777)
    os.chown(path, 65534, 65534)
    assert not is_fixed(str(path))


@ROOT_ONLY
def test_the_owner_of_a_folder_can(folder: Path) -> None:
    path = made(folder / "deep/er/a")
    os.chown(folder / "deep", 65534, 65534)
    assert not is_fixed(str(path))


def test_a_link_is_as_settled_as_its_own_way(folder: Path) -> None:
    """As those are in /dev/disk/by-id and of volume groups."""
    path, link = made(folder / "deep/a"), folder / "link"
    link.symlink_to("deep/../deep/a")
    (folder / "way").symlink_to(folder / "deep")
    assert is_fixed(str(link))
    assert is_fixed(str(folder / "way/a"))
    path.parent.chmod(0o777)
    assert not is_fixed(str(link))
    assert not is_fixed(str(folder / "way/a"))


@ROOT_ONLY
def test_who_owns_a_folder_on_the_way_of_a_link_can(folder: Path) -> None:
    made(folder / "a")
    (folder / "theirs").mkdir()
    (folder / "theirs/link").symlink_to(folder / "a")
    (folder / "link").symlink_to("theirs/link")
    assert is_fixed(str(folder / "link"))
    os.chown(folder / "theirs", 65534, 65534)
    assert not is_fixed(str(folder / "link"))


def test_a_way_through_proc_is_never_settled() -> None:
    """Its links lead where a process has gone."""
    assert not is_fixed("/proc/self/cwd")


def test_what_is_not_there_cannot_be_told(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    for name in ("gone", "loop"):
        with pytest.raises(OSError, match=r"No such file|Too many levels"):
            is_fixed(str(folder / name))


def test_times_in_whole_seconds_tell_nothing_for_a_second(tmp_path: Path, private: Path) -> None:
    """As on a file system that has no others: what comes later may leave the same time."""
    territory = Territory(private)
    while not 100e6 < time.time_ns() % SETTLED < 300e6:
        time.sleep(0.01)
    whole = time.time_ns() // SETTLED * SETTLED
    os.utime(private, ns=(whole, whole))
    assert served(made(tmp_path / "a"), territory)
    made(private / "later")
    os.utime(private, ns=(whole, whole))
    (tmp_path / "link").hardlink_to(private / "later")
    assert not served(tmp_path / "link", territory)
