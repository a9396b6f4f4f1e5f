"""What people's answers may do: only narrow, once, in time, and by the right people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.approval import answer, digest, grant, narrow
from orchestrator.errors import Conflict, Expired, Forbidden, InvalidRequest, OrchestratorError
from orchestrator.model import (
    Actor,
    Agreement,
    Alert,
    AlertStatus,
    Answer,
    Approval,
    ApprovalState,
    Choice,
    Effect,
    Proposal,
    Role,
    UndoPolicy,
    Verdict,
)

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
ANNA = Actor("anna", Role.APPROVER, ("oncall",))
BEN = Actor("ben", Role.APPROVER, ("oncall",))
PROPOSAL = Proposal(
    choice=Choice.RUN,
    agreement=Agreement.AGREED,
    engine="matchers",
    summary="Restart nginx.",
    entry="restart_service",
    hosts=("web1", "web2"),
    parameters={"restart_service_name": "nginx", "restart_service_port": 80, "restart_service_units": ["a", "b"]},
    origins={"restart_service_name": "labels.service"},
)
ALERT = Alert("0" * 16, AlertStatus.FIRING, {"alertname": "Down", "instance": "web1"}, {"value": "1"})


def asked(need: int = 1, **more: Any) -> Approval:
    """Return a pending approval."""
    return replace(
        Approval(
            id="i1:1",
            incident="i1",
            attempt=1,
            digest="d1",
            state=ApprovalState.PENDING,
            proposal=PROPOSAL,
            verdict=Verdict(Effect.ASK, need=need),
            created_at=NOW,
            expires_at=NOW + timedelta(minutes=15),
            need=need,
        ),
        **more,
    )


def yes(**more: Any) -> Answer:
    """Return a yes to what was shown."""
    return replace(Answer("", approve=True, digest="d1"), **more)


def no(reason: str = "not now") -> Answer:
    """Return a no."""
    return Answer("", approve=False, digest="d1", reason=reason)


def fine(_parameters: Mapping[str, Any]) -> list[str]:
    """Take any parameters."""
    return []


def test_one_yes_grants_what_was_shown() -> None:
    """Where one person is needed, one yes gives a grant for exactly the proposal, under the answering person's name."""
    granted = answer(asked(), ANNA, yes(actor="someone else"), NOW, fine)
    assert granted.state is ApprovalState.GRANTED
    assert granted.answers[0].actor == "anna"
    assert granted.answers[0].at == NOW
    right = grant(granted, "g1")
    assert (right.id, right.digest, right.hosts, right.by) == ("g1", "d1", PROPOSAL.hosts, ("anna",))
    assert right.parameters == PROPOSAL.parameters
    assert not right.undo_shown
    assert grant(replace(granted, undo=UndoPolicy.AUTO), "g1").undo_shown


def test_two_people_are_two_people() -> None:
    """For high risk the first yes leaves it pending, the same person may not be the second, and another one grants."""
    first = answer(asked(need=2), ANNA, yes(), NOW, fine)
    assert (first.state, first.have) == (ApprovalState.PENDING, 1)
    with pytest.raises(Forbidden, match="anna approved already"):
        answer(first, ANNA, yes(), NOW, fine)
    with pytest.raises(Conflict, match="have 1, need 2"):
        grant(first, "g1")
    second = answer(first, BEN, yes(), NOW, fine)
    assert second.state is ApprovalState.GRANTED
    assert grant(second, "g1").by == ("anna", "ben")


def test_the_larger_need_counts() -> None:
    """Where approval and verdict differ in how many people are needed, the larger number counts, and it is never zero."""
    assert answer(asked(verdict=Verdict(Effect.ASK, need=2)), ANNA, yes(), NOW, fine).state is ApprovalState.PENDING
    with pytest.raises(Conflict):
        grant(asked(state=ApprovalState.GRANTED, need=0, verdict=Verdict(Effect.ALLOW, need=0)), "g1")


def test_a_rejection_ends_it() -> None:
    """Any person's no ends the question, even after another one's yes; it needs a reason."""
    first = answer(asked(need=2), ANNA, yes(), NOW, fine)
    with pytest.raises(InvalidRequest, match="reason"):
        answer(first, BEN, no("  "), NOW, fine)
    ended = answer(first, BEN, no(" too risky "), NOW, fine)
    assert ended.state is ApprovalState.REJECTED
    assert ended.answers[-1].reason == "too risky"
    with pytest.raises(Conflict, match="rejected by ben"):
        answer(ended, ANNA, yes(), NOW, fine)
    with pytest.raises(Conflict):
        grant(ended, "g1")


@pytest.mark.parametrize(
    ("actor", "ok"),
    [
        (Actor("hook", Role.WEBHOOK, ("oncall",)), False),
        (Actor("eve", Role.VIEWER, ("oncall",)), False),
        (Actor("dan", Role.APPROVER, ("dba",)), False),
        (ANNA, True),
        (Actor("root", Role.ADMIN), True),
    ],
    ids=lambda value: value.name if isinstance(value, Actor) else "",
)
def test_only_approvers_of_the_named_groups_answer(actor: Actor, ok: bool) -> None:
    """An approver of a named group or an admin may answer, nobody else, neither yes nor no."""
    question = asked(approvers=("oncall",))
    for given_answer in (yes(), no()):
        if ok:
            assert answer(question, actor, given_answer, NOW, fine).state is not ApprovalState.PENDING
        else:
            with pytest.raises(Forbidden):
                answer(question, actor, given_answer, NOW, fine)


def test_nobody_is_the_second_person_for_their_own_proposal() -> None:
    """Where two people are needed the proposer may only reject; where one is enough the proposer may approve."""
    own = replace(PROPOSAL, agreement=Agreement.PERSON, proposer="anna")
    with pytest.raises(Forbidden, match="anna proposed"):
        answer(asked(need=2, proposal=own), ANNA, yes(), NOW, fine)
    assert answer(asked(need=2, proposal=own), ANNA, no(), NOW, fine).state is ApprovalState.REJECTED
    assert answer(asked(proposal=own), ANNA, yes(), NOW, fine).state is ApprovalState.GRANTED


@pytest.mark.parametrize(
    ("question", "now", "error", "word"),
    [
        (asked(), NOW + timedelta(minutes=15), Expired, "expired at 2026-11-20 08:15:00"),
        (asked(state=ApprovalState.EXPIRED), NOW, Expired, "expired"),
        (asked(state=ApprovalState.VOID), NOW, Conflict, "void"),
        (asked(state=ApprovalState.GRANTED, answers=(yes(actor="ben"),)), NOW, Conflict, "approved by ben"),
        (asked(digest="d2"), NOW, Conflict, "changed since"),
    ],
    ids=["late", "expired", "void", "granted", "changed"],
)
@pytest.mark.parametrize("given_answer", [yes(), no()], ids=["yes", "no"])
def test_what_is_over_or_changed_takes_no_answer(
    question: Approval, now: datetime, error: type[Exception], word: str, given_answer: Answer
) -> None:
    """Neither a yes nor a no counts after expiry, after a decision, or for something else than was shown."""
    with pytest.raises(error, match=word):
        answer(question, ANNA, given_answer, now, fine)


def test_the_last_moment_still_counts() -> None:
    """An answer just before expiry is taken."""
    assert answer(asked(), ANNA, yes(), NOW + timedelta(minutes=15, microseconds=-1), fine).state is ApprovalState.GRANTED


def test_narrowing_is_what_runs() -> None:
    """The grant carries only the hosts that were kept, in the proposed order, and the pinned values; the origin tells who pinned."""
    given_answer = yes(hosts=("web2", "web2"), pins={"restart_service_port": 0, "restart_service_units": ["b"]})
    right = grant(answer(asked(), ANNA, given_answer, NOW, fine), "g1")
    assert right.hosts == ("web2",)
    assert right.parameters == {"restart_service_name": "nginx", "restart_service_port": 0, "restart_service_units": ["b"]}
    narrowed = narrow(PROPOSAL, (), {"restart_service_port": 80, "restart_service_name": "nginx"})
    assert narrowed.hosts == PROPOSAL.hosts


def test_a_pin_names_nothing_else_than_was_shown() -> None:
    """A value that the alert's labels gave cannot be pinned to another one: that would be another proposal."""
    with pytest.raises(Conflict, match="another thing than was shown"):
        narrow(PROPOSAL, (), {"restart_service_name": "redis"})


@pytest.mark.parametrize(
    ("hosts", "pins"),
    [
        (("db1",), {}),
        (("web1", "all"), {}),
        ((), {"restart_service_extra": 1}),
        ((), {"restart_service_units": ["a", "c"]}),
        ((), {"restart_service_units": "a"}),
    ],
)
def test_widening_is_refused(hosts: tuple[str, ...], pins: dict[str, Any]) -> None:
    """No answer adds a host, a parameter, or an item to a list."""
    with pytest.raises(Conflict, match="would widen"):
        answer(asked(), ANNA, yes(hosts=hosts, pins=pins), NOW, fine)


def test_pins_are_checked_after_they_are_set() -> None:
    """The entry's own check sees all parameters as they would run, and its problems refuse the answer."""
    seen: list[Mapping[str, Any]] = []

    def refuse(parameters: Mapping[str, Any]) -> list[str]:
        seen.append(parameters)
        return ["restart_service_port: is not taken"]

    with pytest.raises(InvalidRequest, match="not taken"):
        answer(asked(), ANNA, yes(pins={"restart_service_port": 9}), NOW, refuse)
    assert seen == [{**PROPOSAL.parameters, "restart_service_port": 9}]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (yes(), yes(), True),
        (yes(), yes(hosts=("web2", "web1"), pins={"restart_service_port": 80}), True),
        (yes(hosts=("web1",)), yes(), False),
        (yes(), yes(hosts=("web1",)), False),
        (yes(pins={"restart_service_port": 1}), yes(pins={"restart_service_port": True}), False),
    ],
)
def test_both_people_name_the_same_narrowing(first: Answer, second: Answer, same: bool) -> None:
    """Two people approve the same hosts and parameters, however they spell them; else the second is refused."""
    pending = answer(asked(need=2), ANNA, first, NOW, fine)
    if same:
        assert answer(pending, BEN, second, NOW, fine).state is ApprovalState.GRANTED
    else:
        with pytest.raises(Conflict, match="anna approved hosts"):
            answer(pending, BEN, second, NOW, fine)


PEOPLE = st.sampled_from([ANNA, BEN, Actor("eve", Role.VIEWER), Actor("root", Role.ADMIN)])
ANSWERS = st.builds(
    Answer,
    actor=st.just(""),
    approve=st.booleans(),
    digest=st.sampled_from(["d1", "d1", "d1", "d2"]),
    reason=st.sampled_from(["", "because"]),
    hosts=st.lists(st.sampled_from(["web1", "web2", "db1", "all"]), max_size=3).map(tuple),
    pins=st.dictionaries(
        st.sampled_from([*PROPOSAL.parameters, "restart_service_extra"]),
        st.sampled_from(["nginx", 80, 1, ["a"], ["a", "b"], ["c"], []]),
        max_size=2,
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 2), st.lists(st.tuples(PEOPLE, ANSWERS), max_size=5))
def test_no_row_of_answers_widens(need: int, given_answers: list[tuple[Actor, Answer]]) -> None:
    """Whatever people answer, a grant holds a part of the proposed hosts, no new parameter, and as many people as are needed."""
    question = asked(need=need)
    for actor, given_answer in given_answers:
        try:
            question = answer(question, actor, given_answer, NOW, fine)
        except OrchestratorError:
            continue
    if question.state is not ApprovalState.GRANTED:
        with pytest.raises(Conflict):
            grant(question, "g1")
        return
    right = grant(question, "g1")
    assert right.hosts
    assert set(right.hosts) <= set(PROPOSAL.hosts)
    assert set(right.parameters) == set(PROPOSAL.parameters)
    assert set(right.parameters["restart_service_units"]) <= {"a", "b"}
    assert len(set(right.by)) == need
    assert "eve" not in right.by


def test_the_digest_covers_what_would_run() -> None:
    """Any change of snapshot, entry, hosts, parameters, host variables, fingerprint or labels changes the digest."""
    whole = digest("s1", PROPOSAL, {"web1": "v1", "web2": "v2"}, ALERT)
    others = [
        digest("s2", PROPOSAL, {"web1": "v1", "web2": "v2"}, ALERT),
        digest("s1", replace(PROPOSAL, entry="other"), {"web1": "v1", "web2": "v2"}, ALERT),
        digest("s1", replace(PROPOSAL, hosts=("web1",)), {"web1": "v1", "web2": "v2"}, ALERT),
        digest(
            "s1", replace(PROPOSAL, parameters={**PROPOSAL.parameters, "restart_service_port": "80"}), {"web1": "v1", "web2": "v2"}, ALERT
        ),
        digest("s1", PROPOSAL, {"web1": "v1", "web2": "v3"}, ALERT),
        digest("s1", PROPOSAL, "v1v2", ALERT),
        digest("s1", PROPOSAL, {"web1": "v1", "web2": "v2"}, replace(ALERT, fingerprint="1" * 16)),
        digest("s1", PROPOSAL, {"web1": "v1", "web2": "v2"}, replace(ALERT, labels={**ALERT.labels, "severity": "critical"})),
    ]
    assert len({whole, *others}) == len(others) + 1
    assert len(whole) == 64


def test_the_digest_leaves_out_what_moves() -> None:
    """Annotations, prose and the order of hosts or keys do not change the digest."""
    turned = replace(PROPOSAL, hosts=("web2", "web1"), summary="other words", parameters=dict(reversed(PROPOSAL.parameters.items())))
    assert digest("s1", PROPOSAL, "v", ALERT) == digest("s1", turned, "v", replace(ALERT, annotations={"value": "2"}))
