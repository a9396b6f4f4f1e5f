"""The corridor: what may follow what, and what each ending needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ExecutionError, InventoryError, NotFound
from orchestrator.lifecycle import FOLLOWS, FOREVER, Rooms, Signal, advance
from orchestrator.model import (
    OPEN,
    Agreement,
    Alert,
    AlertStatus,
    Answer,
    Approval,
    ApprovalState,
    CheckMode,
    Choice,
    Context,
    Effect,
    Entry,
    EntryKind,
    Grant,
    Health,
    Host,
    HostStats,
    Incident,
    Outcome,
    Proposal,
    Reason,
    Run,
    RunKind,
    RunState,
    StandingGrant,
    Status,
    UndoPolicy,
    Verdict,
    Verification,
    VerifySpec,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALERT = Alert("0" * 16, AlertStatus.FIRING, {"alertname": "ServiceDown", "instance": "web1:9100"})
ENTRY = Entry("restart_service", "Restart", "", EntryKind.REMEDIATION, "/x", "d", check_mode=CheckMode.FULL, verify=VerifySpec(within_s=10))
PROPOSAL = Proposal(Choice.RUN, Agreement.MATCHERS, "matchers", "Restart nginx.", "restart_service", ("web1",))


class World:
    """Rooms that answer what a test tells them to."""

    def __init__(self) -> None:
        self.now = NOW
        self.entry = ENTRY
        self.proposals = [PROPOSAL]
        self.verdict = Verdict(Effect.ALLOW)
        self.digest = "digest"
        self.outcome: Outcome | None = Outcome.SUCCESSFUL
        self.state = RunState.DONE
        self.changed = 1
        self.health = Health.HEALTHY
        self.suppressed = None
        self.paused = ""
        self.parents: dict[str, Incident] = {}
        self.approvals: dict[str, Approval] = {}
        self.begun: list[str] = []
        self.max_attempts = 2

    def carry_out(self, incident: Incident, run: str) -> Run | None:
        if self.paused:
            return None
        self.begun.append(run)
        kind = RunKind.UNDO if ":undo:" in run else RunKind.APPLY
        stats = {"web1": HostStats(changed=self.changed)}
        outcome = self.outcome if self.state is RunState.DONE else None
        return Run(run, kind, "restart_service", self.state, outcome, stats)

    def bind(self, _incident: Incident) -> tuple[str, str]:
        if not self.digest:
            raise ExecutionError("gone")
        return self.digest, "/snapshot"

    def rooms(self) -> Rooms:
        return Rooms(
            now=lambda: self.now,
            hosts=lambda _: (Host("web1"),),
            suppression=lambda _i, _h: self.suppressed,
            gather=lambda _i, _h: Context(),
            decide=lambda _i, _h: self.proposals.pop(0) if len(self.proposals) > 1 else self.proposals[0],
            entry=lambda name: self.entry if name == "restart_service" else None,
            bind=self.bind,
            judge=lambda _: self.verdict,
            observing=lambda _: True,
            play=lambda _i, request: Run(request.id, request.kind, request.entry, RunState.DONE, Outcome.SUCCESSFUL),
            carry_out=self.carry_out,
            look=lambda _: Verification(self.health, detail=str(self.health)),
            final=lambda verification: verification,
            verify_within_s=lambda _: 10.0,
            approval=lambda name: self.approvals[name],
            grant=lambda approval: Grant(approval.id, approval.digest, approval.proposal.hosts, {}, ("ann",)),
            parent=self.parents.get,
            paused=lambda: self.paused,
            approval_ttl_s=900.0,
            max_attempts=self.max_attempts,
        )

    def run(self, incident: Incident, *signals: Signal, steps: int = 60) -> tuple[Incident, list[Status]]:
        """Advance until it waits for a person or ends; a wait for time moves the clock."""
        seen = [incident.status]
        pending = list(signals)
        for _ in range(steps):
            step = advance(incident, pending, self.rooms())
            pending = []
            if step.ask:
                self.approvals[step.ask.id] = step.ask
            if step.settle_approval and step.settle_approval[0] in self.approvals:
                name, state = step.settle_approval
                self.approvals[name] = replace(self.approvals[name], state=state)
            incident = step.incident
            if incident.status is not seen[-1]:
                seen.append(incident.status)
            if step.wait_s is None:
                continue
            if step.wait_s == FOREVER or incident.status is Status.AWAITING_APPROVAL:
                return incident, seen
            if incident.blocked_by:
                return incident, seen
            self.now += timedelta(seconds=step.wait_s)
        raise AssertionError(f"it goes round: {seen}")


def fresh(**changes) -> Incident:
    return Incident("i1", ALERT, **changes)


def answer(world: World, incident: Incident, state: ApprovalState, reason: str = "") -> Signal:
    approval = world.approvals[incident.approval]
    given = Answer("ann", state is ApprovalState.GRANTED, approval.digest, reason)
    world.approvals[incident.approval] = replace(approval, state=state, answers=(given,))
    return Signal("answered", {"approval": incident.approval})


def test_allowed_run_that_helps_is_resolved():
    """Allowed by policy, run once, verified: resolved."""
    world = World()
    incident, seen = world.run(fresh())
    assert seen == [Status.RECEIVED, Status.INVESTIGATING, Status.PROPOSED, Status.EXECUTING, Status.VERIFYING, Status.RESOLVED]
    assert incident.reason is Reason.VERIFIED
    assert world.begun == ["i1:1:apply:1"]


def test_asked_run_waits_for_the_answer():
    """Where the policy asks, nothing runs before a person has answered; then it runs with the grant."""
    world = World()
    world.verdict = Verdict(Effect.ASK, (Reason.MODE_ASKS,), need=1)
    incident, _ = world.run(fresh())
    assert incident.status is Status.AWAITING_APPROVAL
    assert world.begun == []
    assert incident.check is not None
    incident, _ = world.run(incident, answer(world, incident, ApprovalState.GRANTED))
    assert incident.status is Status.RESOLVED
    assert incident.grant is not None
    assert incident.grant.by == ("ann",)


@pytest.mark.parametrize(("state", "reason"), [(ApprovalState.REJECTED, Reason.REJECTED), (ApprovalState.EXPIRED, Reason.EXPIRED)])
def test_no_yes_means_a_person(state, reason):
    """A rejected or expired approval leaves the incident with a person and nothing has run."""
    world = World()
    world.verdict = Verdict(Effect.ASK, (Reason.MODE_ASKS,))
    incident, _ = world.run(fresh())
    incident, _ = world.run(incident, answer(world, incident, state, "not now"))
    assert incident.status is Status.ESCALATED
    assert incident.reason is reason
    assert world.begun == []


def test_nobody_answers_in_time():
    """When the approval's time is over the incident is escalated as expired."""
    world = World()
    world.verdict = Verdict(Effect.ASK, (Reason.MODE_ASKS,))
    incident, _ = world.run(fresh())
    world.now += timedelta(hours=1)
    incident, _ = world.run(incident)
    assert incident.reason is Reason.EXPIRED
    assert world.approvals[incident.approval].state is ApprovalState.EXPIRED


def test_changed_since_the_grant_is_refused():
    """A grant whose digest no longer fits runs nothing."""
    world = World()
    world.verdict = Verdict(Effect.ASK, (Reason.MODE_ASKS,))
    incident, _ = world.run(fresh())
    told = answer(world, incident, ApprovalState.GRANTED)
    world.digest = "another"
    incident, _ = world.run(incident, told)
    assert incident.reason is Reason.CHANGED
    assert world.begun == []


def test_policy_that_changes_its_mind_asks():
    """What the policy allowed by itself is asked of a person when the policy would ask right before the play."""
    world = World()
    incident = fresh()
    while incident.status is not Status.EXECUTING:
        incident = advance(incident, (), world.rooms()).incident
    world.verdict = Verdict(Effect.ASK, (Reason.COOLDOWN,))
    incident, _ = world.run(incident)
    assert incident.status is Status.AWAITING_APPROVAL
    assert world.begun == []


def test_not_firing_right_before_clears():
    """An alert that monitoring no longer knows right before the play is cleared."""
    world = World()
    incident = fresh()
    while incident.status is not Status.EXECUTING:
        incident = advance(incident, (), world.rooms()).incident
    world.verdict = Verdict(Effect.DENY, (Reason.NOT_FIRING,))
    incident, _ = world.run(incident)
    assert incident.status is Status.CLEARED
    assert world.begun == []


def test_unknown_run_goes_to_a_person_and_keeps_the_host():
    """A run of which nobody knows the end is never repeated; the host stays locked until a person settles it."""
    world = World()
    world.state = RunState.UNKNOWN
    incident = fresh()
    frees = []
    for _ in range(20):
        step = advance(incident, (), world.rooms())
        frees.append(step.free)
        incident = step.incident
        if step.wait_s == FOREVER:
            break
    assert incident.reason is Reason.UNKNOWN_RUN
    assert not any(frees)
    assert world.begun == ["i1:1:apply:1"]
    step = advance(incident, [Signal("retry", {"actor": "ann"})], world.rooms())
    assert step.incident.status is Status.ESCALATED, "an unknown run must be settled before anything else is tried"
    step = advance(incident, [Signal("settle", {"actor": "ann", "done": False, "reason": "looked"})], world.rooms())
    assert step.free
    assert world.begun == ["i1:1:apply:1"]


def test_unhealthy_is_tried_with_another_entry_then_escalated():
    """An ineffective run leads to one more attempt where something else fits, and to a person otherwise."""
    world = World()
    world.health = Health.UNHEALTHY
    none = Proposal(Choice.NONE, Agreement.MATCHERS, "matchers", "Nothing else fits.", reason=Reason.NO_ENTRY)
    world.proposals = [PROPOSAL, none]
    incident, seen = world.run(fresh())
    assert seen.count(Status.INVESTIGATING) == 2
    assert incident.status is Status.ESCALATED
    assert incident.reason is Reason.UNHEALTHY
    assert incident.tried == ("restart_service",)


def test_automatic_undo_only_when_shown_and_known():
    """An automatic undo runs after an unhealthy apply that ended in a known state."""
    world = World()
    world.entry = replace(ENTRY, undo="undo.yml", undo_policy=UndoPolicy.AUTO)
    world.health, world.max_attempts = Health.UNHEALTHY, 1
    incident, _ = world.run(fresh())
    assert world.begun == ["i1:1:apply:1", "i1:1:undo:1"]
    assert incident.status is Status.ESCALATED


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.UNKNOWN])
def test_no_undo_after_an_unknown_end(outcome):
    """Nothing is undone after a run whose state is not known."""
    world = World()
    world.entry = replace(ENTRY, undo="undo.yml", undo_policy=UndoPolicy.AUTO)
    world.health, world.max_attempts, world.outcome = Health.UNHEALTHY, 1, outcome
    world.run(fresh())
    assert world.begun == ["i1:1:apply:1"]


def test_undecided_is_never_undone():
    """Undecided health goes to a person; nothing is undone and nothing else is tried."""
    world = World()
    world.entry = replace(ENTRY, undo="undo.yml", undo_policy=UndoPolicy.AUTO)
    world.health = Health.UNDECIDED
    incident, _ = world.run(fresh())
    assert incident.reason is Reason.UNDECIDED
    assert world.begun == ["i1:1:apply:1"]


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.INVESTIGATING])
def test_resolve_before_anything_ran_clears(status):
    """A resolve that comes before anything ran clears the incident."""
    incident, _ = World().run(fresh(status=status), Signal("resolved"))
    assert incident.status is Status.CLEARED
    assert incident.reason is Reason.ALERT_RESOLVED


def test_resolve_voids_a_pending_approval():
    """A resolve voids the open question."""
    world = World()
    world.verdict = Verdict(Effect.ASK, (Reason.MODE_ASKS,))
    incident, _ = world.run(fresh())
    incident, _ = world.run(incident, Signal("resolved"))
    assert incident.status is Status.CLEARED
    assert world.approvals[incident.approval].state is ApprovalState.VOID


def test_pause_holds_approved_incidents():
    """While the kill switch is on an approved incident waits, and goes on afterwards."""
    world = World()
    world.paused = "ann"
    incident, _ = world.run(fresh())
    assert incident.status is Status.EXECUTING
    assert incident.blocked_by.startswith("paused")
    assert world.begun == []
    world.paused = ""
    incident, _ = world.run(incident)
    assert incident.status is Status.RESOLVED


def test_child_waits_and_goes_on_after_its_parent():
    """A child never runs while its parent is open, goes on by itself when the parent has ended."""
    world = World()
    world.parents["p"] = Incident("p", ALERT, status=Status.EXECUTING)
    incident, _ = world.run(fresh(parent="p"))
    assert incident.blocked_by == "parent:p"
    assert world.begun == []
    world.parents["p"] = world.parents["p"].evolve(status=Status.RESOLVED)
    incident, _ = world.run(incident)
    assert incident.status is Status.RESOLVED


def test_child_is_escalated_with_its_parent():
    """A child of an escalated parent is with a person, too."""
    world = World()
    world.parents["p"] = Incident("p", ALERT, status=Status.ESCALATED)
    incident, _ = world.run(fresh(parent="p"))
    assert incident.reason is Reason.PARENT_ESCALATED


def test_parent_that_comes_later_takes_the_question_back():
    """A host that turns out to be down takes back the question that was asked for a service on it."""
    world = World()
    world.verdict = Verdict(Effect.ASK, (Reason.MODE_ASKS,))
    incident, _ = world.run(fresh())
    asked = incident.approval
    world.parents["p"] = Incident("p", ALERT, status=Status.INVESTIGATING)
    incident, _ = world.run(incident, Signal("parent", {"parent": "p"}))
    assert incident.status is Status.RECEIVED
    assert incident.blocked_by == "parent:p"
    assert world.approvals[asked].state is ApprovalState.VOID


def test_suppressed_is_judged_anew():
    """When a silence ends and the alert still fires, the incident starts again by itself."""
    world = World()
    world.suppressed = (Reason.SILENCED, "silence 1")
    step = advance(fresh(), (), world.rooms())
    assert step.incident.status is Status.SUPPRESSED
    assert step.wait_s is not None
    assert step.wait_s < FOREVER
    world.suppressed = None
    incident, _ = world.run(step.incident)
    assert incident.status is Status.RESOLVED


def test_failed_without_change_says_so():
    """A play that refused in its preflight is a failed run that changed nothing, with the play's own words."""
    world = World()
    world.outcome, world.changed, world.max_attempts = Outcome.FAILED, 0, 1
    incident, _ = world.run(fresh())
    assert incident.reason is Reason.RUN_FAILED
    assert "Nothing was changed" in incident.detail


def test_offered_undo_waits_for_a_person():
    """An undo that is only offered is kept for a person, and started once, by a person."""
    world = World()
    world.entry = replace(ENTRY, undo="undo.yml", undo_policy=UndoPolicy.OFFER)
    world.health = Health.UNHEALTHY
    incident, _ = world.run(fresh())
    assert incident.status is Status.ESCALATED
    assert incident.attempt == 1
    assert incident.grant is not None
    incident, _ = world.run(incident, Signal("undo", {"actor": "ann"}))
    assert world.begun == ["i1:1:apply:1", "i1:1:undo:1"]
    assert incident.status is Status.ESCALATED
    incident, _ = world.run(incident, Signal("undo", {"actor": "ann"}))
    assert world.begun == ["i1:1:apply:1", "i1:1:undo:1"], "an undo is never undone"


def test_intent_that_was_not_begun_at_once_is_judged_anew():
    """An old intent runs nothing; the incident is judged anew under a new attempt."""
    world = World()
    world.outcome, world.changed = Outcome.NOT_BEGUN, 0
    incident = fresh()
    seen = []
    for _ in range(6):
        step = advance(incident, (), world.rooms())
        incident = step.incident
        seen.append(incident.status)
    assert seen[-1] is Status.PROPOSED
    assert incident.attempt == 2
    assert incident.grant is None
    assert step.free


def test_taken_in_mid_run_nothing_more_starts_by_itself():
    """Taken by a person while a play runs: no second attempt and no automatic undo follow."""
    world = World()
    world.entry = replace(ENTRY, undo="undo.yml", undo_policy=UndoPolicy.AUTO)
    world.health = Health.UNHEALTHY
    incident = fresh()
    while incident.run is None:
        incident = advance(incident, (), world.rooms()).incident
    incident, _ = world.run(incident, Signal("take", {"actor": "ann"}))
    assert incident.taken_by == "ann"
    assert incident.status is Status.ESCALATED
    assert world.begun == ["i1:1:apply:1"]


def test_persons_yes_does_not_cover_a_new_doubt():
    """An approved play is asked about again when monitoring can no longer confirm the alert."""
    world = World()
    world.verdict = Verdict(Effect.ASK, (Reason.MODE_ASKS,))
    incident, _ = world.run(fresh())
    told = answer(world, incident, ApprovalState.GRANTED)
    world.verdict = Verdict(Effect.ASK, (Reason.MODE_ASKS, Reason.CANNOT_CONFIRM))
    world.now += timedelta(seconds=1)
    incident, _ = world.run(incident, told)
    assert incident.status is Status.AWAITING_APPROVAL
    assert world.begun == []


SIGNALS = st.lists(
    st.sampled_from(
        ["resolved", "firing", "cancel", "close", "take", "retry", "undo", "settle", "parent", "answered", "restored", "nonsense"]
    ),
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(
    status=st.sampled_from(list(Status)),
    signals=SIGNALS,
    effect=st.sampled_from(list(Effect)),
    reason=st.sampled_from(list(Reason)),
    outcome=st.sampled_from(list(Outcome)),
    state=st.sampled_from([RunState.DONE, RunState.UNKNOWN]),
    changed=st.integers(0, 1),
    health=st.sampled_from(list(Health)),
    choice=st.sampled_from(list(Choice)),
    answered=st.sampled_from(list(ApprovalState)),
    run=st.sampled_from([None, RunState.INTENT, RunState.DONE, RunState.UNKNOWN]),
    undo=st.sampled_from(list(UndoPolicy)),
    late=st.booleans(),
)
def test_every_step_follows_the_table(status, signals, effect, reason, outcome, state, changed, health, choice, answered, run, undo, late):
    """No step, whatever the world says, leads to a status that the table does not allow; an end stays an end."""
    world = World()
    world.verdict = Verdict(effect, (reason,))
    world.outcome, world.state, world.changed, world.health = outcome, state, changed, health
    world.entry = replace(ENTRY, undo="undo.yml" if undo is not UndoPolicy.NONE else "", undo_policy=undo)
    world.proposals = [replace(PROPOSAL, choice=choice, reason=Reason.NO_ENTRY)]
    approval = Approval(
        "a", "i1", 1, "digest", answered, PROPOSAL, world.verdict, NOW, NOW + timedelta(seconds=60), answers=(Answer("ann", False, "d"),)
    )
    world.approvals["a"] = approval
    world.now += timedelta(hours=1) if late else timedelta()
    incident = fresh(
        status=status,
        proposal=PROPOSAL,
        verdict=world.verdict,
        approval="a",
        grant=Grant("g", "digest", ("web1",), {}, ("policy",), undo_shown=True),
        run=Run("i1:1:apply:1", RunKind.APPLY, "restart_service", run, outcome) if run else None,
        verify_from=NOW,
    )
    try:
        step = advance(incident, [Signal(kind, {"actor": "ann", "parent": "p", "reason": "x"}) for kind in signals], world.rooms())
    except (InventoryError, NotFound) as error:
        raise AssertionError(error) from error
    after = step.incident.status
    assert after is status or after in FOLLOWS[status], f"{status} → {after}"
    if after is not status:
        assert any(event.kind == "incident.status" and event.data["to"] == after for event in step.events)
    if status not in OPEN and status is not Status.SUPPRESSED:
        assert after is status
        assert step.intent is None
    if step.intent is not None:
        assert step.incident.grant is not None
        assert step.incident.status is Status.EXECUTING


# ---------------------------------------------------------------- standing grants, choices, stale checks


STANDING = StandingGrant("g1", "restart_service", "digest", ("web1",), NOW + timedelta(hours=1), 2, NOW, by=("ann",))
ASKS = Verdict(Effect.ASK, (Reason.MODE_ASKS,))


def test_standing_grant_answers_once_per_run():
    """Where a standing grant answers, the step counts one run down, writes it on record and asks nobody."""
    world = World()
    world.verdict = ASKS
    rooms = replace(world.rooms(), standing=lambda _i, _v: STANDING)
    step = advance(fresh(status=Status.PROPOSED, proposal=PROPOSAL), [], rooms)
    assert (step.incident.status, step.mint, step.ask) == (Status.EXECUTING, "g1", None)
    assert step.incident.grant is not None
    assert (step.incident.grant.standing, step.incident.grant.by_person) == ("g1", False)
    assert any(event.kind == "standing.minted" for event in step.events)


@pytest.mark.parametrize("holds", [True, False])
def test_standing_grant_is_asked_again_right_before_the_play(holds):
    """Right before the play the standing grant has to hold still, and the intent depends on it; else a person is asked."""
    world = World()
    world.verdict = ASKS
    grant = Grant("i1:1", "digest", ("web1",), {}, ("ann",), standing="g1")
    rooms = replace(world.rooms(), standing_holds=lambda _i, _v: holds)
    step = advance(fresh(status=Status.EXECUTING, proposal=PROPOSAL, verdict=ASKS, grant=grant, digest="digest"), [], rooms)
    if holds:
        assert step.intent is not None
        assert step.holds == "g1"
    else:
        assert step.intent is None
        assert (step.incident.status, step.incident.grant) == (Status.PROPOSED, None)


def waiting(world: World) -> Incident:
    world.verdict = ASKS
    incident, _ = world.run(fresh())
    assert incident.status is Status.AWAITING_APPROVAL
    return incident


def test_choice_becomes_a_proposal_of_its_own():
    """What a person chose is proposed anew, with them as its proposer and without anything of the old answer."""
    world = World()
    incident = waiting(world)
    said = {
        "approval": incident.approval,
        "entry": "restart_service",
        "hosts": ["web1"],
        "parameters": {"a": 1},
        "actor": "ben",
        "reason": "so",
    }
    step = advance(incident, [Signal("choose", said)], world.rooms())
    assert step.incident.status is Status.PROPOSED
    assert step.incident.proposal is not None
    assert (step.incident.proposal.agreement, step.incident.proposal.proposer) == (Agreement.PERSON, "ben")
    assert (step.incident.approval, step.incident.check, step.incident.grant, step.incident.digest) == ("", None, None, "")
    stray = advance(incident, [Signal("choose", {**said, "approval": "another"})], world.rooms())
    assert stray.incident.status is Status.AWAITING_APPROVAL


def test_void_by_choice_waits_for_the_choice():
    """A question that is void because something else was chosen does not escalate: the choice is on its way."""
    world = World()
    incident = waiting(world)
    world.approvals[incident.approval] = replace(world.approvals[incident.approval], state=ApprovalState.VOID, chosen="reload_service")
    step = advance(incident, [], world.rooms())
    assert step.incident.status is Status.AWAITING_APPROVAL
    world.approvals[incident.approval] = replace(world.approvals[incident.approval], chosen="")
    assert advance(incident, [], world.rooms()).incident.status is Status.ESCALATED


@pytest.mark.parametrize(("stale", "again"), [(False, False), (None, False), (True, True)])
def test_stale_check_is_repeated_when_the_host_is_free(stale, again):
    """A stale check is made again once nobody changes the host; until then it is only looked at again soon."""
    world = World()
    incident = waiting(world)
    world.now += timedelta(seconds=10)
    step = advance(incident, [], replace(world.rooms(), stale=lambda _: stale))
    assert (step.checked is not None) == again
    assert step.incident.status is Status.AWAITING_APPROVAL
    assert (step.wait_s == 890) == (stale is False)
    if again:
        assert step.checked is not None
        assert step.checked.id != incident.check.id


def test_stale_check_of_what_has_changed_is_not_repeated():
    """Where what was shown has changed, no new check hides it."""
    world = World()
    incident = waiting(world)
    world.digest = "another"
    assert advance(incident, [], replace(world.rooms(), stale=lambda _: True)).checked is None
