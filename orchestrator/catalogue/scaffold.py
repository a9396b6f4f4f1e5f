"""A new entry to start from: playbooks, spec, role and tests that load as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalogue.spec_schema import SCHEMA_FILE, meta_schema
from orchestrator.errors import UsageError
from orchestrator.model import Risk

_ID = re.compile(r"(?!ansible)[a-z][a-z0-9_]{1,63}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MARK = re.compile("ID|TITLE|ALERT|LABEL|PATTERN|RISK|GROUP|REVERSIBLE|SCHEMA")
_PATTERN = "[A-Za-z0-9][A-Za-z0-9@._-]{0,63}"

_UNDO_FILES = {
    "playbooks/ID/undo.yml": r"""---
- name: Undo - TITLE
  hosts: all
  gather_facts: false
  pre_tasks:
    - name: Refuse a limit that is not literal host names
      ansible.builtin.assert:
        that:
          - ansible_limit is defined and ansible_limit is match('[A-Za-z0-9_.-]+(,[A-Za-z0-9_.-]+)*\Z')
          - ansible_limit.split(',') | difference(groups['all']) | length == 0
          - ansible_limit.split(',') | intersect(groups | list) | length == 0
        quiet: true
  tasks:
    - name: Take it back
      ansible.builtin.include_role:
        name: ID
        tasks_from: undo.yml
""",
    "roles/ID/tasks/undo.yml": """---
- name: Stop the service again
  ansible.builtin.service:
    name: "{{ ID_name }}"
    state: stopped
""",
}
_FILES = {
    "playbooks/ID/playbook.yml": r"""---
- name: TITLE
  hosts: all
  gather_facts: false
  vars_files: [playbook.meta.yml]
  pre_tasks:
    - name: Refuse a limit that is not literal host names
      ansible.builtin.assert:
        that:
          - ansible_limit is defined and ansible_limit is match('[A-Za-z0-9_.-]+(,[A-Za-z0-9_.-]+)*\Z')
          - ansible_limit.split(',') | difference(groups['all']) | length == 0
          - ansible_limit.split(',') | intersect(groups | list) | length == 0
        quiet: true

    - name: Check the parameters
      ansible.builtin.validate_argument_spec:
        argument_spec: "{{ argument_specs.ID.options }}"
  roles:
    - role: ID
""",
    "playbooks/ID/playbook.meta.yml": """---
# yaml-language-server: $schema=../SCHEMA
short_description: TITLE
description: Starts one service that is down; say here what the entry does.
argument_specs:
  ID:
    short_description: TITLE
    options:
      ID_name:
        type: str
        required: true
        pattern: 'PATTERN'
        description: The service, as its manager knows it.
        from: labels.LABEL
        allow_list: recoverable_services
    examples: |
      ID_name: nginx
    catalogue:
      kind: remediation
      use_when:
        - The service's process is down and the host itself answers.
      never_when:
        - The service was stopped on purpose.
      matchers:
        - ['alertname="ALERT"', 'LABEL=~".+"']
      targets: {from: labels.instance, groups: [GROUP], max_hosts: 1}
      risk: RISK
      REVERSIBLE
      check_mode: full
      timeout_s: 120
      cooldown_s: 300
      verify: {playbook: verify.yml, promql: [], settle_s: 2, within_s: 60}
      order: 1000
""",
    "playbooks/ID/verify.yml": """---
- name: Verify that the service runs
  hosts: all
  gather_facts: false
  tasks:
    - name: Look at the service
      ansible.builtin.include_role:
        name: ID
        tasks_from: health.yml

    - name: Make sure it runs
      ansible.builtin.assert:
        that: ID_running
        fail_msg: "{{ ID_name }} does not run"
""",
    "playbooks/ID/tests/alerts.yml": """---
- name: the alert this entry is for
  alert:
    labels: {alertname: ALERT, instance: "web1:9100", LABEL: nginx, severity: critical}
    annotations: {summary: nginx on web1 is down}
  expect: {entry: ID, hosts: [web1], parameters: {ID_name: nginx}}
- name: without the label nothing can be started
  alert:
    labels: {alertname: ALERT, instance: "web1:9100", severity: critical}
    annotations: {}
  expect: {entry: none, hosts: [], parameters: {}}
""",
    "playbooks/ID/tests/plays/repairs.yml": """---
about: A service that is down is started, once.
host: user  # a plain user's folder and supervisor; root: a machine of its own with sshd and services, needs root
packages: []
inventory:
  recoverable_services: [nginx]
parameters: {ID_name: nginx}
prepare:
  - name: Break what this entry repairs
    ansible.builtin.fail:
      msg: >-
        Write tasks here that install and start the real software on this throw-away host and break it as the alert says; see
        docs/reference/play-tests.md. Then run: orchestrator catalogue test ID
""",
    "roles/ID/README.md": """# ID

TITLE. Refuses a service that the host does not list in `recoverable_services`, leaves a running one alone.

| variable | meaning |
|---|---|
| `ID_name` | The service, as its manager knows it. |
""",
    "roles/ID/meta/main.yml": """---
galaxy_info:
  author: the catalogue's owners
  description: TITLE
  license: Apache-2.0
  min_ansible_version: "2.19"
dependencies: []
""",
    "roles/ID/meta/argument_specs.yml": """---
argument_specs:
  main:
    short_description: TITLE
    options:
      ID_name:
        type: str
        required: true
        description: The service, as its manager knows it.
""",
    "roles/ID/tasks/main.yml": """---
- name: Refuse a service this host does not list
  ansible.builtin.assert:
    that: ID_name in recoverable_services | default([])
    fail_msg: "'{{ ID_name }}' is not in recoverable_services of {{ inventory_hostname }}"
    quiet: true

- name: Look before acting
  ansible.builtin.include_tasks: health.yml

- name: Start the service
  ansible.builtin.service:
    name: "{{ ID_name }}"
    state: started
  when: not ID_running
""",
    "roles/ID/tasks/health.yml": """---
- name: Ask the service managers
  ansible.builtin.service_facts:

- name: Judge the service
  ansible.builtin.set_fact:
    ID_running: >-
      {{ services | dict2items | selectattr('key', 'in', [ID_name, ID_name ~ '.service'])
      | selectattr('value.state', 'equalto', 'running') | list | length > 0 }}
""",
}


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is known of a new entry before it is written."""

    entry: str
    """Its id, which is its role's name, too."""
    title: str = ""
    """What it does, in a few words; empty: made from the id."""
    alert: str = ""
    """The alert it is for; empty: made from the id."""
    service_label: str = "service"
    """The alert's label that names the service."""
    risk: Risk = Risk.HIGH
    group: str = "recoverable"
    """The inventory group it acts on."""
    undo: bool = False
    """Whether it can be taken back."""


def scaffold(path: Path, roles: Path, sketch: Sketch) -> list[Path]:
    """Write a complete entry with its role and tests; it loads, lints clean and starts a service until it is changed.

    Its play test fails until somebody writes how to break what it repairs.

    Args:
        path: the folder of entries; the schema for editors is written beside them.
        roles: the folder of roles.
        sketch: what is known of it.

    Returns:
        The files written.

    Raises:
        UsageError: something in the sketch cannot be used, or an entry or role of that name exists.
    """
    words = _checked(sketch)
    for place in (path / sketch.entry, roles / sketch.entry):
        if place.exists():
            raise UsageError(f"{place} exists already. Mend: choose another id, or remove it.")
    return list(_write(path, roles, sketch, words))


def _checked(sketch: Sketch) -> str:
    """Return the title, once everything is known to be usable.

    Raises:
        UsageError: it is not; says what.
    """
    if not _ID.fullmatch(sketch.entry):
        raise UsageError(f"{sketch.entry!r} is no id. Mend: small letters, digits and _, a letter first; not ansible….")
    for label in (sketch.service_label, sketch.alert or "Alert"):
        if not _LABEL.fullmatch(label):
            raise UsageError(f"{label!r} is no name of a label or an alert. Mend: letters, digits and _.")
    if not _GROUP.fullmatch(sketch.group):
        raise UsageError(f"{sketch.group!r} is no group. Mend: name a group of the inventory.")
    words = " ".join(sketch.title.split()) or sketch.entry.replace("_", " ").capitalize()
    if words != _plain(words):
        raise UsageError(f"{sketch.title!r} is no title. Mend: start with a capital; letters, digits, spaces and , . ( ) - only.")
    return words


def _plain(words: str) -> str:
    """Return a title as far as it can stand in YAML and a template without quotes."""
    found = re.match(r"[A-Z][\w ,.()-]*", words)
    return found[0] if found else ""


def _write(path: Path, roles: Path, sketch: Sketch, title: str) -> Iterator[Path]:
    undo = "reversible: true\n      undo: undo.yml\n      undo_policy: offer" if sketch.undo else "reversible: false"
    values = {
        "ID": sketch.entry,
        "TITLE": title,
        "ALERT": sketch.alert or "".join(part.capitalize() for part in sketch.entry.split("_")),
        "LABEL": sketch.service_label,
        "PATTERN": _PATTERN,
        "RISK": sketch.risk,
        "GROUP": sketch.group,
        "REVERSIBLE": undo,
        "SCHEMA": SCHEMA_FILE,
    }
    for name, text in {**_FILES, **(_UNDO_FILES if sketch.undo else {})}.items():
        folder, _, rest = name.partition("/")
        file = (path if folder == "playbooks" else roles) / rest.replace("ID", sketch.entry)
        text = _MARK.sub(lambda mark: values[mark[0]], text)  # noqa: PLW2901 - the same text, filled in
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        yield file
    schema, wanted = path / SCHEMA_FILE, json.dumps(meta_schema(), indent=1) + "\n"
    if not schema.exists() or schema.read_text(encoding="utf-8") != wanted:
        schema.write_text(wanted, encoding="utf-8")
        yield schema
