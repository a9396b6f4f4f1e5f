"""A new entry to start from: playbooks, spec, role and tests that load as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import UsageError

_ID = re.compile(r"(?!ansible)[a-z][a-z0-9_]{1,63}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = re.compile("ID|TITLE|ALERT|LABEL|PATTERN")
_PATTERN = "[A-Za-z0-9][A-Za-z0-9@._-]{0,63}"

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
      targets: {from: labels.instance, groups: [recoverable], max_hosts: 1}
      risk: high
      reversible: false
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


def scaffold(path: Path, roles: Path, entry: str, *, title: str = "", service_label: str = "service") -> list[Path]:
    """Write a complete entry with its role and tests; it loads, lints clean and starts a service until it is changed.

    Args:
        path: the folder of entries.
        roles: the folder of roles.
        entry: the new entry's id, which is its role's name, too.
        title: what it does, in a few words; empty: made from the id.
        service_label: the alert's label that names the service.

    Returns:
        The files written.

    Raises:
        UsageError: the id or label cannot be used, or an entry or role of that name exists.
    """
    if not _ID.fullmatch(entry):
        raise UsageError(f"{entry!r} is no id. Mend: small letters, digits and _, a letter first; not ansible….")
    if not _LABEL.fullmatch(service_label):
        raise UsageError(f"{service_label!r} is no label's name. Mend: letters, digits and _.")
    for place in (path / entry, roles / entry):
        if place.exists():
            raise UsageError(f"{place} exists already. Mend: choose another id, or remove it.")
    words = " ".join(title.split()) or entry.replace("_", " ").capitalize()
    if words != _plain(words):
        raise UsageError(f"{title!r} is no title. Mend: start with a letter; letters, digits, spaces and , . ( ) - only.")
    return list(_write(path, roles, entry, words, service_label))


def _plain(words: str) -> str:
    """Return a title as far as it can stand in YAML and a template without quotes."""
    found = re.match(r"[A-Z][\w ,.()-]*", words)
    return found[0] if found else ""


def _write(path: Path, roles: Path, entry: str, title: str, label: str) -> Iterator[Path]:
    alert = "".join(part.capitalize() for part in entry.split("_"))
    values = {"ID": entry, "TITLE": title, "ALERT": alert, "LABEL": label, "PATTERN": _PATTERN}
    for name, text in _FILES.items():
        folder, _, rest = name.partition("/")
        file = (path if folder == "playbooks" else roles) / rest.replace("ID", entry)
        text = _MARK.sub(lambda mark: values[mark[0]], text)  # noqa: PLW2901 - the same text, filled in
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        yield file
