"""A hand-written stand-in for `orchestrator.app.Orchestrator`: everything in memory, nothing runs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator import model as m
from orchestrator.approval import may_answer, narrow
from orchestrator.autonomy import Standing
from orchestrator.card import Desk, Need, Note, Track
from orchestrator.desk.drawing import Known, draw
from orchestrator.errors import Conflict, Expired, Forbidden, InvalidRequest, NotAWebhook, NotFound, NotJson, StoreUnavailable
from orchestrator.settings import Settings
from orchestrator.store.outbox import Posted

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RANK = {m.Role.WEBHOOK: 0, m.Role.VIEWER: 1, m.Role.APPROVER: 2, m.Role.ADMIN: 3}


def make_entry(**changes: Any) -> m.Entry:
    """Return a plausible catalogue entry."""
    entry = m.Entry(
        id="restart_service",
        title="Restart one service",
        description="Restarts one service and waits until its port answers.",
        kind=m.EntryKind.REMEDIATION,
        folder="/srv/playbooks/restart_service",
        digest="d" * 64,
        parameters=(
            m.Parameter(
                "restart_service_name", "str", required=True, pattern="[a-z]+", sources=("labels.service",), description="The service."
            ),
        ),
        use_when=("The service's process is down and the host answers.",),
        never_when=("The disk is full.",),
        matchers=(('alertname="ServiceDown"', 'service=~".+"'),),
        targets=m.Targets(groups=("recoverable",)),
        risk=m.Risk.LOW,
        check_mode=m.CheckMode.PARTIAL,
        verify=m.VerifySpec(promql=('probe_success{instance="$instance"} == 1',), settle_s=5),
        owners=("platform",),
        approvers=("oncall",),
    )
    return replace(entry, **changes)


def make_alert(**changes: Any) -> m.Alert:
    """Return a plausible firing alert."""
    alert = m.Alert(
        fingerprint="0123456789abcdef",
        status=m.AlertStatus.FIRING,
        labels={"alertname": "ServiceDown", "instance": "web1:9100", "service": "nginx", "severity": "critical"},
        annotations={"summary": "nginx on web1 does not answer"},
        starts_at=NOW - timedelta(minutes=4),
        generator_url="http://prometheus.example/graph",
    )
    return replace(alert, **changes)


def make_run(**changes: Any) -> m.Run:
    """Return a check run with a diff."""
    run = m.Run(
        id="inc0000000000001:1:check:1",
        kind=m.RunKind.CHECK,
        entry="restart_service",
        state=m.RunState.DONE,
        outcome=m.Outcome.SUCCESSFUL,
        hosts={"web1": m.HostStats(ok=6, changed=1)},
        rc=0,
        diffs=(m.HostDiff("web1", "Restart the service", "--- before\n+++ after\n@@ -1 +1 @@\n-state: stopped\n+state: started"),),
        started_at=NOW - timedelta(minutes=3),
        ended_at=NOW - timedelta(minutes=3) + timedelta(seconds=4),
        node="node-1",
    )
    return replace(run, **changes)


def make_proposal(**changes: Any) -> m.Proposal:
    """Return a proposal with cited and uncited claims."""
    proposal = m.Proposal(
        choice=m.Choice.RUN,
        agreement=m.Agreement.AGREED,
        engine="mistral",
        summary="Restart nginx on web1: its process is gone while the host answers.",
        entry="restart_service",
        hosts=("web1",),
        parameters={"restart_service_name": "nginx"},
        origins={"restart_service_name": "labels.service"},
        claims=(m.Claim("The probe fails since 11:56.", ("prom-1",)), m.Claim("Disk space is fine.", ())),
        alternatives=(m.Alternative("free_disk_space", "The disk is 41 % full.", ("web1",)),),
        took_s=1.4,
    )
    return replace(proposal, **changes)


def make_verdict(**changes: Any) -> m.Verdict:
    """Return a verdict that asks a person."""
    verdict = m.Verdict(
        m.Effect.ASK,
        (m.Reason.MODE_ASKS,),
        (
            m.Guard("admitted", True, "An admin admitted this digest."),
            m.Guard("cooldown", True, "Last run on web1: never."),
            m.Guard("mode", False, "policy.mode is approve.", m.Reason.MODE_ASKS),
        ),
    )
    return replace(verdict, **changes)


def make_approval(**changes: Any) -> m.Approval:
    """Return a pending approval."""
    approval = m.Approval(
        id="inc0000000000001:1",
        incident="inc0000000000001",
        attempt=1,
        digest="abc123",
        state=m.ApprovalState.PENDING,
        proposal=make_proposal(),
        verdict=make_verdict(),
        created_at=NOW - timedelta(minutes=3),
        expires_at=NOW + timedelta(days=36500),
        approvers=("oncall",),
        check=make_run(),
    )
    return replace(approval, **changes)


def make_context() -> m.Context:
    """Return partial evidence."""
    return m.Context(
        (
            m.Evidence("prom-1", "prometheus", "probe_success over 30 minutes", "1 until 11:56, then 0", {"series": []}),
            m.Evidence("logs-1", "logs", "journal of nginx", "nginx[811]: signal 9 received", complete=False),
        ),
        (m.Missing("loki", "no address is set"),),
        m.Rule("ServiceDown", 'probe_success{service!=""} == 0', for_s=60),
        2.5,
    )


def make_incident(**changes: Any) -> m.Incident:
    """Return an incident that waits for a person."""
    incident = m.Incident(
        id="inc0000000000001",
        alert=make_alert(),
        status=m.Status.AWAITING_APPROVAL,
        reason=m.Reason.MODE_ASKS,
        detail="The policy's mode asks a person.",
        context=make_context(),
        proposal=make_proposal(),
        verdict=make_verdict(),
        approval="inc0000000000001:1",
        digest="abc123",
        check=make_run(),
        created_at=NOW - timedelta(minutes=4),
        updated_at=NOW - timedelta(minutes=3),
    )
    return replace(incident, **changes)


def make_event(number: int, kind: str, **changes: Any) -> m.AuditEvent:
    """Return an audit event."""
    event = m.AuditEvent(
        number,
        "inc0000000000001",
        number,
        NOW + timedelta(seconds=number),
        kind,
        "engine",
        {"status": "received"},
        "d" * 64,
        "p" * 64,
        "h" * 64,
    )
    return replace(event, **changes)


def summary_of(incident: m.Incident) -> m.IncidentSummary:
    """Return the list line of an incident."""
    return m.IncidentSummary(
        id=incident.id,
        status=incident.status,
        reason=incident.reason,
        detail=incident.detail,
        alertname=incident.alert.name,
        severity=incident.alert.severity,
        target=incident.alert.target,
        fingerprint=incident.alert.fingerprint,
        firing=incident.alert.status is m.AlertStatus.FIRING,
        entry=incident.proposal.entry if incident.proposal else "",
        attempt=incident.attempt,
        blocked_by=incident.blocked_by,
        parent=incident.parent,
        previous=incident.previous,
        created_at=incident.created_at or NOW,
        updated_at=incident.updated_at or NOW,
    )


class FakeOrchestrator:
    """The facade over a few dictionaries; `calls` keeps what was acted."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.calls: list[tuple[Any, ...]] = []
        self.actors = {f"{role}-token": m.Actor(f"{role}-bot", role, (), "api") for role in m.Role}
        self.people = {
            "ada": m.Actor("ada", m.Role.ADMIN, (), "page"),
            "olga": m.Actor("olga", m.Role.APPROVER, ("oncall",), "page"),
            "vic": m.Actor("vic", m.Role.VIEWER, (), "page"),
        }
        self.links = {"one-time": "ada"}
        self.sessions: dict[str, str] = {}
        self.used: set[str] = set()
        self.throttled = False
        self.stored = True
        self.pause_reason = ""
        self.state: dict[str, Any] = {"ready": True, "degraded": []}
        self.incident_map = {"inc0000000000001": make_incident()}
        self.approval_map = {"inc0000000000001:1": make_approval()}
        self.run_map = {"inc0000000000001:1:check:1": make_run()}
        self.lines = [m.RunEvent(n, "ok", NOW, "web1", f"task {n}", "fine") for n in range(1, 4)]
        self.events = [make_event(1, "alert.received"), make_event(2, "decision.made"), make_event(3, "incident.status")]
        self.alert_list = [
            m.AlertRecord("0123456789abcdef", m.AlertStatus.FIRING, dict(make_alert().labels), {}, NOW, NOW, "inc0000000000001"),
            m.AlertRecord("fedcba9876543210", m.AlertStatus.RESOLVED, {"alertname": "DiskFull", "instance": "db1:9100"}, {}, NOW, NOW, ""),
        ]
        self.book = m.Catalogue(
            {"restart_service": make_entry()},
            (m.BrokenEntry("bad_entry", "/srv/playbooks/bad_entry", ("no verify",)),),
            "abc1234",
            "e" * 64,
        )
        self.admitted_ids = {"restart_service"}
        self.grant_map: dict[str, m.StandingGrant] = {}
        self.track = Track(12, 11, 8.0, "verified", NOW - timedelta(days=2), share=11 / 12, words="11 of 12 runs for this alert helped.")
        self.changed_since: tuple[str, ...] = ()
        self.standing: tuple[m.StandingGrant, ...] = ()
        self.note_list: list[Note] = []
        self.letter_list: list[Posted] = []

    # --- intake
    def receive(self, body: bytes) -> m.Receipt:
        if not self.stored:
            raise StoreUnavailable("The disk is full.")
        try:
            group = json.loads(body)
        except ValueError as error:
            raise NotJson(f"not JSON: {error}") from None
        if not isinstance(group, dict) or not isinstance(group.get("alerts"), list):
            raise NotAWebhook("no alerts")
        good = [one for one in group["alerts"] if isinstance(one, dict) and "labels" in one]
        bad = tuple(m.RejectedAlert(n, "no labels", "") for n, one in enumerate(group["alerts"]) if one not in good)
        made = tuple({"id": "inc0000000000001", "status": "received", "created": True, "fingerprint": "0123456789abcdef"} for _ in good)
        return m.Receipt(made, bad, len(group["alerts"]))

    # --- who
    def token_actor(self, secret: str) -> m.Actor | None:
        return self.actors.get(secret)

    def login(self, name: str, password: str, address: str) -> m.Actor | None:
        if self.throttled:
            raise Forbidden("Too many attempts from this address; wait a minute.")
        return self.people.get(name) if password == "right" else None

    def user_actor(self, name: str) -> m.Actor | None:
        return self.people.get(name)

    def open_session(self, actor: m.Actor, way: str) -> str:
        secret = secrets.token_urlsafe(16)
        self.sessions[secret] = actor.name
        return secret

    def session_actor(self, secret: str, *, touch: bool = True) -> m.Actor | None:
        return self.people.get(self.sessions.get(secret, ""))

    def close_session(self, secret: str) -> None:
        self.sessions.pop(secret, None)

    def use_once(self, name: str) -> bool:
        fresh = name not in self.used
        self.used.add(name)
        return fresh

    def chat_actor(self, user: str) -> m.Actor:
        known = self.people.get(self.settings.notify.slack_users.get(user, ""))
        if known is None or RANK[known.role] < RANK[m.Role.APPROVER]:
            raise Forbidden("may not answer")
        return replace(known, via="slack")

    def chat_said(self, request: str, pressed: Any) -> bool:
        self.calls.append(("said", request, pressed))
        return self.use_once(request)

    def chat_tell(self, request: str, pressed: Any, words: str) -> bool:
        self.calls.append(("tell", request, words))
        return True

    def chat_bot(self) -> Any:
        return None

    def redeem_link(self, code: str) -> m.Actor | None:
        return self.people.get(self.links.pop(code, ""))

    def session_key(self) -> bytes:
        return b"k" * 32

    def users(self) -> list[m.Actor]:
        return list(self.people.values())

    def tokens(self) -> list[dict[str, Any]]:
        return [{"name": "alertmanager", "role": "webhook", "created_at": NOW, "last_used_at": None, "revoked": False}]

    def now(self) -> datetime:
        return datetime.now(UTC)

    # --- lists
    def incidents(self, *, status=(), fingerprint="", alertname="", host="", since=None, limit=100, cursor=""):
        found = [summary_of(one) for one in self.incident_map.values()]
        found = [one for one in found if not status or one.status in status]
        found = [one for one in found if not fingerprint or one.fingerprint == fingerprint]
        found = [one for one in found if (not alertname or one.alertname == alertname) and (not host or one.target == host)]
        return self._page([one for one in found if since is None or one.created_at >= since], limit, cursor)

    def _page(self, found: list[Any], limit: int, cursor: str) -> tuple[list[Any], str]:
        if cursor and not cursor.isdigit():
            raise InvalidRequest("cursor: unknown")
        start = int(cursor or 0)
        return found[start : start + limit], str(start + limit) if start + limit < len(found) else ""

    def incident(self, id: str) -> m.Incident:
        if id not in self.incident_map:
            raise NotFound(f"There is no incident {id[:50]}.")
        return self.incident_map[id]

    def related(self, id: str):
        self.incident(id)
        return {"children": [], "similar": [summary_of(one) for one in self.incident_map.values() if one.id != id][:3], "previous": []}

    def timeline(self, id: str):
        self.incident(id)
        return self.events

    def runs(self, *, incident="", entry="", limit=100, cursor=""):
        return self._page([run for run in self.run_map.values() if run.id.startswith(incident) and entry in ("", run.entry)], limit, cursor)

    def run(self, id: str) -> m.Run:
        if id not in self.run_map:
            raise NotFound(f"There is no run {id[:50]}.")
        return self.run_map[id]

    def run_events(self, id: str, after: int = 0, limit: int = 1000):
        return [line for line in self.lines if line.seq > after][:limit]

    def alerts(self, *, fingerprint="", alertname="", status="", limit=100, cursor=""):
        found = [one for one in self.alert_list if fingerprint in ("", one.fingerprint) and status in ("", one.status)]
        return self._page([one for one in found if alertname in ("", one.labels.get("alertname"))], limit, cursor)

    def approvals(self, *, state=(m.ApprovalState.PENDING,), limit=100, cursor=""):
        return self._page([one for one in self.approval_map.values() if one.state in state], limit, cursor)

    def approval(self, id: str) -> m.Approval:
        if id not in self.approval_map:
            raise NotFound(f"There is no approval {id[:50]}.")
        return self.approval_map[id]

    def card(self, id: str, hosts=(), pins: Mapping[str, Any] | None = None):
        approval = self.approval(id)
        known = Known(
            approval=approval,
            narrowed=narrow(approval.proposal, hosts, pins or {}),
            incident=self.incident(approval.incident),
            entries=self.book.entries,
            now=self.now(),
            track=self.track,
            changed=self.changed_since,
            standing=self.standing,
        )
        return draw(known)

    def notes(self, id: str):
        return self.note_list

    def desk(self, actor: m.Actor) -> Desk:
        pending = [one for one in self.approval_map.values() if one.state is m.ApprovalState.PENDING]
        needs = [
            Need(
                summary_of(self.incident(one.incident)),
                one.id,
                one.proposal.entry,
                one.proposal.hosts,
                have=one.have,
                need=one.need,
                expires_at=one.expires_at,
                mine=may_answer(one, actor),
                snoozed_by=one.snoozed_by,
            )
            for one in pending
        ]
        asked = {one.incident.id for one in needs}
        handed = [one for one in self.incident_map.values() if one.status in (m.Status.ESCALATED, m.Status.AWAITING_APPROVAL)]
        put_off = [replace(need, snoozed_until=one.snoozed_until) for need, one in zip(needs, pending, strict=True) if one.snoozed_until]
        hidden = {one.approval for one in put_off}
        now = [one for one in needs if one.approval not in hidden]
        now += [Need(summary_of(one)) for one in handed if one.id not in asked]
        return Desk(tuple(now), tuple(put_off), tuple(self.grant_map.values()))

    def grants(self, *, entry="", state=(), limit=100, cursor=""):
        found = [one for one in self.grant_map.values() if entry in ("", one.entry) and (not state or one.state in state)]
        return self._page(found, limit, cursor)

    def grant(self, id: str) -> m.StandingGrant:
        if id not in self.grant_map:
            raise NotFound(f"There is no standing grant {id[:50]}.")
        return self.grant_map[id]

    def letters(self, events):
        return self.letter_list

    def audit(self, *, incident="", after=0, limit=100):
        return [one for one in self.events if one.id > after][:limit]

    def latest_events(self, *, incident="", kind="", actor="", before=0, limit=100):
        found = [one for one in self.events if incident in ("", one.incident) and one.kind.startswith(kind) and actor in ("", one.actor)]
        return [one for one in reversed(found) if not before or one.id < before][:limit]

    def verify_audit(self, head: str = ""):
        return {"ok": True, "events": len(self.events), "incidents": 1, "problems": []}

    def catalogue(self) -> m.Catalogue:
        return self.book

    def entry(self, id: str) -> m.Entry:
        if id not in self.book.entries:
            raise NotFound(f"There is no entry {id[:50]}.")
        return self.book.entries[id]

    def admitted(self, entry: m.Entry) -> bool:
        return entry.id in self.admitted_ids

    def admit(self, id: str, actor: m.Actor) -> None:
        self._need(actor, m.Role.ADMIN)
        self.entry(id)
        self.admitted_ids.add(id)

    def entry_stats(self, id: str):
        return {"runs": 12, "verified": 11, "usual_s": 8.0}

    def autonomy(self):
        line = {"alertname": "ServiceDown", "entry": "restart_service", "group": "recoverable", "level": "proposed", "since": NOW}
        counts = {"successes": 29, "trials": 29, "bound": 0.9019, "wanted": 0.9, "earnable": True}
        return [{**line, **counts, "by": "engine", "why": "29 of 29 runs verified"}]

    def answer_autonomy(self, line, level, actor: m.Actor, reason: str = ""):
        self._need(actor, m.Role.ADMIN)
        self.entry(line.entry)
        return Standing(line, level, "d" * 64, NOW, actor.name, reason)

    def hosts(self):
        return [m.Host("web1", ("recoverable",), {"recoverable_services": ["nginx"]})]

    # --- acts
    def _need(self, actor: m.Actor, role: m.Role) -> None:
        if RANK[actor.role] < RANK[role]:
            raise Forbidden(f"{actor.name} may not do this.")

    def approve(self, id: str, actor: m.Actor, digest: str, reason: str = "", hosts=(), pins: Mapping[str, Any] | None = None):
        return self._reply(id, actor, m.Answer(actor.name, True, digest, reason, tuple(hosts), pins or {}, NOW))

    def reject(self, id: str, actor: m.Actor, digest: str, reason: str):
        return self._reply(id, actor, m.Answer(actor.name, False, digest, reason, at=NOW))

    def _reply(self, id: str, actor: m.Actor, answer: m.Answer) -> m.Approval:
        self._need(actor, m.Role.APPROVER)
        approval = self.approval(id)
        if approval.state is m.ApprovalState.EXPIRED:
            raise Expired("The time to answer is over.")
        if approval.state is not m.ApprovalState.PENDING:
            raise Conflict(f"Answered already by {', '.join(one.actor for one in approval.answers)}.")
        if answer.digest != approval.digest:
            raise Conflict("The proposal has changed since it was shown: digest.")
        if any(one.actor == actor.name for one in approval.answers):
            raise Forbidden("You have answered already; another person has to.")
        approval = replace(approval, answers=(*approval.answers, answer))
        if not answer.approve:
            approval = replace(approval, state=m.ApprovalState.REJECTED)
        elif approval.have >= approval.need:
            approval = replace(approval, state=m.ApprovalState.GRANTED)
        self.approval_map[id] = approval
        self.calls.append(("answer", id, actor, answer))
        return approval

    def choose(self, id, actor, entry, reason, parameters=None, hosts=()):
        self.entry(entry)
        return self._act("choose", self.approval(id).incident, actor, entry, reason, parameters, hosts)

    def escalate(self, id, actor, to, reason):
        self._need(actor, m.Role.APPROVER)
        self.approval_map[id] = replace(self.approval(id), escalated_to=to, escalated_by=actor.name, escalated_why=reason)
        return self.approval_map[id]

    def snooze(self, id, actor, until, reason=""):
        self._need(actor, m.Role.APPROVER)
        self.approval_map[id] = replace(self.approval(id), snoozed_until=until, snoozed_by=actor.name)
        return self.approval_map[id]

    def note_incident(self, id, actor, text):
        self._need(actor, m.Role.APPROVER)
        self.incident(id)
        written = Note(len(self.note_list) + 100, id, NOW, actor.name, text)
        self.note_list = [*self.note_list, written]
        return written

    def create_grant(self, entry, actor, *, until, max_runs, reason, hosts=(), group="", alertnames=()):
        self._need(actor, m.Role.APPROVER)
        digest, name = self.entry(entry).digest, f"grant{len(self.grant_map) + 1}"
        given = m.StandingGrant(name, entry, digest, tuple(hosts) or ("web1",), until, max_runs, NOW, by=(actor.name,), reason=reason)
        self.grant_map[name] = replace(given, group=group, alertnames=tuple(alertnames))
        return self.grant_map[name]

    def confirm_grant(self, id, actor, digest, reason=""):
        self._need(actor, m.Role.APPROVER)
        found = self.grant(id)
        if found.state is not m.StandingState.WAITING:
            raise Conflict("the standing grant waits for nobody.")
        self.grant_map[id] = replace(found, state=m.StandingState.ACTIVE, by=(*found.by, actor.name))
        return self.grant_map[id]

    def revoke_grant(self, id, actor, reason=""):
        self._need(actor, m.Role.APPROVER)
        self.grant_map[id] = replace(self.grant(id), state=m.StandingState.REVOKED, ended_by=actor.name, ended_why=reason)
        return self.grant_map[id]

    def _act(self, verb: str, id: str, actor: m.Actor, *more: Any) -> m.Incident:
        self._need(actor, m.Role.APPROVER)
        incident = self.incident(id)
        self.calls.append((verb, id, actor, *more))
        return incident

    def cancel_incident(self, id, actor, reason=""):
        return self._act("cancel", id, actor, reason)

    def close_incident(self, id, actor, reason=""):
        return self._act("close", id, actor, reason)

    def retry_incident(self, id, actor):
        return self._act("retry", id, actor)

    def take_incident(self, id, actor):
        return self._act("take", id, actor)

    def cancel_run(self, id, actor):
        self._need(actor, m.Role.APPROVER)
        self.calls.append(("cancel_run", id, actor))
        return self.run(id)

    def undo_run(self, id, actor):
        return self._act("undo", self.run(id).id.split(":")[0], actor)

    def settle_run(self, id, actor, done: bool, reason: str):
        return self._act("settle", self.run(id).id.split(":")[0], actor, done, reason)

    def start_run(self, entry, hosts, parameters, actor, reason=""):
        self.entry(entry)
        return self._act("start", "inc0000000000001", actor, entry, hosts, parameters, reason)

    def pause(self, actor, reason=""):
        self._need(actor, m.Role.APPROVER)
        self.pause_reason = f"{actor.name}: {reason}"

    def resume(self, actor):
        self._need(actor, m.Role.APPROVER)
        self.pause_reason = ""

    def paused(self) -> str:
        return self.pause_reason

    def decide(self, body: bytes):
        self.receive(body)
        return [{"alert": {}, "proposal": {"choice": "none"}, "verdict": None}]

    # --- state
    def health(self):
        counts = {str(status): 0 for status in m.Status}
        for one in self.incident_map.values():
            counts[str(one.status)] += 1
        return {**self.state, "paused": self.pause_reason, "version": "0.1.0", "counts": counts, "queue": 0}

    def metrics(self) -> bytes:
        return b"# TYPE orchestrator_up gauge\norchestrator_up 1\n"

    def changes(self, after: int) -> int:
        return self.events[-1].id if self.events else 0
