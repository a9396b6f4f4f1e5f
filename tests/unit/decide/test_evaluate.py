"""Scoring decisions on labelled alerts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deciding import CONTEXT, alert, catalogue, entry

from orchestrator.decide import decide
from orchestrator.decide.evaluate import Case, Mark, as_rows, assumed_host, compare, from_rows, judge, read_cases, score
from orchestrator.errors import UsageError
from orchestrator.model import Agreement, Choice, Proposal

CASE = Case("1", alert(), ("restart_service",), ("web-01",), {"service": "nginx.service"})
NOTHING = Case("2", alert("Odd"), ("none",))


def _run(entry_id: str = "restart_service", host: str = "web-01", **parameters: str) -> Proposal:
    parameters = parameters or {"restart_service_name": "nginx"}
    return Proposal(Choice.RUN, Agreement.MATCHERS, "matchers", "x", entry_id, (host,), parameters)


REFUSAL = Proposal(Choice.NONE, Agreement.MATCHERS, "matchers", "nothing fits")


@pytest.mark.parametrize(
    ("case", "proposal", "mark"),
    [
        (CASE, _run(), Mark.RIGHT),
        (CASE, _run(host="web-02"), Mark.WRONG_ACTION),
        (CASE, _run(restart_service_name="redis"), Mark.WRONG_ACTION),
        (CASE, _run("rotate_logs"), Mark.WRONG_ACTION),
        (CASE, REFUSAL, Mark.MISSED),
        (NOTHING, REFUSAL, Mark.REFUSED),
        (NOTHING, _run(), Mark.WRONG_ACTION),
    ],
    ids=range(7),
)
def test_each_mark(case: Case, proposal: Proposal, mark: Mark) -> None:
    """A right entry on a wrong host, or with a wrong value, is a wrong action; saying nothing is a miss or right."""
    assert judge(case, proposal).mark is mark


def test_compare_names_what_got_worse() -> None:
    """A change that turns a right answer into a miss, or loses a case, is not ok; the reverse is."""
    good = score([judge(CASE, _run()), judge(NOTHING, REFUSAL)])
    bad = score([judge(CASE, REFUSAL), judge(NOTHING, REFUSAL)])
    assert compare(good, bad).worse == ("1: right → missed",)
    assert compare(bad, good).better == ("1: missed → right",)
    assert compare(bad, good).ok
    assert not compare(good, score([judge(CASE, _run())])).ok
    assert (good.right_rate, bad.right_rate, bad.wrong_action_rate) == (1.0, 0.5, 0.0)


def test_rows_come_back() -> None:
    """A score written as rows reads back as the same score; others' rows are refused."""
    before = score([judge(CASE, _run()), judge(NOTHING, _run())])
    assert from_rows(json.loads(json.dumps(as_rows(before.results)))) == before
    with pytest.raises(UsageError, match="no result"):
        from_rows([{"case": "1"}])


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"alert": {}}]', '[{"alert": {"labels": {}}}]'])
def test_odd_cases_are_refused(text: str) -> None:
    """A file that holds no cases says so."""
    with pytest.raises(UsageError):
        read_cases(text)


def test_no_cases_score_nothing() -> None:
    """An empty score has no rate above zero."""
    assert score([]).right_rate == 0.0


def test_public_cases_never_get_a_wrong_service(shared_inputs: Path) -> None:
    """On public labelled alerts the matchers restart exactly what they should, and leave the rest to people."""
    entries = catalogue(entry("restart_service", ('alertname=~"HostSystemdServiceCrashed|SystemdUnitFailed|ApacheDown"',)))
    cases = read_cases((shared_inputs / "decisions" / "cases_60.json").read_text("utf-8"))
    results = [judge(case, decide(case.alert, CONTEXT, entries, assumed_host(case.alert, entries))) for case in cases]
    scored = score(results)
    assert (scored.total, scored.counts["refused"], scored.counts["wrong_action"]) == (60, 14, 0)
    assert scored.counts["right"] >= 3


def test_a_service_is_taken_for_the_host_that_the_case_names() -> None:
    """A certificate's alert names a service; the case says which machine an inventory would give, and nothing else is replaced by it."""
    entries = catalogue(entry("one", ('alertname="ServiceDown"',)))
    service = alert(instance="https://www.example.com/login")
    assert [host.name for host in assumed_host(service, entries, ("lb-01",))] == ["lb-01"]
    assert [host.name for host in assumed_host(service, entries)] == ["www.example.com"]
    for machine in ("web-01:9100", "10.0.0.5:9100"):
        assert [host.name for host in assumed_host(alert(instance=machine), entries, ("lb-01",))] == [machine.rsplit(":", 1)[0]]
