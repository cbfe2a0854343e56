"""What /metrics says, what it costs, and that nobody else's words come into it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from storlever.clock import now
from storlever.inventory import Direction, Edit
from storlever.model import Account, LogicalUnit, Target, Traffic
from storlever.principal import Role
from storlever.web.app import create_app
from storlever.web.edge import Edge
from storlever.web.san import PREFIX
from storlever.web.threads import Threaded
from tests.unit.core import Core
from tests.world import folder, image

ROOT = Path(__file__).parents[2]
OPEN, CLOSED = "iqn.2026-01.test:open", "iqn.2026-01.test:closed"
HOST = "iqn.2026-01.test:secret-host"


@pytest.fixture
def core() -> Iterator[Core]:
    with folder() as path:
        core = Core(path)
        core.settle()
        for name in (OPEN, CLOSED):
            core.service.add_target(name)
            core.service.add_unit(name, 1, {"backing_path": str(image(path / name, 1))})
        core.service.add_user(CLOSED, Direction.INCOMING, Account("alice", "S3CRET of alice"))
        yield core


@pytest.fixture
def client(core: Core) -> TestClient:
    app = create_app(Threaded(core.service), Edge(open_loopback=False), valid_until=now)
    client = TestClient(app, "http://localhost", raise_server_exceptions=False)
    _, secret = core.service.add_token("a-reader", Role.READER, None)
    client.headers["Authorization"] = f"Bearer {secret}"
    return client


def scraped(client: TestClient) -> dict[str, Metric]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(client: TestClient, sample_name: str, **labels: str) -> float | None:
    for family in scraped(client).values():
        for sample in family.samples:
            if sample.name == sample_name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None


def test_what_goes_through_a_lun_is_its_counter(core: Core, client: TestClient) -> None:
    core.service.sampler.look()
    number = core.tgtd.log_in(OPEN, HOST)
    core.tgtd.work(OPEN, 1, number, Traffic(4096, 8, 512, 1, 2))
    core.service.sampler.look()
    for name, expected in (("read_bytes", 4096), ("reads", 8), ("written_bytes", 512)):
        assert value(client, f"storlever_lun_{name}_total", target=OPEN, lun="1") == expected
    assert value(client, "storlever_lun_reads_total", target=CLOSED, lun="1") == 0
    assert value(client, "storlever_sessions", target=OPEN) == 1
    core.service.remove_target(OPEN, force=True)
    assert value(client, "storlever_lun_reads_total", target=OPEN) is None


def test_states_and_open_targets_are_counted(core: Core, client: TestClient) -> None:
    core.service.edit_target(CLOSED, online=False)
    assert value(client, "storlever_targets", state="offline") == 1
    assert value(client, "storlever_luns", state="ready") == 2
    assert value(client, "storlever_open_targets") == 1
    assert value(client, "storlever_target_open", target=OPEN) == 1
    assert value(client, "storlever_target_open", target=CLOSED) is None
    core.tgtd.restart()
    (core.folder / OPEN).unlink()
    core.settle()
    assert value(client, "storlever_failing", target=OPEN, lun="1") == 1
    assert value(client, "storlever_luns", state="error") == 1
    core.known.down = "tgtd has died"
    assert value(client, "storlever_targets", state="error") == 2
    assert value(client, "storlever_tgtd_up") == 0
    assert value(client, "storlever_sessions", target=OPEN) is None


def test_a_scrape_asks_nothing_of_tgtd(core: Core, client: TestClient) -> None:
    before = core.tgtd.requests
    scraped(client)
    assert core.tgtd.requests == before


def test_nothing_that_an_initiator_or_a_client_says_is_in_it(
    core: Core, client: TestClient
) -> None:
    core.tgtd.log_in(OPEN, HOST, alias="S3CRET")
    core.service.sampler.look()
    client.get("/S3CRET")
    client.request("S3CRET", "/metrics")
    client.get(f"{PREFIX}/target_list/S3CRET")
    client.get("/metrics", headers={"Authorization": "Bearer S3CRET"})
    text = client.get("/metrics").text
    assert "S3CRET" not in text
    assert "secret-host" not in text
    assert "alice" not in text


def test_requests_are_counted_by_the_templates_of_their_routes(client: TestClient) -> None:
    for name in (OPEN, CLOSED, "iqn.2026-01.test:none"):
        client.get(f"{PREFIX}/target_list/{name}/lun_list")
    client.get(f"{PREFIX}/target_list/{CLOSED}/incominguser_list/alice")
    route = f"{PREFIX}/target_list/{{iqn}}/lun_list"
    counted = "storlever_http_requests_total"
    assert value(client, counted, route=route, method="GET", status="200") == 2
    assert value(client, counted, route=route, method="GET", status="404") == 1
    seconds = "storlever_http_request_duration_seconds_count"
    assert value(client, seconds, route=route, method="GET") == 3
    user = f"{PREFIX}/target_list/{{iqn}}/incominguser_list/{{user}}"
    assert value(client, counted, route=user) == 1


def test_who_fails_to_say_who_they_are_is_counted_by_kind(client: TestClient) -> None:
    client.get("/metrics", headers={"Authorization": "Bearer nonsense"})
    counted = "storlever_authentication_failures_total"
    assert value(client, counted, kind="token-unknown") == 1
    assert value(client, counted, kind="token-expired") == 0


def test_commits_and_passes_are_counted_with_those_that_failed(
    core: Core, client: TestClient
) -> None:
    commits, failures = "storlever_store_commit_duration_seconds_count", "storlever_store_commit"
    before = value(client, commits)
    core.store.full = True
    (outcome,) = core.together([lambda: core.service.add_target("iqn.2026-01.test:new")])
    assert isinstance(outcome, Exception)
    assert before is not None
    assert value(client, commits) == before + 1
    assert value(client, f"{failures}_failures_total") == 1
    passes = value(client, "storlever_pass_duration_seconds_count")
    assert passes is not None
    core.settle()
    assert value(client, "storlever_pass_duration_seconds_count") == passes + 1


def told(families: dict[str, Metric]) -> dict[str, tuple[str, str, str]]:
    """Kind, labels and meaning, by the name that queries use."""
    found = {}
    for family in families.values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        said = ", ".join(f"`{label}`" for label in sorted(labels))
        found[name] = (family.type, said, family.documentation)
    return found


def test_the_documentation_lists_what_there_is_and_nothing_else(
    core: Core, client: TestClient
) -> None:
    """Of a service that has a failing LUN, took a sample, and has a certificate."""
    core.tgtd.restart()
    (core.folder / OPEN).unlink()
    core.settle()
    core.service.sampler.look()
    scraped(client)
    page = (ROOT / "docs/monitoring.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", page, re.MULTILINE)
    assert {name: tuple(row) for name, *row in rows} == told(scraped(client))


def test_ten_thousand_targets_are_told_within_seconds(core: Core, client: TestClient) -> None:
    """70,000 lines; some 0.7 s on an idle machine."""
    many = {
        name: Target(name, units=(LogicalUnit(1, "/x", "1", "1"),))
        for name in (f"iqn.2026-01.test:{number}" for number in range(10_000))
    }
    core.service.inventory = core.service.inventory.after(Edit(many))
    started = time.process_time()
    assert len(client.get("/metrics").text.splitlines()) > 70_000
    assert time.process_time() - started < 3
