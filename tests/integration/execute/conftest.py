"""A catalogue, an inventory of local hosts and an executor of their own for every test."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execute import Executor, processes
from orchestrator.model import Entry, EntryKind, Run, RunEvent, RunKind, RunRequest

SECRET = "s3cr3t-canary-value"


@dataclass
class Site:
    """What one test works on."""

    root: Path
    executor: Executor
    events: list[RunEvent] = field(default_factory=list)

    @property
    def folders(self) -> Path:
        return self.root / "data" / "runs"

    def request(
        self,
        tasks: str,
        *,
        kind: RunKind = RunKind.APPLY,
        id: str = "inc1:1:apply:1",
        hosts: tuple[str, ...] = ("web1",),
        play_hosts: str = "all",
        **more: Any,
    ) -> RunRequest:
        """Write a playbook of these tasks, take its snapshot and return a request to run it."""
        folder = self.root / "playbooks" / "try_it"
        folder.mkdir(parents=True, exist_ok=True)
        body = "\n".join("    " + line for line in tasks.strip("\n").splitlines())
        (folder / "playbook.yml").write_text(f"- name: Try it\n  hosts: {play_hosts}\n  gather_facts: false\n  tasks:\n{body}\n")
        entry = Entry(id="try_it", title="Try", description="Try", kind=EntryKind.REMEDIATION, folder=str(folder), digest="")
        path = str(self.executor.snapshot(entry).path)
        return replace(
            RunRequest(id=id, kind=kind, entry="try_it", playbook="playbook.yml", hosts=hosts, snapshot=path, timeout_s=120.0), **more
        )

    def run(self, tasks: str, **more: Any) -> Run:
        """Run a playbook of these tasks to its end."""
        return self.executor.run(self.request(tasks, **more), self.events.append, lambda: False)

    def living(self) -> tuple[str, ...]:
        """Return the ids of the runs whose worker is alive."""
        return tuple(path.name.replace("+", ":") for path in sorted(self.folders.glob("*")) if processes.lives(path))

    def marked(self, id: str = "inc1:1:apply:1") -> set[int]:
        """Return the living processes of a run."""
        return processes.marked(id, self.folders / id.replace(":", "+"))


@pytest.fixture
def site(tmp_path: Path):
    """Return a site with the hosts web1 and web2 on this machine, and no process of it left behind."""
    inventory = tmp_path / "inventory.yml"
    local = f"{{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}"
    inventory.write_text(
        f"all:\n  hosts:\n    web1: {local}\n    web2: {local}\n  children:\n    webs: {{hosts: {{web1: {{}}, web2: {{}}}}}}\n"
    )
    (tmp_path / "roles").mkdir()
    made = Site(
        tmp_path,
        Executor(
            data_dir=tmp_path / "data",
            inventory_paths=(inventory,),
            roles=tmp_path / "roles",
            node="here",
            redact=lambda text: text.replace(SECRET, "[redacted]"),
        ),
    )
    yield made
    for folder in made.folders.glob("*"):
        processes.end(lambda folder=folder: processes.marked(folder.name.replace("+", ":"), folder), grace_s=0)
