"""The play tests of the shipped entries, as cases for pytest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.catalogue import PlayTest, load, play_tests
from orchestrator.model import Entry
from orchestrator.trial import Trials

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """One play test and its entry."""

    test: PlayTest
    entry: Entry

    def __str__(self) -> str:
        return f"{self.entry.id}-{self.test.name}"


def shipped_play_tests() -> list[Case]:
    """Return the play tests of every shipped entry, or with ORCHESTRATOR_PLAYS=one the first of each; a broken entry is another test's business."""
    found = load(REPOSITORY / "playbooks", REPOSITORY / "roles")
    most = 1 if os.environ.get("ORCHESTRATOR_PLAYS") == "one" else None
    return [Case(test, entry) for entry in found.entries.values() for test in play_tests(entry)[:most]]


def carry_out(case: Case) -> None:
    """Carry out one play test, or skip it by name.

    Raises:
        AssertionError: a step went wrong; says which, and where.
    """
    trial = Trials(REPOSITORY / "roles", REPOSITORY / "ansible.cfg").carry_out(case.test, case.entry)
    if trial.skipped:
        pytest.skip(trial.skipped)
    wrong = [f"{step.name}: expected {step.expected}, got {step.got}\n{step.detail}" for step in trial.steps if not step.ok]
    assert not wrong, "\n".join(wrong)
    assert [step for step in trial.steps if step.name in ("apply", "verify after")]
