"""A real server with hosts of its own to work on: three folders of this machine, and entries that write a page into each.

A play waits in the middle until the test lets it go on, so that what is live can be looked at without any race.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Self

from server import Server

from orchestrator.app import build
from orchestrator.model import Role
from orchestrator.settings import load

HOSTS = ("shop1", "shop2", "shop3")
PEOPLE = {"olga": Role.APPROVER, "mia": Role.APPROVER, "vic": Role.VIEWER}
PASSWORD = "correct horse battery"
PLAYBOOK = """---
- name: Write the page
  hosts: all
  gather_facts: false
  tasks:
    - name: Write what the page says
      ansible.builtin.copy:
        content: "{{ ID_words }} {{ ID_size }}\\n"
        dest: "{{ page }}"
        mode: "0644"

    - name: Say what was said
      ansible.builtin.debug:
        msg: "{{ said | default('nothing') }}"

    - name: Wait for leave to go on
      ansible.builtin.wait_for:
        path: "{{ leave }}"
        timeout: 120
        sleep: 1
"""
VERIFY = """---
- name: Read the page
  hosts: all
  gather_facts: false
  tasks:
    - name: Look for the words
      ansible.builtin.command:
        argv: [grep, -q, "{{ ID_words }}", "{{ page }}"]
      changed_when: false
"""
META = """---
short_description: Write the page
description: Writes what the page says on each host.
argument_specs:
  ID:
    short_description: Write the page
    options:
      ID_words: {type: str, required: true, pattern: '[a-z ]{1,32}', description: What it says., from: labels.words}
      ID_size: {type: int, choices: [1, 2, 3], default: 3, description: How large.}
    examples: |
      ID_words: open
    catalogue:
      kind: remediation
      use_when:
        - A test says so.
      matchers:
        - ['alertname="ALERT"', 'words=~".+"']
      targets: {from: labels.instance, groups: [shops], max_hosts: 3}
      risk: RISK
      reversible: false
      check_mode: full
      timeout_s: 120
      cooldown_s: 0
      verify: {playbook: verify.yml, promql: [], settle_s: 0, within_s: 60}
      order: 100
"""
ENTRIES = {"write_page": ("PageStale", "medium"), "rebuild_page": ("PageGone", "high")}


class Workshop:
    """The server, its hosts' folders and its people: olga and mia approve, vic looks on.

    Args:
        folder: an empty folder.
        said: outside text that the plays print.
        settings: further settings, as environment variables without their prefix.
    """

    def __init__(self, folder: Path, said: str = "nothing", **settings: str) -> None:
        self.folder = folder
        for entry, (alert, risk) in ENTRIES.items():
            for name, text in (("playbook.yml", PLAYBOOK), ("verify.yml", VERIFY), ("playbook.meta.yml", META)):
                filled = text.replace("ID", entry).replace("ALERT", alert).replace("RISK", risk)
                self._write(f"playbooks/{entry}/{name}", filled)
        (folder / "roles").mkdir()
        listed = "".join(f"        {name}: {{page: {json.dumps(str(self.page(name)))}}}\n" for name in HOSTS)
        shared = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "leave": str(folder / "leave")}
        told = "".join(f"    {name}: {json.dumps(value)}\n" for name, value in shared.items()) + f"    said: !unsafe {json.dumps(said)}\n"
        self._write("inventory/hosts.yml", f"all:\n  vars:\n{told}  children:\n    shops:\n      hosts:\n{listed}")
        base = {
            "CATALOGUE__PATH": str(folder / "playbooks"),
            "CATALOGUE__ROLES": str(folder / "roles"),
            "INVENTORY__PATHS": str(folder / "inventory" / "hosts.yml"),
            "DECISION__ENGINE": "matchers",
            "CONTEXT__FROM_HOSTS": "false",
            "LOGS__FROM_HOSTS": "false",
            **settings,
        }
        self.server = Server(folder, {f"ORCHESTRATOR_{name}": value for name, value in base.items()})

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def page(self, host: str) -> Path:
        """Return the file that stands for a host's page."""
        return self.folder / f"{host}.txt"

    def __enter__(self) -> Self:
        program = build(load(None, self.server.environment))
        try:
            for name, role in PEOPLE.items():
                program.create_user(name, PASSWORD, role)
        finally:
            program.stop()
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        (self.folder / "leave").touch()  # a play that still waits ends by itself
        self.server.stop()

    def ask(self, *hosts: str, entry: str = "write_page", words: str = "open") -> dict[str, Any]:
        """Propose a run as the admin; return the question once it waits for a person."""
        (self.folder / "leave").unlink(missing_ok=True)
        body = {"entry": entry, "hosts": list(hosts or HOSTS), "parameters": {f"{entry}_words": words}, "reason": "the page is stale"}
        answer = self.server.call("POST", "/api/v1/runs", json=body)
        assert answer.status_code == 201, answer.text
        incident = self.server.reaches(answer.json()["id"], "awaiting_approval")
        return dict(self.server.get(f"/api/v1/approvals/{incident['approval']}"))

    def go_on(self) -> None:
        """Let waiting plays go on."""
        (self.folder / "leave").touch()
