"""The stand-in with enough on it to look at, served for a browser."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fake_orchestrator import FakeOrchestrator, make_alert, make_approval, make_entry, make_event, make_incident, make_proposal, make_run
from flask import redirect

from orchestrator import model as m
from orchestrator.card import Note
from orchestrator.settings import Settings
from orchestrator.store.outbox import Posted
from orchestrator.web import auth, create_app
from orchestrator.web.serve import serve

DEADLINE_S = 60
ASKED = "inc0000000000001"
QUESTION = f"{ASKED}:1"
ESCALATED = "inc0000000000002"
RUNNING = "inc0000000000003"
RUN = f"{RUNNING}:1:apply:1"
RESOLVED = "inc0000000000005"
FAILED_RUN = f"{ESCALATED}:1:apply:1"
HOSTS = ("web1", "web2", "web3")
DIFF = """\
--- before: /etc/nginx/nginx.conf
+++ after: /etc/nginx/nginx.conf
@@ -3,7 +3,7 @@
 events {
-    worker_connections 64;
+    worker_connections 1024;
 }
 http {
     access_log off;"""
GUARDS = (
    m.Guard("firing", True, "Monitoring does not say that the alert is over."),
    m.Guard("silence", True, "No silence covers the alert."),
    m.Guard("window", True, "No maintenance window is in force."),
    m.Guard("hosts", True, "On web1, web2, web3; 3 at once are allowed."),
    m.Guard("allow_list", True, "Hosts and parameters are allowed by the inventory."),
    m.Guard("protected", True, "No protected host is touched."),
    m.Guard("agreement", True, "Matcher and model name the same entry, hosts and parameters."),
    m.Guard("mode", False, "The policy's mode is approve: a person is asked.", m.Reason.MODE_ASKS),
    m.Guard("risk", False, "Medium risk: one person is asked.", m.Reason.RISK_ASKS),
    m.Guard("admitted", True, "An admin has admitted reload_configuration as it is now."),
    m.Guard("preconditions", True, "Every precondition holds."),
    m.Guard("cooldown", True, "reload_configuration did not run here in the last 300 s."),
    m.Guard("breaker", True, "No circuit breaker is open."),
    m.Guard("blast_radius", True, "3 of 12 hosts of group web."),
)


def furnished() -> FakeOrchestrator:
    """Return a stand-in with incidents of every kind."""
    fake = FakeOrchestrator(Settings())
    now = datetime.now(UTC)
    _write_catalogue(fake)
    _write_incidents(fake, now)
    _ask(fake, now)
    _write_runs(fake, now)
    fake.state = {
        "ready": True,
        "degraded": [{"what": "model", "why": "No answer within 20 s, three times in a row.", "since": now - timedelta(minutes=9)}],
    }
    _write_timeline(fake, now)
    return fake


def stormy() -> FakeOrchestrator:
    """Return a stand-in in a storm: one switch is gone, and everything behind it alerts."""
    fake = furnished()
    model = fake.incident_map[ESCALATED]
    for number in range(60):
        name = ("HostUnreachable", "ServiceDown", "ProbeFailed")[number % 3]
        labels = {"alertname": name, "instance": f"web{number:02d}:9100", "severity": "critical"}
        status = (m.Status.ESCALATED, m.Status.AWAITING_APPROVAL, m.Status.INVESTIGATING)[number % 3 if number % 7 else 2]
        identity = f"storm{number:08d}"
        fake.incident_map[identity] = replace(model, id=identity, alert=make_alert(labels=labels), status=status, approval="")
    return fake


def _write_catalogue(fake: FakeOrchestrator) -> None:
    pins = (
        m.Parameter("reload_configuration_service", "str", True, pattern="[a-z]+", sources=("labels.service",), description="The service."),
        m.Parameter(
            "reload_configuration_connections", "int", choices=(256, 512, 1024), default=1024, description="Connections per worker."
        ),
    )
    entries = (
        make_entry(
            id="reload_configuration",
            title="Reload the service's configuration",
            description="Writes the known good configuration, checks that it parses, and reloads the service without closing connections.",
            risk=m.Risk.MEDIUM,
            parameters=pins,
            targets=m.Targets(groups=("web",), max_hosts=3),
            check_mode=m.CheckMode.FULL,
            undo="undo.yml",
            undo_policy=m.UndoPolicy.OFFER,
            reversible=True,
            preconditions=('sum(up{job="node"}) > 1',),
        ),
        make_entry(),
        make_entry(id="free_disk_space", title="Free disk space", description="Rotates logs and empties package caches.", risk=m.Risk.LOW),
        make_entry(id="fail_over_redis", title="Fail over to the replica", description="Makes the replica the primary.", risk=m.Risk.HIGH),
    )
    broken = m.BrokenEntry("resize_pool", "/srv/playbooks/resize_pool", ("verify: a remediation needs one. Mend: name verify.yml.",))
    fake.book = m.Catalogue({one.id: one for one in entries}, (broken,), "1f3c9ab", "e" * 64)
    fake.admitted_ids = {"reload_configuration", "restart_service", "free_disk_space"}


def _series(now: datetime, value) -> list[list[float]]:
    start = now.timestamp() - 1800
    return [[start + 15 * number, value(number)] for number in range(120)]


def _context(now: datetime) -> m.Context:
    def latency(phase: int):
        return lambda number: 0.18 + 0.02 * math.sin(number / 4 + phase) + max(number - 86 - phase, 0) * 0.03

    series = [{"labels": {"instance": f"{host}:9100"}, "points": _series(now, latency(place))} for place, host in enumerate(HOSTS)]
    vital = [
        {"labels": {"__name__": "Reachable (up)", "instance": "web1:9100"}, "points": _series(now, lambda _: 1)},
        {
            "labels": {"__name__": "Load per CPU (1 min)", "instance": "web1:9100"},
            "points": _series(now, lambda number: 0.4 + 0.1 * math.sin(number / 9) + max(number - 90, 0) * 0.02),
        },
        {
            "labels": {"__name__": "Memory available (share)", "instance": "web1:9100"},
            "points": _series(now, lambda number: 0.61 - number / 900),
        },
        {
            "labels": {"__name__": "Disk available (share)", "instance": "web1:9100", "mountpoint": "/"},
            "points": _series(now, lambda number: 0.59),
        },
    ]
    rule = "histogram_quantile(0.99, rate(http_request_duration_seconds_bucket[5m])) > 0.5"
    return m.Context(
        (
            m.Evidence("prom-1", "prom", "Rule SlowAnswers", f"Rule: {rule}\nMust hold for 60 s before it fires.", {"series": series}),
            m.Evidence("prom-2", "prom", "Vital signs of the target", "Reachable (up): last 1, first 1", {"series": vital}),
            m.Evidence(
                "logs-1",
                "logs",
                "nginx: the last lines of its error log",
                "11:52:07 [alert] 811#811: 64 worker_connections are not enough\n11:52:09 [alert] 811#811: 64 worker_connections are not enough",
            ),
            m.Evidence("hist-1", "hist", "Earlier incidents of this alert", "2026-02-12: reload_configuration, verified", complete=False),
        ),
        (m.Missing("loki", "no address is set"),),
        m.Rule("SlowAnswers", rule, for_s=60),
        2.5,
    )


def _write_incidents(fake: FakeOrchestrator, now: datetime) -> None:
    labels = {"alertname": "SlowAnswers", "instance": "web1:9100", "service": "nginx", "severity": "critical", "team": "web"}
    summary = "99 % of answers take longer than half a second on web1, web2 and web3"
    base = make_incident(
        alert=make_alert(labels=labels, annotations={"summary": summary}, starts_at=now - timedelta(minutes=6)),
        context=_context(now),
        proposal=_proposal(),
        verdict=m.Verdict(m.Effect.ASK, (m.Reason.MODE_ASKS, m.Reason.RISK_ASKS), GUARDS),
        detail="A person has to answer.",
        created_at=now - timedelta(minutes=4),
        updated_at=now - timedelta(minutes=3),
    )
    many = (
        (
            ESCALATED,
            m.Status.ESCALATED,
            "DiskFull",
            "db1",
            m.Reason.RUN_FAILED,
            "The play failed: rm: cannot remove: Read-only file system",
            "",
        ),
        (RUNNING, m.Status.EXECUTING, "ServiceDown", "web2", None, "restart_service runs on web2.", ""),
        ("inc0000000000004", m.Status.PROPOSED, "ServiceDown", "web3", None, "Approved.", "host:web3"),
        (RESOLVED, m.Status.RESOLVED, "ServiceDown", "cache1", m.Reason.VERIFIED, "Repaired by restart_service and verified.", ""),
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
            proposal=make_proposal(summary=f"Restart nginx on {host}: its process is gone.", hosts=(host,))
            if name == "ServiceDown"
            else None,
            verdict=None,
            verification=m.Verification(
                m.Health.HEALTHY, (m.Check("port 80 answers", True, "HTTP 200 in 3 ms"), m.Check("probe_success", True, "1"))
            )
            if status is m.Status.RESOLVED
            else None,
            created_at=now - timedelta(minutes=6 * number + 5),
            updated_at=now - timedelta(minutes=5 * number + 1),
        )


def _proposal() -> m.Proposal:
    return make_proposal(
        summary="nginx runs out of connections: 64 per worker since the last change of its configuration; write the known good one.",
        entry="reload_configuration",
        hosts=HOSTS,
        parameters={"reload_configuration_service": "nginx", "reload_configuration_connections": 1024},
        origins={"reload_configuration_service": "labels.service", "reload_configuration_connections": "model"},
        claims=(
            m.Claim("Answers became slow on all three hosts within two minutes.", ("prom-1",)),
            m.Claim("nginx logs that 64 worker connections are not enough.", ("logs-1",)),
            m.Claim("The same reload helped two weeks ago.", ("hist-1",)),
            m.Claim("No deployment is under way.", ()),
        ),
        alternatives=(
            m.Alternative(
                "restart_service",
                "A restart closes open connections, and the limit would stay.",
                ("web1",),
                {"restart_service_name": "nginx"},
            ),
            m.Alternative("free_disk_space", "59 % of the disk is free.", ("web1",)),
        ),
    )


def _ask(fake: FakeOrchestrator, now: datetime) -> None:
    task = "Write the known good configuration"
    check = make_run(
        id=f"{ASKED}:1:check:1",
        entry="reload_configuration",
        started_at=now - timedelta(seconds=184),
        ended_at=now - timedelta(seconds=180),
        hosts={"web1": m.HostStats(7, 1), "web2": m.HostStats(7, 1), "web3": m.HostStats(6, 0)},
        diffs=tuple(m.HostDiff(host, task, DIFF) for host in HOSTS[:2]),
    )
    fake.run_map = {check.id: check}
    fake.approval_map = {
        QUESTION: make_approval(
            digest="9f2c41d07be84c1a" + "0" * 48,
            created_at=now - timedelta(minutes=3),
            expires_at=now + timedelta(minutes=11, seconds=40),
            proposal=_proposal(),
            verdict=fake.incident_map[ASKED].verdict,
            undo=m.UndoPolicy.OFFER,
            check=check,
        )
    }


def _write_runs(fake: FakeOrchestrator, now: datetime) -> None:
    running = make_run(
        id=RUN, kind=m.RunKind.APPLY, state=m.RunState.RUNNING, outcome=None, ended_at=None, started_at=now, hosts={}, diffs=(), rc=None
    )
    failed = make_run(
        id=FAILED_RUN,
        entry="free_disk_space",
        kind=m.RunKind.APPLY,
        outcome=m.Outcome.FAILED,
        rc=2,
        message="Remove old package files (db1): rm: cannot remove: Read-only file system",
        hosts={"db1": m.HostStats(3, 1, 1)},
        started_at=now - timedelta(seconds=90),
        ended_at=now - timedelta(seconds=71),
        diffs=(),
    )
    fake.run_map |= {running.id: running, failed.id: failed}
    fault = {
        "msg": "non-zero return code",
        "rc": 1,
        "cmd": ["rm", "-r", "/var/cache/apt/archives"],
        "stderr": "rm: cannot remove '/var/cache/apt/archives/x.deb': Read-only file system",
        "stdout": "",
    }
    fake.lines = [
        m.RunEvent(1, "play", now, task="Restart one service"),
        m.RunEvent(2, "task", now, task="Assert that the service is known"),
        m.RunEvent(3, "ok", now, "web2", "Assert that the service is known", "ok: [web2]"),
        m.RunEvent(4, "task", now, task="Remove the stale lock file"),
        m.RunEvent(5, "failed", now, "web2", "Remove the stale lock file", f"fatal: [web2]: FAILED! => {json.dumps(fault)}"),
        m.RunEvent(6, "output", now, "", "", "...ignoring"),
        m.RunEvent(7, "task", now, task="Restart the service"),
        m.RunEvent(
            8, "changed", now, "web2", "Restart the service", "--- before\n+++ after\n-state: stopped\n+state: started\nchanged: [web2]"
        ),
    ]


def _write_timeline(fake: FakeOrchestrator, now: datetime) -> None:
    told = (
        ("alert.received", {"alertname": "SlowAnswers", "status": "firing"}),
        (
            "context.gathered",
            {"evidence": ["prom-1", "prom-2", "logs-1", "hist-1"], "missing": [{"source": "loki", "reason": "no address"}], "took_s": 2.5},
        ),
        ("decision.made", {"choice": "run", "entry": "reload_configuration", "agreement": "agreed", "summary": _proposal().summary}),
        ("policy.judged", {"effect": "ask", "reasons": ["mode_asks", "risk_asks"]}),
        ("approval.asked", {"entry": "reload_configuration", "hosts": list(HOSTS), "need": 1}),
        ("incident.status", {"from": "proposed", "to": "awaiting_approval", "detail": "A person has to answer."}),
    )
    fake.events = [
        make_event(number, kind, data=data, at=now - timedelta(minutes=4) + timedelta(seconds=7 * number))
        for number, (kind, data) in enumerate(told, start=1)
    ]
    fake.letter_list = [
        Posted(5, "approval.asked", "slack", "sent", 0, "", now - timedelta(minutes=3)),
        Posted(5, "approval.asked", "mail", "pending", 2, "the mail server does not answer", now - timedelta(minutes=3)),
    ]
    fake.note_list = [Note(7, ASKED, now - timedelta(minutes=2), "olga", "The last change of this file was on Tuesday, by hand.")]


@contextmanager
def staged(fake: FakeOrchestrator) -> Iterator[str]:
    """Serve the stand-in on a free loopback port; `/as/<name>/<path>` logs in and goes on to a page."""
    app = create_app(fake)

    @app.get("/as/<name>/")
    @app.get("/as/<name>/<path:target>")
    def enter(name: str, target: str = ""):
        auth.start_session(fake.people[name], "password")
        return redirect("/" + target)

    heard: list[str] = []
    listening = threading.Event()

    def ready(address: str) -> None:
        heard.append(address)
        listening.set()

    thread = threading.Thread(target=serve, args=(app, "127.0.0.1", 0, 16, ready))
    thread.start()
    try:
        if not listening.wait(DEADLINE_S):
            raise TimeoutError("The server does not listen.")
        yield heard[0]
    finally:
        app.extensions["streams"].stop.set()
        thread.join(DEADLINE_S)
