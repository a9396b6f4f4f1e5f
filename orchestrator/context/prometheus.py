"""Prometheus: queries, rules, active alerts.

Source: Prometheus HTTP API v1, as 2.42 answers it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.context import promql
from orchestrator.context.http import MAX_BYTES, JsonApi
from orchestrator.context.recent import Recent
from orchestrator.model import Alert, Rule


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series."""

    labels: Mapping[str, str]
    value: float
    at: float
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series over time."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Pairs of Unix time in seconds and value."""


class Prometheus:
    """A Prometheus server; every method raises SourceUnavailable where it cannot be asked.

    Args:
        url: address, from the settings only.
        token: bearer token; empty: none.
        timeout_s: time for one query.
        max_bytes: longest answer that is read.
        fresh_s: how long the list of what fires, and the list of rules, may confirm something; 0: each question is asked.
    """

    def __init__(self, url: str, *, token: str = "", timeout_s: float = 5.0, max_bytes: int = MAX_BYTES, fresh_s: float = 0.0) -> None:
        self._firing: Recent[frozenset[frozenset[tuple[str, str]]]] = Recent(fresh_s)
        self._known: Recent[list[tuple[Rule, list[dict[str, str]]]]] = Recent(fresh_s)
        self._api = JsonApi("Prometheus", url, token=token, timeout_s=timeout_s, max_bytes=max_bytes)
        self._timeout_s = timeout_s

    def query(self, expr: str) -> list[Sample]:
        """Return the samples of an instant query; a scalar is one sample without labels."""
        data = self._data("/api/v1/query", {"query": expr, "timeout": f"{self._timeout_s:g}s"})
        try:
            match data["resultType"]:
                case "vector":
                    return [Sample(item["metric"], float(item["value"][1]), float(item["value"][0])) for item in data["result"]]
                case "scalar":
                    return [Sample({}, float(data["result"][1]), float(data["result"][0]))]
                case other:
                    raise self._api.failure(f"the query's result is a {other}, not a vector or a scalar.")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._api.failure("its answer to a query has another shape than expected.") from error

    def query_range(self, expr: str, start: float, end: float, step_s: float) -> list[Series]:
        """Return the series of a query over time.

        Args:
            expr: PromQL.
            start: Unix time in seconds.
            end: Unix time in seconds.
            step_s: seconds between points.
        """
        ask = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}", "timeout": f"{self._timeout_s:g}s"}
        data = self._data("/api/v1/query_range", ask)
        try:
            return [
                Series(item["metric"], tuple((float(at), float(value)) for at, value in item["values"] if math.isfinite(float(value))))
                for item in data["result"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise self._api.failure("its answer to a query has another shape than expected.") from error

    def holds(self, expr: str) -> bool | None:
        """Return whether a condition holds; None where it cannot be told. The rules: `promql.holds`."""
        return promql.holds(expr, lambda part: [sample.value for sample in self.query(part)])

    def rules(self) -> list[Rule]:
        """Return all alerting rules."""
        return [rule for rule, _ in self._rules()]

    def rule_for(self, alert: Alert) -> Rule | None:
        """Return the rule behind `alert`, None where there is none or several fit equally.

        A rule fits if its name is the alert's and its labels are among the alert's; a templated label only has to be there. Of
        several, the one that has this very alert active wins, then the one with the most labels.
        """
        asked_at, known = self._known.now(), self._known.get()
        if known is not None and (found := self._rule_among(known, alert)) is not None:
            return found
        return self._rule_among(self._known.note(list(self._rules()), asked_at), alert)

    @staticmethod
    def _rule_among(rules: list[tuple[Rule, list[dict[str, str]]]], alert: Alert) -> Rule | None:
        fitting = [(rule, active) for rule, active in rules if rule.name == alert.name and _fits(rule, alert)]
        own = [rule for rule, active in fitting if any(_within(labels, alert.labels) for labels in active)]
        candidates = own or [rule for rule, _ in fitting]
        if not candidates:
            return None
        most = max(len(rule.labels) for rule in candidates)
        best = [rule for rule in candidates if len(rule.labels) == most]
        return best[0] if all(rule == best[0] for rule in best) else None

    def active(self) -> list[dict[str, Any]]:
        """Return the pending and firing alerts: dictionaries with `labels`, `annotations`, `state`, `activeAt`, `value`."""
        return self._list(self._data("/api/v1/alerts", {}), "alerts")

    def firing(self, alert: Alert) -> bool:
        """Return whether exactly this alert fires; pending does not count.

        Labels must be equal, external labels of the configuration allowed for. A subset would not do: the bearer of a webhook token
        could add labels to a true alert.

        Raises:
            SourceUnavailable: also where only relabelling could explain the difference, so that nothing can be told.
        """
        wanted, asked_at = frozenset(alert.labels.items()), self._firing.now()
        if wanted in (self._firing.get() or ()):
            return True
        firing = [_labels(item) for item in self.active() if item.get("state") == "firing"]
        if wanted in self._firing.note(frozenset(frozenset(labels.items()) for labels in firing), asked_at):
            return True
        nearly = [labels for labels in firing if labels.get("alertname") == alert.name and _within(labels, alert.labels)]
        if not nearly:
            return False
        external, relabelled = self._external()
        if any({**external, **labels} == dict(alert.labels) for labels in nearly):
            return True
        if relabelled:
            raise self._api.failure("the alert fires with other labels, and alerts are relabelled on their way: ask Alertmanager.")
        return False

    def targets(self) -> list[dict[str, Any]]:
        """Return the active scrape targets: dictionaries with `labels`, `health`, `lastError`, `scrapeUrl`."""
        return self._list(self._data("/api/v1/targets", {"state": "active"}), "activeTargets")

    def _external(self) -> tuple[dict[str, str], bool]:
        """Return the configured external labels, and whether alerts are relabelled before they are sent."""
        try:
            config = yaml.safe_load(self._data("/api/v1/status/config", {})["yaml"]) or {}
            external = {str(name): str(value) for name, value in ((config.get("global") or {}).get("external_labels") or {}).items()}
            return external, bool((config.get("alerting") or {}).get("alert_relabel_configs"))
        except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
            raise self._api.failure("its configuration has another shape than expected.") from error

    def _rules(self) -> Iterator[tuple[Rule, list[dict[str, str]]]]:
        """Yield each alerting rule with the label sets of its active alerts."""
        for group in self._list(self._data("/api/v1/rules", {"type": "alert"}), "groups"):
            for item in self._list(group, "rules"):
                if item.get("type", "alerting") == "alerting":
                    active = [_labels(alert) for alert in item.get("alerts") or [] if isinstance(alert, dict)]
                    yield self._rule(item, group), active

    def _rule(self, item: Mapping[str, Any], group: Mapping[str, Any]) -> Rule:
        try:
            return Rule(
                name=str(item["name"]),
                expr=str(item["query"]),
                labels=_labels(item),
                annotations={str(name): str(value) for name, value in (item.get("annotations") or {}).items()},
                for_s=float(item.get("duration") or 0),
                keep_firing_for_s=float(item.get("keepFiringFor") or 0),
                interval_s=float(group.get("interval") or 60),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._api.failure("a rule has another shape than expected.") from error

    def _data(self, path: str, params: Mapping[str, Any]) -> Any:
        # A long expression does not fit into every proxy's idea of an address.
        posted = path in ("/api/v1/query", "/api/v1/query_range")
        reply = self._api.call("POST", path, form=params) if posted else self._api.get(path, params)
        if not isinstance(reply, dict) or reply.get("status") != "success" or not isinstance(reply.get("data"), dict):
            raise self._api.failure("its answer has another shape than expected.")
        return reply["data"]

    def _list(self, data: Any, name: str) -> list[dict[str, Any]]:
        items = data.get(name) or [] if isinstance(data, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._api.failure(f"`{name}` has another shape than expected.")
        return items


def _labels(item: Mapping[str, Any]) -> dict[str, str]:
    labels = item.get("labels")
    return {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {}


def _within(part: Mapping[str, str], whole: Mapping[str, str]) -> bool:
    return all(whole.get(name) == value for name, value in part.items())


def _fits(rule: Rule, alert: Alert) -> bool:
    return all((name in alert.labels) if "{{" in value else alert.labels.get(name) == value for name, value in rule.labels.items())
