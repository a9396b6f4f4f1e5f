"""An audit event in words for people, the same for every channel.

Label values and annotations are outside text: here they lose line breaks and control characters, so that no value can pose as a
line of ours; each channel escapes for itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from orchestrator.card import Card
from orchestrator.model import Approval, ApprovalState, AuditEvent, Choice, IncidentSummary
from orchestrator.notify.card import card_lines
from orchestrator.notify.markup import Line, html_of, slack_blocks, text_of

SUBJECT_CHARS = 150
VALUE_CHARS = 600

RED, ORANGE, GREEN, BLUE = "#c62828", "#ef6c00", "#2e7d32", "#1565c0"

# Line breaks and control characters, lone surrogates, and marks that turn the direction of text.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")

_ASKING = {"approval.asked": "Approval needed", "approval.reminder": "Still waiting for approval"}
_DECIDED = {
    ApprovalState.GRANTED: "Approved",
    ApprovalState.REJECTED: "Rejected",
    ApprovalState.EXPIRED: "Expired",
    ApprovalState.VOID: "No longer asked",
}
HEADLINES = {
    **_ASKING,
    "approval.answered": "Approval answered",
    "incident.escalated": "A person is needed",
    "incident.resolved": "Resolved",
    "incident.cleared": "Cleared",
    "engine.degraded": "Degraded",
    "engine.recovered": "Recovered",
}
_TOLD = ("what", "detail", "why", "reason", "message", "by", "since")
"""Members of an event's data that are words for people."""


@dataclass(frozen=True, slots=True)
class Action:
    """A button: one of the two answers to an approval, bound to what was shown."""

    decision: str
    """`approve` or `reject`."""
    approval: str
    digest: str


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent."""

    subject: str
    """One line of at most 150 characters."""
    text: str
    """Plain text, the link included."""
    html: str = ""
    blocks: tuple[dict[str, Any], ...] = ()
    """Slack's Block Kit, escaped."""
    severity: str = ""
    """The alert's `severity` label, or an empty string."""
    link: str = ""
    color: str = BLUE
    """`#rrggbb`."""
    actions: tuple[Action, ...] = ()
    kind: str = ""
    """The event's kind."""
    key: str = ""
    """The same for every attempt to send this event."""
    lines: tuple[Line, ...] = ()
    """Name and value, each on one line; `text`, `html` and `blocks` are made of them."""
    approval: str = ""
    """The question that it asks, while it can be answered."""
    until: datetime | None = None
    """When that ends."""


def render(
    event: AuditEvent, incident: IncidentSummary | None, approval: Approval | None, public_url: str, card: Card | None = None
) -> Message:
    """Say an audit event in words.

    Args:
        event: what happened; of its data only words for people are used.
        incident: the incident it belongs to, if any.
        approval: the question, if it is about one; a pending one gets buttons.
        public_url: where people reach the pages.
        card: the question as the page shows it, where there is one.
    """
    asked = event.kind in _ASKING and approval is not None
    found = [
        *([("Decided", decided(approval))] if approval else ()),
        *_incident_lines(incident),
        *(card_lines(card) if card else _approval_lines(approval) if approval else ()),
        *_event_lines(event, incident),
    ]
    lines = tuple((name, plain(value)) for name, value in found if value)
    link = _link(incident, approval if asked else None, public_url)
    actions = _actions(event, approval)
    subject = _subject(event, incident, approval)
    return Message(
        subject=subject,
        text=text_of(subject, lines, link, bool(actions)),
        html=html_of(subject, lines, link),
        blocks=slack_blocks(subject, lines, link, [(one.decision, _button_value(one)) for one in actions]),
        severity=plain(incident.severity) if incident else "",
        link=link,
        color=_color(event.kind, incident),
        actions=actions,
        kind=event.kind,
        key=f"{event.incident}.{event.seq}",
        lines=lines,
        approval=approval.id if actions and approval else "",
        until=approval.expires_at if actions and approval else None,
    )


def decided(approval: Approval) -> str:
    """Return in words how a question was decided, by whom and when; or how many have said yes so far; or an empty string."""
    answers = approval.answers
    at = f" at {answers[-1].at:%Y-%m-%d %H:%M:%S} UTC" if answers and answers[-1].at else ""
    people = " and ".join(dict.fromkeys(one.actor for one in answers if one.approve))
    match approval.state:
        case ApprovalState.PENDING:
            return f"{approval.have} of {max(approval.need, 1)} have approved: {people}{at}." if people else ""
        case ApprovalState.GRANTED:
            return f"Approved by {people or 'policy'}{at}."
        case ApprovalState.REJECTED:
            last = next((one for one in answers if not one.approve), None)
            return f"Rejected by {last.actor}{at}: {last.reason}" if last else "Rejected."
        case ApprovalState.EXPIRED:
            return f"Expired at {approval.expires_at:%Y-%m-%d %H:%M:%S} UTC; nobody decided."
        case ApprovalState.VOID:
            who = f" by {approval.closed_by}" if approval.closed_by else ""
            return f"No longer asked{who}: {approval.closed_why or 'the alert resolved or the incident ended'}"


def plain(text: object, limit: int = VALUE_CHARS) -> str:
    """Return `text` on one line, without control characters, at most `limit` characters."""
    line = " ".join(_UNSHOWN.sub(" ", str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _subject(event: AuditEvent, incident: IncidentSummary | None, approval: Approval | None) -> str:
    headline = HEADLINES.get(event.kind, event.kind)
    if event.kind in _ASKING and approval:
        headline = _DECIDED.get(approval.state, headline)
    about = f"{incident.alertname or 'an alert without a name'}{f' on {incident.target}' if incident.target else ''}" if incident else ""
    if approval and approval.proposal.entry:
        about = f"{approval.proposal.entry} on {', '.join(approval.proposal.hosts)}{f' for {about}' if about else ''}"
    elif not about and event.data:
        about = str(event.data.get("what") or event.data.get("why") or "")
    return plain(f"{headline}: {about}" if about else headline, SUBJECT_CHARS)


def _incident_lines(incident: IncidentSummary | None) -> list[tuple[str, str]]:
    if incident is None:
        return []
    return [
        ("Alert", incident.alertname),
        ("Target", incident.target),
        ("Severity", incident.severity),
        ("Stands", f"{incident.status}{f' ({incident.reason})' if incident.reason else ''}"),
        ("Why", incident.detail),
        ("Incident", incident.id),
    ]


def _approval_lines(approval: Approval) -> list[tuple[str, str]]:
    proposal = approval.proposal
    lines = [("Proposal", proposal.summary)]
    if proposal.choice is Choice.RUN:
        lines += [
            ("Play", proposal.entry),
            ("Hosts", ", ".join(proposal.hosts)),
            ("Parameters", json.dumps(dict(proposal.parameters), ensure_ascii=False, default=str) if proposal.parameters else ""),
        ]
    if approval.check:
        outcome = approval.check.outcome or approval.check.state
        lines.append(("Check run", f"{outcome}, {approval.check.changed} changes predicted; see the page for the diff"))
    lines += [
        ("Asked because", " ".join(guard.detail for guard in approval.verdict.guards if not guard.ok)),
        ("People", f"{approval.have} of {max(approval.need, 1)} approved"),
        ("Approvers", ", ".join(approval.approvers)),
        ("Expires", f"{approval.expires_at:%Y-%m-%d %H:%M:%S} UTC"),
    ]
    return lines


def _event_lines(event: AuditEvent, incident: IncidentSummary | None) -> list[tuple[str, str]]:
    data = event.data or {}
    known = {incident.detail, incident.reason} if incident else set()
    told = [(name.capitalize(), str(data[name])) for name in _TOLD if isinstance(data.get(name), str) and data[name] not in known]
    return [*told, ("Event", f"{event.kind} by {event.actor}, {event.at:%Y-%m-%d %H:%M:%S} UTC")]


def _actions(event: AuditEvent, approval: Approval | None) -> tuple[Action, ...]:
    if approval is None or event.kind not in _ASKING or approval.state is not ApprovalState.PENDING:
        return ()
    return tuple(Action(decision, approval.id, approval.digest) for decision in ("approve", "reject"))


def _button_value(action: Action) -> str:
    return json.dumps({"approval": action.approval, "digest": action.digest})


def _link(incident: IncidentSummary | None, approval: Approval | None, public_url: str) -> str:
    base = public_url.rstrip("/")
    if not base:
        return ""
    if approval is not None:
        return f"{base}/approvals/{quote(approval.id, safe=':')}"
    return f"{base}/incidents/{quote(incident.id, safe='')}" if incident else base


def _color(kind: str, incident: IncidentSummary | None) -> str:
    if kind in ("incident.resolved", "incident.cleared", "engine.recovered"):
        return GREEN
    if kind in ("incident.escalated", "engine.degraded") or (incident and incident.severity == "critical"):
        return RED
    return ORANGE if kind in _ASKING else BLUE
