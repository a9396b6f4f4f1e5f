"""The card is drawn from what is known, and says plainly what is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fake_orchestrator import NOW, make_approval, make_entry, make_incident, make_proposal, make_run, make_verdict

from orchestrator import model as m
from orchestrator.approval import narrow
from orchestrator.card import Card, CheckState, HostCheck, Origin
from orchestrator.desk.drawing import Known, draw


def card(approval: m.Approval | None = None, entry: m.Entry | None = None, **more: Any) -> Card:
    """Draw a card; what is not said is plausible."""
    approval, entry = approval or make_approval(), entry or make_entry(check_mode=m.CheckMode.FULL)
    known = {"narrowed": approval.proposal, "incident": make_incident(), "entries": {entry.id: entry}, "now": NOW} | more
    return draw(Known(approval=approval, **known))


@pytest.mark.parametrize(
    ("approval", "entry", "more", "state", "words"),
    [
        ({}, {"check_mode": m.CheckMode.FULL}, {}, CheckState.MADE, ""),
        ({}, {"check_mode": m.CheckMode.PARTIAL}, {}, CheckState.PARTIAL, "only a part"),
        ({"check": None}, {"check_mode": m.CheckMode.NONE}, {}, CheckState.NONE, "cannot be tried"),
        ({"check": None}, {"check_mode": m.CheckMode.FULL}, {}, CheckState.MISSING, "no check run is on record"),
        ({"check": make_run(outcome=m.Outcome.FAILED)}, {}, {}, CheckState.FAILED, "not the whole"),
        ({"check": make_run(hosts={})}, {}, {}, CheckState.FAILED, "not the whole"),
        ({}, {}, {"stale": True}, CheckState.STALE, "was changed by another run"),
        ({}, {}, {"stale": None}, CheckState.STALE, "right now"),
    ],
)
def test_check_says_how_far_it_holds(approval, entry, more, state, words):
    """Full, partial, none, missing, failed or stale: the card says which, in plain words."""
    drawn = card(make_approval(**approval), make_entry(**entry), **more)
    assert drawn.check.state is state
    assert words in drawn.check.words


@pytest.mark.parametrize(
    ("stats", "verdict"),
    [
        (m.HostStats(ok=3, changed=1), HostCheck.WOULD_CHANGE),
        (m.HostStats(ok=3), HostCheck.NO_CHANGE),
        (m.HostStats(ok=3, changed=1, failures=1), HostCheck.FAILED),
        (m.HostStats(unreachable=1), HostCheck.UNREACHABLE),
    ],
)
def test_each_host_has_its_check(stats, verdict):
    """A host would change, would not, failed or did not answer; a failure is never told as a change."""
    assert card(make_approval(check=make_run(hosts={"web1": stats}))).hosts[0].check is verdict


def test_nothing_to_change_is_said():
    """Where no host would change, the card says that it may be healthy already."""
    assert card(make_approval(check=make_run(hosts={"web1": m.HostStats(ok=3)}))).check.sentence == (
        "0 of 1 host change: it may be healthy already."
    )


def test_claims_are_linked_or_marked():
    """A claim is linked to the evidence that is on record; one that cites nothing, or what does not exist, is uncited."""
    claims = (m.Claim("a", ("prom-1",)), m.Claim("b"), m.Claim("c", ("prom-9",)))
    drawn = card(make_approval(proposal=make_proposal(claims=claims)))
    assert [(one.evidence, one.cited) for one in drawn.claims] == [(("prom-1",), True), ((), False), ((), False)]
    assert [(one.id, one.cited) for one in drawn.evidence] == [("prom-1", True), ("logs-1", False)]
    assert drawn.missing == ("loki: no address is set",)


@pytest.mark.parametrize(
    ("said", "origin"),
    [
        ("labels.service", Origin.LABEL),
        ("default", Origin.DEFAULT),
        ("model", Origin.MODEL),
        ("person", Origin.PERSON),
        ("inventory.service_ports", Origin.INVENTORY),
        ("nonsense", Origin.UNKNOWN),
        ("", Origin.UNKNOWN),
    ],
)
def test_each_parameter_has_its_origin(said, origin):
    """Where a value came from is told; what nobody wrote down is unknown, not a label."""
    proposal = make_proposal(origins={"restart_service_name": said} if said else {})
    (setting,) = card(make_approval(proposal=proposal)).settings
    assert setting.origin is origin
    assert setting.pinnable == (origin is not Origin.LABEL)


def test_pinned_parameter_keeps_what_was_proposed():
    """A pinned parameter shows both values, and the check is marked as made with the other one."""
    approval = make_approval(proposal=make_proposal(parameters={"port": 80}, origins={"port": "default"}))
    drawn = card(approval, narrowed=narrow(approval.proposal, (), {"port": 443}))
    (setting,) = drawn.settings
    assert (setting.value, setting.proposed, setting.origin) == (443, 80, Origin.PINNED)
    assert drawn.check.state is CheckState.STALE
    assert drawn.narrowing.narrowed


def test_guards_are_green_or_red():
    """Locks and the kill switch are looked at live; a red guard stands in the verdict, a mode that asks does not."""
    calm = card()
    assert "all guards are green" in calm.verdict
    held = card(locks={"web1": "inc9"}, paused="ada: freeze")
    assert {one.name for one in held.guards if not one.ok} == {"mode", "locks", "kill_switch"}
    assert "not green: host locks, kill switch" in held.verdict
    assert held.hosts[0].locked_by == "inc9"
    own = card(locks={"web1": "inc0000000000001"})
    assert own.hosts[0].locked_by == ""
    hot = make_verdict(guards=(m.Guard("cooldown", False, "it ran a moment ago", m.Reason.COOLDOWN),))
    assert "not green: cooldown" in card(make_approval(verdict=hot)).verdict


def test_time_is_up_without_anybody_writing_so():
    """A question whose time is over is shown as expired before a worker has marked it."""
    drawn = card(make_approval(expires_at=NOW - timedelta(seconds=1)))
    assert not drawn.pending
    assert drawn.decided is not None
    assert drawn.decided.state is m.ApprovalState.EXPIRED
    assert drawn.seconds_left == 0
    assert not any(one.choosable for one in drawn.alternatives)


def test_entry_that_is_gone_is_said():
    """Where the entry left the catalogue the card still stands and says so."""
    drawn = card(entries={})
    assert drawn.risk is None
    assert "no longer in the catalogue" in drawn.entry_description


def test_proposer_is_named_where_two_are_needed():
    """Who may decide is told in words, the proposer left out where two are needed."""
    proposal = make_proposal(agreement=m.Agreement.PERSON, proposer="mia")
    assert "Not mia" in card(make_approval(proposal=proposal, need=2)).deciders.words
    assert "mia" not in card(make_approval(proposal=proposal)).deciders.words


def test_alternative_tells_why_it_cannot_be_chosen():
    """An alternative that is gone or only reads cannot be chosen; one that lacks a value says which."""
    proposal = make_proposal(alternatives=(m.Alternative("gone", "x"), m.Alternative("reader", "x"), m.Alternative("restart_service", "x")))
    reader = make_entry(id="reader", kind=m.EntryKind.DIAGNOSTIC)
    entries = {one.id: one for one in (make_entry(), reader)}
    found = {one.entry: (one.choosable, one.words) for one in card(make_approval(proposal=proposal), entries=entries).alternatives}
    assert found["gone"] == (False, "It is not in the catalogue.")
    assert found["reader"] == (False, "It only reads.")
    assert found["restart_service"] == (True, "It needs a value for restart_service_name.")


def test_snooze_that_is_over_is_not_shown():
    """A snooze is shown until its time and not after it."""
    approval = replace(make_approval(), snoozed_until=NOW + timedelta(minutes=5), snoozed_by="olga")
    assert card(approval).snoozed_by == "olga"
    assert card(approval, now=NOW + timedelta(minutes=6)).snoozed_until is None
