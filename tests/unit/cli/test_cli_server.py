"""Commands that talk to a running server."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from fake_orchestrator import make_approval, make_incident, make_run

from orchestrator import model as m
from orchestrator.cli.approval import parse_pins
from orchestrator.cli.client import Client, segment
from orchestrator.cli.render import plain_json
from orchestrator.cli.report import report
from orchestrator.cli.run import parameters
from orchestrator.errors import NotFound, UsageError

ID = "inc0000000000001"
APPROVAL = f"{ID}:1"
RUN = f"{ID}:1:check:1"

pytestmark = pytest.mark.usefixtures("server")


def test_incident_list_and_filters(call):
    """The list shows what the server has, and filters go to the server."""
    assert ID in call("incident", "list").out
    assert "No incidents." in call("incident", "list", "--status", "resolved").out
    assert call("incident", "list", "--host", "web1", "--limit", "5", "--json").json["items"][0]["alertname"] == "ServiceDown"


def test_list_follows_every_page(call, program):
    """More than one page of the API is fetched until the limit is reached."""
    program.incident_map = {f"inc{n:013d}": make_incident(id=f"inc{n:013d}") for n in range(1205)}
    assert len(call("incident", "list", "--limit", "2000", "--json").json["items"]) == 1205


def test_incident_show_and_explain(call):
    """Show tells what happened; explain tells evidence, choice, alternatives and guards."""
    shown = call("incident", "show", ID)
    assert "alert.received" in shown.out
    told = call("incident", "explain", ID).out
    for words in (
        "probe_success",
        "no address is set",
        "restart_service",
        "free_disk_space",
        "policy.mode is approve",
        "no evidence named",
    ):
        assert words in told
    assert call("incident", "explain", ID, "--json").json["proposal"]["entry"] == "restart_service"


def test_incident_report_is_markdown(call):
    """The report tells the whole story, as Markdown or inside JSON."""
    told = call("incident", "report", ID).out
    for words in ("# ServiceDown on", "## What happened", "alert.received", "## What was known", "| Guard | Holds | Detail |"):
        assert words in told
    assert call("incident", "report", ID, "--json").json["markdown"] == told


def test_report_leaves_no_markup_to_outside_text(program):
    """Labels, evidence and output of plays can neither be markup in a report nor leave their block or cell."""
    hostile = "x | y\n# Title <script>alert(1)</script> ![i](http://evil) [l](javascript:1) `code` **bold**\n````\nout"
    incident = plain_json(program.incident_map[ID])
    incident["alert"]["labels"] = {"alertname": hostile, "instance": hostile}
    for piece in incident["context"]["evidence"]:
        piece["text"] = hostile
    run = {**plain_json(make_run()), "kind": "apply", "diffs": [{"host": "web1", "task": hostile, "diff": hostile}], "message": hostile}
    fence, outside = "", []
    for line in report(incident, [], [run]).splitlines():
        ticks = re.match("`{3,}", line)
        if ticks and not fence:
            fence = ticks[0]
        elif line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert not fence, "every block ends"
    for line in outside:
        assert not re.search(r"<script|(?<!\\)[\[`]|(?<!\\)\*\*bold", line), line
        assert line.count("#") == 0 or line.startswith(("# ", "## ", "### ", "| ", "web1")), line


def test_unknown_incident_is_1(call):
    """What is not there is said by the server, and ends with 1."""
    said = call("incident", "show", "nope")
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert "nope" in said.err


@pytest.mark.parametrize("verb", ["cancel", "close", "retry", "take"])
def test_incident_acts(call, program, verb):
    """Each act reaches the server under its own name."""
    said = call("incident", verb, ID, "--reason", "because")
    assert said.code == 0
    assert program.calls[-1][:2] == (verb, ID)


def test_approval_card_shows_what_is_answered(call):
    """The card has entry, hosts, parameters, reasons, check diff and digest."""
    out = call("approval", "show", APPROVAL).out
    for words in ("restart_service", "web1", "nginx", "policy.mode is approve", "+state: started", "abc123"):
        assert words in out


def test_approve_sends_the_digest_that_was_shown(call, program):
    """Approving fetches the card, shows it, and binds the answer to its digest."""
    said = call("approval", "approve", APPROVAL, "--reason", "seen", "--hosts", "web1", "--pin", "restart_service_name=nginx")
    assert said.code == 0
    assert "abc123" in said.out
    answer = program.calls[-1][3]
    assert (answer.digest, answer.reason, answer.hosts, dict(answer.pins)) == (
        "abc123",
        "seen",
        ("web1",),
        {"restart_service_name": "nginx"},
    )


def test_approve_refuses_another_digest(call, program):
    """A digest that was demanded and is not the card's is refused, and nothing is sent."""
    said = call("approval", "approve", APPROVAL, "--digest", "old")
    assert said.code == 1
    assert "abc123" in said.err
    assert program.calls == []


def test_first_of_two_people(call, program):
    """Where two people are needed, the first yes says so."""
    program.approval_map[APPROVAL] = make_approval(need=2)
    said = call("approval", "approve", APPROVAL)
    assert said.code == 0
    assert "1 of 2" in said.out


def test_answered_already_is_a_conflict(call, program):
    """An approval that was decided before ends with 1 and says by whom."""
    answers = (m.Answer("olga", True, "abc123"),)
    program.approval_map[APPROVAL] = make_approval(state=m.ApprovalState.GRANTED, answers=answers)
    said = call("approval", "approve", APPROVAL)
    assert said.code == 1
    assert "olga" in said.err


def test_reject_needs_a_reason(call, program):
    """A rejection without a reason is wrong usage; with one it reaches the server."""
    assert call("approval", "reject", APPROVAL).code == 2
    assert call("approval", "reject", APPROVAL, "--reason", "not now").code == 0
    assert program.approval_map[APPROVAL].state is m.ApprovalState.REJECTED


def test_viewer_is_told_what_it_needs(call, monkeypatch):
    """A token without the role ends with 1; an unknown token with 2; both with a mend."""
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", "viewer-token")
    said = call("incident", "cancel", ID)
    assert said.code == 1
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", "wrong")
    said = call("incident", "list")
    assert said.code == 2
    assert "Mend:" in said.err


def test_run_list_show_tail(call, program):
    """A run is listed, shown with its diff, and followed until it ended."""
    assert RUN in call("run", "list").out
    assert "+state: started" in call("run", "show", RUN).out
    said = call("run", "tail", RUN)
    assert said.code == 0
    assert "task 3" in said.out
    program.run_map[RUN] = make_run(outcome=m.Outcome.FAILED)
    assert call("run", "tail", RUN).code == 1


def test_tail_is_json_lines(call):
    """With --json the stream is one object a line."""
    lines = [json.loads(line) for line in call("run", "tail", RUN, "--json").out.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]


def test_run_start_types_its_parameters(call, program):
    """A person's own proposal sends text where the entry says text, whatever it looks like."""
    said = call("run", "start", "restart_service", "--host", "web1", "--set", "restart_service_name=8080", "--reason", "deploy")
    assert said.code == 0
    assert any("8080" in str(part) and 8080 not in (dict(part).values() if isinstance(part, dict) else ()) for part in program.calls[-1])


def test_settle_asks_for_outcome_and_reason(call, program):
    """Settling needs what was found and how one knows."""
    assert call("run", "settle", RUN, "--outcome", "done").code == 2
    assert call("run", "settle", RUN, "--outcome", "maybe", "--reason", "x").code == 2
    assert call("run", "settle", RUN, "--outcome", "not-done", "--reason", "looked at the host").code == 0


def test_pause_and_resume(call, program):
    """The kill switch goes through the server where there is one."""
    assert call("pause", "--reason", "storm").code == 0
    assert "storm" in program.pause_reason
    assert call("resume").code == 0
    assert program.pause_reason == ""


def test_alert_send_from_standard_input(call, monkeypatch):
    """`-` reads standard input; rejected alerts are named and end with 1."""
    body = json.dumps({"version": "4", "alerts": [{"labels": {"alertname": "A"}}, "nonsense"]}).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body)))
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", "webhook-token")
    said = call("alert", "send", "-")
    assert said.code == 1
    assert "rejected: alert 1" in said.out


@pytest.mark.parametrize(("body", "code"), [("{", 2), ("[]", 2)])
def test_alert_send_refuses_what_is_no_webhook(call, tmp_path, body, code):
    """What the server calls no JSON or no webhook is wrong usage."""
    (tmp_path / "alert.json").write_text(body)
    assert call("alert", "send", "alert.json").code == code


def test_full_disk_of_the_server_is_told(call, program, tmp_path):
    """A server that cannot store says so; the alert was not taken."""
    program.stored = False
    (tmp_path / "alert.json").write_text(json.dumps({"version": "4", "alerts": [{"labels": {"alertname": "A"}}]}))
    said = call("alert", "send", "alert.json")
    assert said.code == 1
    assert "disk is full" in said.err


def test_client_turns_answers_into_errors(server):
    """The client raises what the server told, by its status."""
    with Client(server, "admin-token") as client, pytest.raises(NotFound, match="nope"):
        client.get("/api/v1/runs/nope")


def test_client_refuses_what_is_no_orchestrator(call, monkeypatch, server):
    """An address of something else is told as such, with exit code 3."""
    monkeypatch.setenv("ORCHESTRATOR_URL", f"{server}/login?x=")
    assert call("incident", "list").code == 3


def test_identities_stay_one_segment():
    """Ids with colons stay readable; slashes and question marks cannot leave their segment."""
    assert segment("a:1:apply:2") == "a:1:apply:2"
    assert segment("../x?y") == "..%2Fx%3Fy"


def test_pins_take_the_type_of_what_was_proposed():
    """A pin is text where the proposal has text, else JSON; without `=` it is refused."""
    assert parse_pins(("name=80", "port=80"), {"name": "nginx", "port": 443}) == {"name": "80", "port": 80}
    with pytest.raises(UsageError, match="name=value"):
        parse_pins(("nonsense",), {})


def test_set_values_follow_the_entry():
    """A parameter is text where the entry says `str`."""
    assert parameters(("a=1", "b=1"), {"a": "str", "b": "int"}) == {"a": "1", "b": 1}
    with pytest.raises(UsageError, match="name=value"):
        parameters(("=1",), {})


def test_watch_tells_each_change_until_interrupt(call, program, monkeypatch):
    """A watched list tells what has changed, one object a line with --json, until Ctrl-C."""
    shown: list[float] = []

    def sleep(seconds: float) -> None:
        shown.append(seconds)
        if len(shown) == 2:
            program.incident_map[ID] = make_incident(status=m.Status.EXECUTING)
        if len(shown) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.cli.incident.time.sleep", sleep)
    said = call("incident", "list", "--watch", "--json")
    assert said.code == 130
    states = [json.loads(line)["items"][0]["status"] for line in said.out.splitlines()]
    assert states == ["awaiting_approval", "executing"]


def test_hostile_labels_are_shown_not_obeyed(call, program):
    """An alert's escape sequences do not reach the terminal."""
    alert = replace(make_incident().alert, labels={"alertname": "x\x1b[2J", "instance": "web1:1"})
    program.incident_map[ID] = make_incident(alert=alert)
    for verb in ("show", "explain"):
        assert "\x1b" not in call("incident", verb, ID).out
