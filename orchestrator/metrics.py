"""Our own metrics, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

State = Callable[[], Mapping[str, Any]]
"""`{"counts": {status: n}, "queue": n, "outbox": {state: n}, "degraded": [{"what"}], "paused": words, "broken": n, "version": words}`."""


class Metrics:
    """Counters that count, and gauges that are read from the store when asked.

    Args:
        state: what stands in the store now.
    """

    def __init__(self, state: State) -> None:
        self.registry = CollectorRegistry()
        self.alerts = Counter(
            "orchestrator_alerts_received", "Alerts taken in, by what became of them.", ["outcome"], registry=self.registry
        )
        self.deliveries = Histogram(
            "orchestrator_delivery_seconds",
            "Time to store one webhook delivery.",
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.notifications = Counter(
            "orchestrator_notifications", "Messages, by channel and outcome.", ["channel", "outcome"], registry=self.registry
        )
        self.registry.register(_Gauges(state))

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self.registry)


class _Gauges:
    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges as they stand now."""
        state = self._state()
        incidents = GaugeMetricFamily("orchestrator_incidents", "Incidents by status.", labels=["status"])
        for status, count in state["counts"].items():
            incidents.add_metric([status], count)
        yield incidents
        yield GaugeMetricFamily("orchestrator_queue", "Incidents that are due and held by no worker.", value=state["queue"])
        outbox = GaugeMetricFamily("orchestrator_outbox", "Messages by state.", labels=["state"])
        for name, count in state["outbox"].items():
            outbox.add_metric([name], count)
        yield outbox
        degraded = GaugeMetricFamily("orchestrator_degraded", "1 for each part that is degraded.", labels=["part"])
        for item in state["degraded"]:
            degraded.add_metric([item["what"]], 1)
        yield degraded
        yield GaugeMetricFamily("orchestrator_paused", "1 while the kill switch is on.", value=1 if state["paused"] else 0)
        yield GaugeMetricFamily("orchestrator_catalogue_broken", "Catalogue entries that do not load.", value=state["broken"])
        version = GaugeMetricFamily("orchestrator_build_info", "1, with the version as a label.", labels=["version"])
        version.add_metric([state["version"]], 1)
        yield version
