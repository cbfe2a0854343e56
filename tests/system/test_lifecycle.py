"""Start, stop, and everything that may die or be changed behind the service's back."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.initiator import Initiator, LoginError
from tests.system.furnished import (
    OFF,
    RICH,
    SECRETS,
    assert_furnished,
    events,
    furnish,
    joe,
    passes_with_changes,
    portal_of,
    refusal,
    seen_in_tgtd,
    service,
    starts_of_tgtd,
    tgtds_of,
)
from tests.world import (
    WIKI_TARGET,
    StorLever,
    Tgtd,
    folder,
    free_port,
    image,
    pid_alive,
    wait_until,
)

PROMISED = 5.0
"""Seconds until tgtd is as desired again, after any single fault."""
FOREIGN = "iqn.2026-01.foreign:theirs"


@pytest.fixture
def furnished(root: Path) -> Iterator[StorLever]:
    """A service of its own, with one of everything."""
    with service(root) as made:
        yield furnish(made.start())


@pytest.fixture
def attached(tgtd: Tgtd) -> Iterator[StorLever]:
    """A service attached to somebody else's tgtd."""
    with service(tgtd.root, tgtd="attach") as made:
        yield made.start()


def the_pid(storlever: StorLever) -> int:
    pid = storlever.tgtd_pid()
    assert pid is not None
    return pid


def is_ready(storlever: StorLever) -> bool:
    return storlever.http.get("/readyz").status_code == 200


def reason(storlever: StorLever) -> str:
    """Why it is not ready, and refuses writes."""
    answer = storlever.http.get("/readyz")
    assert answer.status_code == 503
    return str(answer.json()["reason"])


# -- stopping and starting


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_stop_service_and_tgtd_also_with_a_session(
    furnished: StorLever, number: signal.Signals
) -> None:
    daemon = the_pid(furnished)
    with joe(furnished) as session:
        assert furnished.stop(number) == 0
        wait_until(lambda: not session.alive)
    assert not pid_alive(daemon)
    assert not (furnished.root / "tgt.7").exists(), "the socket of tgtd is left"


def test_a_second_signal_does_not_interrupt_the_stop(furnished: StorLever) -> None:
    daemon = the_pid(furnished)
    assert furnished.process is not None
    furnished.process.send_signal(signal.SIGTERM)
    for _ in range(20):
        if furnished.process.poll() is not None:
            break
        furnished.process.send_signal(signal.SIGTERM)
        time.sleep(0.01)  # the pace of an impatient hand
    assert furnished.process.wait(30) == 0
    assert not pid_alive(daemon)


def importing() -> float:
    """Seconds to bring the whole server, now and on this machine: the measure of a start."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import storlever.assembly"], check=True, timeout=60)
    return time.monotonic() - started


def test_the_second_start_serves_at_once_all_there_was(furnished: StorLever) -> None:
    furnished.stop()
    started = time.monotonic()
    furnished.start()
    seconds = time.monotonic() - started
    imports = importing()
    print(f"second start: ready after {seconds:.2f} s, {seconds / imports:.1f} times its imports")
    assert seconds < 6 * imports  # which take 0.6 s where 2 s are promised
    assert_furnished(furnished)


def test_a_killed_service_leaves_all_running_and_the_next_start_takes_over(
    furnished: StorLever,
) -> None:
    daemon, changes = the_pid(furnished), passes_with_changes(furnished)
    with joe(furnished) as session:
        session.ready()
        furnished.kill()
        assert session.read(0, 1).status == 0
        started = time.monotonic()
        furnished.start()
        print(f"taking over: ready after {time.monotonic() - started:.2f} s")
        assert session.read(0, 1).status == 0
        assert the_pid(furnished) == daemon
        assert passes_with_changes(furnished) == changes, "the first pass changed something"
    assert starts_of_tgtd(furnished) == 1
    assert_furnished(furnished)


def test_a_service_that_was_killed_twice_still_stops_its_tgtd(furnished: StorLever) -> None:
    daemon = the_pid(furnished)
    for _ in range(2):
        furnished.kill()
        furnished.start()
    assert furnished.stop() == 0
    assert not pid_alive(daemon)


def test_two_instances_live_side_by_side(furnished: StorLever) -> None:
    with folder() as other_root, service(other_root) as other:
        other.start()
        disk = other.add_lun(other.add_target(), 1, image(other_root / "disk.img"))
        assert the_pid(other) != the_pid(furnished)
        assert furnished.get("/target_list") == [OFF, RICH]
        assert furnished.stop() == 0
        assert other.get(disk)["state"] == "ready"
        with Initiator(other.portal, WIKI_TARGET) as session:
            assert session.ready().status == 0


# -- the death of tgtd


def test_a_killed_tgtd_is_started_again_with_everything_in_force(furnished: StorLever) -> None:
    first = the_pid(furnished)
    os.kill(first, signal.SIGKILL)
    started = time.monotonic()
    wait_until(lambda: furnished.tgtd_pid() not in (None, first) and is_ready(furnished))
    seconds = time.monotonic() - started
    print(f"tgtd killed: all in force again after {seconds:.2f} s")
    assert seconds < PROMISED
    assert_furnished(furnished)
    died = [event for event in events(furnished) if event["event"] == "tgtd has died"]
    assert [event["pid"] for event in died] == [first]


def test_an_initiator_that_reconnects_reads_on_after_the_death_of_tgtd(
    storlever: StorLever,
) -> None:
    disk = image(storlever.root / "disk.img")
    disk.write_bytes(b"\x5a" * (1 << 20))
    storlever.add_lun(storlever.add_target(), 1, disk)
    url = f"iscsi://{storlever.portal}/{WIKI_TARGET}/1"
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as initiator:
        try:
            wait_until(lambda: storlever.get(f"/target_list/{WIKI_TARGET}")["session_list"])
            os.kill(the_pid(storlever), signal.SIGKILL)
            output, _ = initiator.communicate("read -P 0x5a 0 1M\nquit\n", timeout=30)
        finally:
            initiator.kill()
    assert "read 1048576/1048576 bytes" in output
    assert "verification failed" not in output


def test_a_lun_without_its_file_is_an_error_the_rest_is_served_and_it_heals(
    storlever: StorLever,
) -> None:
    target, there, gone = storlever.add_target(), *(storlever.root / name for name in "ab")
    storlever.add_lun(target, 1, image(there))
    lun = storlever.add_lun(target, 2, image(gone))
    storlever.stop()
    gone.rename(storlever.root / "elsewhere")
    storlever.start()
    seen = storlever.get(lun)
    assert (seen["state"], seen["size"]) == ("error", None)
    assert "does not exist" in seen["reason"]
    assert storlever.get(target)["state"] == "ready"
    failing = storlever.http.get("/readyz").json()["failing"]
    assert [place.partition(": ")[0] for place in failing] == [f"{WIKI_TARGET} LUN 2"]
    with Initiator(storlever.portal, WIKI_TARGET) as session:
        assert session.ready().status == 0
        assert session.report_luns() == [0, 1]
        storlever.api("PUT", target, {"initiator_addr_list": ["127.0.0.1"]}, expect=200)
        (storlever.root / "elsewhere").rename(gone)
        wait_until(lambda: storlever.get(lun)["state"] == "ready", PROMISED)
        session.ready()
        assert session.report_luns() == [0, 1, 2]


def test_offline_outlives_every_restart(storlever: StorLever) -> None:
    target = storlever.add_target()
    disk = storlever.add_lun(target, 1, image(storlever.root / "disk.img"), online=False)
    storlever.api("PUT", target, {"state": "offline"}, expect=200)

    def assert_offline() -> None:
        assert storlever.get(target)["state"] == "offline"
        assert storlever.get(disk)["online"] is False
        with pytest.raises(LoginError), Initiator(storlever.portal, WIKI_TARGET):
            pass

    assert_offline()
    storlever.kill()
    storlever.start()
    assert_offline()
    storlever.stop()
    storlever.start()
    assert_offline()
    first = the_pid(storlever)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: storlever.tgtd_pid() not in (None, first) and is_ready(storlever))
    assert_offline()
    storlever.api("PUT", target, {"state": "ready"}, expect=200)
    with Initiator(storlever.portal, WIKI_TARGET) as session:
        assert session.read(0, 1).status != 0
        storlever.api("PUT", disk, {"online": True}, expect=200)
        session.ready()
        assert session.read(0, 1).status == 0


# -- a tgtd that is down or hangs


def test_while_an_attached_tgtd_is_down_reads_work_and_writes_are_503(
    attached: StorLever, tgtd: Tgtd
) -> None:
    furnish(attached)
    before = attached.get("/target_list")
    tgtd.kill()
    wait_until(lambda: not is_ready(attached), PROMISED)
    for method, path, body in [
        ("POST", "/target_list", {"iqn": WIKI_TARGET}),
        ("PUT", "/conf", {"incomingdiscoveryuser": ""}),
        ("PUT", f"/target_list/{RICH}", {"state": "offline"}),
        ("DELETE", f"/target_list/{RICH}", None),
        ("DELETE", f"/target_list/{RICH}/lun_list/1", None),
    ]:
        refused = attached.api(method, path, body, expect=503)
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.json()["code"] == "tgtd-unavailable"
    assert attached.get("/target_list") == before
    assert attached.get(f"/target_list/{RICH}")["state"] == "error"
    for lun in attached.get(f"/target_list/{RICH}/lun_list"):
        assert lun["state"] == "error"
        assert lun["reason"]
    assert attached.get("/conf")["incomingdiscoveryuser"] == "dora:*"
    assert tgtds_of(attached) == []


def test_an_attached_tgtd_that_comes_back_is_given_everything_within_5_seconds(
    attached: StorLever, tgtd: Tgtd
) -> None:
    furnish(attached)
    tgtd.kill()
    wait_until(lambda: not is_ready(attached), PROMISED)
    tgtd.start()
    started = time.monotonic()
    wait_until(lambda: is_ready(attached), PROMISED)
    print(f"attached tgtd is back: all in force after {time.monotonic() - started:.2f} s")
    assert_furnished(attached)


def test_an_attached_service_may_come_before_its_tgtd(root: Path) -> None:
    tgtd = Tgtd(root)
    with service(root, tgtd="attach") as storlever:
        try:
            storlever.start(ready=False)
            assert "nothing listens" in reason(storlever)
            tgtd.start()
            wait_until(lambda: is_ready(storlever), PROMISED)
            storlever.add_target()
            assert WIKI_TARGET in tgtd.admin("show", "target")
        finally:
            tgtd.kill()


def test_stopping_an_attached_service_leaves_tgtd_and_sessions_as_they_are(
    attached: StorLever, tgtd: Tgtd
) -> None:
    furnish(attached)
    with joe(attached) as session:
        before = tgtd.admin("show", "target")
        assert attached.stop() == 0
        assert tgtd.alive
        assert tgtd.admin("show", "target") == before
        assert session.ready().status == 0


def test_a_hanging_tgtd_is_503_within_5_seconds_and_nothing_comes_of_the_write(
    furnished: StorLever,
) -> None:
    daemon, before = the_pid(furnished), seen_in_tgtd(furnished)
    os.kill(daemon, signal.SIGSTOP)
    try:
        for method, path, body in [
            ("POST", "/target_list", {"iqn": WIKI_TARGET}),
            ("PUT", f"/target_list/{RICH}", {"initiator_addr_list": ["10.0.0.1"]}),
        ]:
            started = time.monotonic()
            refused = furnished.api(method, path, body, expect=503)
            seconds = time.monotonic() - started
            print(f"tgtd hangs: {method} is 503 after {seconds:.2f} s")
            assert seconds < PROMISED
            assert "Retry-After" in refused.headers
        started = time.monotonic()
        assert furnished.get(f"/target_list/{RICH}")["state"] == "error"
        assert furnished.http.get("/healthz").status_code == 200
        assert time.monotonic() - started < 1
    finally:
        os.kill(daemon, signal.SIGCONT)
    wait_until(lambda: is_ready(furnished), PROMISED)
    assert furnished.get("/target_list") == [OFF, RICH]
    assert seen_in_tgtd(furnished) == before
    assert the_pid(furnished) == daemon
    assert_furnished(furnished)


def test_many_writes_to_a_hanging_tgtd_are_all_refused_within_5_seconds(
    furnished: StorLever,
) -> None:
    def attempt(number: int) -> tuple[int, float]:
        started = time.monotonic()
        answer = furnished.api("POST", "/target_list", {"iqn": f"{WIKI_TARGET}{number}"})
        return answer.status_code, time.monotonic() - started

    daemon = the_pid(furnished)
    os.kill(daemon, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(attempt, range(24)))
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < PROMISED
    wait_until(lambda: is_ready(furnished), PROMISED)
    assert furnished.get("/target_list") == [OFF, RICH]
    assert WIKI_TARGET not in furnished.show()
    assert_furnished(furnished)


# -- what is not ours


def make_foreign(tgtd: Tgtd) -> None:
    """A target of somebody else's, with a LUN, a user and an ACL."""
    disk = image(tgtd.root / "foreign.img")
    tgtd.admin("new", "target", "--tid", "7", "-T", FOREIGN)
    tgtd.admin("new", "logicalunit", "--tid", "7", "--lun", "1", "-b", str(disk))
    for user in ("annie", "joe"):
        tgtd.admin("new", "account", "--user", user, "--password", f"{user} of theirs")
        tgtd.admin("bind", "account", "--tid", "7", "--user", user)
    tgtd.admin("bind", "target", "--tid", "7", "-I", "127.0.0.1")


def foreign_block(storlever: StorLever) -> str:
    blocks = storlever.show().split("Target ")
    return next(block for block in blocks if block.startswith(f"7: {FOREIGN}\n"))


def assert_foreign_works(storlever: StorLever) -> None:
    for user in ("annie", "joe"):
        with Initiator(
            portal_of(storlever), FOREIGN, user=user, password=f"{user} of theirs"
        ) as session:
            assert session.ready().status == 0


def test_targets_of_others_are_shown_and_never_touched(attached: StorLever, tgtd: Tgtd) -> None:
    make_foreign(tgtd)
    before = foreign_block(attached)
    wait_until(lambda: attached.http.get("/readyz").json()["foreign"] == [FOREIGN], PROMISED)
    own = attached.add_target()
    body = {"username": "mine", "password": SECRETS["joe"]}
    attached.api("POST", f"{own}/incominguser_list", body, expect=201)
    attached.api("PUT", "/conf", {"incomingdiscoveryuser": "dora:" + SECRETS["dora"]}, expect=200)
    attached.api("DELETE", f"{own}/incominguser_list/mine", expect=200)
    attached.api("DELETE", own, expect=200)
    attached.api("GET", f"/target_list/{FOREIGN}", expect=404)
    attached.api("DELETE", f"/target_list/{FOREIGN}?force=true", expect=404)
    assert attached.api("POST", "/target_list", {"iqn": FOREIGN}).status_code == 409
    attached.kill()
    attached.start()  # a pass at start, with nothing known of before
    assert foreign_block(attached) == before
    assert_foreign_works(attached)
    assert attached.stop() == 0
    assert foreign_block(attached) == before


@pytest.mark.parametrize("known", [True, False], ids=["known for long", "made this moment"])
@pytest.mark.parametrize("direction", ["incoming", "outgoing"])
def test_a_user_of_others_keeps_its_password_when_we_ask_for_the_same_name(
    attached: StorLever, tgtd: Tgtd, known: bool, direction: str
) -> None:
    own = attached.add_target()
    make_foreign(tgtd)
    if known:
        wait_until(lambda: attached.http.get("/readyz").json()["foreign"], PROMISED)
    before = foreign_block(attached)
    for user in ("annie", "joe"):
        body = {"username": user, "password": "ours, another one"}
        attached.api("POST", f"{own}/{direction}user_list", body, expect=409)
        conf = {f"{direction}discoveryuser": f"{user}:ours, another one"}
        attached.api("PUT", "/conf", conf, expect=409)
    assert attached.get(f"{own}/{direction}user_list") == []
    assert foreign_block(attached) == before
    assert_foreign_works(attached)
    assert tgtd.alive


def test_a_foreign_target_in_our_own_tgtd_is_left_alone_too(furnished: StorLever) -> None:
    furnished.admin("new", "target", "--tid", "7", "-T", FOREIGN)
    furnished.admin("bind", "target", "--tid", "7", "-I", "ALL")
    wait_until(lambda: furnished.http.get("/readyz").json()["foreign"] == [FOREIGN], PROMISED)
    before = foreign_block(furnished)
    furnished.add_target()
    furnished.kill()
    furnished.start()
    assert foreign_block(furnished) == before


# -- somebody else's tgtadm


def tid_of(storlever: StorLever, name: str) -> str:
    lines = [line for line in storlever.show().splitlines() if line.endswith(f": {name}")]
    return lines[0].removeprefix("Target ").partition(":")[0]


MEDDLING = {
    "target removed": ["delete", "target", "--force"],
    "target offline": ["update", "target", "--name", "state", "--value", "offline"],
    "ACL entry removed": ["unbind", "target", "-I", "127.0.0.1"],
    "ACL opened": ["bind", "target", "-I", "ALL"],
    "LUN removed": ["delete", "logicalunit", "--lun", "1"],
    "LUN made writable": ["update", "logicalunit", "--lun", "2", "--params", "readonly=0"],
    "LUN made online": [
        *("update", "logicalunit", "--lun", "3"),
        *("--params", "removable=0,online=1"),
    ],
    "another serial number": ["update", "logicalunit", "--lun", "1", "--params", "scsi_sn=X"],
    "user unbound": ["unbind", "account", "--user", "joe"],
    "outgoing user unbound": ["unbind", "account", "--user", "tim", "--outgoing"],
}


@pytest.fixture(scope="module")
def meddled() -> Iterator[StorLever]:
    """One service for all meddling: it is put right each time."""
    with folder() as root, service(root) as made:
        furnish(made.start())
        addresses = {"initiator_addr_list": ["127.0.0.1"]}
        made.api("PUT", f"/target_list/{RICH}", addresses, expect=200)
        yield made


@pytest.mark.parametrize("meddling", MEDDLING)
def test_what_somebody_changes_with_tgtadm_is_put_right_within_5_seconds(
    meddled: StorLever, meddling: str
) -> None:
    target = f"/target_list/{RICH}"
    before, daemon = seen_in_tgtd(meddled), the_pid(meddled)
    op, mode, *rest = MEDDLING[meddling]
    meddled.admin(op, mode, "--tid", tid_of(meddled, RICH), *rest)
    started = time.monotonic()
    wait_until(lambda: seen_in_tgtd(meddled) == before, PROMISED)
    print(f"{meddling}: put right after {time.monotonic() - started:.2f} s")
    assert the_pid(meddled) == daemon
    wait_until(lambda: meddled.get(target)["state"] == "ready", PROMISED)
    assert_furnished(meddled)


def test_a_target_is_put_right_while_its_session_goes_on(furnished: StorLever) -> None:
    with joe(furnished) as session:
        session.ready()
        before = len(furnished.show().splitlines())
        furnished.admin("bind", "target", "--tid", tid_of(furnished, RICH), "-I", "10.9.9.9")
        wait_until(lambda: len(furnished.show().splitlines()) == before, PROMISED)
        assert session.read(0, 1).status == 0


# -- whose tgtd


@pytest.fixture
def automatic(root: Path) -> Iterator[StorLever]:
    with service(root, tgtd="auto") as made:
        try:
            yield made
        finally:
            made.settings["tgtd"] = "own"  # so that closing it takes a tgtd that it owns along


def test_auto_attaches_to_a_tgtd_that_runs(automatic: StorLever) -> None:
    tgtd = Tgtd(automatic.root)
    try:
        tgtd.start()
        automatic.start()
        automatic.add_target()
        assert tgtd.process is not None
        assert tgtds_of(automatic) == [tgtd.process.pid]
        assert WIKI_TARGET in tgtd.admin("show", "target")
        automatic.stop()
        assert tgtd.alive
    finally:
        tgtd.kill()


def test_auto_leaves_the_tgtd_of_another_storlever_alone(automatic: StorLever) -> None:
    """Two that keep one tgtd as desired would undo each other, users of discovery included."""
    automatic.start()
    daemon = the_pid(automatic)
    second = StorLever(automatic.root, state_dir=str(automatic.root / "second"), tgtd="auto")
    try:
        second.spawn()
        assert second.process is not None
        assert second.process.wait(20) == 2
        assert f"belongs to the StorLever with its state in {automatic.state}" in (
            second.log.read_text()
        )
        assert the_pid(automatic) == daemon
    finally:
        second.http.close()


def test_auto_runs_a_tgtd_where_there_is_none_and_finds_it_again(automatic: StorLever) -> None:
    automatic.start()
    daemon = the_pid(automatic)
    assert starts_of_tgtd(automatic) == 1
    automatic.kill()
    automatic.start()
    assert the_pid(automatic) == daemon
    assert automatic.stop() == 0
    assert not pid_alive(daemon)


def test_auto_knows_its_own_tgtd_even_when_it_hangs(automatic: StorLever) -> None:
    automatic.start()
    daemon = the_pid(automatic)
    automatic.kill()
    os.kill(daemon, signal.SIGSTOP)
    try:
        automatic.start(ready=False)
    finally:
        os.kill(daemon, signal.SIGCONT)
    wait_until(lambda: is_ready(automatic), PROMISED)
    assert automatic.stop() == 0
    assert not pid_alive(daemon)


def test_own_refuses_the_control_port_of_another_tgtd_and_leaves_it_alone(tgtd: Tgtd) -> None:
    make_foreign(tgtd)
    before = tgtd.admin("show", "target")
    with service(tgtd.root, tgtd="own") as storlever:
        storlever.start(ready=False)
        assert tgtd.process is not None
        for said in (
            reason(storlever),
            storlever.api("POST", "/target_list", {"iqn": WIKI_TARGET}, expect=503).json()[
                "detail"
            ],
        ):
            assert "control port 7 belongs to a tgtd that is not ours" in said
            assert str(tgtd.process.pid) in said
        assert storlever.stop() == 0
        assert tgtd.alive
        assert tgtd.admin("show", "target") == before
        storlever.settings["tgtd"] = "attach"  # what is open now is not its own to close


def listeners() -> set[str]:
    """Addresses of this machine's listening TCP sockets, in the kernel's words."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A"}


def test_a_busy_portal_is_told_and_tgtd_never_listens_anywhere_else(root: Path) -> None:
    port = free_port()
    with service(root, portal=f"127.0.0.1:{port}") as storlever:
        with socket.create_server(("127.0.0.1", port)):
            storlever.start(ready=False)
            said = storlever.api("POST", "/target_list", {"iqn": WIKI_TARGET}, expect=503)
            for text in (reason(storlever), said.json()["detail"]):
                assert f"cannot serve iSCSI on 127.0.0.1:{port}" in text
                assert "in use" in text
            assert tgtds_of(storlever) == []
        wait_until(lambda: is_ready(storlever), PROMISED)
        assert f"0100007F:{port:04X}" in listeners()
        assert f"00000000:{port:04X}" not in listeners()


def test_an_address_this_machine_does_not_have_is_told_and_no_tgtd_is_left(root: Path) -> None:
    with service(root, portal="192.0.2.1:3260") as storlever:
        storlever.start(ready=False)
        assert "cannot serve iSCSI on 192.0.2.1:3260" in reason(storlever)
        assert tgtds_of(storlever) == []


def test_a_machine_without_tgtd_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(root) as storlever:
        monkeypatch.setenv("PATH", str(root))
        storlever.start(ready=False)
        assert "cannot start tgtd" in reason(storlever)


def test_a_busy_http_port_ends_the_start_with_a_clear_message_and_without_a_tgtd(
    root: Path,
) -> None:
    with service(root) as storlever, socket.create_server(("127.0.0.1", storlever.port)):
        assert f"cannot listen on 127.0.0.1:{storlever.port}" in refusal(storlever)
        assert tgtds_of(storlever) == []
