"""What becomes of a play test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trial."""

    name: str
    expected: str
    got: str
    ok: bool
    took_s: float
    detail: str = ""
    """Where it went wrong: file, task, host and what was said."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one play test."""

    file: str
    entry: str
    name: str
    about: str
    skipped: str = ""
    """Why it could not be carried out here; empty where it was."""
    steps: tuple[Step, ...] = ()
    took_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no step went wrong."""
        return all(step.ok for step in self.steps)
