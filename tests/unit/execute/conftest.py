"""An entry on disk and its snapshot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.execute import Executor
from orchestrator.execute.snapshot import Snapshot
from orchestrator.model import Entry, EntryKind, RunKind, RunRequest


@dataclass
class Shelf:
    """A catalogue with one entry and one role, and an executor over it."""

    root: Path
    entry: Entry
    executor: Executor

    @property
    def folder(self) -> Path:
        return Path(self.entry.folder)

    def take(self) -> Snapshot:
        return self.executor.snapshot(self.entry)

    def request(self, **changes) -> RunRequest:
        made = RunRequest(
            id="inc1:1:apply:1", kind=RunKind.APPLY, entry="mend", playbook="playbook.yml", hosts=("web1",), snapshot=str(self.take().path)
        )
        return replace(made, **changes)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Return a shelf with the entry `mend` and its role `service`."""
    folder = tmp_path / "playbooks" / "mend"
    (folder / "templates").mkdir(parents=True)
    for name in ("playbook.yml", "verify.yml", "undo.yml", "templates/unit.j2"):
        (folder / name).write_text(f"# {name}\n")
    (tmp_path / "roles" / "service" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "service" / "tasks" / "main.yml").write_text("[]\n")
    (tmp_path / "roles" / "other").mkdir()
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    (tmp_path / "inventory").mkdir()
    entry = Entry(
        id="mend", title="Mend", description="Mend", kind=EntryKind.REMEDIATION, folder=str(folder), digest="", roles=("service",)
    )
    executor = Executor(
        data_dir=tmp_path / "data",
        inventory_paths=(tmp_path / "inventory",),
        roles=tmp_path / "roles",
        node="here",
        redact=str,
        ansible_config=tmp_path / "ansible.cfg",
    )
    return Shelf(tmp_path, entry, executor)
