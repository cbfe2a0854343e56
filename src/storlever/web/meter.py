"""What became of requests: how many, how long they took, and who failed to say who they are.

Labels are of our own making: a route's template, never a path; a method that the API has, never
another; or anybody could make series without end.
"""

from bisect import bisect_left
from collections.abc import Iterator

from fastapi.routing import APIRoute
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.routing import Mount
from starlette.types import Scope

from storlever.errors import Throttled

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""
_BOUNDS = (*map(str, BUCKETS), "+Inf")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
NO_ROUTE = "none"
FAILURES = ("token-missing", "token-unknown", "token-expired", Throttled.code)


class Meter(Collector):
    """Written by the event loop, read by whoever measures."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[tuple[str, str], list[float]] = {}
        """How many in each bucket, and the sum."""
        self._failures = dict.fromkeys(FAILURES, 0)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Of one request. A stream's end says nothing of how fast we are."""
        method = scope["method"] if scope["method"] in METHODS else "other"
        state = scope["state"]
        route = _template(scope)
        key = (method, route, str(status))
        self._requests[key] = self._requests.get(key, 0) + 1
        code = state.get("code")
        if code in self._failures:
            self._failures[code] += 1
        if "streaming" not in state:
            spent = self._seconds.get((method, route))
            if spent is None:
                spent = self._seconds[method, route] = [0.0] * (len(_BOUNDS) + 1)
            spent[bisect_left(BUCKETS, seconds)] += 1
            spent[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "storlever_http_requests_total",
            "Requests, by route and by status (0: cut off without one).",
            labels=("method", "route", "status"),
        )
        for key, number in self._requests.copy().items():
            requests.add_metric(key, number)
        yield requests
        spent = HistogramMetricFamily(
            "storlever_http_request_duration_seconds",
            "Seconds from a request's header to the end of its answer; streams are left out.",
            labels=("method", "route"),
        )
        for where, counts in self._seconds.copy().items():
            spent.add_metric(where, _summed(counts[:-1]), counts[-1])
        yield spent
        failures = CounterMetricFamily(
            "storlever_authentication_failures_total",
            "Requests of somebody who failed to say who they are, by code.",
            labels=("kind",),
        )
        for kind, number in self._failures.items():
            failures.add_metric((kind,), number)
        yield failures


def _template(scope: Scope) -> str:
    route = scope.get("route")
    if isinstance(route, APIRoute):
        return route.path_format
    return route.path if isinstance(route, Mount) else NO_ROUTE


def _summed(counts: list[float]) -> list[tuple[str, float]]:
    """Each bucket holds what is in the ones before it."""
    total, found = 0.0, []
    for bound, number in zip(_BOUNDS, counts, strict=True):
        total += number
        found.append((bound, total))
    return found
