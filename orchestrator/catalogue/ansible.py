"""Ansible's own checks, each run as a process; nothing of Ansible is imported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.catalogue.finding import Finding

_TIMEOUT_S = 300.0
_ORIGIN = re.compile(r"Origin: (?P<file>/[^:\n]+):(?P<line>\d+)")
_YAMLLINT = """{extends: default, rules: {line-length: {max: 160}, document-start: disable, comments: {min-spaces-from-content: 1},
comments-indentation: false, braces: {max-spaces-inside: 1}, truthy: {allowed-values: ["true", "false"], check-keys: false},
octal-values: {forbid-implicit-octal: true, forbid-explicit-octal: true}}}"""
_YAMLLINT_LINE = re.compile(r"(?P<file>.+?):(?P<line>\d+):\d+: \[(?P<level>error|warning)\] (?P<words>.*?)(?: \((?P<rule>[a-z-]+)\))?")
_RED = re.compile(r"\[ERROR\]: (?P<words>.+)")


def syntax_findings(playbooks: Sequence[Path], roles: Path) -> list[Finding]:
    """Return a finding for each playbook that `ansible-playbook --syntax-check` refuses.

    Args:
        playbooks: the files.
        roles: the folder of roles.
    """
    if not playbooks or _syntax_error(playbooks, roles) is None:
        return []
    # One of them is at fault; Ansible stops at the first, so each is asked alone.
    errors = [(file, _syntax_error([file], roles)) for file in playbooks]
    return [_syntax_finding(file, error) for file, error in errors if error is not None]


def ansible_lint_findings(path: Path, roles: Path) -> list[Finding]:
    """Return what ansible-lint's production profile says, offline.

    Args:
        path: the folder of entries.
        roles: the folder of roles.
    """
    targets = [str(place.resolve()) for place in (path, roles) if place.is_dir()]
    # what lies in an entry's tests are alerts and tests of plays, no playbooks
    left_out = [word for place in sorted(path.resolve().glob("*/tests")) for word in ("--exclude", str(place))]
    arguments = ["--offline", "--profile", "production", "-f", "json", "-q", *left_out, *targets]
    done = _run("ansible-lint", arguments, path.resolve().parent, roles)
    if done is None:
        return [_not_run(path, "ansible-lint", "install ansible-lint into the same environment (extra: dev).")]
    try:
        issues = json.loads(done.stdout or "[]")
    except ValueError:
        return [_not_run(path, "ansible-lint", " ".join(done.stderr.split())[-300:])]
    return [_lint_finding(path.resolve().parent, issue) for issue in issues]


def yamllint_findings(path: Path, roles: Path) -> list[Finding]:
    """Return what yamllint says, by the `.yamllint` beside the folder of entries, else by rules that ansible-lint agrees with.

    Args:
        path: the folder of entries.
        roles: the folder of roles.
    """
    beside = path.resolve().parent / ".yamllint"
    config = ["-c", str(beside)] if beside.is_file() else ["-d", _YAMLLINT]
    targets = [str(place.resolve()) for place in (path, roles) if place.is_dir()]
    done = _run("yamllint", ["-f", "parsable", *config, *targets], path.resolve().parent, roles)
    if done is None or done.returncode not in (0, 1, 2):
        said = " ".join(done.stderr.split())[-300:] if done else "install yamllint into the same environment (extra: dev)."
        return [_not_run(path, "yamllint", said)]
    found = (_YAMLLINT_LINE.fullmatch(line) for line in done.stdout.splitlines())
    return [
        Finding(
            one["file"],
            int(one["line"]),
            "",
            f"yamllint: {one['words']}.",
            f"see yamllint's rule {one['rule'] or 'syntax'}.",
            one["level"],
            "yamllint",
        )
        for one in found
        if one
    ]


def _not_run(path: Path, program: str, mend: str) -> Finding:
    return Finding(str(path), 1, "", f"{program} could not be run.", mend)


def _lint_finding(root: Path, issue: Mapping[str, Any]) -> Finding:
    """Return one issue of ansible-lint's JSON (Code Climate's format)."""
    location = issue.get("location", {})
    lines = location.get("lines") or location.get("positions", {}).get("begin", {})
    begin = lines.get("begin", lines.get("line", 1))
    line = begin if isinstance(begin, int) else begin.get("line", 1)
    words = " ".join(str(issue.get("description", "")).split())
    body = " ".join(str((issue.get("content") or {}).get("body", "")).split())
    mend = f"{body} See {issue.get('url') or 'https://docs.ansible.com/projects/lint/rules/'}".strip()
    level = "warning" if issue.get("severity") in ("info", "minor") else "error"
    name = str(issue.get("check_name", "ansible-lint"))
    return Finding(str(root / location.get("path", "")), int(line), "", f"{name}: {words}.", mend, level, name)


def _syntax_finding(file: Path, error: str) -> Finding:
    origin, words = _ORIGIN.search(error), _RED.search(error)
    said = words["words"].strip() if words else " ".join(error.split())[-300:]
    place, line = (origin["file"], int(origin["line"])) if origin else (str(file), 1)
    return Finding(
        place, line, "", f"Ansible refuses it: {said}", "ansible-playbook --syntax-check shows the whole message.", rule="syntax"
    )


def _syntax_error(playbooks: Sequence[Path], roles: Path) -> str | None:
    """Return what Ansible complains about, or None where it accepts all of the playbooks."""
    arguments = ["--syntax-check", "-i", "localhost,", *(str(file.resolve()) for file in playbooks)]
    done = _run("ansible-playbook", arguments, playbooks[0].parent, roles)
    if done is None:
        return "[ERROR]: ansible-playbook could not be run."
    return None if done.returncode == 0 else f"{done.stderr}\n{done.stdout}"


def _run(program: str, arguments: Sequence[str], folder: Path, roles: Path) -> subprocess.CompletedProcess[str] | None:
    """Run one of Ansible's programs beside our interpreter; None where it cannot be run."""
    place = Path(sys.executable).absolute().parent
    environment = {
        "PATH": os.pathsep.join([str(place), os.environ.get("PATH", os.defpath)]),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "ANSIBLE_ROLES_PATH": str(roles.resolve()),
        "ANSIBLE_NOCOLOR": "true",
        "NO_COLOR": "1",
    }
    try:
        return subprocess.run(
            [str(place / program), *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
