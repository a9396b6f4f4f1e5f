"""A catalogue to break: the entry of the reference, written into a folder of the test's own."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.catalogue import load
from orchestrator.model import Catalogue

# As the reference of the catalogue shows it, word for word.
EXAMPLE = """\
short_description: Restart one service
description: Restarts one systemd, sysvinit or supervisor service and waits until its port answers.
argument_specs:
  restart_service:
    short_description: Restart one service on one host
    options:                               # each name starts with the id
      restart_service_name:
        {type: str, required: true, pattern: '[a-z0-9][a-z0-9@._-]{0,63}', description: The service., from: labels.service}
      restart_service_port: {type: int, minimum: 0, maximum: 65535, default: 0, description: TCP port that must answer; 0 checks none.}
    examples: |
      restart_service_name: nginx
    catalogue:
      kind: remediation                    # or diagnostic: read-only, may run without approval before deciding
      use_when: [The service's process is down or hangs, and the host itself answers.]
      never_when: [The configuration file does not parse., The disk is full.]
      matchers:                            # Alertmanager's own matcher syntax; any line matches, all in a line must
        - ['alertname=~"ServiceDown|InstanceDown"', 'service=~".+"']
      targets: {from: labels.instance, groups: [recoverable], max_hosts: 1}
      risk: low                            # low | medium | high
      reversible: false                    # and then no undo; else undo: undo.yml with undo_policy: offer | auto
      check_mode: partial                  # full | partial | none
      timeout_s: 120
      cooldown_s: 300
      preconditions: ['sum(up{job="node"}) > 1']        # PromQL, each must hold
      verify: {playbook: verify.yml, promql: ['probe_success{instance="$instance"} == 1'], settle_s: 5, within_s: 120}
      order: 100                           # smaller wins where matchers overlap
      diagnostics: [host_state]
      approvers: [oncall]
      owners: [platform]
"""

PLAYBOOK = """
- name: Restart one service
  hosts: all
  gather_facts: false
  roles:
    - role: restart_service
"""

VERIFY = """
- name: Verify
  hosts: all
  tasks:
    - name: Ask the service manager
      ansible.builtin.command:
        argv: [systemctl, is-active, "{{ restart_service_name }}"]
      changed_when: false
"""

TASKS = """
- name: Restart the service
  ansible.builtin.service:
    name: "{{ restart_service_name }}"
    state: restarted
"""


class Shop:
    """A catalogue's two folders, with one good entry inside."""

    def __init__(self, folder: Path) -> None:
        self.path, self.roles = folder / "playbooks", folder / "roles"
        self.entry = self.path / "restart_service"
        self.write(self.entry / "playbook.meta.yml", EXAMPLE)
        self.write(self.entry / "playbook.yml", PLAYBOOK)
        self.write(self.entry / "verify.yml", VERIFY)
        self.write(self.roles / "restart_service" / "tasks" / "main.yml", TASKS)

    def write(self, file: Path, text: str) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def load(self) -> Catalogue:
        return load(self.path, self.roles)

    def problems(self, entry: str = "restart_service") -> str:
        """Return every problem of an entry, one a line; empty where it is good."""
        return "\n".join(problem for broken in self.load().broken if broken.id == entry for problem in broken.problems)

    def change(self, edit: Callable[[dict[str, Any], dict[str, Any]], None], entry: str = "restart_service") -> None:
        """Change an entry's spec file: `edit` gets the whole file and the entry's spec."""
        file = self.path / entry / "playbook.meta.yml"
        meta = yaml.safe_load(file.read_text(encoding="utf-8"))
        edit(meta, meta["argument_specs"][entry])
        file.write_text(yaml.safe_dump(meta), encoding="utf-8")

    def add(self, entry: str, **block: Any) -> None:
        """Add an entry like the first, without parameters, with these keys of the block changed."""
        meta = yaml.safe_load(EXAMPLE)
        spec = copy.deepcopy(meta["argument_specs"]["restart_service"])
        spec["options"] = {}
        spec["catalogue"] |= block
        spec["catalogue"] = {key: value for key, value in spec["catalogue"].items() if value is not None}
        meta["argument_specs"] = {entry: spec}
        self.write(self.path / entry / "playbook.meta.yml", yaml.safe_dump(meta))
        play = "- name: Play\n  hosts: all\n  tasks:\n    - name: Say\n      ansible.builtin.debug: {msg: done}\n"
        self.write(self.path / entry / "playbook.yml", play)
        self.write(self.path / entry / "verify.yml", play)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a catalogue with the one entry of the reference."""
    return Shop(tmp_path)
