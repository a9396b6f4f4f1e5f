"""Everything that can be said about a catalogue without touching a host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalogue.ansible import ansible_lint_findings, syntax_findings, yamllint_findings
from orchestrator.catalogue.cases import entry_tests
from orchestrator.catalogue.files import line_of, read_yaml
from orchestrator.catalogue.finding import Finding
from orchestrator.catalogue.loader import META, Loaded, load_folders
from orchestrator.catalogue.overlap import overlapping
from orchestrator.catalogue.plays import Shelf, read_play
from orchestrator.catalogue.playtest import FOLDER, play_tests
from orchestrator.catalogue.readonly import MODULES
from orchestrator.catalogue.rolespecs import spec_problems
from orchestrator.catalogue.tasks import Task
from orchestrator.errors import CatalogueError
from orchestrator.matcher import parse
from orchestrator.model import Entry, EntryKind


@dataclass(frozen=True, slots=True)
class _AlertRule:
    """What a rule file says of one alert: the labels that are the same each time."""

    labels: Mapping[str, str]
    templated: frozenset[str]


def lint(path: Path, roles: Path, rules: Sequence[Path] = (), *, syntax: bool = True, style: bool = False) -> list[Finding]:
    """Return everything that is wrong or doubtful in a catalogue.

    Args:
        path: the folder of entries.
        roles: the folder of roles.
        rules: Prometheus rule files; a line of matchers that no rule of theirs can fit is doubtful.
        syntax: let Ansible itself read every playbook (half a second).
        style: also run yamllint, and ansible-lint with its production profile (several seconds).

    Returns:
        Findings by file and line; empty where all is well.

    Raises:
        CatalogueError: `path` is no folder.
    """
    found = load_folders(path, roles)
    findings = [_finding(problem) for one in found for problem in one.problems]
    entries = {one.id: one.entry for one in found if one.entry is not None}
    for entry in entries.values():
        findings += _entry_findings(entry, roles, {one.id for one in found})
    findings += _overlaps(list(entries.values()))
    if syntax:
        findings += syntax_findings([file for one in found for file in _playbooks(one)], roles)
    if rules:
        findings += _unmatched(entries.values(), rules)
    if style:
        findings += yamllint_findings(path, roles) + ansible_lint_findings(path, roles)
    return sorted(dict.fromkeys(findings), key=lambda finding: (finding.file, finding.line, finding.field, finding.problem))


_LINE = re.compile(r"line (\d+): ")


def _finding(problem: CatalogueError, level: str = "error", rule: str = "entry") -> Finding:
    said = _LINE.search(problem.problem)
    line = int(said[1]) if said and not problem.field else line_of(Path(problem.file), problem.field)
    return Finding(problem.file, line, problem.field, problem.problem, problem.mend, level, rule)


def _playbooks(one: Loaded) -> list[Path]:
    """Return an entry's playbooks; those of a broken entry as far as they have their usual names."""
    names = ["playbook.yml", "verify.yml", "undo.yml"]
    if one.entry is not None:
        names += [one.entry.verify.playbook if one.entry.verify else "", one.entry.undo]
    return [one.folder / name for name in dict.fromkeys(names) if name and (one.folder / name).is_file()]


def _entry_findings(entry: Entry, roles: Path, known: set[str]) -> Iterator[Finding]:
    """Yield what is doubtful in an entry that loads."""
    meta = Path(entry.folder) / META
    where = f"argument_specs.{entry.id}.catalogue"
    acting = entry.kind is EntryKind.REMEDIATION
    if acting and not entry.never_when:
        problem = CatalogueError(str(meta), f"{where}.never_when", "a remediation without never_when.", "say when it must not run.")
        yield _finding(problem, "warning", "never-when")
    for name in entry.diagnostics:
        if name not in known:
            yield _finding(CatalogueError(str(meta), f"{where}.diagnostics", f"there is no entry {name!r}.", "add it, or mend its name."))
    play = read_play(Path(entry.folder) / "playbook.yml")
    if play.data.get("tasks"):
        problem = CatalogueError(str(play.file), "0.tasks", "a playbook with tasks of its own.", "move them to a role.")
        yield _finding(problem, "warning")
    for task in _acting_tasks(entry, roles):
        yield from _forced_change(task)
    yield from (_finding(problem, "warning", "argument-spec") for problem in spec_problems(entry, roles))
    yield from _test_findings(entry)


def _acting_tasks(entry: Entry, roles: Path) -> Iterator[Task]:
    """Yield every task of the playbook and the undo, and of all roles they use."""
    shelf = Shelf(roles)
    plays = [read_play(Path(entry.folder) / name) for name in ("playbook.yml", entry.undo) if name]
    used = {role.name: role for play in plays for role in shelf.closure(play.roles).values()}
    for play in plays:
        yield from play.tasks
    for role in used.values():
        yield from role.all_tasks


def _forced_change(task: Task) -> Iterator[Finding]:
    """Yield a finding where an acting task says by itself whether it changed something."""
    forced = task.keywords.get("changed_when")
    acting = task.module not in MODULES or (task.module == "command" and forced is True)
    if acting and isinstance(forced, bool):
        problem = f"changed_when: {str(forced).lower()} on {task.module}, which acts."
        mend = "let the module tell, or look at its result: a second run must change nothing."
        yield _finding(CatalogueError(str(task.file), f"{task.field}.changed_when", problem, mend), rule="changed-when")


def _test_findings(entry: Entry) -> Iterator[Finding]:
    """Yield what is wrong with an entry's own tests."""
    try:
        tests, plays = entry_tests(entry), play_tests(entry)
    except CatalogueError as exc:
        yield _finding(exc, rule="tests")
        return
    if not tests:
        yield _finding(CatalogueError(f"{entry.folder}/tests", "", "the entry has no tests.", "add tests/alerts.yml."), "warning", "tests")
    elif entry.matchers and not any(test.entry != entry.id for test in tests):
        problem = CatalogueError(tests[0].file, "", "no test says when the entry is not chosen.", "add one with entry: none.")
        yield _finding(problem, "warning", "tests")
    if entry.kind is EntryKind.REMEDIATION and not plays:
        problem = CatalogueError(f"{entry.folder}/{FOLDER}", "", "the entry has no play test.", "add one; see the reference of play tests.")
        yield _finding(problem, "note", "play-tests")


def _overlaps(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield a note for each two entries of one kind that could fit one alert, though their order says which goes first."""
    for position, entry in enumerate(entries):
        for other in entries[:position]:
            lines = overlapping(other, entry) if other.kind is entry.kind and other.order != entry.order else None
            if lines is None or not all(any(parse(text).name == "alertname" for text in line) for line in lines):
                continue  # a line on the rule's expression alone could meet any other; there is nothing to see
            first = min(entry, other, key=lambda one: one.order)
            problem = (
                f"{list(lines[1])} and {list(lines[0])} of {other.id} could fit one alert; {first.id} goes first (order {first.order})."
            )
            where = f"argument_specs.{entry.id}.catalogue.matchers"
            yield _finding(CatalogueError(f"{entry.folder}/{META}", where, problem, "see whether that is meant."), "note", "overlap")


def _unmatched(entries: Iterable[Entry], files: Sequence[Path]) -> Iterator[Finding]:
    """Yield a finding for each rule file that cannot be read and each line of matchers that fits no rule."""
    rules: list[_AlertRule] = []
    for file in files:
        try:
            rules += _rules_in(file)
        except CatalogueError as exc:
            yield _finding(exc, rule="rules")
    for entry in entries:
        for position, line in enumerate(entry.matchers):
            if any(_could_fit(rule, line) for rule in rules):
                continue
            where = f"argument_specs.{entry.id}.catalogue.matchers.{position}"
            problem = CatalogueError(f"{entry.folder}/{META}", where, f"{list(line)} fits no alert of the rules.", "mend the names.")
            yield _finding(problem, "warning", "matchers")


def _rules_in(file: Path) -> Iterator[_AlertRule]:
    """Yield the alerting rules of a Prometheus rule file.

    Raises:
        CatalogueError: it cannot be read or is no rule file.
    """
    data = read_yaml(file)
    groups = data.get("groups") if isinstance(data, Mapping) else None
    if not isinstance(groups, list):
        raise CatalogueError(str(file), "groups", "this is no Prometheus rule file.", "name a file with groups: and rules:.")
    for group in groups:
        for rule in (group.get("rules") or ()) if isinstance(group, Mapping) else ():
            if isinstance(rule, Mapping) and isinstance(rule.get("alert"), str):
                labels = {str(name): str(value) for name, value in (rule.get("labels") or {}).items()}
                templated = frozenset(name for name, value in labels.items() if "{{" in value)
                yield _AlertRule({**labels, "alertname": rule["alert"]}, templated)


def _could_fit(rule: _AlertRule, line: Sequence[str]) -> bool:
    """Return whether an alert of the rule could fit a line; labels from the expression are not known and count as fitting."""
    known = {name: value for name, value in rule.labels.items() if name not in rule.templated}
    return all(one.name not in known or one.matches(known) for one in map(parse, line))
