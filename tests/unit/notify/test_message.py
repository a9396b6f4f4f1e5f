"""What people read: complete, on one line per value, escaped, and with buttons only where an answer counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.model import (
    Agreement,
    Approval,
    ApprovalState,
    AuditEvent,
    Choice,
    Effect,
    Guard,
    HostDiff,
    IncidentSummary,
    Outcome,
    Proposal,
    Reason,
    Run,
    RunKind,
    RunState,
    Status,
    Verdict,
)
from orchestrator.notify import Message, render
from orchestrator.notify.markup import slack_text
from orchestrator.notify.message import GREEN, RED, plain

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
INCIDENT = IncidentSummary(
    id="0123456789abcdef",
    status=Status.AWAITING_APPROVAL,
    reason=Reason.MODE_ASKS,
    detail="A person has to answer.",
    alertname="ServiceDown",
    severity="critical",
    target="web1",
    fingerprint="0" * 16,
    firing=True,
    entry="restart_service",
    attempt=1,
    blocked_by="",
    parent="",
    previous="",
    created_at=NOW,
    updated_at=NOW,
)
APPROVAL = Approval(
    id="0123456789abcdef:1",
    incident="0123456789abcdef",
    attempt=1,
    digest="d" * 64,
    state=ApprovalState.PENDING,
    proposal=Proposal(
        Choice.RUN,
        Agreement.AGREED,
        "matchers",
        "Restart nginx on web1.",
        entry="restart_service",
        hosts=("web1",),
        parameters={"restart_service_name": "nginx"},
    ),
    verdict=Verdict(Effect.ASK, (Reason.MODE_ASKS,), (Guard("mode", ok=False, detail="The policy's mode is approve."),), need=2),
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=15),
    need=2,
    check=Run(
        "r", RunKind.CHECK, "restart_service", RunState.DONE, Outcome.SUCCESSFUL, diffs=(HostDiff("web1", "Write", "+password: canary"),)
    ),
)
URL = "https://ops.example/"


def event(kind: str, **data: Any) -> AuditEvent:
    """Return an audit event."""
    return AuditEvent(7, INCIDENT.id, 3, NOW, kind, "engine", data, "", "", "")


def sections(message: Message) -> str:
    """Return all text of a message's sections."""
    return "\n".join(block["text"]["text"] for block in message.blocks if block["type"] == "section")


def test_an_approval_says_what_is_asked_and_carries_buttons() -> None:
    """A person sees play, hosts, parameters, why they are asked, how many people and until when; the buttons are bound to the digest."""
    message = render(event("approval.asked"), INCIDENT, APPROVAL, URL)
    assert message.subject == "Approval needed: restart_service on web1 for ServiceDown on web1"
    for text in (message.text, message.html, sections(message)):
        for word in ("restart_service", "nginx", "mode is approve", "0 of 2 approved", "2026-11-20 08:15:00 UTC", "successful, 0 changes"):
            assert word in text
    assert message.link == "https://ops.example/approvals/0123456789abcdef:1"
    assert message.link in message.text
    assert [(one.decision, one.approval, one.digest) for one in message.actions] == [
        (decision, APPROVAL.id, APPROVAL.digest) for decision in ("approve", "reject")
    ]
    buttons = {one["action_id"]: one for one in message.blocks[-1]["elements"]}
    assert set(buttons) == {"approve", "reject", "open"}
    assert json.loads(buttons["approve"]["value"]) == {"approval": APPROVAL.id, "digest": APPROVAL.digest}
    assert message.key == "0123456789abcdef.3"


def test_a_diff_stays_on_the_page() -> None:
    """The body of a diff is in no part of a message."""
    assert "canary" not in repr(render(event("approval.asked"), INCIDENT, APPROVAL, URL))


@pytest.mark.parametrize(
    ("kind", "approval"),
    [("approval.answered", APPROVAL), ("incident.escalated", APPROVAL), ("approval.asked", None)]
    + [("approval.asked", replace(APPROVAL, state=state)) for state in ApprovalState if state is not ApprovalState.PENDING],
)
def test_no_buttons_where_no_answer_counts(kind: str, approval: Approval | None) -> None:
    """Only a pending approval that is asked for or reminded of has approve and reject."""
    message = render(event(kind), INCIDENT, approval, URL)
    assert message.actions == ()
    assert {one["action_id"] for one in message.blocks[-1]["elements"]} == {"open"}


@pytest.mark.parametrize(
    ("kind", "data", "subject", "color"),
    [
        ("incident.resolved", {}, "Resolved: ServiceDown on web1", GREEN),
        ("incident.escalated", {"detail": "verify failed"}, "A person is needed: ServiceDown on web1", RED),
        ("something.new", {}, "something.new: ServiceDown on web1", RED),
    ],
)
def test_each_kind_has_its_words(kind: str, data: dict[str, Any], subject: str, color: str) -> None:
    """An event is told by a headline and the alert; an unknown kind is told by its own name."""
    message = render(event(kind, **data), INCIDENT, None, URL)
    assert (message.subject, message.color, message.severity) == (subject, color, "critical")
    assert all(word in message.text for word in data.values())


def test_an_event_of_no_incident_is_told_too() -> None:
    """What is degraded is said without an incident, and a redacted event without its data."""
    message = render(event("engine.degraded", what="prometheus", why="does not answer"), None, None, URL)
    assert message.subject == "Degraded: prometheus"
    assert "Why: does not answer" in message.text
    assert message.link == "https://ops.example"
    assert render(replace(event("engine.degraded"), data=None), None, None, "").link == ""


HOSTILE = "<!channel> <https://evil.example|nginx> & *bold* `x` @here\n*Approvers:* root\r\nBcc: a@b\x00\x1b[31m\u202e\ud800"


def test_outside_text_is_only_text() -> None:
    """A hostile label value mentions nobody, links nowhere, adds no line and no header, in no part of a message."""
    incident = replace(INCIDENT, alertname=HOSTILE, target=HOSTILE, severity=HOSTILE, detail=HOSTILE)
    proposal = replace(APPROVAL.proposal, summary=HOSTILE, parameters={"a": HOSTILE}, hosts=(HOSTILE,))
    message = render(event("approval.asked", detail=HOSTILE), incident, replace(APPROVAL, proposal=proposal), URL)
    everything = json.dumps(message.blocks, ensure_ascii=False)
    assert "<" not in everything
    assert "@here" not in everything
    assert "*bold*" not in everything
    assert "<!channel>" not in message.html
    assert "<https" not in message.html
    assert "\n" not in message.subject
    assert not any(line.startswith(("Bcc", "*Approvers")) for line in (message.text + sections(message)).splitlines())
    for bad in "\x00\x1b\u202e\ud800\r":
        assert bad not in message.text + message.html + everything


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(codec=None), max_size=400), st.integers(1, 40))
def test_slack_never_gets_a_control_character_or_too_much(text: str, times: int) -> None:
    """However long and odd a value is, header and sections stay inside Slack's limits and hold no raw `<` or `>`."""
    incident = replace(INCIDENT, alertname=text * times, detail="&" * times * 300)
    message = render(event("incident.escalated", detail=text * times, why="<" * times * 100), incident, None, URL)
    assert len(message.blocks[0]["text"]["text"]) <= 150
    assert len(message.subject) <= 150
    for block in message.blocks:
        if block["type"] == "section":
            assert 0 < len(block["text"]["text"]) <= 3000
            assert block["text"]["verbatim"] is True
    assert not set("<>") & set(json.dumps(message.blocks, ensure_ascii=False))
    json.dumps(message.blocks, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "limit", "expected"), [("a&b", 7, "a&amp;b"), ("a&b", 6, "a…"), ("&&", 9, "&amp;…"), ("abc", 2, "a…"), ("", 5, "")]
)
def test_an_entity_is_never_cut(text: str, limit: int, expected: str) -> None:
    """Text is shortened before escaping breaks, so that no half entity is shown."""
    assert slack_text(text, limit) == expected


def test_plain_text_is_one_bounded_line() -> None:
    """White space and control characters become one space; what is too long ends in an ellipsis."""
    assert plain(" a\n\tb\x00c ") == "a b c"
    assert plain("x" * 1000, 10) == "x" * 9 + "…"
