"""What events say, and how a run is judged by them: in doubt it is unknown, and nothing secret is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.execute import reading
from orchestrator.execute.reading import Reading
from orchestrator.execute.result import judge
from orchestrator.model import Outcome, RunKind, RunRequest, RunState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = {"state": "ended", "rc": 0, "started_at": NOW.isoformat(), "ended_at": NOW.isoformat()}


def request(kind=RunKind.APPLY):
    return RunRequest(id="i:1:apply:1", kind=kind, entry="mend", playbook="playbook.yml", hosts=("web1", "web2"), snapshot="/s")


def read(*events, kind=RunKind.APPLY):
    """Return what was read from these events, and the stream."""
    stream = []
    made = Reading(request(kind), lambda text: text.replace("hunter2", "***"), stream.append)
    for name, data, *stdout in events:
        made.take({"event": name, "data": data, "stdout": stdout[0] if stdout else "", "created": "2026-01-01T00:00:00+00:00"})
    return made, stream


def stats(**counts):
    return ("playbook_on_stats", {name: counts.get(name, {}) for name in ("ok", "changed", "failures", "dark", "skipped", "processed")})


BOTH = {"web1": 1, "web2": 1}
TASK = ("playbook_on_task_start", {"task": "t"})
FAILED = ("runner_on_failed", {"task": "t", "host": "web1", "res": {"msg": "no\n way"}})


@pytest.mark.parametrize(
    ("events", "status", "outcome", "words"),
    [
        ([TASK, stats(ok=BOTH, processed=BOTH)], {}, Outcome.SUCCESSFUL, ""),
        ([TASK, FAILED, stats(failures={"web1": 1}, dark={"web2": 1}, processed=BOTH)], {"rc": 2}, Outcome.FAILED, "t (web1): no way"),
        ([TASK, stats(dark={"web1": 1}, ok={"web2": 1}, processed=BOTH)], {"rc": 4}, Outcome.UNREACHABLE, ""),
        ([TASK, stats(ok=BOTH, processed=BOTH)], {"rc": 1}, Outcome.FAILED, "ended with 1"),
        ([TASK, stats(ok={"web1": 1}, processed={"web1": 1})], {}, Outcome.FAILED, "nothing on web2"),
        ([TASK, stats(ok={**BOTH, "db": 1}, processed=BOTH)], {}, Outcome.UNKNOWN, "NOBODY ASKED FOR: db"),
        ([TASK, stats(failures={"db": 1}, processed=BOTH)], {"ended_by": ""}, Outcome.UNKNOWN, "NOBODY ASKED FOR: db"),
        ([TASK], {}, Outcome.UNKNOWN, "broke off"),
        ([TASK], {"rc": 250}, Outcome.UNKNOWN, "broke off"),
        ([TASK], {"rc": None}, Outcome.UNKNOWN, "broke off"),
        ([], {"rc": 0}, Outcome.UNKNOWN, "broke off"),
        ([], {"rc": 4, "lost": 3}, Outcome.UNKNOWN, "broke off"),
        ([("error", {}, "ERROR! hunter2 is wrong")], {"rc": 4}, Outcome.FAILED, "ERROR! *** is wrong"),
        ([TASK], {"rc": 254, "ended_by": "timeout"}, Outcome.TIMEOUT, "longer than 300 s"),
        ([TASK, FAILED], {"rc": 254, "ended_by": "cancelled", "left": [7]}, Outcome.CANCELLED, "Processes 7 could not be ended"),
        ([TASK, stats(ok=BOTH, processed=BOTH)], {"error": "hunter2"}, Outcome.UNKNOWN, "***"),
        ([TASK, stats(ok=BOTH, processed=BOTH)], {"state": "running"}, Outcome.UNKNOWN, "died"),
    ],
)  # fmt: skip
def test_how_a_run_is_judged(events, status, outcome, words):
    """Only an ended play with all its hosts and no other, no failure and exit code 0 is a success."""
    run = judge(request(), read(*events)[0], ENDED | status, node="n", now=NOW)
    assert (run.outcome, run.state) == (outcome, RunState.UNKNOWN if outcome is Outcome.UNKNOWN else RunState.DONE)
    assert words in run.message
    assert bool(run.message) == (outcome is not Outcome.SUCCESSFUL) or outcome is Outcome.UNREACHABLE


def test_no_status_at_all_is_unknown():
    """A worker that left nothing may have done anything."""
    assert judge(request(), read()[0], {}, node="n", now=NOW).state is RunState.UNKNOWN


def test_the_stream_is_redacted_before_it_is_cut():
    """Colours are gone, a secret that a colour hid or a cut would halve is gone too, and a line has at most 4 KiB."""
    _, stream = read(
        ("runner_on_ok", {"task": "task hunter2", "host": "web1", "res": {}}, "\x1b[0;32mok: hun\x1b[1mter2\x1b[0m"),
        ("verbose", {}, "x" * (reading.TEXT_LIMIT - 12) + "hunter2" + "y" * 99),
        ("verbose", {}, "\x1b[0m \n"),
    )
    assert [(event.kind, event.task, event.host) for event in stream] == [("ok", "task ***", "web1"), ("output", "", "")]
    assert stream[0].text == "ok: ***"
    assert len(stream[1].text.encode()) <= reading.TEXT_LIMIT
    assert "hunt" not in stream[1].text


def test_a_stream_without_end_is_cut_and_says_so(monkeypatch):
    """The last line that is kept tells that there were more; the counts are read all the same."""
    monkeypatch.setattr(reading, "MAX_EVENTS", 5)
    made, stream = read(*[("verbose", {}, f"line {n}") for n in range(9)], stats(ok=BOTH, processed=BOTH))
    assert [event.seq for event in stream] == [1, 2, 3, 4, 5]
    assert "cut" in stream[-1].text
    assert made.stats is not None


def test_diffs_come_in_all_of_ansibles_shapes():
    """A dictionary, a list, states instead of text, prepared text, items of a loop; a change without a diff is told in words."""
    ok = "runner_on_ok"

    def result(**res):
        return {"task": "t", "host": "web1", "res": res}

    made, _ = read(
        (ok, result(changed=True, diff={"before": "a\nhunter2\n", "after": "b\n", "before_header": "/etc/x"})),
        (ok, result(changed=True, diff=[{"before": {"mode": "0600"}, "after": {"mode": "0644"}}, {}])),
        (ok, result(changed=True, diff={"prepared": "as prepared"})),
        ("runner_item_on_ok", result(changed=True, diff={"before": "", "after": "item\n"})),
        (ok, result(changed=True, results=[{"diff": {"before": "", "after": "item\n"}}])),
        (ok, result(changed=True)),
        (ok, result(changed=False, diff={"before": "same", "after": "same"})),
        (ok, result(changed=True, diff={"before": "hidden", "after": ""}, _ansible_no_log=True)),
        (ok, result(censored="…"), "changed: [web1]"),
        kind=RunKind.CHECK,
    )
    texts = [diff.diff for diff in made.diffs]
    assert texts[0] == "--- /etc/x\n+++ after\n@@ -1,2 +1 @@\n-a\n-***\n+b"
    assert '-  "mode": "0600"' in texts[1]
    assert '+  "mode": "0644"' in texts[1]
    assert texts[2] == "as prepared"
    assert "+item" in texts[3]
    assert texts[4:] == ["would change", "would change, hidden by no_log", "would change, hidden by no_log"]


def test_the_first_failure_that_counts_is_told():
    """Ignored failures are passed over; a loop's failure is told by its item; hidden results stay hidden."""
    base = {"task": "t", "host": "web1"}
    ignored = ("runner_on_failed", base | {"ignore_errors": True, "res": {"msg": "ignored"}})
    loop = (
        "runner_on_failed",
        base | {"res": {"msg": "One or more items failed", "results": [{"failed": False}, {"failed": True, "stderr": "hunter2"}]}},
    )
    assert read(ignored, loop, FAILED)[0].failure == "t (web1): ***"
    assert read(("runner_on_failed", base | {"res": {"censored": "x", "msg": "hunter2"}}))[0].failure == "t (web1): hidden by no_log"
    assert read(("runner_on_unreachable", base | {"res": {"msg": "no route"}}))[0].failure == "t (web1): no route"


def test_facts_are_gathered_per_host_and_redacted():
    """Later values replace earlier ones of the same name."""
    made, _ = read(
        (
            "runner_on_ok",
            {"host": "web1", "res": {"ansible_stats": {"data": {"a": 1, "b": ["hunter2", {"c": "hunter2"}]}, "per_host": True}}},
        ),
        ("runner_on_ok", {"host": "web1", "res": {"ansible_stats": {"data": {"a": 2}, "per_host": True}}}),
        ("runner_on_ok", {"host": "web2", "res": {"ansible_stats": {"data": {"a": 3}, "per_host": True}}}),
    )
    assert made.facts == {"web1": {"a": 2, "b": ["***", {"c": "***"}]}, "web2": {"a": 3}}
