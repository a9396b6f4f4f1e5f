"""Ansible's own checks of a catalogue, run as they are run for a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalogue import Sketch, lint, scaffold


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folders of a catalogue with one entry made by the scaffold."""
    path, roles = tmp_path / "playbooks", tmp_path / "roles"
    path.mkdir()
    roles.mkdir()
    scaffold(path, roles, Sketch("start_service", "Start one service"))
    return path, roles


def test_a_new_entry_is_clean_in_ansible_s_own_eyes(fresh):
    """The scaffold passes the syntax check and ansible-lint's production profile."""
    assert lint(*fresh, style=True) == []


def test_ansible_lint_s_findings_are_ours(fresh):
    """A task without a name is against the production profile."""
    path, roles = fresh
    file = roles / "start_service" / "tasks" / "health.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("- name: Ask the service managers\n  ", "- "), encoding="utf-8")
    found = [finding for finding in lint(path, roles, style=True) if "name[missing]" in finding.problem]
    assert [(Path(finding.file), finding.line) for finding in found] == [(file, 2)]


def test_a_playbook_that_ansible_refuses_is_named(fresh):
    """What only Ansible itself can tell is told, at the playbook at fault."""
    path, roles = fresh
    scaffold(path, roles, Sketch("other_service"))
    file = path / "start_service" / "playbook.yml"
    file.write_text(file.read_text(encoding="utf-8") + "  no_such_keyword: 1\n", encoding="utf-8")
    found = [finding for finding in lint(path, roles) if "Ansible refuses it" in finding.problem]
    assert [Path(finding.file).parent.name for finding in found] == ["start_service"]
