"""A LUN made by the service and by tgt's own tools, at 1,000 targets; and there, the memory that
the service holds, and how soon it serves when it starts again."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from storlever.inventory import Edit
from storlever.model import Target
from storlever.store import SqliteStore
from storlever.tgtd.words import completion
from tests.bench.client import Client
from tests.bench.figure import Figure, at_least, at_most, median, side_by_side, timed
from tests.bench.floor import Core, running
from tests.bench.grown import grown, path_of, target_name, targets
from tests.keys import keys_in
from tests.torture.machine.proc import sample
from tests.world import StorLever, Tgtd, folder, image

COUNT = 1_000
LUN = 2

Samples = Mapping[str, list[float]]


def figures(quick: bool) -> Iterator[Figure]:
    calls, updates, starts = (200, 5, 5) if quick else (600, 10, 15)
    with folder() as root, running(root) as tgtd:
        tools = Tools(root, tgtd)
        storlever = grown(root / "service", COUNT)
        try:
            with Client(storlever.start(patience=60).port) as client:
                samples = _in_turns(tools, client, calls, updates)
            yield from _against_tgt_admin(samples)
            yield from _against_tgtadm(samples)
            assert storlever.process is not None
            resident = sample(storlever.process.pid).resident / 1024
            yield at_most(f"resident memory at {COUNT:,} targets", resident, 100, 1, "MB")
            yield _starts(storlever, starts)
        finally:
            storlever.close()


class Tools:
    """tgtadm, tgt-admin and the service without HTTP, on one tgtd that has `COUNT` targets.

    What a tool changes there is not put back: nothing looks after this tgtd between two calls.
    """

    def __init__(self, root: Path, tgtd: Tgtd) -> None:
        self.root, self._tgtd = root, tgtd
        self._targets = targets(root, COUNT)
        self.service = _filled(root, tgtd, self._targets).service
        listed = re.findall(r"Target (\d+): (\S+)$", tgtd.admin("show", "lld"), re.MULTILINE)
        self._tids = {name: tid for tid, name in listed}
        self._unit = next(iter(self._targets.values())).units[0]
        self._image = image(root / "tool.img", 1)
        self._config = root / "targets.conf"

    # -- tgtadm

    def new(self, number: int) -> None:
        self._tgtadm(number, "new", "-b", str(self._image))

    def new_durable(self, number: int) -> None:
        """With a line about it that is on the disk, as one in targets.conf would be."""
        self.new(number)
        with (self.root / "diary").open("ab", buffering=0) as diary:
            diary.write(f"<backing-store {self._image}>\n".encode())
            os.fsync(diary.fileno())

    def new_alike(self, number: int) -> None:
        """As the API makes it: as durable, and with all that a second call has to bring."""
        self.new_durable(number)
        rest = [f"{name}={value}" for name, value in completion(self._unit) if name != "path"]
        self._tgtadm(number, "update", "--params", ",".join(rest))

    def delete(self, number: int) -> None:
        self._tgtadm(number, "delete")

    def _tgtadm(self, number: int, op: str, *arguments: str) -> None:
        self._run(
            *("tgtadm", "-C", str(self._tgtd.control_port), "--lld", "iscsi"),
            *("--op", op, "--mode", "logicalunit"),
            *("--tid", self._tids[target_name(number)], "--lun", str(LUN)),
            *arguments,
        )

    # -- tgt-admin

    def update(self, number: int, *, spared: bool) -> float:
        """The seconds of `tgt-admin --update` of a target that has a LUN more in targets.conf.

        `spared`: the file tells of no other target, and forbids to ask lsof who has the images.
        """
        changed = target_name(number)
        told = [changed] if spared else list(self._targets)
        self._config.write_text("".join(self._told(name, changed, spared) for name in told))
        port = str(self._tgtd.control_port)
        seconds = timed(
            lambda: self._run("tgt-admin", "-C", port, "-c", str(self._config), "--update", changed)
        )
        shown = self._tgtd.admin("show", "target").partition(f": {changed}\n")[2]
        assert f"LUN: {LUN}\n" in shown.partition("\nTarget ")[0], f"no new LUN in {changed}"
        return seconds

    def _told(self, name: str, changed: str, spared: bool) -> str:
        stores = [(unit.lun, unit.backing_path) for unit in self._targets[name].units]
        if name == changed:
            stores.append((LUN, str(image(self.root / f"update-{changed}.img", 1))))
        options = "allow-in-use yes\n" if spared else ""
        blocks = (
            f"<backing-store {path}>\nlun {lun}\n{options}</backing-store>\n"
            for lun, path in stores
        )
        return f"<target {name}>\n{''.join(blocks)}</target>\n"

    def _run(self, *command: str) -> None:
        """Nothing but the fork and the wait: `subprocess` takes as long again as tgtadm."""
        pid = os.posix_spawnp(command[0], command, self._tgtd.environment)
        status = os.waitpid(pid, 0)[1]
        assert status == 0, command


def _filled(root: Path, tgtd: Tgtd, held: Mapping[str, Target]) -> Core:
    """A core that has read these targets from its state file, and has brought them to tgtd."""
    state = root / "core"
    state.mkdir()
    store = SqliteStore(state / "state.db", keys_in(state))
    store.commit(Edit(dict(held)))
    store.close()
    core = Core(root, tgtd)
    core.passes.full(core.service.inventory)
    return core


def _in_turns(tools: Tools, client: Client, calls: int, updates: int) -> Samples:
    """The seconds of each way to make a LUN; what unmakes it again is timed, too, and not used."""
    over_http, own = (str(image(tools.root / name, 1)) for name in ("http.img", "own.img"))
    body = {"lun": LUN, "path": over_http}
    service = tools.service
    works: dict[str, Callable[[int], object]] = {
        "POST": lambda n: client.api("POST", f"{path_of(n)}/lun_list", body),
        "DELETE": lambda n: client.api("DELETE", f"{path_of(n)}/lun_list/{LUN}"),
        "service": lambda n: service.add_unit(target_name(n), LUN, {"backing_path": own}),
        "service undone": lambda n: service.remove_unit(target_name(n), LUN),
    }
    for each in (tools.new, tools.new_durable, tools.new_alike):
        works |= {each.__name__: each, f"{each.__name__} undone": tools.delete}
    samples: dict[str, list[float]] = defaultdict(list)
    for turn in range(updates):
        for name, seconds in side_by_side(works, calls // updates).items():
            samples[name] += seconds
        for name, spared in (("update", False), ("spared", True)):
            samples[name].append(tools.update(COUNT - 1 - 2 * turn - spared, spared=spared))
    return samples


def _against_tgt_admin(samples: Samples) -> Iterator[Figure]:
    """`n` is that of tgt-admin's calls."""
    post = median(samples["POST"])
    update, spared = samples["update"], samples["spared"]
    at = f"at {COUNT:,} targets"
    name = f"tgt-admin --update of one target / POST lun, {at}"
    yield at_least(name, median(update) / post, 100, len(update))
    name = f"the same, a targets.conf with that target alone and no lsof, {at}"
    yield at_least(name, median(spared) / post, None, len(spared))


def _against_tgtadm(samples: Samples) -> Iterator[Figure]:
    """A LUN by one tgtadm has the identity of many others, and is gone when tgtd ends."""
    calls = len(samples["POST"])
    made = {
        "one tgtadm": ("new", 1),
        "one tgtadm and an fsync": ("new_durable", None),
        "two tgtadm and an fsync, which make the same": ("new_alike", None),
    }
    for how, (work, asked) in made.items():
        least = median(samples[work])
        ratio = median(samples["POST"]) / least
        yield at_most(f"POST lun over HTTP / {how}, at {COUNT:,} targets", ratio, asked, calls)
        ratio = median(samples["service"]) / least
        yield at_most(f"POST lun without HTTP / {how}, at {COUNT:,} targets", ratio, None, calls)


def _starts(storlever: StorLever, starts: int) -> Figure:
    name = f"start to ready with {COUNT:,} targets, tgtd being there"
    return at_most(name, median([_start(storlever) for _ in range(starts)]), 2, starts, "s")


def _start(storlever: StorLever) -> float:
    """Seconds until a service that was killed is ready again, on the tgtd that it left behind."""
    storlever.kill()
    started = time.perf_counter()
    storlever.spawn()
    while not _ready(storlever.port):
        assert storlever.process is not None
        assert storlever.process.poll() is None, storlever.log.read_text()
        assert time.perf_counter() - started < 60, "not ready within 60 s"
        time.sleep(0.005)
    return time.perf_counter() - started


def _ready(port: int) -> bool:
    """The client takes nothing but a success."""
    try:
        with Client(port) as client:
            client.request("GET", "/readyz")
    except (OSError, AssertionError):
        return False
    return True
