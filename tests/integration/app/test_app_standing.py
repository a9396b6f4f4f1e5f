"""Standing grants: a policy with limits that mints single-use grants and never overrides a guard."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from deskwork import ADA, BEN, EVE, OLGA, VIC, Desk

from orchestrator.errors import Conflict, Forbidden, InvalidRequest
from orchestrator.model import Reason, RunKind, StandingState, Status


@pytest.fixture
def desk(tmp_path):
    """A program that a test advances by hand."""
    made = Desk(tmp_path)
    yield made
    made.program.stop()


def test_standing_grant_runs_without_asking_and_says_so(desk):
    """Within its limits a standing grant answers for people: the run begins, and each minted grant is on record with its number."""
    given = desk.give()
    incident = desk.walk(desk.fire("web1"))
    assert incident.status is Status.VERIFYING
    assert (incident.grant.standing, incident.grant.by, incident.grant.by_person) == (given.id, ("olga",), False)
    (minted,) = desk.told("standing.minted", incident.id)
    assert (minted["grant"], minted["number"], minted["most"]) == (given.id, 1, 2)
    assert desk.program.grant(given.id).used == 1
    (intent,) = desk.told("run.intent", incident.id)
    assert intent["by"] == ["olga"]


def test_no_more_runs_than_were_given(desk):
    """After as many runs as the grant names, the next alert asks a person."""
    given = desk.give(max_runs=2)
    statuses = [desk.walk(desk.fire(host)).status for host in ("web1", "web2", "web3")]
    assert statuses == [Status.VERIFYING, Status.VERIFYING, Status.AWAITING_APPROVAL]
    assert desk.program.grant(given.id).state is StandingState.USED_UP
    assert len(desk.plays.of(RunKind.APPLY)) == 2


def test_runs_of_a_standing_grant_count_as_nobody_s(desk):
    """What a standing grant let run counts towards the blast radius: no person looked at it."""
    desk.give()
    desk.walk(desk.fire("web1"))
    (past,) = desk.program.store.runs.past(0)
    assert not past.by_person


@pytest.mark.parametrize(
    ("limits", "alert"),
    [
        ({"hosts": ("web2",)}, {}),
        ({"alertnames": ("InstanceDown",)}, {}),
        ({"entry": "reload_service"}, {}),
    ],
)
def test_what_a_grant_does_not_name_asks_a_person(desk, limits, alert):
    """Another host, another alert or another entry than the grant names is asked as ever."""
    desk.give(**limits)
    assert desk.walk(desk.fire("web1", **alert)).status is Status.AWAITING_APPROVAL


def test_group_is_resolved_when_it_is_given(desk):
    """A grant for a group covers the hosts that were in it then."""
    given = desk.give(hosts=(), group="recoverable")
    assert (given.group, given.hosts) == ("recoverable", ("web1", "web2", "web3"))
    assert desk.walk(desk.fire("web2")).status is Status.VERIFYING


@pytest.mark.parametrize("what", ["entry", "role"])
def test_changed_entry_makes_the_grant_void(desk, what):
    """When a file of the entry or of its role changes, the grant is void, on record, and never holds again."""
    given = desk.give()
    path = desk.playbooks / "restart_service/verify.yml" if what == "entry" else desk.roles / "restart_service/tasks/main.yml"
    before = path.read_text()
    path.write_text(before + "\n# another line\n")
    assert desk.walk(desk.fire("web1")).status is Status.AWAITING_APPROVAL
    path.write_text(before)
    assert desk.program.grant(given.id).state is StandingState.VOID
    (void,) = desk.told("standing.void")
    assert "not what it was" in void["why"]
    assert desk.walk(desk.fire("web2")).status is Status.AWAITING_APPROVAL


def test_host_whose_variables_changed_is_asked(desk):
    """A host whose variables are not the ones of then is no longer covered; the others are."""
    desk.give()
    desk.inventory.change("web1", recoverable_services=["nginx", "redis", "sshd"])
    assert desk.walk(desk.fire("web1")).status is Status.AWAITING_APPROVAL
    assert desk.walk(desk.fire("web2")).status is Status.VERIFYING


def test_revoked_at_once(desk):
    """A grant that was taken back mints nothing, and what it minted and has not begun is asked again."""
    given = desk.give()
    desk.program.pause(ADA, "look first")
    waiting = desk.walk(desk.fire("web1"))
    assert (waiting.status, waiting.grant.standing) == (Status.EXECUTING, given.id)
    desk.program.revoke_grant(given.id, BEN, "enough")
    desk.program.resume(ADA)
    asked = desk.walk_on(waiting.id)
    assert asked.status is Status.AWAITING_APPROVAL
    assert desk.walk(desk.fire("web2")).status is Status.AWAITING_APPROVAL
    assert desk.plays.of(RunKind.APPLY) == []
    with pytest.raises(Conflict, match="revoked by ben at"):
        desk.program.revoke_grant(given.id, OLGA)


def test_revoked_between_judging_and_intent(desk):
    """Taken back while the step is being made, the intent is not written."""
    given = desk.give()
    store = desk.program.store.incidents
    claim = store.claim(desk.fire("web1"), "worker", 60.0)
    for _ in range(20):
        step = desk.program.wiring.advance(claim.incident, [], "worker")
        if step.intent:
            desk.program.revoke_grant(given.id, BEN)
        store.commit(claim, step, lambda _: (), lambda _: None)
        if step.intent:
            break
        claim = store.look(claim.incident.id, "worker")
    assert step.intent
    assert store.get(claim.incident.id).run is None
    assert desk.program.runs(incident=claim.incident.id)[0] == []


def test_kill_switch_stands_over_a_grant(desk):
    """While the kill switch is pulled nothing begins, grant or not."""
    desk.give()
    desk.program.pause(ADA, "freeze")
    waiting = desk.walk(desk.fire("web1"))
    assert waiting.blocked_by.startswith("paused")
    assert desk.plays.of(RunKind.APPLY) == []


def test_guards_stand_over_a_grant(desk):
    """Firing confirmation, cooldown, admission, silence of monitoring: no grant overrides a guard."""
    desk.give(max_runs=10)
    desk.monitoring.fires = None
    assert Reason.CANNOT_CONFIRM in desk.walk(desk.fire("web1")).verdict.reasons
    desk.monitoring.fires = True
    assert desk.walk(desk.fire("web2")).status is Status.VERIFYING
    again = desk.walk(desk.fire("web2", service="redis"))
    assert again.status is Status.AWAITING_APPROVAL
    assert Reason.COOLDOWN in again.verdict.reasons
    with desk.program.store.db.transaction():
        desk.program.store.db.tables.admission.delete().execute()
    assert Reason.NOT_ADMITTED in desk.walk(desk.fire("web3")).verdict.reasons
    assert len(desk.plays.of(RunKind.APPLY)) == 1


def test_alert_that_is_over_never_runs(desk):
    """Monitoring says that the alert is over: cleared, whatever was granted."""
    given = desk.give()
    desk.monitoring.fires = False
    assert desk.walk(desk.fire("web1")).status is Status.CLEARED
    assert desk.program.grant(given.id).used == 0


def test_alert_that_ends_between_minting_and_play(desk):
    """The alert is confirmed once more right before the play: over by then, nothing runs."""
    desk.give()
    desk.program.pause(ADA, "look first")
    waiting = desk.walk(desk.fire("web1"))
    assert waiting.status is Status.EXECUTING
    desk.monitoring.fires = False
    desk.program.resume(ADA)
    assert desk.walk_on(waiting.id).status is Status.CLEARED
    assert desk.plays.of(RunKind.APPLY) == []


def test_monitoring_that_goes_blind_asks_a_person(desk):
    """Where the alert can no longer be confirmed right before the play, the grant does not answer."""
    desk.give()
    desk.program.pause(ADA, "look first")
    waiting = desk.walk(desk.fire("web1"))
    desk.monitoring.fires = None
    desk.program.resume(ADA)
    asked = desk.walk_on(waiting.id)
    assert asked.status is Status.AWAITING_APPROVAL
    assert Reason.CANNOT_CONFIRM in asked.verdict.reasons


def test_high_risk_needs_two_to_give(desk):
    """A grant for an entry of high risk waits for a second, different person who may approve it; only then does it mint."""
    given = desk.give("rebuild_service", OLGA)
    assert (given.state, given.need) == (StandingState.WAITING, 2)
    for path in ("restart_service", "reload_service"):
        _remove(desk.playbooks / path)
    assert desk.walk(desk.fire("web1")).status is Status.AWAITING_APPROVAL
    with pytest.raises(Forbidden, match="gave it already"):
        desk.program.confirm_grant(given.id, OLGA, given.digest)
    with pytest.raises(Forbidden, match="oncall"):
        desk.program.confirm_grant(given.id, EVE, given.digest)
    with pytest.raises(Conflict, match="changed since"):
        desk.program.confirm_grant(given.id, BEN, "another")
    assert desk.program.confirm_grant(given.id, BEN, given.digest, "seen").state is StandingState.ACTIVE
    incident = desk.walk(desk.fire("web2"))
    assert incident.status is Status.VERIFYING
    assert incident.grant.by == ("olga", "ben")
    with pytest.raises(Conflict, match="waits for nobody"):
        desk.program.confirm_grant(given.id, ADA, given.digest)


def _remove(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"hosts": ()}, "either hosts or a group"),
        ({"hosts": ("web1",), "group": "recoverable"}, "either hosts or a group"),
        ({"hosts": ("db9",)}, "not in the inventory"),
        ({"hosts": ("old1",)}, "may touch"),
        ({"hosts": (), "group": "nonsense"}, "not in the inventory"),
        ({"max_runs": 0}, "max_runs"),
        ({"max_runs": 101}, "max_runs"),
        ({"reason": "  "}, "reason"),
        ({"entry": "host_state"}, "only reads"),
    ],
)
def test_grant_without_limits_is_refused(desk, limits, words):
    """A grant names hosts that the entry may touch, a number of runs and a reason."""
    with pytest.raises(InvalidRequest, match=words):
        desk.give(**limits)


def test_grant_ends_by_itself(desk):
    """A grant ends at its time, which lies within the settings' limit, and then asks again."""
    now = desk.program.now()
    for until in (now, now - timedelta(seconds=1), now + timedelta(days=2)):
        with pytest.raises(InvalidRequest, match="standing_max_s"):
            desk.give(until=until)
    given = desk.give()
    _end_now(desk, given.id)
    assert desk.walk(desk.fire("web1")).status is Status.AWAITING_APPROVAL
    assert desk.program.grant(given.id).state is StandingState.EXPIRED
    assert [one.id for one in desk.program.grants(state=(StandingState.EXPIRED,))[0]] == [given.id]
    assert desk.program.grants(state=(StandingState.ACTIVE,))[0] == []


def _end_now(desk, identity):
    with desk.program.store.db.transaction():
        desk.program.store.standing.change(identity, lambda one: replace(one, until=one.created_at))


def test_only_who_may_approve_gives(desk):
    """A viewer gives nothing, and an approver of another group gives nothing for an entry with approvers of its own."""
    with pytest.raises(Forbidden):
        desk.give(actor=VIC)
    with pytest.raises(Forbidden, match="oncall"):
        desk.give("rebuild_service", EVE)
    assert desk.give(actor=EVE).by == ("eve",)


def test_grant_is_shown_where_people_look(desk):
    """The card, the desk and the server's state name the standing grants in force."""
    given = desk.give(hosts=("web1",))
    _, approval = desk.ask("web2")
    assert [one.id for one in desk.program.card(approval).standing] == [given.id]
    assert [one.id for one in desk.program.desk(OLGA).standing] == [given.id]
    assert [one.id for one in desk.program.standing_in_force()] == [given.id]


def test_own_proposal_is_not_covered(desk):
    """A standing grant answers for alerts; what a person starts by hand is still asked."""
    desk.give()
    approval = desk.propose(hosts=("web1",))
    assert desk.program.approval(approval).verdict.reasons[0] is Reason.PERSON_CHOICE


def test_grant_given_is_on_record(desk):
    """Who gave, confirmed and took back what, with limits and reason, stands in the audit log."""
    given = desk.give()
    desk.program.revoke_grant(given.id, BEN, "the release is over")
    (gave,), (took,) = desk.told("standing.given"), desk.told("standing.revoked")
    assert (gave["hosts"], gave["most"], gave["reason"]) == (["web1", "web2", "web3"], 2, "the release flaps tonight")
    assert took["reason"] == "the release is over"


@pytest.mark.foreign
def test_two_machines_share_one_grant_and_one_desk(tmp_path, postgres):
    """On one PostgreSQL a grant counts for every machine, its revocation and a choice made on one are heeded on the other."""
    database = {"ORCHESTRATOR_DATABASE__URL": postgres.database("desk")}
    folders = [tmp_path / "a", tmp_path / "b"]
    for path in folders:
        path.mkdir()
    here, there = (Desk(path, **database) for path in folders)
    try:
        given = here.give(max_runs=1)
        assert there.walk(here.fire("web1")).status is Status.VERIFYING
        assert here.program.grant(given.id).used == 1
        asked = here.walk(there.fire("web2"), owner="here")
        assert asked.status is Status.AWAITING_APPROVAL
        there.program.choose(asked.approval, OLGA, "rebuild_service", "it needs more")
        chosen = here.walk(asked.id, owner="here")
        assert (chosen.status, chosen.proposal.proposer) == (Status.AWAITING_APPROVAL, "olga")
        digest = there.program.card(chosen.approval).digest
        assert there.program.approve(chosen.approval, BEN, digest).have == 1
        with pytest.raises(Forbidden, match="proposed this"):
            here.program.approve(chosen.approval, OLGA, digest)
        assert here.program.approve(chosen.approval, ADA, digest).have == 2
        more = there.give(hosts=("web3",))
        here.program.revoke_grant(more.id, BEN)
        assert there.walk(there.fire("web3")).status is Status.AWAITING_APPROVAL
    finally:
        here.program.stop()
        there.program.stop()
