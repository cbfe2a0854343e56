"""The units of contrib/systemd, by systemd's own judgement and under a systemd that runs them."""

import argparse
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from storlever.cli import serve
from tests.booted import Systemd, systemd
from tests.initiator import GOOD, Initiator, Login, LoginError
from tests.world import STORLEVER, WIKI_TARGET, StorLever, folder, image, wait_until

ROOT = Path(__file__).parents[2]
CONTRIB = ROOT / "contrib" / "systemd"
UNIT = CONTRIB / "storlever.service"
DROP_IN = CONTRIB / "tgt.service.d" / "storlever.conf"
ATTACHED = CONTRIB / "attached.conf"
TGT_UNIT = Path("/lib/systemd/system/tgt.service")
EXPOSURE = 2.5
"""The most that `systemd-analyze security` may say: 0 is shut in, 10 is free to do anything."""
PROMISED = 5.0
"""Seconds until all is as desired again, after any single fault."""
USER: Login = {"user": "joe", "password": "wiki-secret-1"}
BLOCK = bytes(range(256)) * 2


def settings(unit: Path, name: str) -> list[str]:
    """What the unit says of it, line by line."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def analyzed(*arguments: str | Path, units: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = {"SYSTEMD_UNIT_PATH": f"{units}:"} if units else {}
    return subprocess.run(
        ["systemd-analyze", *arguments], env=path, capture_output=True, text=True, check=False
    )


def installed(units: Path) -> None:
    """Both units as they would be on a Debian, but for where the program is."""
    text = UNIT.read_text().replace("/usr/bin/storlever", str(STORLEVER))
    (units / UNIT.name).write_text(text)
    shutil.copy(TGT_UNIT, units)
    for name, file in ((TGT_UNIT.name, DROP_IN), (UNIT.name, ATTACHED)):
        place = units / f"{name}.d"
        place.mkdir()
        shutil.copy(file, place)


# -- on paper


def test_exposure_is_as_low_as_promised() -> None:
    options = ("--offline=true", f"--threshold={EXPOSURE * 10:.0f}")
    done = analyzed("security", *options, UNIT)
    assert done.returncode == 0, done.stdout


def test_systemd_has_nothing_to_say_about_the_units(root: Path) -> None:
    installed(root)
    for name in (UNIT.name, TGT_UNIT.name):
        done = analyzed("verify", "--man=no", root / name, units=root)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), name


@pytest.mark.parametrize("file", [UNIT, DROP_IN, ATTACHED], ids=lambda file: file.name)
def test_systemd_would_find_a_fault_in_each(root: Path, file: Path) -> None:
    """That the test before this one can fail."""
    installed(root)
    name = TGT_UNIT.name if file == DROP_IN else UNIT.name
    with next(root.glob(f"**/{file.name}")).open("a") as copy:
        copy.write("[Service]\nRestrat=always\n")
    assert "Restrat" in analyzed("verify", "--man=no", root / name, units=root).stderr


def test_program_knows_the_flags_it_is_started_with() -> None:
    program, command, *flags = shlex.split(settings(UNIT, "ExecStart")[0])
    assert (Path(program).name, command) == (STORLEVER.name, "serve")
    parser = argparse.ArgumentParser(allow_abbrev=False)
    serve.add(parser)
    parser.parse_args(flags)


# -- what a service manager hears


class Watched(StorLever):
    """A service that was told where to tell that it is ready."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "NOTIFY_SOCKET": str(self.root / "notify")}


def test_manager_hears_of_the_service_and_not_of_its_tgtd(root: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(root / "notify"))
        manager.settimeout(15)
        service = Watched(root)
        try:
            service.spawn()
            assert manager.recv(100) == b"READY=1"
            assert service.answers(ready=True)
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{service.tgtd_pid()}/environ").read_bytes()
            service.stop()
            assert manager.recv(100) == b"STOPPING=1"
        finally:
            service.close()
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)


# -- under a systemd


class Served(StorLever):
    """The service as `storlever.service` of a systemd; nothing of the unit is changed but where
    the program and its settings are, and that a checkout in /tmp is to be seen."""

    def __init__(self, root: Path, manager: Systemd, **chosen: str) -> None:
        super().__init__(root, state_dir="/var/lib/storlever", tgt_control_port="0", **chosen)
        self.manager = manager
        self.drop_in = manager.units / f"{UNIT.name}.d" / "test.conf"
        self.change()
        self.say(**self.settings)

    def change(self, *lines: str) -> None:
        """Of the unit's section [Service]; in force from the next start on."""
        fixed = (f"EnvironmentFile={self.root}/settings", f"BindReadOnlyPaths={ROOT}")
        self.drop_in.write_text("\n".join(("[Service]", "EnvironmentFile=", *fixed, *lines, "")))
        self.manager.systemctl("daemon-reload")

    def say(self, **chosen: str) -> None:
        lines = [f'STORLEVER_{name.upper()}="{value}"\n' for name, value in chosen.items()]
        (self.root / "settings").write_text("".join(lines))

    def spawn(self) -> None:
        self.manager.systemctl("start", UNIT.name)

    def answers(self, *, ready: bool) -> bool:
        try:
            path = "/readyz" if ready else "/healthz"
            return self.http.get(path, timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def processes(self) -> dict[str, int]:
        """Name and process id of those in its control group."""
        return {
            Path(f"/proc/{pid}/comm").read_text().strip(): pid
            for pid in self.manager.processes(UNIT.name)
        }

    def crash(self) -> None:
        os.kill(self.processes()["storlever"], signal.SIGKILL)

    def image(self, name: str, *, owner: str = "root") -> Path:
        """One that nobody but its owner may open."""
        path = Path("/srv") / name
        self.manager.run("truncate", "-s", "16M", path)
        self.manager.run("chmod", "600", path)
        self.manager.run("chown", owner, path)
        return path

    def close(self) -> None:
        self.http.close()
        self.manager.systemctl("kill", "-s", "KILL", UNIT.name, check=False)
        self.manager.systemctl("stop", UNIT.name)
        self.manager.systemctl("reset-failed")
        self.manager.run("find", self.state, "-delete")


@pytest.fixture(scope="module")
def manager() -> Iterator[Systemd]:
    with folder() as units:
        installed(units)
        (units / f"{UNIT.name}.d" / ATTACHED.name).unlink()
        with systemd(units) as booted:
            yield booted


@pytest.fixture
def served(root: Path, manager: Systemd) -> Iterator[Served]:
    service = Served(root, manager)
    try:
        service.spawn()
        yield service
    finally:
        service.close()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A block device. Tests name it before `served`, so that it is taken down after that."""
    file = image(tmp_path / "disk.img")
    attach = ("losetup", "--find", "--show", file)
    device = subprocess.run(attach, capture_output=True, text=True, check=True).stdout.strip()
    yield Path(device)
    subprocess.run(["losetup", "--detach", device], check=True)


def add_user(service: StorLever, target: str) -> None:
    body = {"username": USER["user"], "password": USER["password"]}
    service.api("POST", f"{target}/incominguser_list", body, expect=201)


def assert_served(service: StorLever, lun: int) -> None:
    with Initiator(service.portal, WIKI_TARGET, lun=lun, **USER) as disk:
        disk.ready()
        assert disk.write(8, BLOCK).status == GOOD
        assert disk.read(8, 1).data == BLOCK


def test_start_is_over_when_it_serves(served: Served) -> None:
    assert served.answers(ready=True)


def test_everything_works_within_the_sandbox(loop: Path, served: Served) -> None:
    """Files of whomever, disks, each way to write, users, sessions, a crash, and the end of it;
    with a system call that the filter does not let pass being the end, too. But for one: SQLite
    chowns what it makes as root, to root, and does not mind that it may not."""
    served.manager.systemctl("stop", UNIT.name)
    served.change("SystemCallErrorNumber=kill", "SystemCallFilter=fchown")
    served.spawn()
    target = served.add_target()
    add_user(served, target)
    theirs = served.image("theirs.img", owner="nobody")
    served.add_lun(target, 1, theirs)
    served.add_lun(target, 2, loop)
    served.add_lun(target, 3, served.image("cached.img"), bs_type="aio")
    served.add_lun(target, 4, served.image("straight.img"), write_cache=False)
    for lun in (1, 2, 3, 4):
        assert_served(served, lun)
    served.crash()
    wait_until(lambda: served.answers(ready=True), PROMISED)
    for lun in (1, 2, 3, 4):
        assert_served(served, lun)
    assert served.manager.run("od", "-An", "-tx1", "-N4", "-j4096", theirs).split() == [
        *("00", "01", "02", "03")
    ]
    with pytest.raises(LoginError):
        Initiator(served.portal, WIKI_TARGET).__enter__()
    served.api("DELETE", f"{target}/lun_list/3", expect=200)
    served.api("DELETE", f"{target}?force=true", expect=200)
    assert served.get("/target_list") == []


def test_both_run_with_the_capabilities_of_the_unit_and_no_others(served: Served) -> None:
    names = settings(UNIT, "CapabilityBoundingSet")[0].split()
    listed = dict(line.split()[:2] for line in analyzed("capability").stdout.splitlines()[1:])
    mask = sum(1 << int(listed[name.lower()]) for name in names)
    processes = served.processes()
    assert processes.keys() == {"storlever", "tgtd"}
    for pid in processes.values():
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert [int(status[each], 16) for each in ("CapPrm", "CapEff", "CapBnd")] == [mask] * 3
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_disks_are_within_reach_and_other_devices_are_not(loop: Path, served: Served) -> None:
    group = served.manager.show(UNIT.name, "ControlGroup")
    inside = f'echo 0 > /sys/fs/cgroup{group}/cgroup.procs && : < "$1"'
    served.manager.run("sh", "-c", inside, "sh", loop)
    for device in ("/dev/fuse", "/dev/loop-control"):
        with pytest.raises(AssertionError, match="not permitted"):
            served.manager.run("sh", "-c", inside, "sh", device)


def test_file_of_another_user_takes_its_capability(served: Served) -> None:
    target = served.add_target()
    theirs = {"lun": 1, "path": str(served.image("theirs.img", owner="nobody"))}
    served.manager.systemctl("stop", UNIT.name)
    served.change("CapabilityBoundingSet=~CAP_DAC_OVERRIDE")
    served.spawn()
    served.api("POST", f"{target}/lun_list", theirs, expect=422)
    served.add_lun(target, 2, served.image("own.img"))


def test_crash_disturbs_no_session_and_mends_itself(served: Served) -> None:
    target = served.add_target()
    served.add_lun(target, 1, served.image("disk.img"))
    add_user(served, target)
    before = served.processes()
    with Initiator(served.portal, WIKI_TARGET, **USER) as disk:
        disk.ready()
        served.crash()
        assert disk.write(0, BLOCK).status == GOOD
        wait_until(lambda: served.answers(ready=True), PROMISED)
        assert disk.read(0, 1).data == BLOCK
        assert len(served.get(target)["session_list"]) == 1
    after = served.processes()
    assert after["tgtd"] == before["tgtd"]
    assert after["storlever"] != before["storlever"]
    assert served.manager.show(UNIT.name, "NRestarts") == "1"


def test_crash_of_tgtd_mends_itself_and_leaves_the_service_running(served: Served) -> None:
    served.add_lun(served.add_target(), 1, served.image("disk.img"))
    before = served.processes()
    os.kill(before["tgtd"], signal.SIGKILL)
    wait_until(lambda: served.processes().get("tgtd", before["tgtd"]) != before["tgtd"], PROMISED)
    wait_until(lambda: served.answers(ready=True), PROMISED)
    assert served.processes()["storlever"] == before["storlever"]
    Initiator(served.portal, WIKI_TARGET).__enter__().__exit__()


def test_stop_ends_tgtd_and_its_sessions(served: Served) -> None:
    served.add_lun(served.add_target(), 1, served.image("disk.img"))
    with Initiator(served.portal, WIKI_TARGET) as disk:
        disk.ready()
        served.manager.systemctl("stop", UNIT.name)
        assert not disk.alive
    assert served.processes() == {}
    assert served.manager.show(UNIT.name, "Result") == "success"


def test_restart_drops_sessions_and_brings_everything_back(served: Served) -> None:
    served.add_lun(served.add_target(), 1, served.image("disk.img"))
    with Initiator(served.portal, WIKI_TARGET) as disk:
        disk.ready()
        served.manager.systemctl("restart", UNIT.name)
        assert not disk.alive
    with Initiator(served.portal, WIKI_TARGET) as disk:
        assert disk.ready().status == GOOD


def test_api_may_have_a_socket_for_its_owner(served: Served) -> None:
    served.manager.systemctl("stop", UNIT.name)
    served.say(**served.settings | {"listen": "unix:/run/storlever/http"})
    served.spawn()
    asked = ("curl", "-sf", "--unix-socket", "/run/storlever/http", "http://localhost/healthz")
    assert served.manager.run(*asked) == '{"status":"ok"}'


def test_api_may_have_a_socket_for_a_group(served: Served) -> None:
    """By the folder that docs/operations.md gives for it: the service itself may not chown."""
    line = "d /run/storlever-api 2750 root storage"
    assert line in (ROOT / "docs" / "operations.md").read_text()
    (served.root / "tmpfiles.conf").write_text(line.replace("storage", "daemon") + "\n")
    served.manager.run("systemd-tmpfiles", "--create", served.root / "tmpfiles.conf")
    served.manager.systemctl("stop", UNIT.name)
    place = {"listen": "unix:/run/storlever-api/http", "socket_group": "daemon"}
    served.say(**served.settings | place)
    served.spawn()
    asked = ("curl", "-sf", "--unix-socket", "/run/storlever-api/http", "http://localhost/healthz")
    member = ("setpriv", "--reuid=nobody", "--regid=daemon", "--clear-groups")
    stranger = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    assert served.manager.run(*member, *asked) == '{"status":"ok"}'
    assert served.manager.run(*stranger, *asked, check=False) == ""


def test_key_reaches_the_service_as_a_credential(served: Served) -> None:
    """By the line that stands in the unit as a comment; the key need not be beside the state."""
    line = settings(UNIT, "#LoadCredential")[0]
    assert line == "storlever.key:/etc/storlever/storlever.key"
    served.manager.systemctl("stop", UNIT.name)
    served.manager.run("mv", "/var/lib/storlever/secret.key", "/srv/storlever.key")
    key = served.manager.run("cat", "/srv/storlever.key")
    served.change("LoadCredential=storlever.key:/srv/storlever.key")
    served.spawn()
    home = Path(f"/proc/{served.processes()['storlever']}")
    environment = (home / "environ").read_bytes().split(b"\0")
    found = next(item for item in environment if item.startswith(b"CREDENTIALS_DIRECTORY="))
    folder = os.fsdecode(found).partition("=/")[2]
    assert (home / "root" / folder / "storlever.key").read_text() == key
    assert not (home / "root/var/lib/storlever/secret.key").exists()


def test_wrong_setting_is_told_once_and_not_tried_again(served: Served) -> None:
    served.manager.systemctl("stop", UNIT.name)
    served.say(listen="nonsense")
    served.manager.systemctl("start", UNIT.name, check=False)
    assert served.manager.show(UNIT.name, "ActiveState") == "failed"
    assert served.manager.show(UNIT.name, "ExecMainStatus") == "2"


# -- Debian's tgtd


@pytest.fixture
def attached(root: Path, manager: Systemd) -> Iterator[Served]:
    """With the drop-ins for that, and Debian's tgtd, of which only the portal is changed."""
    drop_in = Path(shutil.copy(ATTACHED, manager.units / f"{UNIT.name}.d"))
    service = Served(root, manager)
    service.say(listen=service.settings["listen"])
    (manager.units / f"{TGT_UNIT.name}.d" / "test.conf").write_text(
        f"[Service]\nExecStart=\nExecStart=/usr/sbin/tgtd -f --iscsi portal={service.portal}\n"
    )
    manager.systemctl("daemon-reload")
    try:
        service.spawn()
        yield service
    finally:
        service.close()
        drop_in.unlink()
        manager.systemctl("stop", TGT_UNIT.name)


def test_nothing_of_tgt_admin_is_left(manager: Systemd) -> None:
    for name in ("ExecStartPost", "ExecReload", "ExecStop"):
        assert manager.show(TGT_UNIT.name, name) == ""


def test_service_attaches_to_debians_tgtd_and_leaves_it_running(attached: Served) -> None:
    attached.add_lun(attached.add_target(), 1, attached.image("disk.img"))
    assert attached.processes().keys() == {"storlever"}
    with Initiator(attached.portal, WIKI_TARGET) as disk:
        disk.ready()
        attached.manager.systemctl("stop", UNIT.name)
        assert disk.write(0, BLOCK).status == GOOD


def test_attached_service_may_look_at_what_tgtd_has_open(attached: Served) -> None:
    """As it does for a LUN whose path somebody besides root can make lead elsewhere."""
    attached.manager.run("mkdir", "/srv/theirs")
    attached.manager.run("chown", "nobody", "/srv/theirs")
    attached.add_lun(attached.add_target(), 1, attached.image("theirs/disk.img"))


def test_debians_tgtd_stops_at_once_and_is_filled_again_when_it_is_back(attached: Served) -> None:
    attached.add_lun(attached.add_target(), 1, attached.image("disk.img"))
    with Initiator(attached.portal, WIKI_TARGET) as disk:
        disk.ready()
        attached.manager.systemctl("stop", TGT_UNIT.name)
        assert attached.manager.show(TGT_UNIT.name, "ActiveState") == "inactive"
    attached.manager.systemctl("start", TGT_UNIT.name)
    wait_until(lambda: attached.answers(ready=True), PROMISED)
    with Initiator(attached.portal, WIKI_TARGET) as disk:
        assert disk.ready().status == GOOD
