"""`catalogue new` asks where nothing is said, and what it writes is whole; `catalogue schema` goes with it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from orchestrator.catalogue import load, play_tests


@pytest.fixture
def folders(call, tmp_path: Path) -> Path:
    """Return a working folder with an empty catalogue."""
    for name in ("playbooks", "roles"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_without_an_id_everything_is_asked(call, folders: Path, monkeypatch):
    """A person answers seven questions and has an entry with an undo, its alert, risk and group."""
    answers = ["wake_cache", "Wake the cache", "CacheAsleep", "cache", "medium", "caches", "y"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(answers) + "\n"))
    said = call("catalogue", "new", "--json")
    assert (said.code, said.json["entry"]) == (0, "wake_cache")
    entry = load(folders / "playbooks", folders / "roles").entries["wake_cache"]
    assert (entry.title, entry.risk, entry.targets.groups, entry.undo) == ("Wake the cache", "medium", ("caches",), "undo.yml")
    assert entry.matchers == (('alertname="CacheAsleep"', 'cache=~".+"'),)
    assert [test.name for test in play_tests(entry)] == ["repairs"]


def test_the_schema_lies_beside_the_entries_and_is_named_in_each(call, folders: Path):
    """An editor finds the schema by the first line of the file, the same that the command prints."""
    assert call("catalogue", "new", "wake_cache").code == 0
    meta = folders / "playbooks/wake_cache/playbook.meta.yml"
    (line,) = [line for line in meta.read_text().splitlines() if "yaml-language-server" in line]
    named = meta.parent / line.partition("$schema=")[2]
    assert json.loads(named.read_text()) == call("catalogue", "schema").json
    assert load(folders / "playbooks", folders / "roles").broken == ()


@pytest.mark.parametrize("form", ["sarif", "github"])
def test_lint_speaks_to_other_programs(call, folders: Path, form: str):
    """An error is in the output of each form, and ends with 1."""
    assert call("catalogue", "new", "wake_cache").code == 0
    meta = folders / "playbooks/wake_cache/playbook.meta.yml"
    meta.write_text(meta.read_text().replace("risk: high", "risk: huge"))
    said = call("catalogue", "lint", "--format", form)
    assert said.code == 1
    assert "playbooks/wake_cache/playbook.meta.yml" in said.out
    assert ("::error file=" in said.out) == (form == "github")
