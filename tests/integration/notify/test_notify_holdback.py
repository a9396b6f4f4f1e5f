"""Pages held back, against a real Alertmanager: only while a repair advances, only that alert, and a dead program ends in a page."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta

import pytest
import requests
from asked import LABELS, receive, settings_in
from inboxes import Pager, running
from mistral_server import Misbehaviour, serving
from server import Server, firing
from services import AlertmanagerServer, free_port, until

from orchestrator.app import build
from orchestrator.context.holding import AUTHOR, comment, held
from orchestrator.model import Actor, Role, Status
from orchestrator.telling.holdback import Holdback

pytestmark = pytest.mark.foreign

ADMIN = Actor("ann", Role.ADMIN)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    """Run an Alertmanager that tells nobody."""
    with AlertmanagerServer(tmp_path_factory.mktemp("alertmanager")).start() as server:
        yield server


@pytest.fixture
def labels(request):
    """Return labels of an alert that only this test has."""
    return {**LABELS, "case": request.node.name[:60]}


class Holding:
    """A program without its threads, one incident of it, and its look at the silences."""

    def __init__(self, place, url, labels, **more):
        (place / "hosts.yml").write_text("all: {}\n")
        self.settings = settings_in(place, ALERTMANAGER__URL=url, ALERTMANAGER__HOLD_PAGES="true", **more)
        self.labels = labels
        self.start()
        self.incident = receive(self.program, **labels)

    def start(self):
        """Build the program anew, as after a crash."""
        self.program = build(self.settings)
        self.holdback = Holdback(self.program, self.program.alertmanager)

    def look(self, *, stale=False):
        """Let a worker look once at an incident that is due now; return our silences on the alert."""
        if not stale:
            table = self.program.store.db.tables.incident
            table.update(run_at=self.program.store.db.now_ms()).where(table.id == self.incident).execute()
        self.holdback.run()
        return self.silences()

    def silences(self):
        """Return the silences in force that name this alert."""
        found = requests.get(self.settings.alertmanager.url + "/api/v2/silences", timeout=60).json()
        return [
            one
            for one in found
            if one["status"]["state"] == "active"
            and {"case", self.labels["case"]} <= {value for m in one["matchers"] for value in (m["name"], m["value"])}
        ]

    def put(self, status):
        """Let the incident stand elsewhere."""
        table = self.program.store.db.tables.incident
        table.update(status=str(status)).where(table.id == self.incident).execute()

    def alert(self):
        """Return the incident's alert."""
        return self.program.incident(self.incident).alert

    def kinds(self):
        """Return what stands on record about holding."""
        return [event.kind for event in self.program.timeline(self.incident) if event.kind.startswith("page.")]


@pytest.fixture
def holding(alertmanager, tmp_path, labels):
    """Return a program whose alert fires in Alertmanager too."""
    alertmanager.post({"labels": labels})
    made = Holding(tmp_path, alertmanager.url, labels)
    yield made
    made.program.stop()


def test_the_silence_is_on_exactly_this_alert_and_short(holding):
    """All labels as equality matchers, at most two minutes, made once, and on record."""
    (silence,) = holding.look()
    assert {(m["name"], m["value"], m["isRegex"], m["isEqual"]) for m in silence["matchers"]} == {
        (name, value, False, True) for name, value in holding.labels.items()
    }
    assert datetime.fromisoformat(silence["endsAt"]) - datetime.fromisoformat(silence["updatedAt"]) <= timedelta(seconds=121)
    assert [one["id"] for one in holding.look()] == [silence["id"]]
    assert holding.kinds() == ["page.held"]


def test_our_silence_is_no_word_about_what_may_run(holding):
    """Held by us, the alert is not suppressed; silenced by a person, it is."""
    holding.look()
    alert = holding.alert()
    until(lambda: holding.program.alertmanager.silenced(alert), what="silenced")
    assert holding.program.wiring.suppression(holding.program.incident(holding.incident), ()) is None
    theirs = holding.program.alertmanager.silence(
        alert, until=datetime.now(UTC) + timedelta(minutes=5), author="anna", comment="I am at it"
    )
    until(lambda: len(holding.program.alertmanager.silenced(alert)) == 2, what="silenced twice")
    assert theirs in holding.program.wiring.suppression(holding.program.incident(holding.incident), ())[1]


def test_a_silence_that_only_looks_like_ours_is_a_persons(holding):
    """Without our mark, with the mark of another incident, or longer than ours, it counts as a person's word."""
    program, alert, now = holding.program, holding.alert(), datetime.now(UTC)
    key, hold_s = program.wiring.key, 120.0
    good = comment(key, holding.incident, now)
    for author, words, minutes in (
        (AUTHOR, good.replace("mark=", "mark=0")[:-1], 1),
        (AUTHOR, good.replace(holding.incident, "another"), 1),
        ("anna", good, 1),
        (AUTHOR, good, 60),
    ):
        made = program.alertmanager.silence(alert, until=now + timedelta(minutes=minutes), author=author, comment=words)
        until(lambda made=made: made in {one.id for one in program.alertmanager.silences()}, what="made")
        assert [one for one in program.alertmanager.silences() if one.id == made and held(one, key, hold_s)] == []
        program.alertmanager.unsilence(made)


@pytest.mark.parametrize("status", [Status.ESCALATED, Status.AWAITING_APPROVAL, Status.RESOLVED, Status.CANCELLED, Status.SUPPRESSED])
def test_where_the_repair_does_not_advance_the_page_goes_out(holding, status):
    """With a person asked, failure or the end, the silence is taken away at the next look."""
    assert len(holding.look()) == 1
    holding.put(status)
    assert holding.look() == []
    assert holding.kinds() == ["page.held", "page.released"]
    assert holding.look() == []


@pytest.mark.parametrize("status", [Status.INVESTIGATING, Status.PROPOSED, Status.EXECUTING, Status.VERIFYING])
def test_while_the_repair_advances_the_page_is_held(holding, status):
    """Through every step that the program makes by itself the silence stays."""
    holding.put(status)
    assert len(holding.look()) == 1


def test_what_is_blocked_abandoned_or_paused_is_not_held(holding):
    """Waiting for a host, left by every worker, or stopped by the kill switch, nothing advances."""
    table = holding.program.store.db.tables.incident
    row = table.update
    row(blocked_by="host:web1").where(table.id == holding.incident).execute()
    assert holding.look() == []
    row(blocked_by="", run_at=holding.program.store.db.now_ms() - 60_000).where(table.id == holding.incident).execute()
    assert holding.look(stale=True) == []
    assert len(holding.look()) == 1
    holding.program.pause(ADMIN, "drill")
    assert holding.look() == []


def test_another_alert_is_never_silenced_with_it(holding, alertmanager):
    """Where a second alert carries all labels of this one and more, nothing is held, and what was held is let go."""
    assert len(holding.look()) == 1
    wider = {**holding.labels, "device": "sda"}
    alertmanager.post({"labels": wider})
    until(lambda: any(dict(item.alert.labels) == wider for item in holding.program.alertmanager.alerts()), what="the second alert")
    assert holding.look() == []


def test_it_is_renewed_while_work_advances_and_not_for_ever(alertmanager, tmp_path, labels):
    """The silence's end moves on while the repair advances; after the longest time it is let go and not made again."""
    alertmanager.post({"labels": labels})
    holding = Holding(tmp_path, alertmanager.url, labels, ALERTMANAGER__HOLD_S="5", ALERTMANAGER__HOLD_LONGEST_S="300")
    try:
        (first,) = holding.look()

        def renewed():
            found = holding.look()
            assert len(found) <= 1
            return found and found[0]["endsAt"] > first["endsAt"]

        assert until(renewed, what="renewed")
        rules = holding.settings.alertmanager.model_copy(update={"hold_longest_s": 0.001})
        holding.holdback._rules = rules
        until(lambda: holding.look() == [], what="let go")
        assert holding.look() == []
        assert holding.kinds()[0] == "page.held"
        assert holding.kinds()[-1] == "page.released"
    finally:
        holding.program.stop()


def test_the_next_process_takes_over_what_is_held(holding):
    """After a crash nothing is remembered, and nothing has to be: the silence is kept, or ended, by who comes next."""
    (silence,) = holding.look()
    holding.program.stop()
    holding.start()
    assert [one["id"] for one in holding.look()] == [silence["id"]]
    holding.program.stop()
    holding.start()
    holding.put(Status.ESCALATED)
    assert holding.look() == []


def test_an_alertmanager_that_is_gone_is_said(tmp_path, labels):
    """Where Alertmanager cannot be asked, the program goes on and is degraded."""
    holding = Holding(tmp_path, f"http://127.0.0.1:{free_port()}", labels)
    try:
        holding.holdback.run()
        assert "alertmanager" in {item["what"] for item in holding.program.health()["degraded"]}
    finally:
        holding.program.stop()


def test_killed_in_holdback_the_pager_rings(tmp_path):
    """A real server holds the page while its model thinks; kill -9, and the pager's own route rings."""
    labels = {"alertname": "HeldBack", "instance": "web1:9100", "service": "nginx", "severity": "critical"}
    timing = {"group_by": ["alertname"], "group_wait": "15s", "group_interval": "1s", "repeat_interval": "1h"}
    with (
        running(Pager()) as pager,
        serving(Misbehaviour.SILENT) as model,
        AlertmanagerServer(tmp_path).start_with_webhook(pager.url, **timing) as am,
    ):
        settings = {
            "ORCHESTRATOR_ALERTMANAGER__URL": am.url,
            "ORCHESTRATOR_ALERTMANAGER__HOLD_PAGES": "true",
            "ORCHESTRATOR_ALERTMANAGER__HOLD_S": "15",
            "ORCHESTRATOR_DECISION__ENGINE": "mistral",
            "ORCHESTRATOR_DECISION__API_KEY": "canary",
            "ORCHESTRATOR_DECISION__BASE_URL": model.url,
            "ORCHESTRATOR_DECISION__DEADLINE_S": "600",
            "ORCHESTRATOR_INVENTORY__PATHS": str(tmp_path / "hosts.yml"),
            "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
            "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
        }
        (tmp_path / "hosts.yml").write_text("all: {hosts: {web1: {prometheus_instance: 'web1:9100', recoverable_services: [nginx]}}}\n")
        (tmp_path / "work").mkdir()
        with Server(tmp_path / "work", settings) as server:
            am.post({"labels": labels, "annotations": {}})
            server.post_alert(firing(**{**labels, "name": labels["alertname"]}))
            am.post({"labels": {"alertname": "NobodyHolds"}})

            def is_held():
                alerts = requests.get(am.url + "/api/v2/alerts", timeout=60).json()
                return any(item["labels"] == labels and item["status"]["silencedBy"] for item in alerts)

            until(is_held, every_s=0.2, what="the page is held")
            until(lambda: "NobodyHolds" in about(pager), what="the other page")
            assert "HeldBack" not in about(pager)
            assert is_held()
            server.stop(signal.SIGKILL)
            until(lambda: "HeldBack" in about(pager), every_s=0.5, what="the page after the kill")


def about(pager):
    """Return the names of the alerts that the pager has rung for."""
    return [alert["labels"]["alertname"] for page in list(pager.pages) for alert in page["alerts"]]
