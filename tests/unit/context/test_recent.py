"""What was answered a moment ago confirms, and never denies."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.context.alertmanager import Alertmanager
from orchestrator.context.prometheus import Prometheus
from orchestrator.context.recent import Recent
from orchestrator.model import Alert, AlertStatus

WEB1, WEB2 = ({"alertname": "Down", "instance": name} for name in ("web1", "web2"))


def alert(labels):
    return Alert("f", AlertStatus.FIRING, labels, {}, datetime(2026, 1, 1, tzinfo=UTC), None)


class Api:
    """Answers in place of the network, and counts."""

    def __init__(self, answer):
        self.answer, self.asked = answer, 0

    def get(self, path, params=None, **_):
        self.asked += 1
        return self.answer(path)


def test_answer_holds_for_its_time():
    """An answer is used while it is fresh, counted from when it was asked for; with 0 it never is."""
    now = [0.0]
    recent = Recent(1.0, lambda: now[0])
    assert recent.get() is None
    recent.note("x", 0.0)
    now[0] = 0.9
    assert recent.get() == "x"
    now[0] = 1.0
    assert recent.get() is None
    never = Recent(0.0, lambda: now[0])
    never.note("x", 1.0)
    assert never.get() is None


def test_prometheus_is_asked_again_before_it_denies():
    """An alert that came since the last answer fires; one that the answer held is not asked for again."""
    firing = [WEB1]
    prometheus = Prometheus("http://prometheus", fresh_s=60.0)
    api = Api(lambda _: {"status": "success", "data": {"alerts": [{"labels": labels, "state": "firing"} for labels in firing]}})
    prometheus._api.get = api.get
    assert prometheus.firing(alert(WEB1))
    assert prometheus.firing(alert(WEB1))
    assert api.asked == 1
    firing.append(WEB2)
    assert prometheus.firing(alert(WEB2))
    assert api.asked == 2


def test_alertmanager_is_asked_again_before_it_denies():
    """The same for Alertmanager, and its silences come with the alert."""
    there = [WEB1]

    def answer(_):
        status = {"state": "suppressed", "silencedBy": ["s1"], "inhibitedBy": []}
        times = {"startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-02T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}
        return [{"labels": labels, "annotations": {}, "fingerprint": "f", "status": status, **times} for labels in there]

    alertmanager = Alertmanager("http://alertmanager", fresh_s=60.0)
    api = Api(answer)
    alertmanager._api.get = api.get
    assert alertmanager.silenced(alert(WEB1)) == ("s1",)
    assert alertmanager.firing(alert(WEB1))
    assert api.asked == 1
    assert not alertmanager.firing(alert(WEB2))
    there.append(WEB2)
    assert alertmanager.firing(alert(WEB2))
    assert api.asked == 3
