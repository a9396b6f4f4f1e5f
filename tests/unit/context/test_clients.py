"""Monitoring clients: every failure is one kind of error, and exact labels decide what fires."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from double import HttpDouble, Reply

from orchestrator.context.alertmanager import Alertmanager
from orchestrator.context.loki import Loki
from orchestrator.context.prometheus import Prometheus
from orchestrator.errors import SourceUnavailable
from orchestrator.model import Alert, AlertStatus, Host

LABELS = {"alertname": "Down", "instance": "web1:80", "severity": "page"}
ALERT = Alert("0123456789abcdef", AlertStatus.FIRING, LABELS)


def success(**data) -> dict:
    return {"status": "success", "data": data}


def vector(*values: float) -> dict:
    return success(resultType="vector", result=[{"metric": {"n": str(n)}, "value": [1.5, str(value)]} for n, value in enumerate(values)])


MISBEHAVIOURS = {
    "error": Reply(500, b"boom"),
    "html": Reply(200, b"<html>Login</html>"),
    "half": Reply(200, b'{"status": "succ'),
    "empty": Reply(200, b""),
    "list": Reply(200, [1, 2]),
    "text": Reply(200, b'"text"'),
    "status": Reply(200, {"status": "error", "error": "x"}),
    "shape": Reply(200, success(resultType="vector", result=[{"metric": {}}], alerts=[1], groups="x")),
    "no data": Reply(200, {"status": "success", "data": None}),
    "deep": Reply(200, b"[" * 100_000),
    "latin": Reply(200, b"\xff\xfe\x00"),
    "moved": Reply(302, b"", (("Location", "/elsewhere"),)),
    "denied": Reply(401, {"error": "unauthorized"}),
    "huge": Reply(200, b'"' + b"a" * 200_000 + b'"'),
    "hang": Reply(hang=True),
    "drip": Reply(drip=True),
}
CALLS = {
    "query": lambda url: Prometheus(url, timeout_s=0.2, max_bytes=100_000).query("up"),
    "range": lambda url: Prometheus(url, timeout_s=0.2, max_bytes=100_000).query_range("up", 0, 10, 1),
    "rule": lambda url: Prometheus(url, timeout_s=0.2, max_bytes=100_000).rule_for(ALERT),
    "firing": lambda url: Prometheus(url, timeout_s=0.2, max_bytes=100_000).firing(ALERT),
    "alerts": lambda url: Alertmanager(url, timeout_s=0.2, max_bytes=100_000).alerts(),
    "loki": lambda url: Loki(url, '{host="$host"}', timeout_s=0.2, max_bytes=100_000).collect(ALERT, (Host("web1"),), None),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("how", MISBEHAVIOURS)
def test_every_misbehaviour_is_a_source_that_is_unavailable(call, how):
    """Slow, broken, huge or strange answers never come out as an answer or as a foreign error."""
    with HttpDouble(MISBEHAVIOURS[how]) as server, pytest.raises(SourceUnavailable):
        CALLS[call](server.url)


@pytest.mark.parametrize("call", CALLS)
def test_nobody_listening_is_a_source_that_is_unavailable(call, free_port):
    """A refused connection says that the source is unavailable."""
    with pytest.raises(SourceUnavailable, match="did not answer"):
        CALLS[call](f"http://127.0.0.1:{free_port}")


def test_messages_hold_no_credentials(free_port):
    """Neither the token nor a password in the address is in the error."""
    with pytest.raises(SourceUnavailable) as caught:
        Prometheus(f"http://user:geheim@127.0.0.1:{free_port}", token="streng").query("up")
    assert "geheim" not in str(caught.value)
    assert "streng" not in str(caught.value)


def test_the_token_is_sent_as_bearer():
    """The token goes out as a bearer token and follows no redirect."""
    with HttpDouble(vector(1)) as server:
        assert [sample.value for sample in Prometheus(server.url, token="t0ken").query("up")] == [1.0]
    (asked,) = server.asked
    assert asked.headers["authorization"] == "Bearer t0ken"
    assert asked.form()["query"] == "up"


def test_a_redirect_is_not_followed():
    """The address is the settings' alone: where a server points elsewhere, nobody goes there, and least of all the token."""
    with HttpDouble(vector(1)) as elsewhere, HttpDouble(Reply(302, b"", (("Location", elsewhere.url + "/api/v1/query"),))) as server:
        with pytest.raises(SourceUnavailable, match="302"):
            Prometheus(server.url, token="t0ken").query("up")
        assert not elsewhere.asked


def test_an_answer_above_the_bound_is_not_read():
    """A correct answer that is too long is refused before it fills the memory."""
    with HttpDouble(vector(*range(2000))) as server:
        assert len(Prometheus(server.url).query("up")) == 2000
        with pytest.raises(SourceUnavailable, match="longer than 10000 bytes"):
            Prometheus(server.url, max_bytes=10_000).query("up")


def test_a_condition_is_asked_with_bool():
    """A comparison is sent so that a false series answers instead of being missing."""
    with HttpDouble(lambda asked: Reply(body=vector(1, 0))) as server:
        assert Prometheus(server.url).holds("up == 1") is False
    assert server.asked[0].form()["query"] == "up == bool 1"


def alerts(*pairs: tuple[dict, str], config: str = "{}"):
    def answer(asked):
        if asked.path.endswith("/status/config"):
            return Reply(body=success(yaml=config))
        return Reply(body=success(alerts=[{"labels": labels, "state": state} for labels, state in pairs]))

    return answer


@pytest.mark.parametrize(
    ("active", "config", "expected"),
    [
        ([(LABELS, "firing")], "{}", True),
        ([(LABELS, "pending")], "{}", False),
        ([], "{}", False),
        ([({**LABELS, "instance": "web2:80"}, "firing")], "{}", False),
        ([({"alertname": "Down", "instance": "web1:80"}, "firing")], "{}", False),
        ([({"alertname": "Down", "instance": "web1:80"}, "firing")], "global: {external_labels: {severity: page}}", True),
        ([({"alertname": "Down", "instance": "web1:80"}, "firing")], "global: {external_labels: {severity: other}}", False),
        ([({**LABELS, "more": "x"}, "firing")], "{}", False),
    ],
)
def test_only_exactly_this_alert_confirms_it(active, config, expected):
    """Extra labels, which a bearer of a webhook token could invent, do not count as confirmed; external labels do."""
    with HttpDouble(alerts(*active, config=config)) as server:
        assert Prometheus(server.url).firing(ALERT) is expected


def test_relabelled_alerts_cannot_be_told():
    """Where alerts are relabelled on their way, a difference is no proof that the alert is gone."""
    near = ({"alertname": "Down", "instance": "web1:80"}, "firing")
    with (
        HttpDouble(alerts(near, config="alerting: {alert_relabel_configs: [{action: labeldrop}]}")) as server,
        pytest.raises(SourceUnavailable),
    ):
        Prometheus(server.url).firing(ALERT)


def rule(expr: str, labels: dict | None = None, name: str = "Down", active: tuple = ()) -> dict:
    known = {
        "type": "alerting",
        "name": name,
        "query": expr,
        "duration": 60,
        "labels": labels or {},
        "annotations": {"summary": "{{ $value }}"},
    }
    return {**known, "alerts": [{"labels": one} for one in active]}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([rule("a")], "a"),
        ([rule("a", name="Other")], None),
        ([rule("a", {"severity": "page"}), rule("b", {"severity": "warning"})], "a"),
        ([rule("a"), rule("b", {"severity": "page"})], "b"),
        ([rule("a", {"severity": "{{ $labels.x }}"})], "a"),
        ([rule("a", {"team": "{{ $labels.x }}"})], None),
        ([rule("a"), rule("b")], None),
        ([rule("a"), rule("a")], "a"),
        ([rule("a"), rule("b", active=(LABELS,))], "b"),
    ],
)
def test_the_rule_of_an_alert_is_found_or_not_guessed(rules, expected):
    """A rule fits by name and labels; where several fit equally, none is taken."""
    with HttpDouble(success(groups=[{"interval": 15, "rules": rules}])) as server:
        found = Prometheus(server.url).rule_for(ALERT)
    assert (found.expr if found else None) == expected
    if found:
        assert (found.for_s, found.interval_s, found.annotations) == (60, 15, {"summary": "{{ $value }}"})


def test_a_silence_covers_exactly_one_alert():
    """A silence carries every label as a literal matcher, whatever the label holds."""
    hostile = Alert("0" * 16, AlertStatus.FIRING, {"alertname": "A", "instance": '.*"} or'})
    until = datetime(2030, 1, 1, tzinfo=UTC)
    with HttpDouble({"silenceID": "abc"}) as server:
        assert Alertmanager(server.url).silence(hostile, until=until, author="engine", comment="works on it") == "abc"
    body = server.asked[0].json()
    assert body["matchers"] == [
        {"name": "alertname", "value": "A", "isRegex": False, "isEqual": True},
        {"name": "instance", "value": '.*"} or', "isRegex": False, "isEqual": True},
    ]


def test_an_alert_without_labels_is_not_silenced():
    """A silence without matchers would silence everything."""
    with HttpDouble({"silenceID": "abc"}) as server, pytest.raises(SourceUnavailable):
        Alertmanager(server.url).silence(
            Alert("0" * 16, AlertStatus.FIRING, {}), until=datetime(2030, 1, 1, tzinfo=UTC), author="a", comment="c"
        )
    assert not server.asked


def test_loki_gives_the_newest_lines_in_order():
    """Lines of all streams are merged oldest first, bounded, and the host is filled in escaped."""
    streams = [{"stream": {}, "values": [["3000000000", "c"], ["1000000000", "a"]]}, {"stream": {}, "values": [["2000000000", "b"]]}]
    with HttpDouble(success(resultType="streams", result=streams)) as server:
        loki = Loki(server.url, '{host="$host"}', lines=2, now=lambda: 10.0)
        (piece,) = loki.collect(ALERT, (Host('a"}b'),), None)
    assert piece.text == "1970-01-01T00:00:02Z b\n1970-01-01T00:00:03Z c"
    assert not piece.complete
    assert server.asked[0].query["query"] == r'{host="a\"}b"}'


def test_a_selector_that_does_not_fit_is_named():
    """A selector that needs a label the alert lacks says so instead of asking for everything."""
    with HttpDouble({}) as server, pytest.raises(SourceUnavailable, match="nothing"):
        Loki(server.url, '{x="$nothing"}').collect(ALERT, (Host("web1"),), None)
    assert not server.asked
