"""What is scraped from a real service, and what is handed out to watch it with."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.initiator import Initiator
from tests.world import WIKI_TARGET, StorLever, image, wait_until

CONTRIB = Path(__file__).parents[2] / "contrib"
DASHBOARD = CONTRIB / "grafana/storlever.json"
ALERTS = CONTRIB / "prometheus/alerts.yml"
FUNCTIONS = frozenset(
    ("rate", "increase", "sum", "min", "max", "topk", "time", "and", "histogram_quantile")
)


def promtool(*arguments: str, content: str = "", folder: Path | None = None) -> str:
    """What it says; it must be content."""
    done = subprocess.run(
        ["promtool", *arguments],
        input=content,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def scrape(storlever: StorLever) -> str:
    return storlever.http.get("/metrics", timeout=5).text


def test_prometheus_likes_what_it_scrapes_and_finds_what_went_through(
    storlever: StorLever,
) -> None:
    storlever.add_lun(storlever.add_target(), 1, image(storlever.root / "a.img", 1))
    with Initiator(storlever.portal, WIKI_TARGET) as disk:
        disk.ready()
        assert disk.write(0, b"x" * 1024).status == 0
        line = f'storlever_lun_written_bytes_total{{lun="1",target="{WIKI_TARGET}"}} 1024.0'
        wait_until(lambda: line in scrape(storlever))
    assert promtool("check", "metrics", content=scrape(storlever)) == ""
    assert re.search(r"^storlever_tgtd_process_open_fds \d", scrape(storlever), re.MULTILINE)


def test_a_tgtd_that_hangs_holds_up_no_scrape(storlever: StorLever) -> None:
    storlever.add_target()
    pid = storlever.tgtd_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            answer = storlever.http.get("/metrics", timeout=2)
            assert answer.status_code == 200
        wait_until(lambda: "storlever_tgtd_up 0.0" in scrape(storlever), 15)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: "storlever_tgtd_up 1.0" in scrape(storlever), 15)


def test_the_life_of_tgtd_that_follows_a_death_is_a_restart(storlever: StorLever) -> None:
    pid = storlever.tgtd_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "storlever_tgtd_restarts_total 1.0" in scrape(storlever))


# -- what is handed out


def names(storlever: StorLever) -> set[str]:
    """Of all samples; of those that a service which does well has none of, by their families."""
    text = scrape(storlever)
    found = set(re.findall(r"^(\w+)[{ ]", text, re.MULTILINE))
    families = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    return found | families | {"up", "storlever_tls_certificate_end_timestamp_seconds"}


def metrics_of(query: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\[[^\]]*\]|\b(by|on) ?\([^)]*\)|, instance\)", "", query)
    return set(re.findall(r"[a-z_]{2,}", bare)) - FUNCTIONS - {"label_values"}


def queries(node: Any) -> list[str]:
    """Every expr and definition, wherever they stand."""
    if isinstance(node, list):
        return [query for each in node for query in queries(each)]
    if isinstance(node, dict):
        mine = [
            value
            for key, value in node.items()
            if key in ("expr", "definition") and isinstance(value, str)
        ]
        return mine + [query for each in node.values() for query in queries(each)]
    return []


@pytest.mark.parametrize("file", [DASHBOARD, ALERTS], ids=lambda file: file.name)
def test_every_query_asks_for_what_there_is(storlever: StorLever, file: Path) -> None:
    storlever.add_lun(storlever.add_target(), 1, image(storlever.root / "a.img", 1))
    wait_until(lambda: "storlever_sample_timestamp_seconds" in scrape(storlever))
    found = queries(yaml.safe_load(file.read_text()))
    assert len(found) > 10
    there = names(storlever)
    for query in found:
        assert metrics_of(query), query
        assert metrics_of(query) <= there, query


def test_the_dashboards_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["schemaVersion"] >= 39
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_alerts_fire_when_they_should_and_not_otherwise(tmp_path: Path) -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    cases = yaml.safe_load((CONTRIB / "prometheus/alerts_test.yml").read_text())["tests"]
    tried = [
        (test["alertname"], bool(test.get("exp_alerts")))
        for case in cases
        for test in case["alert_rule_test"]
    ]
    assert sorted(tried) == sorted((rule["alert"], on) for rule in rules for on in (True, False))
    shutil.copytree(CONTRIB / "prometheus", tmp_path / "prometheus")
    promtool("check", "rules", "alerts.yml", folder=tmp_path / "prometheus")
    promtool("test", "rules", "alerts_test.yml", folder=tmp_path / "prometheus")


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    shutil.copytree(CONTRIB / "prometheus", tmp_path / "prometheus")
    file = tmp_path / "prometheus/scrape.yml"
    token = tmp_path / "token"
    token.write_text("storlever_x")
    file.write_text(file.read_text().replace("/etc/prometheus/storlever.token", str(token)))
    promtool("check", "config", str(file))


def test_a_scrape_takes_a_readers_token_where_loopback_is_not_open(root: Path) -> None:
    service = StorLever(root, auth_loopback="token")
    try:
        made = service.command("token", "create", "--name", "prometheus", "--role", "reader")
        service.start(ready=False)
        assert service.http.get("/metrics").status_code == 401
        headers = {"Authorization": f"Bearer {made.stdout.split()[-1]}"}
        answer = httpx2.get(f"http://127.0.0.1:{service.port}/metrics", headers=headers)
        assert answer.status_code == 200
    finally:
        service.close()
