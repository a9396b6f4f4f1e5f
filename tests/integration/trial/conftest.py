"""Small entries made for a test, tried on a plain user's host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.catalogue.playtest import read_play_test
from orchestrator.model import CheckMode, Entry, EntryKind, Parameter, VerifySpec
from orchestrator.trial import Trial, Trials

GOOD = {
    "playbook": [{"name": "Write the line", "ansible.builtin.copy": {"content": "on\n", "dest": "{{ throwaway_folder }}/state"}}],
    "verify": [
        {
            "name": "Read the line",
            "ansible.builtin.command": {"argv": ["grep", "-qx", "on", "{{ throwaway_folder }}/state"]},
            "changed_when": False,
        }
    ],
    "undo": [{"name": "Write it back", "ansible.builtin.copy": {"content": "off\n", "dest": "{{ throwaway_folder }}/state"}}],
}
TEST = {
    "about": "The line is written.",
    "host": "user",
    "parameters": {"switch_on_name": "x"},
    "prepare": [{"name": "Break it", "ansible.builtin.copy": {"content": "off\n", "dest": "{{ throwaway_folder }}/state"}}],
    "restored": [
        {"name": "Look", "ansible.builtin.command": {"argv": ["grep", "-qx", "off", "{{ throwaway_folder }}/state"]}, "changed_when": False}
    ],
}


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """Return an entry that does what it says."""
    folder = tmp_path / "playbooks" / "switch_on"
    (folder / "tests/plays").mkdir(parents=True)
    (tmp_path / "roles").mkdir()
    for name, tasks in GOOD.items():
        write(folder, name, tasks)
    parameter = Parameter("switch_on_name", "str", pattern="x")
    return Entry(
        "switch_on", "Switch on", "", EntryKind.REMEDIATION, str(folder), "", (parameter,), reversible=True, undo="undo.yml",
        check_mode=CheckMode.FULL, verify=VerifySpec(within_s=1),
    )  # fmt: skip


def write(folder: Path, name: str, tasks: list[dict[str, Any]]) -> None:
    """Write a playbook of these tasks."""
    (folder / f"{name}.yml").write_text(yaml.safe_dump([{"name": name, "hosts": "all", "gather_facts": False, "tasks": tasks}]))


@pytest.fixture
def carried_out(entry: Entry, tmp_path: Path) -> Callable[..., Trial]:
    """Return what carries out a play test of the entry, with changes of the entry's playbooks and of the test."""

    def run(plays: dict[str, list[dict[str, Any]]] | None = None, *, of: dict[str, Any] | None = None, **test: Any) -> Trial:
        for name, tasks in (plays or {}).items():
            write(Path(entry.folder), name, tasks)
        file = Path(entry.folder) / "tests/plays/case.yml"
        file.write_text(yaml.safe_dump({**TEST, **test}))
        changed = replace(entry, **(of or {}))
        return Trials(tmp_path / "roles").carry_out(read_play_test(file, changed), changed)

    return run
