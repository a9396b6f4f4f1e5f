"""What a standing grant covers, and what the corridor does with one: pure, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.approval import changes, decided
from orchestrator.model import (
    Agreement,
    Alert,
    AlertStatus,
    Answer,
    Approval,
    ApprovalState,
    Choice,
    Covered,
    Effect,
    Proposal,
    Reason,
    StandingGrant,
    StandingState,
    Verdict,
)
from orchestrator.policy import STANDING_ANSWERS, may_mint, not_covered

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
ALERT = Alert("0" * 16, AlertStatus.FIRING, {"alertname": "ServiceDown"})
PROPOSAL = Proposal(Choice.RUN, Agreement.MATCHERS, "matchers", "Restart.", "restart_service", ("web1",))
GRANT = StandingGrant(
    "g1",
    "restart_service",
    "digest",
    ("web1", "web2"),
    NOW + timedelta(hours=1),
    2,
    NOW,
    by=("olga",),
    variables={"web1": "v1", "web2": "v2"},
)


def covers(grant: StandingGrant = GRANT, **more: Any) -> str:
    """Return why it does not cover, with everything fitting unless told otherwise."""
    known: dict[str, Any] = {"digest": "digest", "variables": {"web1": "v1", "web2": "v2"}, "need": 1, "now": NOW}
    known |= {"proposal": PROPOSAL, "alert": ALERT} | more
    return not_covered(grant, **known)


def test_covers_what_it_names() -> None:
    """Entry, host, digest, variables, alert, time and number all fit: it covers."""
    assert covers() == ""
    assert covers(replace(GRANT, alertnames=("ServiceDown",))) == ""
    assert covers(replace(GRANT, by=("olga", "ben"), need=2), need=2) == ""


@pytest.mark.parametrize(
    ("grant", "more", "words"),
    [
        ({"used": 2}, {}, "used up"),
        ({"state": StandingState.USED_UP}, {}, "used up"),
        ({"state": StandingState.REVOKED}, {}, "revoked"),
        ({"state": StandingState.VOID}, {}, "void"),
        ({"state": StandingState.WAITING}, {}, "waiting"),
        ({}, {"now": NOW + timedelta(hours=1)}, "expired"),
        ({"entry": "reload_service"}, {}, "for reload_service"),
        ({}, {"digest": "another"}, "has changed"),
        ({}, {"need": 2}, "2 people"),
        ({"need": 2}, {}, "2 people"),
        ({"by": ("olga", "olga")}, {"need": 2}, "2 people"),
        ({"hosts": ("web2",)}, {}, "for web2 only"),
        ({}, {"proposal": replace(PROPOSAL, hosts=("web1", "web3"))}, "only"),
        ({}, {"proposal": replace(PROPOSAL, hosts=())}, "only"),
        ({}, {"variables": {"web1": "moved"}}, "variables of web1"),
        ({}, {"variables": {}}, "variables of web1"),
        ({"alertnames": ("DiskFull",)}, {}, "for DiskFull only"),
    ],
)
def test_covers_nothing_else(grant: dict[str, Any], more: dict[str, Any], words: str) -> None:
    """Whatever does not fit is not covered, and the words say what."""
    assert words in covers(replace(GRANT, **grant), **more)


def test_answers_for_mode_and_risk_alone() -> None:
    """A standing grant stands in for the answer that mode or risk ask for."""
    assert may_mint(Verdict(Effect.ASK, (Reason.MODE_ASKS, Reason.RISK_ASKS)))
    assert not may_mint(Verdict(Effect.ASK, ()))
    assert not may_mint(Verdict(Effect.ALLOW))
    assert not may_mint(Verdict(Effect.DENY, (Reason.MODE_ASKS,)))


@given(st.sets(st.sampled_from(Reason), min_size=1))
def test_no_other_reason_is_ever_answered(reasons: set[Reason]) -> None:
    """With any other reason to ask among them, a person is asked."""
    assert may_mint(Verdict(Effect.ASK, tuple(reasons))) == (reasons <= STANDING_ANSWERS)


# ---------------------------------------------------------------- what changed, who decided


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (Covered({"a.yml": "2"}, {"web1": {"port": "x"}}, {"job": "n"}, {"p": 1}), ["the file a.yml changed"]),
        (Covered({"a.yml": "1", "b.yml": "1"}, {"web1": {"port": "x"}}, {"job": "n"}, {"p": 1}), ["the file b.yml is new"]),
        (Covered({}, {"web1": {"port": "x"}}, {"job": "n"}, {"p": 1}), ["the file a.yml is gone"]),
        (Covered({"a.yml": "1"}, {"web1": {"port": "y"}}, {"job": "n"}, {"p": 1}), ["web1's variable port changed"]),
        (
            Covered({"a.yml": "1"}, {"web2": {"port": "x"}}, {"job": "n"}, {"p": 1}),
            ["web1 is not covered any more", "web2 came in"],
        ),
        (Covered({"a.yml": "1"}, {"web1": {"port": "x"}}, {"job": "m"}, {"p": 1}), ["the alert's label job changed"]),
        (Covered({"a.yml": "1"}, {"web1": {"port": "x"}}, {"job": "n"}, {"p": True}), ["the parameter p changed"]),
        (Covered({"a.yml": "1"}, {"web1": {"port": "x"}}, {"job": "n"}, {"p": 1}), []),
    ],
)
def test_changes_are_named(now: Covered, words: list[str]) -> None:
    """Each change is named in plain words: the file, the host's variable, the host, the label, the parameter."""
    assert changes(Covered({"a.yml": "1"}, {"web1": {"port": "x"}}, {"job": "n"}, {"p": 1}), now) == words


def asked(state: ApprovalState, *answers: Answer, **more: Any) -> Approval:
    """Return an approval in a state."""
    verdict = Verdict(Effect.ASK)
    return Approval("a", "i", 1, "d", state, PROPOSAL, verdict, NOW, NOW + timedelta(minutes=15), answers=answers, **more)


@pytest.mark.parametrize(
    ("approval", "words"),
    [
        (asked(ApprovalState.GRANTED, Answer("mia", True, "d", at=NOW)), "approved by mia at 2026-11-20 08:00:00 UTC."),
        (
            asked(ApprovalState.GRANTED, Answer("mia", True, "d", at=NOW), Answer("ben", True, "d", at=NOW + timedelta(seconds=5))),
            "approved by mia and ben at 2026-11-20 08:00:05 UTC.",
        ),
        (
            asked(ApprovalState.REJECTED, Answer("mia", True, "d", at=NOW), Answer("ben", False, "d", "no", at=NOW)),
            "rejected by ben at 2026-11-20 08:00:00 UTC: no.",
        ),
        (asked(ApprovalState.EXPIRED), "expired at 2026-11-20 08:15:00 UTC."),
        (asked(ApprovalState.VOID), "void: the alert resolved or the incident ended before an answer."),
        (
            asked(ApprovalState.VOID, closed_by="mia", closed_at=NOW, closed_why="mia chose x instead: y"),
            "void at 2026-11-20 08:00:00 UTC: mia chose x instead: y.",
        ),
    ],
)
def test_who_decided_is_told(approval: Approval, words: str) -> None:
    """Whoever comes later learns who decided what, when and why."""
    found = decided(approval)
    assert found is not None
    assert found.words == words
    assert decided(asked(ApprovalState.PENDING)) is None
