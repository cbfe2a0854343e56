"""Metrics for Prometheus, all of them from memory: a scrape asks nothing of tgtd.

docs/monitoring.md lists them.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from operator import attrgetter

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from storlever import __version__
from storlever.figures import Figures
from storlever.principal import Role
from storlever.service import Service
from storlever.tally import Span
from storlever.web.edge import Edge
from storlever.web.events import Streams
from storlever.web.meter import Meter
from storlever.web.table import Table
from storlever.web.threads import Threaded

TRAFFIC = {
    "read_bytes": "Bytes read",
    "written_bytes": "Bytes written",
    "reads": "Read commands done",
    "writes": "Write commands done",
    "errors": "Commands that ended in an error or a unit attention",
}
PLACE = ("target", "lun")


class Metrics:
    """`valid_until`: when the TLS certificate ends. `warnings`: what somebody should see to."""

    def __init__(
        self,
        core: Threaded,
        edge: Edge,
        warnings: Callable[[], tuple[str, ...]],
        valid_until: Callable[[], datetime | None],
        streams: Streams,
    ) -> None:
        self.meter = Meter()
        self._core = core
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Core(core.service))
        self._registry.register(_Edge(core.service, edge, warnings, valid_until, streams))
        self._registry.register(self.meter)
        ProcessCollector(registry=self._registry)
        tgtd = core.service.figures
        ProcessCollector("storlever_tgtd", lambda: tgtd().pid, registry=self._registry)
        self._under_way: asyncio.Future[bytes] | None = None

    async def text(self) -> bytes:
        """In a thread, and once for all who ask meanwhile."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.ensure_future(self._core.aside(self.printed))
        return await asyncio.shield(self._under_way)

    def printed(self) -> bytes:
        return generate_latest(self._registry)


class _Core(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        figures = self._service.figures()
        yield from _tgtd(figures)
        yield from _served(figures)
        yield from _sampled(figures)
        yield from _work(figures)


def _tgtd(figures: Figures) -> Iterator[Metric]:
    up = figures.down is None
    yield GaugeMetricFamily("storlever_tgtd_up", "Whether tgtd can be used.", up)
    yield CounterMetricFamily(
        "storlever_tgtd_restarts_total",
        "Lives of tgtd that began since the service did.",
        figures.tally.restarts,
    )
    yield GaugeMetricFamily(
        "storlever_tgtd_vulnerable", "Whether tgtd has a hole that is known.", bool(figures.hole)
    )


def _served(figures: Figures) -> Iterator[Metric]:
    targets, units = figures.states()
    yield _by("storlever_targets", "Targets, by state.", ("state",), _keyed(targets))
    yield _by("storlever_luns", "LUNs, by state.", ("state",), _keyed(units))
    yield _by(
        "storlever_failing",
        "1 for each target and LUN that is wished for and not served; lun is empty for a target.",
        PLACE,
        (((name, "" if lun is None else str(lun)), 1) for name, lun in figures.failures),
    )
    yield GaugeMetricFamily(
        "storlever_foreign_targets", "Targets in tgtd that are not StorLever's.", figures.foreign
    )
    open_to_all = figures.open_targets()
    yield GaugeMetricFamily(
        "storlever_open_targets",
        "Targets that admit everybody and ask for no password.",
        len(open_to_all),
    )
    yield _by(
        "storlever_target_open",
        "1 for each target that admits everybody and asks for no password.",
        ("target",),
        (((name,), 1) for name in open_to_all),
    )


def _sampled(figures: Figures) -> Iterator[Metric]:
    """Nobody knows of sessions while tgtd is down."""
    known = figures.inventory.targets if figures.down is None else ()
    yield _by(
        "storlever_sessions",
        "Sessions, by target.",
        ("target",),
        (((name,), figures.sessions.get(name, 0)) for name in known),
    )
    yield from _traffic(figures)
    if figures.sampled:
        yield GaugeMetricFamily(
            "storlever_sample_timestamp_seconds",
            "When sessions and traffic were sampled last, since 1970.",
            figures.sampled.timestamp(),
        )


def _traffic(figures: Figures) -> Iterator[Metric]:
    places = [
        ((name, str(unit.lun)), figures.traffic.get((name, unit.lun)))
        for name, target in figures.inventory.targets.items()
        for unit in target.units
    ]
    for field, help_text in TRAFFIC.items():
        value = attrgetter(field)
        family = CounterMetricFamily(
            f"storlever_lun_{field}_total",
            f"{help_text}, by target and LUN, since the service began.",
            labels=PLACE,
        )
        for place, done in places:
            family.add_metric(place, value(done) if done else 0)
        yield family


def _work(figures: Figures) -> Iterator[Metric]:
    tally = figures.tally
    yield from _span("pass", "passes", tally.passes)
    yield CounterMetricFamily(
        "storlever_drift_changes_total",
        "Changes with which passes put right what somebody else had changed in tgtd.",
        tally.drift,
    )
    yield from _span("store_commit", "commits of the state file", tally.commits)
    yield CounterMetricFamily(
        "storlever_events_total", "Events that were published.", figures.events
    )


def _span(name: str, what: str, span: Span) -> Iterator[Metric]:
    yield SummaryMetricFamily(
        f"storlever_{name}_duration_seconds",
        f"How many {what}, and their seconds.",
        span.count,
        span.seconds,
    )
    yield CounterMetricFamily(
        f"storlever_{name}_failures_total", f"How many {what} failed.", span.failures
    )


class _Edge(Collector):
    def __init__(
        self,
        service: Service,
        edge: Edge,
        warnings: Callable[[], tuple[str, ...]],
        valid_until: Callable[[], datetime | None],
        streams: Streams,
    ) -> None:
        self._service = service
        self._streams = streams
        self._edge = edge
        self._warnings = warnings
        self._valid_until = valid_until

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("storlever_build", "The program.", {"version": __version__})
        yield GaugeMetricFamily(
            "storlever_insecure_no_tls",
            "Whether tokens and passwords cross the network in the clear.",
            any(text.startswith("insecure_no_tls") for text in self._edge.warnings),
        )
        yield GaugeMetricFamily(
            "storlever_warnings",
            "How many warnings /readyz has.",
            len(self._edge.warnings) + len(self._warnings()) + bool(self._service.health().hole),
        )
        yield GaugeMetricFamily(
            "storlever_event_streams", "Streams of events that are open.", len(self._streams)
        )
        end = self._valid_until()
        if end is not None:
            yield GaugeMetricFamily(
                "storlever_tls_certificate_end_timestamp_seconds",
                "Until when the TLS certificate is valid, since 1970.",
                end.timestamp(),
            )


def _by(
    name: str,
    help_text: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], float]],
) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _keyed(counts: dict[str, int]) -> Iterator[tuple[tuple[str, ...], float]]:
    return (((key,), number) for key, number in counts.items())


table = Table(tag="metrics")


@table.get(
    "/metrics",
    Role.READER,
    large=True,
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(request: Request) -> Response:
    """In Prometheus's text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(await metrics.text(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
