"""Findings for other programs: SARIF by its schema, GitHub's commands on one line each; and what lint says besides."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import jsonschema
import pytest

from orchestrator.catalogue import Finding, Sketch, lint, meta_schema, scaffold
from orchestrator.catalogue.telling import github, sarif

FIXTURES = Path(__file__).parents[2] / "fixtures"
FINDINGS = [
    Finding("playbooks/a/playbook.meta.yml", 7, "argument_specs.a.catalogue.risk", "'huge' is no risk.", "write low.", "error", "entry"),
    Finding("/elsewhere/b.yml", 0, "", "50% is\nlost, or: more.", "look.", "warning", "yamllint"),
    Finding("playbooks/a/tests/plays", 1, "", "no play test.", "add one.", "note", "play-tests"),
]


def test_sarif_is_what_the_standard_says():
    """Code-scanning tools read the log: it is valid by the schema of SARIF 2.1.0, with file, line, level and mend."""
    log = json.loads(json.dumps(sarif(FINDINGS, Path(), "1.2.3")))
    schema = json.loads(gzip.decompress((FIXTURES / "sarif-schema-2.1.0.json.gz").read_bytes()))
    jsonschema.validators.validator_for(schema)(schema).validate(log)
    first = log["runs"][0]["results"][0]
    place = first["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("playbooks/a/playbook.meta.yml", 7)
    assert (first["level"], first["message"]["text"]) == ("error", "'huge' is no risk. Mend: write low.")


def test_github_s_commands_stay_on_their_line():
    """No text of a finding ends the command or adds a property to it."""
    lines = github(FINDINGS, Path())
    assert lines[0].startswith("::error file=playbooks/a/playbook.meta.yml,line=7,title=argument_specs.a.catalogue.risk::'huge'")
    assert lines[1].endswith("::50%25 is%0Alost, or: more. Mend: look.")
    assert "line=1,title=yamllint" in lines[1]
    assert lines[2].startswith("::notice ")


@pytest.fixture
def fresh(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folders of a catalogue with one entry made by the scaffold."""
    path, roles = tmp_path / "playbooks", tmp_path / "roles"
    path.mkdir()
    roles.mkdir()
    scaffold(path, roles, Sketch("start_service", "Start one service", undo=True))
    return path, roles


def said(fresh, rule: str) -> list[str]:
    return [finding.problem for finding in lint(*fresh, syntax=False) if finding.rule == rule]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("type: str", "type: int", "int here and str in the entry"),
        ("start_service_name:", "start_service_title:", "the role asks for it"),
        ("start_service_name:", "start_service_title:", "no role of the playbook takes it"),
    ],
)
def test_role_and_entry_ask_for_the_same(fresh, old, new, words):
    """A role's argument specs and the entry's own must go together, or the run fails where the check did not."""
    assert said(fresh, "argument-spec") == []
    edit(fresh[1] / "start_service/meta/argument_specs.yml", old, new)
    assert any(words in problem for problem in said(fresh, "argument-spec"))


def test_an_undo_that_forces_changed_when_is_found(fresh):
    """The undo acts, too: its tasks may not say by themselves whether they changed something."""
    file = fresh[1] / "start_service/tasks/undo.yml"
    file.write_text(file.read_text() + "  changed_when: true\n")
    assert said(fresh, "changed-when") == ["changed_when: true on service, which acts."]


def test_a_play_test_that_is_none_is_an_error(fresh):
    """What is wrong in a play test is found before any host is made."""
    edit(fresh[0] / "start_service/tests/plays/repairs.yml", "about:", "abuot:")
    assert said(fresh, "tests")
    (fresh[0] / "start_service/tests/plays/repairs.yml").unlink()
    assert said(fresh, "play-tests") == ["the entry has no play test."]


def test_two_entries_for_one_alert_are_noted_with_their_order(fresh):
    """An overlap that the order decides is no error, but a person sees which goes first."""
    scaffold(*fresh, Sketch("wake_service", "Wake one service", alert="StartService"))
    edit(fresh[0] / "wake_service/playbook.meta.yml", "order: 1000", "order: 7")
    (problem,) = said(fresh, "overlap")
    assert "wake_service goes first (order 7)" in problem


def test_the_line_of_a_file_that_does_not_parse_is_named(fresh):
    """A person goes straight to the line, even where there is no field to name."""
    file = fresh[0] / "start_service/playbook.meta.yml"
    file.write_text(file.read_text() + "\t- x\n")
    (finding,) = [one for one in lint(*fresh, syntax=False) if one.file == str(file)]
    assert finding.line == len(file.read_text().splitlines())


def test_yamllint_s_findings_are_ours(fresh, monkeypatch):
    """Style is part of the linter's word, with file and line."""
    from orchestrator.catalogue.ansible import yamllint_findings

    assert yamllint_findings(*fresh) == []
    file = fresh[1] / "start_service/tasks/main.yml"
    file.write_text(file.read_text() + "\n\n\n\n")
    (finding,) = yamllint_findings(*fresh)
    assert (finding.file, finding.rule, finding.level) == (str(file), "yamllint", "error")


def test_the_schema_takes_every_shipped_entry_and_refuses_a_misspelt_key(repository: Path):
    """An editor that follows the schema refuses nothing that loads, and completes nothing that does not."""
    import yaml

    schema = meta_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    files = sorted((repository / "playbooks").glob("*/playbook.meta.yml"))
    assert len(files) > 5
    for file in files:
        assert [error.message for error in validator.iter_errors(yaml.safe_load(file.read_text()))] == [], file
    wrong = yaml.safe_load((repository / "playbooks/restart_service/playbook.meta.yml").read_text())
    wrong["argument_specs"]["restart_service"]["catalogue"]["riks"] = "low"
    assert list(validator.iter_errors(wrong))
