"""What may run by itself, what a person is asked, and what may not run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import SettingsError
from orchestrator.model import Agreement, Choice, Effect, Entry, EntryKind, Host, Mode, Proposal, Reason, Risk, Targets
from orchestrator.policy import Facts, Limits, active_windows, judge
from orchestrator.settings import Window

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
ENTRY = Entry(
    id="restart_service",
    title="Restart",
    description="",
    kind=EntryKind.REMEDIATION,
    folder="/nowhere",
    digest="d",
    targets=Targets(max_hosts=2),
    risk=Risk.LOW,
    cooldown_s=300,
    preconditions=("sum(up) > 1",),
)
PROPOSAL = Proposal(Choice.RUN, Agreement.AGREED, "matchers", "Restart nginx.", entry="restart_service", hosts=("web1",))
GOOD = Facts(
    now=NOW,
    mode=Mode.AUTO,
    autonomy={Risk.LOW: Mode.AUTO, Risk.MEDIUM: Mode.APPROVE, Risk.HIGH: Mode.APPROVE},
    admitted=True,
    firing=True,
    preconditions=(("sum(up) > 1", True),),
    alerting_hosts=1,
    inventory_hosts=20,
)


def test_it_runs_by_itself_when_everything_holds() -> None:
    """With every guard positively holding the verdict is allow, and nobody is needed."""
    verdict = judge(PROPOSAL, ENTRY, GOOD, Limits())
    assert (verdict.effect, verdict.reasons, verdict.need) == (Effect.ALLOW, (), 0)
    assert all(guard.ok for guard in verdict.guards)


def test_what_has_earned_it_runs_by_itself() -> None:
    """Where a risk's autonomy is earned, a promotion that holds stands in for a person; every other guard stays."""
    verdict = judge(PROPOSAL, ENTRY, replace(GOOD, autonomy={Risk.LOW: Mode.EARNED}, earned=True, record="Earned: 29 of 29."), Limits())
    assert verdict.effect is Effect.ALLOW
    assert "Earned: 29 of 29." in [guard.detail for guard in verdict.guards]


# What is changed in a case where all is well, and the reason that it gives.
ASKS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], Reason]] = [
    ("model alone", {"agreement": Agreement.MODEL_ALONE}, {}, {}, Reason.MODEL_ALONE),
    ("differ", {"agreement": Agreement.DIFFER}, {}, {}, Reason.CONFLICT),
    ("model failed", {"agreement": Agreement.MODEL_FAILED}, {}, {}, Reason.MODEL_FAILED),
    ("rule unread", {"agreement": Agreement.RULE_UNREAD}, {}, {}, Reason.RULE_UNREAD),
    ("person", {"agreement": Agreement.PERSON, "proposer": "anna"}, {}, {}, Reason.PERSON_CHOICE),
    ("cannot confirm", {}, {}, {"firing": None}, Reason.CANNOT_CONFIRM),
    ("mode approve", {}, {}, {"mode": Mode.APPROVE}, Reason.MODE_ASKS),
    ("medium risk", {}, {"risk": Risk.MEDIUM}, {}, Reason.RISK_ASKS),
    ("high risk", {}, {"risk": Risk.HIGH}, {}, Reason.RISK_ASKS),
    ("risk not named", {}, {}, {"autonomy": {}}, Reason.RISK_ASKS),
    ("nothing earned", {}, {}, {"autonomy": {Risk.LOW: Mode.EARNED}}, Reason.RISK_ASKS),
    ("earned, and not admitted", {}, {}, {"autonomy": {Risk.LOW: Mode.EARNED}, "earned": True, "admitted": False}, Reason.NOT_ADMITTED),
    ("not admitted", {}, {}, {"admitted": False}, Reason.NOT_ADMITTED),
    ("auto off", {}, {}, {"auto_off": "after a restore"}, Reason.AUTO_OFF),
    ("precondition fails", {}, {}, {"preconditions": (("sum(up) > 1", False),)}, Reason.PRECONDITION),
    ("precondition unknown", {}, {}, {"preconditions": (("sum(up) > 1", None),)}, Reason.PRECONDITION),
    ("precondition not asked", {}, {}, {"preconditions": ()}, Reason.PRECONDITION),
    ("cooldown", {}, {}, {"last_run_at": {"web1": NOW - timedelta(seconds=299)}}, Reason.COOLDOWN),
    ("cooldown, clock turned back", {}, {}, {"last_run_at": {"web1": NOW + timedelta(hours=1)}}, Reason.COOLDOWN),
    ("breaker", {}, {}, {"breaker": ("host web1: 2 runs without effect",)}, Reason.BREAKER_OPEN),
    ("blast radius", {}, {}, {"hosts_changed_last_hour": frozenset(f"h{n}" for n in range(10))}, Reason.BLAST_RADIUS),
    ("fleet", {}, {}, {"alerting_hosts": 11}, Reason.FLEET_ALARM),
    ("fleet of unknown size", {}, {}, {"alerting_hosts": 5, "inventory_hosts": 0}, Reason.FLEET_ALARM),
]
DENIES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], Reason]] = [
    ("not firing", {}, {}, {"firing": False}, Reason.NOT_FIRING),
    ("silenced", {}, {}, {"silences": ("by anna until 09:00",)}, Reason.SILENCED),
    ("window", {}, {}, {"windows": ("saturday",)}, Reason.WINDOW),
    ("observe", {}, {}, {"mode": Mode.OBSERVE}, Reason.OBSERVE_MODE),
    ("observe this risk", {}, {}, {"autonomy": {Risk.LOW: Mode.OBSERVE}}, Reason.OBSERVE_MODE),
    ("none", {"choice": Choice.NONE}, {}, {}, Reason.NO_ENTRY),
    ("escalate", {"choice": Choice.ESCALATE, "reason": Reason.CONFLICT}, {}, {}, Reason.CONFLICT),
    ("another entry", {"entry": "other"}, {}, {}, Reason.NO_ENTRY),
    ("no host", {"hosts": ()}, {}, {}, Reason.NO_TARGET),
    ("too many hosts", {"hosts": ("web1", "web2", "web3")}, {}, {}, Reason.NOT_ALLOWED),
    ("allow-list", {}, {}, {"allowed": ("service sshd is not in recoverable_services of web1",)}, Reason.NOT_ALLOWED),
    ("protected", {}, {}, {"protected": frozenset({"web1"})}, Reason.PROTECTED_HOST),
    ("monitoring", {}, {}, {"monitoring_hosts": frozenset({"web1"})}, Reason.PROTECTED_HOST),
    ("quarantined", {}, {}, {"quarantined": True}, Reason.QUARANTINED),
]


@pytest.mark.parametrize(("proposal", "entry", "facts", "reason"), [case[1:] for case in ASKS], ids=[case[0] for case in ASKS])
def test_each_doubt_asks_a_person(proposal: dict[str, Any], entry: dict[str, Any], facts: dict[str, Any], reason: Reason) -> None:
    """Each single doubt is enough to ask, and it is the only reason given."""
    verdict = judge(replace(PROPOSAL, **proposal), replace(ENTRY, **entry), replace(GOOD, **facts), Limits())
    assert (verdict.effect, verdict.reasons) == (Effect.ASK, (reason,))
    assert verdict.need == (2 if entry.get("risk") is Risk.HIGH else 1)
    assert [guard.reason for guard in verdict.guards if not guard.ok] == [reason]


@pytest.mark.parametrize(("proposal", "entry", "facts", "reason"), [case[1:] for case in DENIES], ids=[case[0] for case in DENIES])
def test_each_ban_denies(proposal: dict[str, Any], entry: dict[str, Any], facts: dict[str, Any], reason: Reason) -> None:
    """Each single ban denies, whatever else would ask."""
    for mode in ({}, {"admitted": False, "breaker": ("open",)}):
        verdict = judge(replace(PROPOSAL, **proposal), replace(ENTRY, **entry), replace(GOOD, **{**mode, **facts}), Limits())
        assert (verdict.effect, verdict.reasons) == (Effect.DENY, (reason,))


def test_all_reasons_to_ask_are_told() -> None:
    """A person sees every reason at once, and every guard that was looked at."""
    facts = replace(GOOD, mode=Mode.APPROVE, firing=None, admitted=False, auto_off="monitoring is silent")
    verdict = judge(PROPOSAL, ENTRY, facts, Limits())
    assert verdict.reasons == (Reason.CANNOT_CONFIRM, Reason.MODE_ASKS, Reason.NOT_ADMITTED, Reason.AUTO_OFF)
    assert {"firing", "protected", "cooldown", "fleet", "preconditions"} <= {guard.name for guard in verdict.guards}
    assert all(guard.detail.endswith(".") for guard in verdict.guards)


def test_the_most_telling_ban_comes_first() -> None:
    """An alert that is over is told before anything else that forbids."""
    facts = replace(GOOD, firing=False, windows=("saturday",), allowed=("x",), quarantined=True)
    assert judge(PROPOSAL, ENTRY, facts, Limits()).reasons == (Reason.NOT_FIRING, Reason.WINDOW, Reason.NOT_ALLOWED, Reason.QUARANTINED)


@pytest.mark.parametrize(
    ("facts", "limits"),
    [
        ({"last_run_at": {"web1": NOW - timedelta(seconds=300), "web2": NOW}}, Limits()),
        ({"hosts_changed_last_hour": frozenset(f"h{n}" for n in range(9))}, Limits()),
        ({"hosts_changed_last_hour": frozenset({"web1"})}, Limits(max_hosts_per_hour=1)),
        ({"alerting_hosts": 10}, Limits()),
        ({"alerting_hosts": 4, "inventory_hosts": 4}, Limits()),
        ({"monitoring_hosts": frozenset({"web1"})}, Limits(allow_monitoring_hosts=True)),
        ({"protected": frozenset({"web2"})}, Limits()),
    ],
)
def test_at_a_limit_it_still_runs(facts: dict[str, Any], limits: Limits) -> None:
    """A limit that is reached but not passed stops nothing, and other hosts' facts do not count."""
    assert judge(PROPOSAL, ENTRY, replace(GOOD, **facts), limits).effect is Effect.ALLOW


def test_matchers_may_act_alone_where_the_owner_says_so() -> None:
    """`auto_without_model` lets the matchers run while the model is down; matchers by choice need no such word."""
    failed = replace(PROPOSAL, agreement=Agreement.MODEL_FAILED)
    assert judge(failed, ENTRY, GOOD, Limits(auto_without_model=True)).effect is Effect.ALLOW
    assert judge(replace(PROPOSAL, agreement=Agreement.MATCHERS), ENTRY, GOOD, Limits()).effect is Effect.ALLOW


def test_high_risk_needs_two_people() -> None:
    """High risk asks two people, unless the owner lets high risk run by itself."""
    high = replace(ENTRY, risk=Risk.HIGH)
    assert judge(PROPOSAL, high, GOOD, Limits()).need == 2
    bold = replace(GOOD, autonomy={Risk.HIGH: Mode.AUTO})
    assert judge(PROPOSAL, high, bold, Limits()).effect is Effect.ALLOW
    assert judge(PROPOSAL, high, replace(bold, mode=Mode.APPROVE), Limits()).need == 2


def test_a_persons_own_choice_needs_no_alert() -> None:
    """What a person starts without an alert cannot be confirmed and is always asked about."""
    own = replace(PROPOSAL, agreement=Agreement.PERSON, proposer="anna")
    verdict = judge(own, ENTRY, replace(GOOD, firing=None), Limits())
    assert (verdict.effect, verdict.reasons) == (Effect.ASK, (Reason.PERSON_CHOICE, Reason.CANNOT_CONFIRM))


def test_a_choice_for_an_alert_ends_with_it() -> None:
    """What a person chose for an alert is denied like anything else once monitoring says that the alert is over."""
    own = replace(PROPOSAL, agreement=Agreement.PERSON, proposer="anna")
    assert judge(own, ENTRY, replace(GOOD, firing=False), Limits()).reasons == (Reason.NOT_FIRING,)


@pytest.mark.parametrize(
    ("facts", "effect"),
    [
        ({}, Effect.ALLOW),
        (
            {"mode": Mode.APPROVE, "firing": None, "windows": ("w",), "last_run_at": {"web1": NOW}, "protected": frozenset({"web1"})},
            Effect.ALLOW,
        ),
        ({"admitted": False}, Effect.ASK),
        ({"quarantined": True}, Effect.DENY),
        ({"allowed": ("x",)}, Effect.DENY),
        ({"mode": Mode.OBSERVE}, Effect.DENY),
    ],
)
def test_a_diagnostic_only_reads(facts: dict[str, Any], effect: Effect) -> None:
    """A diagnostic entry runs without a person, where limits on changes do not count but admission and allow-lists do."""
    reading = replace(ENTRY, kind=EntryKind.DIAGNOSTIC, risk=Risk.HIGH)
    assert judge(PROPOSAL, reading, replace(GOOD, **facts), Limits()).effect is effect


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(ASKS + DENIES), max_size=4))
def test_more_doubts_never_help(cases: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], Reason]]) -> None:
    """With any doubt the verdict is not allow; with any ban it is deny, other than that a later doubt may replace an earlier one."""
    proposal, entry, facts = {}, {}, {}
    for _name, in_proposal, in_entry, in_facts, _reason in cases:
        proposal |= in_proposal
        entry |= in_entry
        facts |= in_facts
    verdict = judge(replace(PROPOSAL, **proposal), replace(ENTRY, **entry), replace(GOOD, **facts), Limits())
    assert (verdict.effect is Effect.ALLOW) == (not cases)
    assert bool(verdict.reasons) == (verdict.effect is not Effect.ALLOW)
    assert (verdict.need == 0) == (verdict.effect is Effect.ALLOW)


SATURDAY = Window(name="saturday", start="0 2 * * 6", duration_s=3600, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-11-28T00:59:59+00:00", False),
        ("2026-11-28T01:00:00+00:00", True),
        ("2026-11-28T02:59:59+01:00", True),
        ("2026-11-28T02:00:00+00:00", False),
        ("2026-11-27T01:30:00+00:00", False),
        ("2026-07-04T00:00:00+00:00", True),
        ("2026-07-04T01:00:00+00:00", False),
    ],
)
def test_a_weekly_window_follows_its_time_zone(moment: str, inside: bool) -> None:
    """A weekly window begins at its local time in winter and summer, and its end is outside."""
    assert active_windows([SATURDAY], datetime.fromisoformat(moment), []) == (("saturday",) if inside else ())


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_window_in_a_clock_change_is_open_once_for_its_length(day: str) -> None:
    """On the day the clocks change a nightly window opens once and lasts as long as it says."""
    window = Window(name="night", start="30 2 * * *", duration_s=3600, timezone="Europe/Berlin")
    start = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    states = [bool(active_windows([window], start + timedelta(minutes=10 * n), [])) for n in range(60)]
    assert sum(states) == 6
    assert sum(1 for before, after in pairwise([False, *states]) if after and not before) == 1


@pytest.mark.parametrize(
    ("start", "inside"),
    [("2026-11-20T07:30:00Z", True), ("2026-11-20T08:30", True), ("2026-11-20 07:00:00+00:00", False), ("2026-11-20T08:00:01Z", False)],
)
def test_a_window_can_be_once(start: str, inside: bool) -> None:
    """An ISO start is one moment, in the window's time zone where it names none."""
    window = Window(name="once", start=start, duration_s=3600, timezone="Europe/Berlin")
    assert active_windows([window], NOW, []) == (("once",) if inside else ())


def test_a_window_covers_its_hosts_and_groups_only() -> None:
    """A window with hosts counts for these hosts and the members of these groups; one without counts for all."""
    always = {"start": "* * * * *", "duration_s": 3600}
    windows = [Window(name="all", **always), Window(name="db", hosts=("db",), **always), Window(name="web1", hosts=("web1",), **always)]
    assert active_windows(windows, NOW, [Host("web1", ("web",))]) == ("all", "web1")
    assert active_windows(windows, NOW, [Host("web2", ("web",)), Host("db1", ("db",))]) == ("all", "db")
    assert active_windows(windows, NOW, []) == ("all",)


@pytest.mark.parametrize(
    "wrong",
    [{"start": "soon"}, {"start": "61 * * * *"}, {"start": "0 2 * * * * * *"}, {"start": "0 2 * * 6", "timezone": "Nowhere/City"}],
)
def test_a_window_that_cannot_be_read_is_said(wrong: dict[str, str]) -> None:
    """An unreadable window is an error that names it, never taken for closed."""
    with pytest.raises(SettingsError, match=r"policy\.windows: odd: .*Mend: "):
        active_windows([Window(name="odd", duration_s=60, **wrong)], NOW, [])
