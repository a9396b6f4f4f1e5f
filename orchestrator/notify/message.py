"""An audit event in words for people, the same for every channel.

Label values and annotations are outside text: here they lose line breaks and control characters, so that no value can pose as a
line of ours; each channel escapes for itself.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orchestrator.model import Approval, ApprovalState, AuditEvent, Choice, IncidentSummary
from orchestrator.notify.markup import html_of, slack_blocks

SUBJECT_CHARS = 150
VALUE_CHARS = 600
SUMMARY_LINES = 10

RED, ORANGE, GREEN, BLUE = "#c62828", "#ef6c00", "#2e7d32", "#1565c0"

# Line breaks and control characters, lone surrogates, and marks that turn the direction of text.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")

_ASKING = {"approval.asked": "Approval needed", "approval.reminder": "Still waiting for approval"}
_HEADLINES = {
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


def render(event: AuditEvent, incident: IncidentSummary | None, approval: Approval | None, public_url: str) -> Message:
    """Say an audit event in words.

    Args:
        event: what happened; of its data only words for people are used.
        incident: the incident it belongs to, if any.
        approval: the question, if it is about one; a pending one gets buttons.
        public_url: where people reach the pages.
    """
    lines = [
        *_incident_lines(incident),
        *(_approval_lines(approval) if approval else ()),
        *_event_lines(event, incident),
    ]
    lines = [(name, plain(value)) for name, value in lines if value]
    link = _link(incident, public_url)
    actions = _actions(event, approval)
    subject = _subject(event, incident, approval)
    asked = actions or event.kind in _ASKING
    tail = ("Approve or reject: " if asked else "More: ") + link if link else ""
    return Message(
        subject=subject,
        text="\n".join([subject, "", *(f"{name}: {value}" for name, value in lines), "", tail]).strip(),
        html=html_of(subject, lines, link),
        blocks=slack_blocks(subject, lines, link, [(one.decision, _button_value(one)) for one in actions]),
        severity=plain(incident.severity) if incident else "",
        link=link,
        color=_color(event.kind, incident),
        actions=actions,
        kind=event.kind,
        key=f"{event.incident}.{event.seq}",
    )


def summary(messages: Sequence[Message], public_url: str = "") -> Message:
    """Return one message that stands for many, the first ten of them named."""
    kinds = Counter(one.kind or "other" for one in messages)
    subject = plain(f"{len(messages)} messages in a short time")
    lines = [(_HEADLINES.get(kind, kind), f"{count} times") for kind, count in kinds.most_common()]
    lines += [(f"{number}", one.subject) for number, one in enumerate(messages[:SUMMARY_LINES], start=1)]
    if len(messages) > SUMMARY_LINES:
        lines.append(("And", f"{len(messages) - SUMMARY_LINES} more"))
    link = public_url.rstrip("/")
    severities = [one.severity for one in messages]
    return Message(
        subject=subject,
        text="\n".join([subject, "", *(f"{name}: {value}" for name, value in lines), "", f"More: {link}" if link else ""]).strip(),
        html=html_of(subject, lines, link),
        blocks=slack_blocks(subject, lines, link, []),
        severity="critical" if "critical" in severities else next((one for one in severities if one), ""),
        link=link,
        color=RED if "critical" in severities else ORANGE,
        kind="storm.summary",
        key=f"storm.{messages[0].key}.{len(messages)}" if messages else "storm",
    )


def plain(text: object, limit: int = VALUE_CHARS) -> str:
    """Return `text` on one line, without control characters, at most `limit` characters."""
    line = " ".join(_UNSHOWN.sub(" ", str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _subject(event: AuditEvent, incident: IncidentSummary | None, approval: Approval | None) -> str:
    headline = _HEADLINES.get(event.kind, event.kind)
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


def _link(incident: IncidentSummary | None, public_url: str) -> str:
    base = public_url.rstrip("/")
    return f"{base}/incidents/{quote(incident.id, safe='')}" if incident and base else base


def _color(kind: str, incident: IncidentSummary | None) -> str:
    if kind in ("incident.resolved", "incident.cleared", "engine.recovered"):
        return GREEN
    if kind in ("incident.escalated", "engine.degraded") or (incident and incident.severity == "critical"):
        return RED
    return ORANGE if kind in _ASKING else BLUE
