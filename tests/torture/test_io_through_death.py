"""tgtd is killed under hosts that read and write; they wait, and go on as if nothing had been.

A host that lost its target comes back when it likes, also while tgtd is being filled again. It is
turned away until its target has all it must have: qemu, like Linux, tries a login again that was
refused, but hands an error to the application when it finds a target without the LUN.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.points import Control
from tests.system.furnished import events, service, tgtds_of
from tests.torture.clients.host import Host, Login
from tests.torture.rig import Torture, runs
from tests.world import StorLever, image, wait_until

BACK = 30.0
"""Seconds after which a host should have come back: libiscsi tries after 0, 1, 3, 6, 10, 15, 21."""
ANEW = 3
"""Seconds for which libiscsi does not come back once more."""
NAME, USER, SECRET = "iqn.2026-01.test:host", "joe", "a secret of joe's"
OTHERS = 4
"""LUNs that each target gets before the one that is in use."""
SLOW = 3.3
"""Seconds of standing still in which every host tries at least once."""


class Ward:
    """A service with four targets in use, each open to its host in another way."""

    def __init__(self, storlever: StorLever, torture: Torture, control: Control) -> None:
        self.storlever = storlever
        self._torture = torture
        self._control = control
        self.hosts = [
            self._host(0, "a"),
            self._host(1, "b", initiator_name_list=[f"{NAME}1"]),
            self._host(2, "c", initiator_addr_list=["127.0.0.0/8"]),
            self._host(3, "d"),
        ]
        self.stalls: dict[str, list[float]] = {}

    def _host(self, number: int, name: str, **access: list[str]) -> Host:
        """The third one has a user."""
        storlever, iqn = self.storlever, f"iqn.2026-01.test:{name}"
        target = storlever.add_target(iqn, **access)
        for lun in range(1, OTHERS + 1):
            storlever.add_lun(target, lun, image(storlever.root / f"{name}{lun}.img", 1))
        user, password = (USER, SECRET) if number == 2 else ("", "")
        if user:
            body = {"username": user, "password": password}
            storlever.api("POST", f"{target}/incominguser_list", body, expect=201)
        login = Login(storlever.portal, iqn, OTHERS + 1, f"{NAME}{number}", user, password)
        file = storlever.root / f"{name}.img"
        host = Host(number, login, file, self._torture.chance)
        storlever.add_lun(target, login.lun, file)
        return host

    # -- deaths

    def kill_tgtd(self) -> None:
        pid = wait_until(self.storlever.tgtd_pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.storlever.tgtd_pid() not in (None, pid), BACK)

    def kill_twice(self) -> None:
        """The second time in the first moments of the new one."""
        self.kill_tgtd()
        time.sleep(self._torture.chance.uniform(0, 0.2))
        self.kill_tgtd()

    def kill_both(self) -> None:
        """The service first, or there would be another tgtd already."""
        self.storlever.kill()
        pid = wait_until(self.storlever.tgtd_pid)
        os.kill(pid, signal.SIGKILL)
        self.storlever.start()

    def kill_and_stand_still(self) -> None:
        """Somewhere in the filling of the new one, so that hosts find it half full."""
        passes = [each["changes"] for each in events(self.storlever) if each["event"] == "pass"]
        steps = max(passes, default=1)
        step = self._torture.chance.randint(1, steps)
        self._torture.note("stands still", step=step, of=steps)
        self._control.order(f"pass.change delay={SLOW} {step}")
        self.kill_tgtd()
        wait_until(lambda: self.storlever.answers(ready=True), BACK)
        self._control.order()

    def hurt(self, how: Callable[[], None]) -> None:
        for host in self.hosts:
            host.gap()
        died = time.monotonic()
        how()
        kind = how.__name__
        wait_until(lambda: self.storlever.answers(ready=True), BACK)
        took = time.monotonic() - died
        for host in self.hosts:
            host.require_work(BACK)
        stalls = [host.gap() for host in self.hosts]
        self._torture.note(kind, ready=took, stalls=stalls)
        self.stalls.setdefault(kind, []).extend(stalls)


@runs(push=5, release=200)
def test_hosts_go_on_where_they_were_when_tgtd_dies_under_them(
    root: Path, torture: Torture
) -> None:
    with service(root, failpoints=str(root / "failpoints")) as storlever:
        ward = Ward(storlever.start(), torture, Control(root / "failpoints"))
        ways = [
            *(ward.kill_tgtd, ward.kill_and_stand_still, ward.kill_both),
            *(ward.kill_twice, ward.kill_and_stand_still),
        ]
        with ExitStack() as stack:
            for host in ward.hosts:
                stack.enter_context(host)
            for number in range(torture.runs):
                time.sleep(torture.chance.uniform(ANEW, ANEW + 0.5))  # the random moment
                ward.hurt(ways[number % len(ways)])
                assert tgtds_of(storlever) == [storlever.tgtd_pid()]
    torture.figure(
        commands=sum(host.tally.commands for host in ward.hosts),
        megabytes=sum(host.tally.moved for host in ward.hosts) >> 20,
        io_errors=0,
        wrong=0,
        **{
            f"stall_{kind}": f"{median(stalls):.1f}/{max(stalls):.1f} s"
            for kind, stalls in ward.stalls.items()
        },
    )
