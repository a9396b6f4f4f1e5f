"""Lint names file, line and mend; a new entry starts without a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalogue import Finding, Sketch, entry_tests, lint, load, scaffold
from orchestrator.errors import CatalogueError, UsageError

RULES = """
groups:
  - name: services
    rules:
      - {record: x, expr: y}
      - {alert: ServiceDown, expr: up == 0, labels: {severity: critical, service: "{{ $labels.job }}"}}
      - {alert: DiskFull, expr: y, labels: {severity: warning, service: ""}}
"""


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folders of a catalogue with one entry made by the scaffold."""
    path, roles = tmp_path / "playbooks", tmp_path / "roles"
    path.mkdir()
    roles.mkdir()
    scaffold(path, roles, Sketch("start_service", "Start one service", service_label="name"))
    return path, roles


def about(findings: list[Finding], words: str) -> list[Finding]:
    return [finding for finding in findings if words in f"{finding.field} {finding.problem}"]


def test_a_new_entry_loads_lints_clean_and_has_tests(fresh):
    """Whoever starts an entry starts from one that is whole."""
    path, roles = fresh
    catalogue = load(path, roles)
    assert catalogue.broken == ()
    entry = catalogue.entries["start_service"]
    assert entry.title == "Start one service"
    assert entry.parameters[0].sources == ("labels.name",)
    tests = entry_tests(entry)
    assert [(test.entry, test.hosts, test.parameters) for test in tests] == [
        ("start_service", ("web1",), {"start_service_name": "nginx"}),
        ("", (), {}),
    ]
    assert lint(path, roles, syntax=False) == []


def test_load_problems_carry_their_line(fresh):
    """A person goes straight to the line."""
    path, roles = fresh
    file = path / "start_service" / "playbook.meta.yml"
    text = file.read_text(encoding="utf-8").replace("risk: high", "risk: huge")
    file.write_text(text, encoding="utf-8")
    found = about(lint(path, roles, syntax=False), "catalogue.risk")
    assert [(finding.level, finding.line) for finding in found] == [("error", text.splitlines().index("      risk: huge") + 1)]
    assert "Mend:" in str(found[0])


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("ansible.builtin.service: {name: x, state: restarted}\n  changed_when: true", 1),
        ("ansible.builtin.service: {name: x, state: restarted}\n  changed_when: false", 1),
        ("ansible.builtin.command: {argv: [restart-it]}\n  changed_when: true", 1),
        ("ansible.builtin.command: {argv: [look-at-it]}\n  changed_when: false", 0),
        ("ansible.builtin.command: {argv: [restart-it]}\n  changed_when: result.stdout != ''\n  register: result", 0),
        ("ansible.builtin.debug: {msg: x}\n  changed_when: true", 0),
    ],
)
def test_an_acting_task_never_forces_changed_when(fresh, task, expected):
    """Whether a second run changes nothing could else not be told."""
    path, roles = fresh
    file = roles / "start_service" / "tasks" / "main.yml"
    file.write_text(f"---\n- name: Act\n  {task}\n", encoding="utf-8")
    assert len(about(lint(path, roles, syntax=False), "changed_when:")) == expected


def test_doubtful_entries_are_warned_about(shop):
    """A remediation says when it must not run, and its diagnostics exist."""
    shop.change(lambda meta, spec: spec["catalogue"].pop("never_when"))
    found = lint(shop.path, shop.roles, syntax=False)
    assert [finding.level for finding in about(found, "never_when")] == ["warning"]
    assert [finding.level for finding in about(found, "no entry 'host_state'")] == ["error"]
    assert about(found, "no tests")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["alertname=ServiceDown"], 0),
        (["alertname=ServiceDown", 'service=~".+"'], 0),
        (["alertname=ServiceDown", "severity=warning"], 1),
        (['alertname=~"Disk.*"', 'service=""'], 0),
        (['alertname=~"Disk.*"', "service=x"], 1),
        (["alertname=ServiceDwon"], 1),
        (["alertname=ServiceDown", "instance=x"], 0),
    ],
)
def test_matchers_that_fit_no_rule_are_named(shop, line, expected):
    """A misspelt alert name would never fire."""
    rules = shop.write(shop.path.parent / "rules.yml", RULES)
    shop.change(lambda meta, spec: spec["catalogue"].update(matchers=[line]))
    assert len(about(lint(shop.path, shop.roles, [rules], syntax=False), "fits no alert")) == expected


def test_a_rule_file_that_is_none_is_an_error(shop):
    """Silence would look like agreement."""
    assert about(lint(shop.path, shop.roles, [shop.write(shop.path.parent / "x.yml", "a: 1")], syntax=False), "no Prometheus rule file")


@pytest.mark.parametrize("entry", ["", "Upper", "with-dash", "ansible_x", "../x", "a b", "x\n"])
def test_a_scaffold_refuses_what_is_no_id(tmp_path, entry):
    """Nothing is written outside the two folders."""
    with pytest.raises(UsageError):
        scaffold(tmp_path / "p", tmp_path / "r", Sketch(entry))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "keys",
    [
        {"title": "{{ x }}"},
        {"alert": "a b"},
        {"group": "all:!x"},
        {"title": "A: b"},
        {"title": "'x"},
        {"service_label": "a-b"},
        {"service_label": '"'},
    ],
)
def test_a_scaffold_refuses_text_that_would_not_stand_as_text(tmp_path, keys):
    """A title or label cannot write YAML or templates."""
    with pytest.raises(UsageError):
        scaffold(tmp_path / "p", tmp_path / "r", Sketch("start_service", **keys))


def test_a_scaffold_never_overwrites(fresh):
    """What exists is someone's work."""
    with pytest.raises(UsageError, match="exists already"):
        scaffold(*fresh, Sketch("start_service"))


@pytest.mark.parametrize(
    "text",
    [
        "a: 1",
        "- name: x",
        "- {name: x, alert: {labels: {}}, expect: {entry: none}, more: 1}",
        "- {name: x, alert: {labels: {a: 1}}, expect: {entry: none}}",
    ],
)
def test_an_entry_s_test_that_is_none_is_refused(shop, text):
    """A test that cannot be read never counts as passed."""
    shop.write(shop.entry / "tests" / "a.yml", text)
    entry = shop.load().entries["restart_service"]
    with pytest.raises(CatalogueError, match=r"a\.yml"):
        entry_tests(entry)
    assert about(lint(shop.path, shop.roles, syntax=False), "")


def test_an_entry_s_test_may_bring_the_rule(shop):
    """The rule's own template is what matchers may also look at."""
    shop.write(
        shop.entry / "tests" / "a.yml",
        """
        - name: with a rule
          alert: {labels: {alertname: ServiceDown}}
          rule: {expr: up == 0, annotations: {summary: "{{ $labels.x }}"}}
          expect: {entry: restart_service}
        """,
    )
    (test,) = entry_tests(shop.load().entries["restart_service"])
    assert (test.rule.name, test.rule.expr, test.rule.annotations) == ("ServiceDown", "up == 0", {"summary": "{{ $labels.x }}"})
    assert (test.hosts, test.parameters) == (None, None)
