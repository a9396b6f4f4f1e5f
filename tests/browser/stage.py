"""The stand-in with enough on it to look at, served for a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fake_orchestrator import FakeOrchestrator, make_alert, make_approval, make_entry, make_event, make_incident, make_proposal, make_run
from flask import redirect

from orchestrator import model as m
from orchestrator.settings import Settings
from orchestrator.web import auth, create_app
from orchestrator.web.serve import serve

DEADLINE_S = 60


def furnished() -> FakeOrchestrator:
    """Return a stand-in with incidents of every kind."""
    fake = FakeOrchestrator(Settings())
    now = datetime.now(UTC)
    base = make_incident(created_at=now - timedelta(minutes=4), updated_at=now - timedelta(minutes=3))
    many = (
        ("inc0000000000002", m.Status.ESCALATED, "DiskFull", "db1", m.Reason.NO_ENTRY, "No catalogue entry fits the alert.", ""),
        ("inc0000000000003", m.Status.EXECUTING, "ServiceDown", "web2", None, "restart_service runs on web2.", ""),
        ("inc0000000000004", m.Status.PROPOSED, "ServiceDown", "web3", None, "Approved; waits for its host.", "host:web3"),
        (
            "inc0000000000005",
            m.Status.RESOLVED,
            "ServiceDown",
            "cache1",
            m.Reason.VERIFIED,
            "Repaired by restart_service and verified.",
            "",
        ),
        ("inc0000000000006", m.Status.SUPPRESSED, "Watchdog", "", m.Reason.WATCHDOG, "An alert that always fires.", ""),
        ("inc0000000000007", m.Status.CLEARED, "HighLatency", "web1", m.Reason.ALERT_RESOLVED, "The alert went away by itself.", ""),
    )
    fake.incident_map = {base.id: base}
    for number, (identity, status, name, host, reason, detail, blocked) in enumerate(many):
        labels = {"alertname": name, "instance": f"{host}:9100" if host else "", "severity": "warning", "service": "nginx"}
        fake.incident_map[identity] = replace(
            base,
            id=identity,
            alert=make_alert(labels=labels, status=m.AlertStatus.FIRING if status in m.OPEN else m.AlertStatus.RESOLVED),
            status=status,
            reason=reason,
            detail=detail,
            blocked_by=blocked,
            approval="",
            proposal=make_proposal(hosts=(host,)) if name == "ServiceDown" else None,
            verdict=None,
            verification=m.Verification(
                m.Health.HEALTHY, (m.Check("port 80 answers", True, "HTTP 200 in 3 ms"), m.Check("probe_success", True, "1"))
            )
            if status is m.Status.RESOLVED
            else None,
            created_at=now - timedelta(minutes=6 * number + 5),
            updated_at=now - timedelta(minutes=5 * number + 1),
        )
    fake.approval_map = {
        "inc0000000000001:1": make_approval(
            created_at=now - timedelta(minutes=3),
            expires_at=now + timedelta(minutes=11, seconds=40),
            proposal=make_proposal(hosts=("web1", "web2")),
            undo=m.UndoPolicy.OFFER,
            check=make_run(ended_at=now - timedelta(minutes=3), hosts={"web1": m.HostStats(6, 1), "web2": m.HostStats(6, 1)}),
        )
    }
    fake.run_map = {
        identity: replace(run, started_at=now - timedelta(seconds=184), ended_at=now - timedelta(seconds=180))
        for identity, run in fake.run_map.items()
    }
    running = make_run(
        id="inc0000000000003:1:apply:1", kind=m.RunKind.APPLY, state=m.RunState.RUNNING, outcome=None, ended_at=None, started_at=now
    )
    fake.run_map[running.id] = running
    fake.lines = [
        m.RunEvent(1, "play", now, task="Restart one service"),
        m.RunEvent(2, "task", now, task="Assert that the service is known"),
        m.RunEvent(3, "ok", now, "web2", "Assert that the service is known"),
        m.RunEvent(4, "task", now, task="Restart the service"),
        m.RunEvent(5, "changed", now, "web2", "Restart the service", "state: started"),
    ]
    fake.book = m.Catalogue(
        {
            "restart_service": make_entry(),
            "free_disk_space": make_entry(
                id="free_disk_space", title="Free disk space", description="Rotates logs and empties package caches.", risk=m.Risk.MEDIUM
            ),
        },
        fake.book.broken,
        "1f3c9ab",
    )
    fake.state = {
        "ready": True,
        "degraded": [{"what": "model", "why": "No answer within 20 s, three times in a row.", "since": now - timedelta(minutes=9)}],
    }
    fake.events = [
        make_event(1, "alert.received", data={"alertname": "ServiceDown", "target": "web1"}),
        make_event(2, "context.gathered", data={"evidence": ["prom-1", "logs-1"], "took_s": 2.5}),
        make_event(3, "decision.made", data={"choice": "run", "entry": "restart_service", "agreement": "agreed"}),
        make_event(4, "policy.judged", data={"effect": "ask", "reasons": ["mode_asks"]}),
        make_event(5, "run.ended", data={"kind": "check", "outcome": "successful", "changed": 1}),
        make_event(6, "approval.asked", data={"need": 1, "from": ["oncall"]}),
    ]
    fake.events = [replace(event, at=now - timedelta(minutes=4) + timedelta(seconds=event.id)) for event in fake.events]
    return fake


@contextmanager
def staged(fake: FakeOrchestrator) -> Iterator[str]:
    """Serve the stand-in on a free loopback port; `/as/<name>/<path>` logs in and goes on to a page."""
    app = create_app(fake)

    @app.get("/as/<name>/")
    @app.get("/as/<name>/<path:target>")
    def enter(name: str, target: str = ""):
        auth.start_session(fake.people[name])
        return redirect("/" + target)

    heard: list[str] = []
    listening = threading.Event()

    def ready(address: str) -> None:
        heard.append(address)
        listening.set()

    thread = threading.Thread(target=serve, args=(app, "127.0.0.1", 0, 8, ready))
    thread.start()
    try:
        if not listening.wait(DEADLINE_S):
            raise TimeoutError("The server does not listen.")
        yield heard[0]
    finally:
        app.extensions["streams"].stop.set()
        thread.join(DEADLINE_S)


def browser(program: str, profile: str, *flags: str) -> list[str]:
    """Return chromium's command line without anything that calls home."""
    return [
        program,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-default-apps",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
        *flags,
    ]
