"""The desk in the terminal: the same facts and the same acts as on the page."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from fake_orchestrator import make_approval, make_proposal, make_run

from orchestrator import model as m
from orchestrator.cli.render import clock, left, when

ID = "inc0000000000001"
APPROVAL = "inc0000000000001:1"
RUN = "inc0000000000001:1:check:1"


@pytest.fixture(autouse=True)
def _server(server):
    """Every test here has a server."""


def three_hosts() -> m.Approval:
    """Return a question about three hosts of which two would change."""
    stats = {"web1": m.HostStats(ok=4, changed=1), "web2": m.HostStats(ok=5), "web3": m.HostStats(ok=4, changed=2)}
    diffs = (m.HostDiff("web1", "Restart", "+state: started"), m.HostDiff("web3", "Restart", "+state: begun"))
    proposal = make_proposal(
        hosts=("web1", "web2", "web3"),
        parameters={"restart_service_name": "nginx", "restart_service_port": 80},
        origins={"restart_service_name": "labels.service", "restart_service_port": "default"},
    )
    return make_approval(proposal=proposal, check=make_run(hosts=stats, diffs=diffs))


def test_card_tells_it_all(call, program):
    """The card tells verdict, hosts with their check, origins, claims with evidence or uncited, alternatives, guards and who may decide."""
    program.approval_map[APPROVAL] = three_hosts()
    out = call("approval", "show", APPROVAL).out
    for words in (
        "at least 2 of 3 hosts change",
        "from the alert's label service",
        "the entry's default",
        "prom-1",
        "uncited",
        "The disk is 41 % full.",
        "kill switch",
        "Anyone of oncall, or an admin",
        "11 of 12",
        "There is no undo",
        "abc123",
    ):
        assert words in " ".join(out.split()), words


def test_card_is_narrowed_before_the_answer(call, program):
    """What is shown and what is sent are the same narrowing; the check is that of these hosts alone."""
    program.approval_map[APPROVAL] = three_hosts()
    shown = call("approval", "show", APPROVAL, "--hosts", "web1,web3", "--json").json
    assert [one["name"] for one in shown["hosts"]] == ["web1", "web3"]
    assert shown["check"]["sentence"] == "2 of 2 hosts change."
    said = call("approval", "approve", APPROVAL, "--hosts", "web1", "--pin", "restart_service_port=443")
    assert said.code == 0
    assert "+state: begun" not in said.out
    assert "was 80" in said.out
    answer = program.calls[-1][3]
    assert (answer.hosts, dict(answer.pins)) == (("web1",), {"restart_service_port": 443})


def test_widening_is_refused_before_anything_is_sent(call, program):
    """A host that was not proposed ends with 1, and no answer is given."""
    said = call("approval", "approve", APPROVAL, "--hosts", "db9")
    assert said.code == 1
    assert "widen" in said.err
    assert program.calls == []


def test_decided_card_says_by_whom(call, program):
    """A card that was answered says so first, with who and when."""
    answers = (m.Answer("olga", False, "abc123", "a deployment runs", at=three_hosts().created_at),)
    program.approval_map[APPROVAL] = make_approval(state=m.ApprovalState.REJECTED, answers=answers)
    out = call("approval", "show", APPROVAL).out
    assert "Decided already: rejected by olga at 2026-03-01 11:57:00 UTC: a deployment runs." in " ".join(out.split())


def test_choose_escalate_snooze(call, program):
    """Choosing another entry, handing over and putting off reach the server with their reasons."""
    said = call("approval", "choose", APPROVAL, "restart_service", "--reason", "better", "--set", "restart_service_name=8080")
    assert said.code == 0
    assert program.calls[-1][0] == "choose"
    assert program.calls[-1][3:6] == ("restart_service", "better", {"restart_service_name": "8080"})
    assert call("approval", "escalate", APPROVAL, "--to", "dba", "--reason", "theirs").code == 0
    assert program.approval_map[APPROVAL].escalated_to == "dba"
    assert call("approval", "snooze", APPROVAL, "--minutes", "10").code == 0
    assert program.approval_map[APPROVAL].snoozed_until is not None
    assert "put off until" in call("approval", "list").out
    assert call("approval", "list", "--now", "--json").json["items"] == []


@pytest.mark.parametrize(
    "words",
    [
        ("approval", "choose", APPROVAL, "restart_service"),
        ("approval", "escalate", APPROVAL, "--to", "dba"),
        ("approval", "snooze", APPROVAL),
        ("approval", "snooze", APPROVAL, "--minutes", "5", "--until", "2026-01-01T00:00:00Z"),
        ("approval", "list", "--now", "--state", "granted"),
        ("grant", "create", "restart_service", "--hosts", "web1", "--minutes", "60", "--max-runs", "2"),
        ("grant", "create", "restart_service", "--hosts", "web1", "--max-runs", "2", "--reason", "x"),
        ("grant", "create", "restart_service", "--minutes", "60", "--max-runs", "0", "--reason", "x"),
    ],
)
def test_no_reason_and_no_limit_is_ever_filled_in(call, program, words):
    """A reason, a time or a number that is needed and not given is wrong usage: nothing is sent."""
    assert call(*words).code == 2
    assert program.calls == []
    assert program.grant_map == {}


def test_notes(call):
    """A note is written and listed."""
    assert call("incident", "note", ID, "the pool was full").code == 0
    assert "the pool was full" in call("incident", "note", ID).out
    assert call("incident", "note", ID, "--json").json["items"][0]["text"] == "the pool was full"


def test_grant_from_birth_to_revocation(call, program):
    """A grant is given with its limits, listed, shown, confirmed by a second person and taken back."""
    said = call(
        "grant",
        "create",
        "restart_service",
        "--hosts",
        "web1,web2",
        "--minutes",
        "60",
        "--max-runs",
        "2",
        "--alertname",
        "A",
        "--reason",
        "r",
    )
    assert said.code == 0
    assert "at most 2 times" in " ".join(said.out.split())
    given = program.grant_map["grant1"]
    assert (given.hosts, given.max_runs, given.alertnames, given.reason) == (("web1", "web2"), 2, ("A",), "r")
    assert "grant1" in call("grant", "list").out
    assert "web1, web2" in call("grant", "show", "grant1").out
    program.grant_map["grant1"] = replace(given, state=m.StandingState.WAITING, need=2)
    assert call("grant", "confirm", "grant1").code == 0
    assert call("grant", "confirm", "grant1").code == 1
    assert call("grant", "revoke", "grant1", "--reason", "enough").code == 0
    assert program.grant_map["grant1"].state is m.StandingState.REVOKED


def test_tail_filters_and_need_not_follow(call, program):
    """Lines are filtered by host and kind; without following, a run that goes on is printed as far as it is."""
    program.run_map[RUN] = make_run(state=m.RunState.RUNNING, outcome=None)
    lines = call("run", "tail", RUN, "--no-follow", "--json").out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]
    assert call("run", "tail", RUN, "--no-follow", "--host", "db9", "--json").out == ""
    assert call("run", "tail", RUN, "--no-follow", "--kind", "failed", "--json").out == ""


def test_times_are_local_with_utc_beside(monkeypatch):
    """A time is told in the machine's zone with UTC beside it, and in UTC alone where that is the zone."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert when("2026-01-31T12:00:00Z") == "2026-01-31 13:00:00 +01:00 (12:00:00Z)"
        assert clock("2026-07-31T12:00:00.5Z") == "14:00:00 +02:00"
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
        assert when("2026-01-31T12:00:00Z") == "2026-01-31 12:00:00Z"
        assert clock("2026-01-31T12:00:00Z") == "12:00:00Z"
        assert when(None) == ""
        assert when("nonsense") == "nonsense"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_time_left_reads_well():
    """What is left is told in hours, minutes and seconds, never below nothing."""
    assert [left(s) for s in (725, 60, 5, 0, -3, 7260)] == ["in 12 min 5 s", "in 1 min", "in 5 s", "now", "now", "in 2 h 1 min"]
