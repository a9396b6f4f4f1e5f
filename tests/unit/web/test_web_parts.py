"""What the pages are made of: charts, folded output, the timeline's words, and lists in a storm."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from fake_orchestrator import NOW, make_event, make_incident, make_run, summary_of

from orchestrator import model as m
from orchestrator.web.charts import charts, svg
from orchestrator.web.lots import CALM, lots
from orchestrator.web.output import hosts, plays
from orchestrator.web.story import moments

POINTS = [[1000.0 + 15 * number, number / 10] for number in range(60)]


def evidence(*series, title="Rule Slow"):
    return m.Evidence("prom-1", "prom", title, "", {"series": list(series)})


def one_series(points=POINTS, **labels):
    return {"labels": labels, "points": points}


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"series": None},
        {"series": [None, 3, {"labels": {}}]},
        {"series": [{"labels": [], "points": "x"}]},
        {"series": [{"points": [[1, "x"], ["a", 2], [1], None, [float("nan"), 1], [1, float("inf")], [-5, 1], [1e300, 1]]}]},
    ],
)
def test_data_of_another_shape_has_no_chart(data):
    """Evidence is outside data: what holds no series of finite points draws nothing and breaks nothing."""
    assert charts(m.Evidence("x-1", "x", "t", "", data)) == ()


@pytest.mark.parametrize(
    ("expr", "threshold"),
    [("rate(x[5m]) > 0.5", 0.5), ("up == 0", 0.0), ("a > b", None), ("up", None), ("a > 1 and b > 2", None), ('x{a="', None)],
)
def test_the_rules_threshold_is_drawn(expr, threshold):
    """The number that the rule compares with is a line on its own chart, and on no other."""
    rule = m.Rule("Slow", expr)
    assert charts(evidence(one_series(instance="a")), rule)[0].threshold == threshold
    assert charts(evidence(one_series(instance="a"), title="Vital"), rule)[0].threshold is None


def test_each_measure_has_a_scale_of_its_own():
    """Several measures in one piece of evidence are small charts, each under its title; shares are told in percent."""
    found = charts(evidence(one_series(__name__="Load per CPU"), one_series(__name__="Disk available (share)"), title="Vital signs"))
    assert [one.title for one in found] == ["Load per CPU", "Disk available (share)"]
    assert [one.small for one in found] == [True, True]
    assert found[1].said(0.5) == "50 %"


@pytest.mark.parametrize("points", [POINTS, POINTS[:1], [[1, 3], [2, 3]], [[1, -1e12], [2, 1e12]], [[0, 0], [0, 0]]])
@pytest.mark.parametrize("dark", [False, True])
def test_a_chart_is_an_image_without_script(points, dark):
    """Whatever the values, the drawing parses, says in words what it shows, and holds no script and no outside address."""
    nasty = "</title><script>alert(1)</script>\x1b\ud800"
    (chart,) = charts(evidence(one_series(points, instance=nasty), title=nasty), m.Rule(nasty, "x > 1"))
    image = svg(chart, datetime.fromtimestamp(1300, UTC), dark=dark)
    root = ET.fromstring(image)
    names = [element.tag.rpartition("}")[2] for element in root.iter() if isinstance(element.tag, str)]
    assert names[1:3] == ["title", "desc"]
    assert "script" not in names
    assert (
        b"http" not in image.replace(b"http://www.w3.org/2000/svg", b"").replace(b"http://www.w3.org/1999/xlink", b"").partition(b"-->")[0]
    )


def test_drawing_leaves_pythons_imports_alone():
    """Pygal's own finder, which makes every import that finds nothing warn, is taken out again."""
    import sys

    svg(charts(evidence(one_series(a="b")))[0], None, dark=False)
    assert not [finder for finder in sys.meta_path if type(finder).__module__ == "pygal"]


def test_the_table_is_thinned_out():
    """The values behind a chart are a table of bounded length that begins and ends where the chart does."""
    (chart,) = charts(evidence(one_series(a="b")))
    assert len(chart.table) <= 26
    assert chart.table[0][0].timestamp() == POINTS[0][0]
    assert chart.table[-1][0].timestamp() == POINTS[-1][0]


# ---------------------------------------------------------------- output


def test_output_is_folded_by_play_and_task():
    """Lines stand under their task, a task knows the worst of them, and a result's words are taken out of its JSON."""
    fault = 'fatal: [b]: FAILED! => {"msg": "no", "stderr": "broken", "rc": 1}'
    events = [
        m.RunEvent(1, "output", NOW, text="warning"),
        m.RunEvent(2, "play", NOW, text="\nPLAY [Mend it] ****"),
        m.RunEvent(3, "task", NOW, task="Restart"),
        m.RunEvent(4, "ok", NOW, "a", "Restart", "ok: [a]"),
        m.RunEvent(5, "failed", NOW, "b", "Restart", fault),
        m.RunEvent(6, "stats", NOW),
    ]
    first, second = plays(events)
    assert first.tasks[0].lines[0].parts == (("", "warning"),)
    assert second.name == "Mend it"
    (task,) = second.tasks
    assert (task.worst, task.failed, task.tally) == ("failed", True, "1 ok, 1 failed")
    assert task.lines[0].parts == ()
    assert task.lines[1].parts == (("msg", "no"), ("stderr", "broken"))


def test_hosts_are_counted_before_ansible_counts_them():
    """While a run goes on its hosts are counted from the stream; afterwards Ansible's own counts stand."""
    events = [m.RunEvent(1, "ok", NOW, "a", "Look"), m.RunEvent(2, "changed", NOW, "a", "Write")]
    (state,) = hosts(make_run(hosts={}), events)
    assert (state.last, state.counts["ok"], state.counts["changed"]) == ("changed: Write", 1, 1)
    (state,) = hosts(make_run(hosts={"a": m.HostStats(ok=7, failures=2)}), events)
    assert (state.counts["ok"], state.counts["failed"]) == (7, 2)


# ---------------------------------------------------------------- timeline and lists


def test_the_timeline_tells_each_kind_once():
    """Known events are told in words, unknown ones by their data, redacted ones as redacted; what only repeats is left out."""
    events = [
        make_event(1, "alert.received", data={"status": "firing", "alertname": "X"}),
        make_event(2, "approval.answered", data={"approve": False, "reason": "not now"}, actor="olga"),
        make_event(3, "incident.status", data={"to": "escalated", "detail": "why"}),
        make_event(4, "incident.escalated", data={"to": "escalated"}),
        make_event(5, "some.thing", data={"a": "b"}),
        make_event(6, "run.ended", data=None),
    ]
    told = moments(events)
    assert [one.title for one in told] == ["Alert fires", "Rejected", "Now escalated", "Some thing", "Run ended"]
    assert [one.tone for one in told][:3] == ["bad", "bad", "bad"]
    assert told[1].by_person
    assert "not now" in told[1].sentence
    assert "redacted" in told[4].sentence


@pytest.mark.parametrize("data", [{}, {"hosts": None, "evidence": 3}, {"reasons": "x", "need": None, "took_s": "y", "to": 5, "labels": 1}])
def test_no_data_breaks_the_timeline(data):
    """Data of an older or newer version is told as far as it can be."""
    kinds = (
        "alert.received",
        "context.gathered",
        "decision.made",
        "policy.judged",
        "approval.asked",
        "approval.answered",
        "run.intent",
        "run.ended",
    )
    assert len(moments([make_event(1, kind, data=data) for kind in (*kinds, "verification.done", "incident.status", "x.y")])) == 11


def test_many_of_one_alert_are_one_line():
    """Few incidents stand each by itself; of many, those of one alert stand together with their counts, and none is lost."""
    base = summary_of(make_incident())
    few = [replace(base, id=str(number)) for number in range(CALM)]
    assert len(lots(few)) == CALM
    many = [*few, replace(base, id="other", alertname="Other", updated_at=NOW + timedelta(hours=1))]
    together, alone = lots(many)
    assert (len(together.items), together.targets, alone.name) == (CALM, ["web1"], "Other")
    assert sum(len(one.items) for one in lots(many)) == len(many)
