"""Findings as other programs read them: SARIF for code scanning, workflow commands for GitHub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.catalogue.finding import Finding

_LEVELS = {"error": "error", "warning": "warning", "note": "note"}
_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def sarif(findings: Sequence[Finding], root: Path, version: str) -> dict[str, Any]:
    """Return a SARIF log of one run.

    Args:
        findings: what the linter says.
        root: file names are written relative to it where they lie below.
        version: of this program.

    Source: OASIS, Static Analysis Results Interchange Format (SARIF) 2.1.0.
    """
    rules = sorted({finding.rule for finding in findings})
    driver = {
        "name": "orchestrator catalogue lint",
        "semanticVersion": version,
        "rules": [{"id": rule, "shortDescription": {"text": rule.replace("-", " ")}} for rule in rules],
    }
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_result(finding, rules, root) for finding in findings]}],
    }


def _result(finding: Finding, rules: Sequence[str], root: Path) -> dict[str, Any]:
    where: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": _place(finding, root)}, "region": {"startLine": max(finding.line, 1)}},
    }
    if finding.field:
        where["logicalLocations"] = [{"fullyQualifiedName": finding.field}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": _LEVELS[finding.level],
        "message": {"text": f"{finding.problem} Mend: {finding.mend}"},
        "locations": [where],
    }


def _place(finding: Finding, root: Path) -> str:
    path, base = Path(finding.file).resolve(), root.resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_uri()


def github(findings: Iterable[Finding], root: Path) -> list[str]:
    """Return one workflow command per finding, which GitHub shows beside the line.

    Source: GitHub Actions, workflow commands: `::error file=…,line=…,title=…::message`.
    """
    lines = []
    for finding in findings:
        place = {"file": _place(finding, root), "line": str(max(finding.line, 1)), "title": finding.field or finding.rule}
        given = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in place.items())
        lines.append(f"::{_COMMANDS[finding.level]} {given}::{_escaped(f'{finding.problem} Mend: {finding.mend}')}")
    return lines


def _escaped(text: str, more: str = "") -> str:
    """Return a text in which nothing ends the command or one of its properties."""
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
