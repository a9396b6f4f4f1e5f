"""What the metrics say: the alert's own rule, the target's vital signs, and what else fires on the same target."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.context import promql
from orchestrator.context.prometheus import Prometheus, Sample, Series
from orchestrator.errors import SourceUnavailable, UsageError
from orchestrator.model import Alert, Evidence, Host, Rule, target_of

MAX_POINTS = 120
MAX_SERIES = 10
_MAX_SAMPLES = 20

_VITAL_SIGNS = (
    ("Reachable (up)", 'up{instance="$instance"}'),
    (
        "Load per CPU (1 min)",
        'node_load1{instance="$instance"} / on(instance) count by (instance) (node_cpu_seconds_total{instance="$instance",mode="idle"})',
    ),
    ("Load (1 min)", 'node_load1{instance="$instance"}'),
    ("Memory available (share)", 'node_memory_MemAvailable_bytes{instance="$instance"} / node_memory_MemTotal_bytes{instance="$instance"}'),
    (
        "Disk available (share)",
        'node_filesystem_avail_bytes{instance="$instance",fstype!="tmpfs"} / node_filesystem_size_bytes{instance="$instance",fstype!="tmpfs"}',
    ),
)


@dataclass(frozen=True)
class Metrics:
    """Prometheus as a source.

    Args:
        prometheus: where to ask.
        range_s: how far back charts look, in seconds.
        now: Unix time in seconds.
        name: prefix of ids.
    """

    prometheus: Prometheus
    range_s: float = 1800.0
    now: Callable[[], float] = time.time
    name: str = "prom"

    def collect(self, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> list[Evidence]:  # noqa: ARG002 - one door for all sources
        """Return the rule's expression now and over time, then the target's vital signs.

        Raises:
            SourceUnavailable: where nothing could be asked.
        """
        found: list[Evidence] = []
        if rule:
            found.append(self._rule(alert, rule))
        vital = self._vital_signs(alert)
        if vital:
            found.append(vital)
        if not found:
            raise SourceUnavailable("Prometheus has no series for this target.")
        return found

    def _rule(self, alert: Alert, rule: Rule) -> Evidence:
        """Return what the rule's expression says of this alert's series, its comparison left off for the chart."""
        samples = [sample for sample in self.prometheus.query(rule.expr) if _agrees(sample.labels, alert)]
        part = promql.split(rule.expr)
        measured = part.left if part.operator in promql.COMPARISONS else rule.expr
        series = [one for one in self._over_time(measured) if _agrees(one.labels, alert)]
        lines = [
            f"Rule: {rule.expr}",
            f"Must hold for {rule.for_s:g} s before it fires.",
            "Now: " + _samples(samples, "the expression is not true"),
        ]
        lines += [f"{measured} over the last {self.range_s / 60:g} min:", *(_trend(one) for one in series[:MAX_SERIES])]
        return Evidence("", self.name, f"Rule {rule.name}", "\n".join(lines), _chart(series), complete=len(series) <= MAX_SERIES)

    def _vital_signs(self, alert: Alert) -> Evidence | None:
        """Return reachability, load, memory and disk of the target, as far as they are measured."""
        lines: list[str] = []
        series: list[Series] = []
        failures: list[str] = []
        for title, template in _VITAL_SIGNS:
            try:
                expr = promql.fill(template, alert.labels)
                over_time = self._over_time(expr)
            except UsageError:
                return None  # no instance label: nothing to ask for
            except SourceUnavailable as error:
                failures.append(str(error))
                continue
            series += [Series({"__name__": title, **one.labels}, one.points) for one in over_time]
            lines += [f"{title}: {_trend(one)}" for one in over_time[:MAX_SERIES]]
        if failures and not lines:
            raise SourceUnavailable(failures[0])
        if not lines:
            return None
        lines += [f"Could not be asked: {failure}" for failure in failures]
        return Evidence(
            "", self.name, "Vital signs of the target", "\n".join(lines), _chart(series), not failures and len(series) <= MAX_SERIES
        )

    def _over_time(self, expr: str) -> list[Series]:
        end = self.now()
        return self.prometheus.query_range(expr, end - self.range_s, end, max(self.range_s / (MAX_POINTS - 1), 1.0))


@dataclass(frozen=True)
class ActiveAlerts:
    """What else fires on the same target.

    Args:
        active: returns alerts as Prometheus lists them: dictionaries with `labels`, `state`, `activeAt`.
        name: prefix of ids.
    """

    active: Callable[[], list[dict[str, Any]]]
    name: str = "alerts"

    def collect(self, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> list[Evidence]:  # noqa: ARG002 - one door for all sources
        """Return one piece that lists the other alerts on the alert's target, and says so where there are none."""
        others = [item for item in self.active() if isinstance(item.get("labels"), dict) and _same_target(item["labels"], alert)]
        lines = [f"{item.get('state', '')} since {item.get('activeAt', '')}: {_names(item['labels'])}" for item in others]
        lines.sort()
        title = f"Other alerts on {alert.target or 'the same target'}"
        return [Evidence("", self.name, title, "\n".join(lines) or "None.", {"alerts": [dict(item["labels"]) for item in others[:50]]})]


def _agrees(labels: Mapping[str, str], alert: Alert) -> bool:
    """Return whether a series can be the alert's: no label of both differs."""
    return all(alert.labels.get(name, value) == value for name, value in labels.items() if name != "__name__")


def _same_target(labels: Mapping[str, str], alert: Alert) -> bool:
    return bool(alert.target) and target_of(labels) == alert.target and dict(labels) != dict(alert.labels)


def _samples(samples: list[Sample], nothing: str) -> str:
    shown = "; ".join(f"{_names(sample.labels)} = {sample.value:.6g}" for sample in samples[:_MAX_SAMPLES])
    more = f" and {len(samples) - _MAX_SAMPLES} more" if len(samples) > _MAX_SAMPLES else ""
    return (shown + more) or nothing


def _trend(series: Series) -> str:
    if not series.points:
        return f"{_names(series.labels)}: no values"
    values = [value for _, value in series.points]
    return f"{_names(series.labels)}: last {values[-1]:.6g}, first {values[0]:.6g}, least {min(values):.6g}, most {max(values):.6g}"


def _names(labels: Mapping[str, Any]) -> str:
    name = labels.get("__name__", "")
    return (
        f"{name}{{" + ", ".join(f'{key}="{promql.escape(str(value))}"' for key, value in sorted(labels.items()) if key != "__name__") + "}"
    )


def _chart(series: Iterable[Series]) -> dict[str, Any]:
    chosen = list(series)[:MAX_SERIES]
    return {
        "series": [
            {"labels": dict(one.labels), "points": [[round(at, 3), value] for at, value in one.points[-MAX_POINTS:]]} for one in chosen
        ]
    }
