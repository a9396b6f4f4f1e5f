"""Prometheus and Alertmanager as they really answer: rules, firing, conditions, hostile labels, silences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from services import AlertmanagerServer, NodeExporter, PrometheusServer, until

from orchestrator.context import gather, promql
from orchestrator.context.alertmanager import Alertmanager
from orchestrator.context.metrics import ActiveAlerts, Metrics
from orchestrator.context.prometheus import Prometheus
from orchestrator.context.redact import Redactor
from orchestrator.errors import SourceUnavailable
from orchestrator.model import Alert, AlertStatus

pytestmark = pytest.mark.foreign

HOSTILE = ['"} or vector(1)', "back\\slash", "two\nlines", 'x" or up{job="thing', "'`$instance{{", "ünï ☃"]
RULES = {
    "groups": [
        {
            "name": "g",
            "rules": [
                {
                    "alert": "ThingHigh",
                    "expr": "thing > 2",
                    "labels": {"severity": "page"},
                    "annotations": {"summary": "{{ $labels.x }} high"},
                },
                {"alert": "ThingWaits", "expr": "thing > 2", "for": "1h"},
                {"alert": "Hostile", "expr": 'hostile{n="0"} == 0'},
            ],
        }
    ]
}
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Monitoring:
    exporter: NodeExporter
    server: PrometheusServer
    prometheus: Prometheus
    alertmanager: Alertmanager


def escaped(value: str) -> str:
    """Escape a label value as the text format wants it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitoring")
    with NodeExporter(folder).start() as exporter, AlertmanagerServer(folder).start() as manager:
        hostile = "\n".join(f'hostile{{n="{n}",v="{escaped(value)}"}} {n}' for n, value in enumerate(HOSTILE))
        exporter.expose(f'thing{{x="a"}} 3\nthing{{x="b"}} 1\nnothing 0\n{hostile}')
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "external_labels": {"site": "north"}},
            "scrape_configs": [
                {"job_name": "node", "static_configs": [{"targets": [exporter.address], "labels": {"instance": "web1:9100"}}]}
            ],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager.address]}]}]},
        }
        with PrometheusServer(folder).start(config, RULES) as server:
            until(lambda: server.firing("ThingHigh") and server.firing("Hostile"), what="alerts fire")
            clients = Prometheus(server.url, timeout_s=TIMEOUT_S), Alertmanager(manager.url, timeout_s=TIMEOUT_S)
            until(lambda: len(clients[1].alerts()) == 2, what="alerts in Alertmanager")
            yield Monitoring(exporter, server, *clients)


def delivered(monitoring: Monitoring, name: str) -> Alert:
    """Return the alert as Alertmanager holds it, and would deliver it."""
    return next(item.alert for item in monitoring.alertmanager.alerts() if item.alert.name == name)


def test_an_alert_is_confirmed_by_both(monitoring):
    """What Alertmanager delivers, external labels included, both confirm; the same with an invented label, neither does."""
    alert = delivered(monitoring, "ThingHigh")
    assert alert.labels["site"] == "north"
    assert len(alert.fingerprint) == 16
    assert alert.starts_at.tzinfo is UTC
    for source in (monitoring.prometheus, monitoring.alertmanager):
        assert source.firing(alert)
        assert not source.firing(Alert(alert.fingerprint, AlertStatus.FIRING, {**alert.labels, "service": "sshd"}))
        assert not source.firing(Alert(alert.fingerprint, AlertStatus.FIRING, {**alert.labels, "x": "b"}))


def test_pending_is_not_firing(monitoring):
    """An alert that still waits for its time does not fire."""
    waiting = next(item["labels"] for item in monitoring.prometheus.active() if item["labels"]["alertname"] == "ThingWaits")
    assert not monitoring.prometheus.firing(Alert("0" * 16, AlertStatus.FIRING, waiting))


def test_the_rule_is_read_as_a_template(monitoring):
    """The rule behind an alert comes with its expression and its unrendered annotation."""
    rule = monitoring.prometheus.rule_for(delivered(monitoring, "ThingHigh"))
    assert (rule.expr, rule.annotations, rule.labels) == ("thing > 2", {"summary": "{{ $labels.x }} high"}, {"severity": "page"})
    assert len(monitoring.prometheus.rules()) == 3


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_values_select_exactly_their_series(monitoring, number):
    """Filled in, a hostile label value selects its own series and nothing else."""
    expr = promql.fill('hostile{v="$v"}', {"v": HOSTILE[number]})
    assert [sample.labels["n"] for sample in monitoring.prometheus.query(expr)] == [str(number)]
    assert monitoring.prometheus.query(promql.fill('hostile{v="$v",n="no"}', {"v": HOSTILE[number]})) == []


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('up{instance="web1:9100"} == 1', True),
        ('up{instance="web1:9100"} == 0', False),
        ('up{instance="web2:9100"} == 1', None),
        ("nothing == 0", True),
        ("nothing", False),
        ('thing{x="a"} > 2 and on(instance) up == 1', True),
        ('thing{x="b"} > 2 and on(instance) up == 1', False),
        ("thing > 2", False),
        ("count(thing) == 2", True),
        ("absent(unheard)", True),
        ("absent(up)", False),
        ("nothing / nothing < 1", None),
        ("vector(1)", True),
        ("1 > bool 2", False),
        ("scalar(nothing)", False),
        ("(up == 1) unless on(instance) nothing", False),
        ("unheard or up", True),
        ("sum by (instance) (thing) > on(instance) group_left nothing", True),
    ],
)
def test_conditions_hold_only_by_evidence(monitoring, condition, expected):
    """What real answers mean: true, false, or not to be told."""
    assert monitoring.prometheus.holds(condition) is expected


def test_a_query_that_does_not_parse_is_unavailable(monitoring):
    """Prometheus' own words on a wrong expression come out in the error."""
    with pytest.raises(SourceUnavailable, match="parse error"):
        monitoring.prometheus.query("up{")
    with pytest.raises(SourceUnavailable, match="matrix"):
        monitoring.prometheus.query("up[1m]")


def test_targets_are_listed(monitoring):
    """Scrape targets come with their labels and health."""
    (target,) = monitoring.prometheus.targets()
    assert (target["labels"]["instance"], target["health"]) == ("web1:9100", "up")


def test_context_is_gathered_from_real_series(monitoring):
    """Rule, vital signs and other alerts of the target become evidence with charts."""
    alert = delivered(monitoring, "ThingHigh")
    prometheus = monitoring.prometheus
    context = gather(
        alert,
        (),
        [Metrics(prometheus, range_s=60.0), ActiveAlerts(prometheus.active)],
        rule=prometheus.rule_for,
        deadline_s=120.0,
        max_bytes=16384,
        redact=Redactor(),
    )
    assert context.missing == ()
    assert [piece.id for piece in context.evidence] == ["prom-1", "prom-2", "alerts-1"]
    rule, vital, others = context.evidence
    (series,) = rule.data["series"]
    assert series["labels"]["x"] == "a"
    assert series["points"][-1][1] == 3
    assert "Reachable (up)" in vital.text
    assert "Memory available" in vital.text
    assert "Hostile" in others.text


def test_a_silence_comes_and_goes(monitoring):
    """A silence covers its alert only, hostile labels included, can be renewed, and ends when told."""
    alert, other = delivered(monitoring, "Hostile"), delivered(monitoring, "ThingHigh")
    manager = monitoring.alertmanager
    assert manager.silenced(alert) == ()
    until_when = datetime.now(UTC) + timedelta(hours=1)
    silence = manager.silence(alert, until=until_when, author="engine", comment="works on it")
    assert until(lambda: manager.silenced(alert), what="silenced") == (silence,)
    assert manager.silenced(other) == ()
    assert manager.firing(alert)
    renewed = manager.silence(alert, until=until_when + timedelta(hours=1), author="engine", comment="still", renew=silence)
    until(lambda: renewed in manager.silenced(alert), what="renewed")
    manager.unsilence(renewed)
    until(lambda: manager.silenced(alert) == (), what="no silence")
    with pytest.raises(SourceUnavailable):
        manager.unsilence("00000000-0000-0000-0000-000000000000")


def test_a_frozen_prometheus_is_unavailable(monitoring):
    """A server that accepts connections and says nothing is unavailable, not empty."""
    monitoring.server.freeze()
    try:
        with pytest.raises(SourceUnavailable):
            Prometheus(monitoring.server.url, timeout_s=0.5).firing(Alert("0" * 16, AlertStatus.FIRING, {"alertname": "X"}))
    finally:
        monitoring.server.thaw()
    assert until(lambda: monitoring.server.value("vector(1)"), what="thawed") == 1
