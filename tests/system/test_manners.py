"""Manners with a real tgtd: what is rehearsed changes nothing, a key outlives a kill, a condition
holds against others, and many who want the same get it."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from storlever.web.san import PREFIX
from tests.initiator import Initiator
from tests.points import Control
from tests.system.furnished import service
from tests.world import StorLever, image

T, NEW = "iqn.2026-01.test:one", "iqn.2026-01.test:new"
SECRET = "a secret of this test"
CLIENTS, EACH = 8, 3
AT_ONCE = 20


@pytest.fixture
def storlever(root: Path) -> Iterator[StorLever]:
    """A target with a user each way and a LUN; another image is there."""
    with service(root, failpoints=str(root / "failpoints")) as storlever:
        target = storlever.start().add_target(T)
        storlever.add_lun(target, 1, image(root / "1.img", 1))
        image(root / "2.img", 1)
        for direction, user in (("incoming", "ann"), ("outgoing", "bob")):
            body = {"username": user, "password": SECRET}
            storlever.api("POST", f"{target}/{direction}user_list", body, expect=201)
        yield storlever


def ask(storlever: StorLever, method: str, path: str, body: Any, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"http://127.0.0.1:{storlever.port}{PREFIX}{path}"
    return httpx2.request(method, url, json=body, headers=named, timeout=30)


def writes(storlever: StorLever) -> list[tuple[str, str, Any]]:
    """One of each kind; each would change something."""
    target = f"/target_list/{T}"
    return [
        ("PUT", "/conf", {"incomingdiscoveryuser": f"dora:{SECRET}"}),
        ("POST", "/target_list", {"iqn": NEW}),
        ("PUT", target, {"initiator_addr_list": ["10.0.0.1"]}),
        ("PUT", f"{target}?force=true", {"state": "offline"}),
        ("DELETE", f"{target}?force=true", None),
        ("POST", f"{target}/incominguser_list", {"username": "eve", "password": SECRET}),
        ("PUT", f"{target}/incominguser_list/ann", {"password": "another secret"}),
        ("PUT", f"{target}/outgoinguser_list/bob", {"password": "another secret"}),
        ("DELETE", f"{target}/incominguser_list/ann", None),
        ("DELETE", f"{target}/outgoinguser_list/bob", None),
        ("POST", f"{target}/lun_list", {"lun": 2, "path": f"{storlever.root}/2.img"}),
        ("PUT", f"{target}/lun_list/1", {"path": f"{storlever.root}/2.img"}),
        ("PUT", f"{target}/lun_list/1", {"online": False}),
        ("PUT", f"{target}/lun_list/1", {"device_type": "cd"}),
        ("DELETE", f"{target}/lun_list/1", None),
    ]


def test_a_rehearsal_of_any_write_changes_nothing(storlever: StorLever) -> None:
    """Neither what tgtd shows, nor a byte of the state; whoever is logged in stays."""
    with Initiator(storlever.portal, T, user="ann", password=SECRET) as host:
        host.ready()
        before = _everything(storlever)
        for method, path, body in writes(storlever):
            query = "&" if "?" in path else "?"
            answer = ask(storlever, method, f"{path}{query}dry_run=true", body)
            assert answer.status_code == 200, (path, answer.text)
            steps = answer.json()["steps"]
            assert steps, path
            if "force=true" in path:
                assert steps[0]["effect"] == f"closes 1 session of {T}"
        assert _everything(storlever) == before
        assert host.read(0, 512).status == 0
    assert storlever.stop() == 0
    assert storlever.start().get(f"/target_list/{T}")["lun_num"] == 1


def _everything(storlever: StorLever) -> tuple[Any, ...]:
    target = f"/target_list/{T}"
    paths = ("/conf", "/target_list", target, f"{target}/lun_list")
    state = sorted(storlever.state.glob("state.db*"))
    return (
        storlever.show(),
        storlever.admin("show", "account"),
        storlever.admin("show", "system"),
        [storlever.api("GET", path, expect=200).headers["ETag"] for path in paths],
        [file.read_bytes() for file in state],
    )


@pytest.mark.parametrize("point", ["write.committed", "write.answered"])
def test_a_retry_after_a_kill_gets_the_first_answer(storlever: StorLever, point: str) -> None:
    """Between the commit and the answer: the client cannot know what became of it."""
    control = Control(storlever.root / "failpoints")
    body = {"lun": 2, "path": f"{storlever.root}/2.img"}
    path = f"/target_list/{T}/lun_list"
    control.order(f"{point} kill")
    with pytest.raises(httpx2.TransportError):
        ask(storlever, "POST", path, body, Idempotency_Key="k")
    control.order()
    assert storlever.process is not None
    storlever.process.wait(10)
    storlever.start()
    answer = ask(storlever, "POST", path, body, Idempotency_Key="k")
    assert answer.status_code == 201
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert answer.headers["Location"].endswith(f"{path}/2")
    assert ask(storlever, "POST", path, body, Idempotency_Key="another").status_code == 409


def test_of_eight_who_build_on_the_same_none_writes_over_another(storlever: StorLever) -> None:
    """Each reads the list, adds an address of its own, and writes it back until that holds."""
    path = f"/target_list/{T}"
    refused = 0
    lock = threading.Lock()

    def add(client: int) -> None:
        nonlocal refused
        for number in range(EACH):
            for _ in range(1000):
                seen = ask(storlever, "GET", path, None)
                mine = [*seen.json()["initiator_addr_list"], f"10.{client}.0.{number + 1}"]
                body = {"initiator_addr_list": mine}
                answer = ask(storlever, "PUT", path, body, If_Match=seen.headers["ETag"])
                if answer.status_code == 200:
                    break
                assert answer.status_code == 412, answer.text
                with lock:
                    refused += 1
            else:
                raise AssertionError("it never holds")

    together(add, CLIENTS)
    found = storlever.get(path)["initiator_addr_list"]
    assert len(found) == len(set(found)) == CLIENTS * EACH
    assert refused, "nobody was in anybody's way: the test tells nothing"


def test_of_many_who_make_the_same_at_once_one_makes_it(storlever: StorLever) -> None:
    """As a driver of the Container Storage Interface does, which must be content with what is."""
    users = f"/target_list/{T}/incominguser_list"
    luns = f"/target_list/{T}/lun_list"
    lun = {"lun": 2, "path": f"{storlever.root}/2.img"}
    for path, body in (
        ("/target_list", {"iqn": NEW}),
        (luns, lun),
        (users, {"username": "eve", "password": SECRET}),
    ):
        statuses = together(
            lambda _, path=path, body=body: (  # type: ignore[misc]
                ask(storlever, "POST", f"{path}?exists_ok=true", body).status_code
            ),
            AT_ONCE,
        )
        assert sorted(statuses) == [200] * (AT_ONCE - 1) + [201], path
    other = {**lun, "readonly": True}
    assert ask(storlever, "POST", f"{luns}?exists_ok=true", other).status_code == 409
    for path in (f"{luns}/2", f"{users}/eve", f"/target_list/{NEW}"):
        statuses = together(
            lambda _, path=path: (  # type: ignore[misc]
                ask(storlever, "DELETE", f"{path}?missing_ok=true", None).status_code
            ),
            AT_ONCE,
        )
        assert statuses == [200] * AT_ONCE, path


def test_of_many_with_one_key_at_once_one_is_done(storlever: StorLever) -> None:
    body = {"iqn": NEW}
    answers = together(
        lambda _: ask(storlever, "POST", "/target_list", body, Idempotency_Key="k"), AT_ONCE
    )
    replayed = [each for each in answers if each.headers.get("Idempotency-Replayed")]
    first = [each for each in answers if each.status_code == 201 and each not in replayed]
    waiting = [each for each in answers if each.status_code == 409]
    assert len(first) == 1
    assert len(first) + len(replayed) + len(waiting) == AT_ONCE
    assert {each.json()["code"] for each in waiting} <= {"idempotency-key-in-flight"}


def together(call: Callable[[int], Any], count: int) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_a_refused_request_with_a_key_leaves_no_receipt(storlever: StorLever) -> None:
    ask(storlever, "POST", "/target_list", {"iqn": T}, Idempotency_Key="k")
    ask(storlever, "POST", "/target_list", {"iqn": NEW}, Idempotency_Key="good")
    assert storlever.stop() == 0
    with closing(sqlite3.connect(storlever.state / "state.db")) as connection:
        assert connection.execute("SELECT count(*) FROM receipt").fetchone() == (1,)
