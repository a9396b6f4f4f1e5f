"""A backtest shows exactly the decisions that two catalogues make in different ways."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.decide import decide
from orchestrator.decide.backtest import Kind, as_json, backtest, markdown, read_recorded
from orchestrator.errors import UsageError
from orchestrator.model import Catalogue, Entry, EntryKind, Parameter


def entry(name: str, *alerts: str, digest: str = "1", order: int = 1, label: str = "service") -> Entry:
    """Return an entry for some alerts that takes its one parameter from a label."""
    parameter = Parameter(
        f"{name}_name", "str", required=True, pattern=".+", sources=(f"labels.{label}",), allow_list="recoverable_services"
    )
    lines = tuple((f'alertname="{alert}"',) for alert in alerts)
    return Entry(name, name, "", EntryKind.REMEDIATION, "/nowhere", digest, (parameter,), matchers=lines, order=order)


def catalogue(*entries: Entry) -> Catalogue:
    return Catalogue({one.id: one for one in entries})


def alerts(*names: str) -> list:
    rows = [
        {"fingerprint": f"{n:016x}", "labels": {"alertname": name, "instance": "web1:9100", "service": "nginx", "job": "web"}}
        for n, name in enumerate(names)
    ]
    return read_recorded(json.dumps(rows))


BEFORE = catalogue(entry("restart_it", "Down", "Hung"), entry("clean_it", "Full"))
CASES = {
    "the same catalogue": (BEFORE, {}),
    "an alert gains an entry": (catalogue(entry("restart_it", "Down", "Hung", "New"), entry("clean_it", "Full")), {"New": Kind.GAINED}),
    "an alert loses its entry": (catalogue(entry("restart_it", "Down"), entry("clean_it", "Full")), {"Hung": Kind.LOST}),
    "another entry goes first": (
        catalogue(entry("restart_it", "Down", "Hung"), entry("clean_it", "Full", "Hung", order=0)),
        {"Hung": Kind.OTHER_ENTRY},
    ),
    "a parameter comes from elsewhere": (
        catalogue(entry("restart_it", "Down", "Hung", label="job"), entry("clean_it", "Full")),
        {"Down": Kind.OTHER_PARAMETERS, "Hung": Kind.OTHER_PARAMETERS},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_changes_is_shown_and_nothing_else(case):
    """Each change has its kind; alerts that are decided as before are only counted."""
    after, expected = CASES[case]
    found = backtest(alerts("Down", "Hung", "Full", "New"), BEFORE, after, decide)
    assert ({one.alertname: one.kind for one in found.changes}, found.alerts) == (expected, 4)


def test_a_changed_play_behind_the_same_choice_is_named():
    """The same decision about another play is no change of decision, but a person has to know."""
    after = catalogue(*(replace(one, digest="2") if one.id == "clean_it" else one for one in BEFORE.entries.values()))
    found = backtest(alerts("Down", "Full"), BEFORE, after, decide)
    assert (found.changes, found.touched) == ((), ("clean_it",))
    assert "`clean_it`" in markdown(found, "a", "b")


def test_the_comment_holds_outside_text_as_text():
    """An alert's name or label cannot write Markdown, break the table or mention anybody."""
    rows = [{"fingerprint": "0" * 16, "labels": {"alertname": "Down", "instance": "a|b`@all\n# x"}}]
    shown = markdown(backtest(read_recorded(json.dumps(rows)), catalogue(), BEFORE, decide), "main", "HEAD")
    rows = [line for line in shown.splitlines() if "Down" in line]
    assert all(line.count("|") == 6 and "`a¦b'@all # x`" in line for line in rows)


def test_recorded_alerts_are_read_as_they_were_written():
    """What one command writes the other reads; anything else is refused with item and field."""
    found = alerts("Down", "Full")
    assert read_recorded(as_json(found)) == found
    with pytest.raises(UsageError, match=r"0\.labels"):
        read_recorded('[{"fingerprint": "x"}]')
    with pytest.raises(UsageError, match=r"0\.extra"):
        read_recorded('[{"fingerprint": "x", "labels": {}, "extra": 1}]')
