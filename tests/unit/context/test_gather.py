"""Gathering: in time, partial where it must be, redacted, bounded, with stable ids."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from orchestrator.context import cut, gather
from orchestrator.context.history import History
from orchestrator.context.infra import Diagnosis, HostLogs, HostState, render
from orchestrator.context.metrics import ActiveAlerts, Metrics
from orchestrator.context.prometheus import Sample, Series
from orchestrator.context.redact import Redactor
from orchestrator.errors import SourceUnavailable
from orchestrator.model import (
    Alert,
    AlertStatus,
    Evidence,
    Host,
    HostStats,
    IncidentSummary,
    Outcome,
    Rule,
    Run,
    RunKind,
    RunState,
    Status,
)

ALERT = Alert("0123456789abcdef", AlertStatus.FIRING, {"alertname": "Down", "instance": "web1:80", "service": "nginx"})
HOSTS = (Host("web1", variables={"recoverable_services": ["nginx"]}),)
RULE = Rule("Down", "probe_success == 0", for_s=30)
PLENTY_S = 60.0


class Told:
    """A source that says what it was told to say."""

    def __init__(self, name: str, *texts: str, data=None, wait: threading.Event | None = None, error: Exception | None = None) -> None:
        self.name, self._texts, self._data, self._wait, self._error = name, texts, data, wait, error
        self.rule: Rule | None = None

    def collect(self, alert, hosts, rule):
        self.rule = rule
        if self._wait:
            self._wait.wait()
        if self._error:
            raise self._error
        return [Evidence("", "", text[:20], text, self._data) for text in self._texts]


def collected(*sources, deadline_s: float = PLENTY_S, max_bytes: int = 4096, rule=None):
    return gather(ALERT, HOSTS, sources, rule=rule, deadline_s=deadline_s, max_bytes=max_bytes, redact=Redactor())


def test_ids_follow_the_order_of_sources():
    """Evidence is numbered per source in the order given, whichever source was faster."""
    slow = threading.Event()
    first, second = Told("prom", "a", "b", wait=slow), Told("logs", "c")
    threading.Timer(0.2, slow.set).start()
    context = collected(first, second)
    assert [(piece.id, piece.source, piece.text) for piece in context.evidence] == [
        ("prom-1", "prom", "a"),
        ("prom-2", "prom", "b"),
        ("logs-1", "logs", "c"),
    ]
    assert context.missing == ()


def test_a_source_that_hangs_is_named_and_left_behind():
    """A source that never answers costs its own evidence and no more than the deadline."""
    never = threading.Event()
    try:
        context = collected(Told("logs", "x", wait=never), Told("prom", "a"), deadline_s=1.0)
    finally:
        never.set()
    assert [piece.id for piece in context.evidence] == ["prom-1"]
    assert [(one.source, one.reason) for one in context.missing] == [("logs", "did not answer in time.")]


def test_a_failing_source_is_named_without_its_secrets():
    """What a source could not do is said, redacted; a bug in one costs only its own evidence."""
    context = collected(
        Told("prom", error=SourceUnavailable("down: password=hunter2")), Told("logs", error=ZeroDivisionError("oops")), Told("infra", "x")
    )
    assert [piece.id for piece in context.evidence] == ["infra-1"]
    assert [one.source for one in context.missing] == ["prom", "logs"]
    assert context.missing[0].reason == "down: password=[redacted:password]"
    assert "ZeroDivisionError" in context.missing[1].reason


def test_the_rule_is_handed_to_the_sources():
    """The rule is read once and each source gets it."""
    source = Told("prom", "a")
    assert collected(source, rule=lambda alert: RULE).rule == RULE
    assert source.rule == RULE


def test_a_rule_that_cannot_be_read_is_missing():
    """No rule, an unreachable Prometheus and one that hangs are all named."""

    def down(alert):
        raise SourceUnavailable("refused")

    never = threading.Event()
    try:
        for rule, deadline_s in ((down, PLENTY_S), (lambda alert: None, PLENTY_S), (lambda alert: never.wait(), 1.0)):
            context = collected(Told("prom", "a"), rule=rule, deadline_s=deadline_s)
            assert context.rule is None
            assert [one.source for one in context.missing] == ["rule"]
            assert [piece.id for piece in context.evidence] == ["prom-1"]
    finally:
        never.set()


def test_text_and_data_are_redacted_and_bounded():
    """No secret and nothing above its bound comes through, and what was cut says so."""
    text = "start password=hunter2\n" + "x" * 10_000 + "\nend token=hunter3"
    context = collected(Told("logs", text, data={"password": "hunter2", "lines": ["token=hunter3"]}), max_bytes=512)
    (piece,) = context.evidence
    assert "hunter" not in f"{piece.text}{piece.title}{piece.data}"
    assert len(piece.text.encode()) <= 512
    assert piece.text.startswith("start ")
    assert piece.text.endswith("[redacted:token]")
    assert not piece.complete


@pytest.mark.parametrize("data", [{"x": "y" * 100_000}, {"x": float("nan")}, {"x": object()}])
def test_data_that_is_too_long_or_no_json_is_dropped(data):
    """Data above its bound, or that no page could read, is left out and marked."""
    (piece,) = collected(Told("prom", "a", data=data), max_bytes=512).evidence
    assert piece.data is None
    assert not piece.complete


@pytest.mark.parametrize("size", [0, 1, 40, 100, 511])
def test_cut_keeps_its_bound_and_both_ends(size):
    """A cut text is never longer than asked for where its mark fits, and never splits a character."""
    done = cut("ä" * 1000, size)
    assert len(done.encode()) <= max(size, 45)
    assert "\ufffd" not in done


# ---------------------------------------------------------------- sources


class FakePrometheus:
    """Answers instant and range queries with series of the test's own."""

    def __init__(self, *labels: dict, points: int = 5) -> None:
        self._labels, self._points, self.asked = labels, points, []

    def query(self, expr):
        self.asked.append(expr)
        return [Sample(labels, 0.0, 1.0) for labels in self._labels]

    def query_range(self, expr, start, end, step_s):
        self.asked.append(expr)
        return [Series(labels, tuple((float(at), float(at)) for at in range(self._points))) for labels in self._labels]


def test_the_rules_own_series_are_shown():
    """The rule's expression is asked now, its measured side over time, and only series that can be the alert's are kept."""
    prometheus = FakePrometheus({"instance": "web1:80"}, {"instance": "web2:80"}, points=500)
    first, _ = Metrics(prometheus, now=lambda: 1000.0).collect(ALERT, HOSTS, RULE)
    assert prometheus.asked[:2] == ["probe_success == 0", "probe_success"]
    assert 'instance="web1:80"' in first.text
    assert "web2" not in first.text
    (series,) = first.data["series"]
    assert len(series["points"]) == 120


def test_no_more_than_ten_series_are_charted():
    """A rule over many series is cut and says so."""
    prometheus = FakePrometheus(*({"instance": "web1:80", "cpu": str(n)} for n in range(30)))
    first, _ = Metrics(prometheus).collect(ALERT, HOSTS, RULE)
    assert len(first.data["series"]) == 10
    assert not first.complete


def test_no_series_at_all_is_missing():
    """Nothing measured is a source without evidence, not evidence of calm."""
    with pytest.raises(SourceUnavailable):
        Metrics(FakePrometheus()).collect(ALERT, HOSTS, None)


def test_other_alerts_of_the_target_are_listed():
    """Alerts on the same machine are shown, the alert itself and other machines' are not."""
    active = [
        {"labels": dict(ALERT.labels), "state": "firing", "activeAt": "t"},
        {"labels": {"alertname": "Disk", "instance": "web1:9100"}, "state": "pending", "activeAt": "t"},
        {"labels": {"alertname": "Disk", "instance": "web2:9100"}, "state": "firing", "activeAt": "t"},
    ]
    (piece,) = ActiveAlerts(lambda: active).collect(ALERT, HOSTS, None)
    assert piece.text == 'pending since t: {alertname="Disk", instance="web1:9100"}'
    (piece,) = ActiveAlerts(list).collect(ALERT, HOSTS, None)
    assert piece.text == "None."


def played(facts: dict, outcome=Outcome.SUCCESSFUL, message: str = "", **stats) -> Run:
    return Run(
        "i:1:context:1", RunKind.CONTEXT, "host_state", RunState.DONE, outcome, {"web1": HostStats(**stats)}, message=message, facts=facts
    )


def test_host_state_is_told_readably():
    """Any facts that a play gives back become text, and stay as data."""
    facts = {"load": [0.1, 0.2], "memory": {"free_mb": 12}, "disks": [{"mount": "/", "used": "91%"}], "failed_units": [], "note": "a\nb"}
    (piece,) = HostState(lambda *_: played({"web1": facts})).collect(ALERT, HOSTS, None)
    assert piece.data == facts
    assert (
        piece.text == "load:\n  0.1\n  0.2\nmemory:\n  free_mb: 12\ndisks:\n  - mount: /, used: 91%\nfailed_units: none\nnote: a\n      b"
    )


def test_endless_nesting_ends():
    """Facts nested deeper than anyone reads are cut."""
    value: list = []
    for _ in range(900):
        value = [value, "x"]
    assert "…" in render({"a": value})


def test_host_logs_ask_for_an_allowed_service_only():
    """A label names a service; the host's own allow-list decides whether its logs are read."""
    asked = []

    def run_play(*arguments):
        asked.append(arguments)
        return played({"web1": {"journal": ["one", "two"], "files": {"/var/log/x": ["three"]}, "status": "dead"}})

    (piece,) = HostLogs(run_play, lines=50).collect(ALERT, (*HOSTS, Host("web2")), None)
    assert asked == [("service_logs", {"service_logs_service": "nginx", "service_logs_lines": 50}, ("web1",))]
    assert piece.text == "journal:\n  one\n  two\nfiles:\n  /var/log/x:\n    three\nstatus: dead"
    for alert in (Alert("0" * 16, AlertStatus.FIRING, {"service": "sshd"}), Alert("0" * 16, AlertStatus.FIRING, {})):
        with pytest.raises(SourceUnavailable):
            HostLogs(run_play).collect(alert, HOSTS, None)
    assert len(asked) == 1
    unit = Alert("0" * 16, AlertStatus.FIRING, {"name": "nginx.service"})
    HostLogs(run_play, lines=2000).collect(unit, HOSTS, None)
    assert asked[1][1] == {"service_logs_service": "nginx", "service_logs_lines": 500}


def test_a_diagnosis_says_why_it_was_not_run():
    """A diagnostic without a value for its parameter, or without a host, is named as missing and not run."""
    with pytest.raises(SourceUnavailable, match="slow_queries was not run: no label database"):
        Diagnosis(lambda *_: played({}), "slow_queries", {}, "no label database").collect(ALERT, HOSTS, None)
    with pytest.raises(SourceUnavailable, match="no inventory host"):
        Diagnosis(lambda *_: played({}), "slow_queries", {}).collect(ALERT, (), None)


def test_an_unreachable_host_is_named():
    """A host that gave nothing makes the source missing; one of several is named as evidence."""
    with pytest.raises(SourceUnavailable, match="no route"):
        HostState(lambda *_: played({}, Outcome.UNREACHABLE, "no route", unreachable=1)).collect(ALERT, HOSTS, None)
    with pytest.raises(SourceUnavailable):
        HostState(lambda *_: played({})).collect(ALERT, (), None)
    run = played({"web2": {"load": 1}}, Outcome.UNREACHABLE, unreachable=1)
    first, second = HostState(lambda *_: run).collect(ALERT, (*HOSTS, Host("web2")), None)
    assert "not reachable" in first.text
    assert second.text == "load: 1"


def test_earlier_incidents_are_listed():
    """The history names when, what, how it ended and what was tried."""
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    past = IncidentSummary("i1", Status.RESOLVED, None, "ok", "Down", "page", "web1", "f", False, "restart_service", 1, "", "", "", at, at)
    (piece,) = History(lambda alert: [past]).collect(ALERT, HOSTS, None)
    assert piece.text == "2026-01-02 03:04Z Down on web1: resolved, entry restart_service, attempt 1: ok"
    (piece,) = History(lambda alert: []).collect(ALERT, HOSTS, None)
    assert piece.text == "None."
