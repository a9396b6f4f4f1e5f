"""What lies on the desk of the person on call: the card, narrowing, choosing, handing over, putting off, and who may what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from deskwork import ADA, BEN, EVE, OLGA, VIC, Desk

from orchestrator.card import CheckState, HostCheck, Origin
from orchestrator.errors import Conflict, Expired, Forbidden, InvalidRequest
from orchestrator.model import Agreement, ApprovalState, Reason, RunKind, Status


@pytest.fixture
def desk(tmp_path):
    """A program that a test advances by hand."""
    made = Desk(tmp_path)
    yield made
    made.program.stop()


# ---------------------------------------------------------------- the card


def test_card_tells_what_runs_where_and_why(desk):
    """The card names hosts, each parameter's origin, the check per host, alternatives with why not, guards and the digest."""
    incident, approval = desk.ask()
    card = desk.program.card(approval)
    assert card.verdict.startswith("Restart one service on web1 (low risk): 1 of 1 host changes; it never ran for this alert before;")
    assert [(one.name, one.value, one.origin, one.source) for one in card.settings] == [
        ("restart_service_name", "nginx", Origin.LABEL, "labels.service"),
        ("restart_service_port", 0, Origin.DEFAULT, ""),
    ]
    assert [(one.name, one.check, one.changed) for one in card.hosts] == [("web1", HostCheck.WOULD_CHANGE, 1)]
    assert card.check.state is CheckState.PARTIAL
    assert [(one.entry, one.choosable) for one in card.alternatives] == [("reload_service", True), ("rebuild_service", True)]
    guards = {one.name: one.ok for one in card.guards}
    assert {"preconditions", "cooldown", "locks", "breaker", "blast_radius", "window", "kill_switch", "admitted"} <= set(guards)
    assert not guards["mode"]
    assert all(ok for name, ok in guards.items() if name != "mode")
    assert card.digest == incident.digest
    assert 0 < card.seconds_left <= 900


def test_card_shows_the_check_of_the_narrowed_hosts(desk):
    """Narrowed to fewer hosts the card counts and shows these alone; pinned to another value it says that the check ran with another."""
    approval = desk.propose()
    assert desk.program.card(approval).check.sentence == "at least 2 of 3 hosts change."
    narrow = desk.program.card(approval, ("web1", "web3"))
    assert narrow.check.sentence == "2 of 2 hosts change."
    assert [one.name for one in narrow.hosts] == ["web1", "web3"]
    assert narrow.narrowing.narrowed
    pinned = desk.program.card(approval, ("web2",), {"restart_service_port": 443})
    assert pinned.check.state is CheckState.STALE
    assert "restart_service_port" in pinned.check.words
    assert next(one for one in pinned.settings if one.name == "restart_service_port").origin is Origin.PINNED
    with pytest.raises(Conflict, match="widen"):
        desk.program.card(approval, ("old1",))
    with pytest.raises(InvalidRequest, match="pins"):
        desk.program.card(approval, (), {"restart_service_port": 99_999})


def test_stale_check_is_made_again(desk):
    """A check during which another incident's run held the host is stale; once the host is free it is made again and shown."""
    _, approval = desk.ask("web1", service="redis")
    running = desk.propose("reload_service", ("web1",))
    desk.program.approve(running, OLGA, desk.program.approval(running).digest)
    begun = desk.walk(running.partition(":")[0])
    assert begun.status is Status.VERIFYING
    held = desk.program.card(approval)
    assert held.check.state is CheckState.STALE
    assert held.hosts[0].locked_by == begun.id
    first = desk.program.approval(approval).check.id
    assert desk.end(begun.id).status is Status.RESOLVED
    assert desk.program.card(approval).check.state is CheckState.STALE
    desk.walk(approval.partition(":")[0])
    again = desk.program.approval(approval)
    assert again.check.id != first
    assert desk.program.card(approval).check.state is CheckState.PARTIAL


# ---------------------------------------------------------------- answers


def test_two_people_with_one_narrowing_run_what_they_named(desk):
    """High risk needs two people who name the same narrowing; what runs is exactly that, on these hosts alone."""
    approval = desk.propose("rebuild_service", actor=ADA)
    digest = desk.program.approval(approval).digest
    assert desk.program.approve(approval, OLGA, digest, "seen", ("web1", "web2"), {"rebuild_service_port": 443}).have == 1
    card = desk.program.card(approval)
    assert (card.narrowing.bound_hosts, dict(card.narrowing.bound_pins), card.narrowing.bound_by) == (
        ("web1", "web2"),
        {"rebuild_service_port": 443},
        "olga",
    )
    with pytest.raises(Forbidden, match="approved already"):
        desk.program.approve(approval, OLGA, digest, "again", ("web1", "web2"), {"rebuild_service_port": 443})
    with pytest.raises(Conflict, match="olga approved hosts"):
        desk.program.approve(approval, BEN, digest, "seen", ("web1",), {"rebuild_service_port": 443})
    assert (
        desk.program.approve(approval, BEN, digest, "seen", ("web2", "web1"), {"rebuild_service_port": 443}).state is ApprovalState.GRANTED
    )
    desk.walk(approval.partition(":")[0])
    (applied,) = desk.plays.of(RunKind.APPLY)
    assert applied.hosts == ("web1", "web2")
    assert applied.parameters["rebuild_service_port"] == 443


def test_proposer_is_never_one_of_the_two(desk):
    """Who proposed what needs two people approves it neither first nor second."""
    approval = desk.propose("rebuild_service", actor=OLGA)
    digest = desk.program.approval(approval).digest
    with pytest.raises(Forbidden, match="proposed this"):
        desk.program.approve(approval, OLGA, digest, "mine")
    assert desk.program.approve(approval, BEN, digest, "seen").have == 1
    with pytest.raises(Forbidden, match="proposed this"):
        desk.program.approve(approval, OLGA, digest, "mine")
    assert not desk.program.desk(OLGA).now[0].mine
    with pytest.raises(Forbidden, match="groups"):
        desk.program.approve(approval, EVE, digest, "seen")
    assert desk.plays.of(RunKind.APPLY) == []


def test_later_clicks_learn_who_decided_and_when(desk):
    """The first decision wins; the next one is told by whom, when and why, in words and for programs."""
    _, approval = desk.ask()
    digest = desk.program.approval(approval).digest
    desk.program.reject(approval, BEN, digest, "a deployment is under way")
    with pytest.raises(Conflict, match=r"rejected by ben at 20.* UTC: a deployment is under way") as told:
        desk.program.approve(approval, OLGA, digest)
    assert told.value.members["decided"]["by"] == ["ben"]
    assert desk.program.card(approval).decided.words.startswith("rejected by ben at ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("role", "the file roles/restart_service/tasks/main.yml changed"),
        ("entry", "the file playbooks/restart_service/verify.yml changed"),
        ("variable", "web1's variable recoverable_services changed"),
        ("host", "no longer in the inventory"),
    ],
)
def test_what_changed_since_is_named(desk, change, words):
    """An approval of what has changed is refused and says what changed: file, variable or host."""
    _, approval = desk.ask()
    match change:
        case "role":
            path = desk.roles / "restart_service/tasks/main.yml"
            path.write_text(path.read_text() + "\n# another line\n")
        case "entry":
            path = desk.playbooks / "restart_service/verify.yml"
            path.write_text(path.read_text() + "\n# another line\n")
        case "variable":
            desk.inventory.change("web1", recoverable_services=["nginx", "redis", "sshd"])
        case _:
            desk.inventory.remove("web1")
    assert any(words in one for one in desk.program.card(approval).changed)
    with pytest.raises(Conflict, match="changed since") as told:
        desk.program.approve(approval, OLGA, desk.program.approval(approval).digest)
    assert words in str(told.value)
    assert told.value.members["changed"]


# ---------------------------------------------------------------- choosing, handing over, putting off, notes


def test_choosing_an_alternative_asks_anew(desk):
    """A chosen alternative is a new proposal with a check and a digest of its own; the old question is void and says who chose what."""
    incident, approval = desk.ask()
    before = desk.program.approval(approval)
    desk.program.choose(approval, OLGA, "reload_service", "a reload is enough")
    after = desk.walk(incident.id)
    assert after.status is Status.AWAITING_APPROVAL
    assert after.proposal.agreement is Agreement.PERSON
    assert (after.proposal.entry, after.proposal.proposer) == ("reload_service", "olga")
    fresh = desk.program.approval(after.approval)
    assert fresh.id != approval
    assert fresh.digest != before.digest
    assert fresh.check.entry == "reload_service"
    with pytest.raises(Conflict, match=r"void at .* UTC: olga chose reload_service instead: a reload is enough"):
        desk.program.approve(approval, BEN, before.digest)
    with pytest.raises(Conflict, match="decided already"):
        desk.program.choose(approval, BEN, "rebuild_service", "no, this")
    assert desk.told("proposal.chosen", incident.id)[0]["instead_of"] == "restart_service"


def test_chooser_does_not_approve_where_two_are_needed(desk):
    """Who chose an alternative of high risk is its proposer: two others have to approve it."""
    incident, approval = desk.ask()
    desk.program.choose(approval, OLGA, "rebuild_service", "it needs more")
    fresh = desk.program.approval(desk.walk(incident.id).approval)
    assert fresh.need == 2
    with pytest.raises(Forbidden, match="proposed this"):
        desk.program.approve(fresh.id, OLGA, fresh.digest)
    desk.program.approve(fresh.id, BEN, fresh.digest)
    assert desk.program.approve(fresh.id, ADA, fresh.digest).state is ApprovalState.GRANTED


@pytest.mark.parametrize(
    ("entry", "more", "words"),
    [
        ("restart_service", {}, "proposed already"),
        ("host_state", {}, "only reads"),
        ("reload_service", {"parameters": {"reload_service_name": "sshd"}}, "recoverable_services"),
        ("reload_service", {"parameters": {"nonsense": 1}}, "nonsense"),
        ("reload_service", {"hosts": ("old1",)}, "widen"),
    ],
)
def test_choice_that_cannot_run_leaves_the_question_open(desk, entry, more, words):
    """A choice that could not run is refused at once, and the question stays as it was."""
    _, approval = desk.ask()
    with pytest.raises((Conflict, InvalidRequest), match=words):
        desk.program.choose(approval, OLGA, entry, "why not", **more)
    with pytest.raises(InvalidRequest, match="reason"):
        desk.program.choose(approval, OLGA, "reload_service", " ")
    assert desk.program.approval(approval).state is ApprovalState.PENDING


def test_snooze_hides_until_then_and_ends_before_the_question(desk):
    """A snoozed question leaves what needs somebody now and stays listed; it cannot sleep past its own expiry; a first yes wakes it."""
    approval = desk.propose("rebuild_service", actor=ADA)
    now = desk.program.now()
    with pytest.raises(InvalidRequest, match="expires at"):
        desk.program.snooze(approval, OLGA, now + timedelta(hours=2))
    with pytest.raises(InvalidRequest, match="past"):
        desk.program.snooze(approval, OLGA, now - timedelta(seconds=1))
    with pytest.raises(Forbidden):
        desk.program.snooze(approval, VIC, now + timedelta(minutes=5))
    desk.program.snooze(approval, OLGA, now + timedelta(minutes=5), "the release ends soon")
    lies = desk.program.desk(OLGA)
    assert [one.approval for one in lies.snoozed] == [approval]
    assert lies.now == ()
    assert desk.program.approvals()[0][0].id == approval
    assert desk.program.card(approval).snoozed_by == "olga"
    desk.program.approve(approval, OLGA, desk.program.approval(approval).digest)
    assert [one.approval for one in desk.program.desk(BEN).now] == [approval]


def test_resolve_ends_a_snoozed_question(desk):
    """A resolve voids a question that was put off: nobody has to wake up for it."""
    incident, approval = desk.ask()
    desk.program.snooze(approval, OLGA, desk.program.now() + timedelta(minutes=5))
    desk.fire(status="resolved")
    assert desk.walk(incident.id).status is Status.CLEARED
    assert desk.program.approval(approval).state is ApprovalState.VOID
    assert desk.program.desk(OLGA).snoozed == ()


def test_question_is_handed_to_somebody_who_exists(desk):
    """A question is handed to a known person or group with a reason; who may answer it does not change by that."""
    desk.program.create_user("eve", "correct horse battery", EVE.role, EVE.groups)
    approval = desk.propose("rebuild_service", actor=ADA)
    with pytest.raises(InvalidRequest, match="no person or group 'nobody'"):
        desk.program.escalate(approval, OLGA, "nobody", "please look")
    with pytest.raises(InvalidRequest, match="reason"):
        desk.program.escalate(approval, OLGA, "eve", " ")
    handed = desk.program.escalate(approval, OLGA, "eve", "she knows this cluster")
    assert (handed.escalated_to, handed.escalated_by, handed.state) == ("eve", "olga", ApprovalState.PENDING)
    assert desk.told("approval.escalated")[0]["reason"] == "she knows this cluster"
    with pytest.raises(Forbidden, match="groups"):
        desk.program.approve(approval, EVE, handed.digest)


def test_nothing_is_done_with_an_expired_question(desk):
    """After its time a question takes no yes, no choice, no snooze."""
    _, approval = desk.ask()
    with desk.program.store.db.transaction():
        desk.program.store.runs.answer(approval, _expired)
    digest = desk.program.approval(approval).digest
    for act in (
        lambda: desk.program.approve(approval, OLGA, digest),
        lambda: desk.program.choose(approval, OLGA, "reload_service", "x"),
        lambda: desk.program.snooze(approval, OLGA, desk.program.now() + timedelta(minutes=1)),
    ):
        with pytest.raises(Expired, match="expired at"):
            act()
    assert desk.program.card(approval).decided.state is ApprovalState.EXPIRED


def _expired(approval):
    return replace(approval, expires_at=approval.created_at)


def test_note_is_on_record_without_secrets(desk):
    """A note is an audit event of the incident, also after its end; what looks like a secret in it is not stored."""
    incident, _ = desk.ask()
    desk.fire(status="resolved")
    desk.walk(incident.id)
    desk.program.note_incident(incident.id, OLGA, "the pool was full; password=hunter2secret")
    (note,) = desk.program.notes(incident.id)
    assert note.by == "olga"
    assert "the pool was full" in note.text
    assert "hunter2secret" not in note.text
    with pytest.raises(Forbidden):
        desk.program.note_incident(incident.id, VIC, "me too")
    with pytest.raises(InvalidRequest):
        desk.program.note_incident(incident.id, OLGA, "  ")


def test_track_record_counts_earlier_runs(desk):
    """The card tells how often the entry ran for this alert, how often it helped and how it ended last."""
    incident, approval = desk.ask("web1")
    desk.program.approve(approval, OLGA, desk.program.approval(approval).digest)
    assert desk.walk(incident.id).status is Status.VERIFYING
    with desk.program.store.db.transaction():
        desk.program.store.runs.judge(incident.id, effective=True)
    _, approval = desk.ask("web2")
    card = desk.program.card(approval)
    assert (card.track.runs, card.track.verified, card.track.last, card.track.last_incident) == (1, 1, "verified", incident.id)
    assert card.hosts[0].track.runs == 0
    assert "1 of 1 earlier runs verified (100%)" in card.verdict


def test_own_choice_needs_a_person_all_the_same(desk):
    """A person's own choice never runs by policy: the chooser's reason is no approval."""
    incident, approval = desk.ask()
    desk.program.choose(approval, OLGA, "reload_service", "a reload is enough")
    after = desk.walk(incident.id)
    assert Reason.PERSON_CHOICE in after.verdict.reasons
    assert desk.plays.of(RunKind.APPLY) == []


def test_chosen_alternative_does_not_outlive_its_alert(desk):
    """An alternative that was chosen and approved does not run once monitoring says that the alert is over."""
    incident, approval = desk.ask()
    desk.program.choose(approval, OLGA, "reload_service", "a reload is enough")
    fresh = desk.program.approval(desk.walk(incident.id).approval)
    desk.program.approve(fresh.id, BEN, fresh.digest)
    desk.monitoring.fires = False
    assert desk.walk(incident.id).status is Status.CLEARED
    assert desk.plays.of(RunKind.APPLY) == []
