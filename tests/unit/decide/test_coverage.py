"""Real rule sets, labelled by people: no alert is answered by an entry whose meaning it is not, and the share is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.catalogue import load
from orchestrator.decide import decide
from orchestrator.decide.coverage import Mark, cover, markdown, read_labelled, together
from orchestrator.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = sorted((REPOSITORY / "tests/fixtures/coverage").glob("*.yml"))


@pytest.fixture(scope="module")
def shipped():
    """Return the shipped catalogue."""
    return load(REPOSITORY / "playbooks", REPOSITORY / "roles")


@pytest.fixture(scope="module")
def tables():
    """Return every labelled rule set."""
    return [read_labelled(yaml.safe_load(file.read_text()), file.name) for file in FILES]


def test_no_alert_of_a_real_rule_set_is_matched_wrongly(shipped, tables):
    """Of some 270 alerts none finds an entry that a person would not have chosen; a fifth of the host-level ones finds one."""
    total = together("all", [cover(table, shipped, decide) for table in tables])
    print(f"{total.count(Mark.ANSWERED)} of {total.host_level} host-level alerts have an entry ({total.share:.0%})")
    assert [(item.rules, item.alert, item.got) for item in total.items if item.mark is Mark.WRONG] == []
    assert total.share > 0.2
    assert len(total.items) > 250


def test_the_page_is_up_to_date(shipped, tables):
    """docs/reference/coverage.md says what the catalogue answers now; the command in its head writes it anew."""
    page = (REPOSITORY / "docs/reference/coverage.md").read_text()
    assert page.endswith(markdown([cover(table, shipped, decide) for table in tables]).rstrip() + "\n")


def test_what_is_said_to_fit_is_an_entry(shipped, tables):
    """A label for an entry that is not there would hide that nothing answers."""
    named = {name for table in tables for one in table.alerts for name in one.fits}
    assert named - set(shipped.entries) == set()


def test_a_wrong_match_is_seen(shipped, tables):
    """The table finds what it is there to find: without its labels every answer is wrong."""
    (node,) = [table for table in tables if table.name == "node-mixin"]
    bare = node.model_copy(update={"alerts": [one.model_copy(update={"fits": []}) for one in node.alerts]})
    found = cover(bare, shipped, decide)
    assert found.count(Mark.WRONG) == cover(node, shipped, decide).count(Mark.ANSWERED) > 0
    assert "**wrong**" in markdown([found])


def test_a_file_that_is_no_table_is_refused():
    """What cannot be read is named, with its field."""
    with pytest.raises(UsageError, match=r"x\.yml: alerts\.0\.hosts"):
        read_labelled({"name": "x", "source": "y", "alerts": [{"alert": "A", "hosts": 1}]}, "x.yml")
