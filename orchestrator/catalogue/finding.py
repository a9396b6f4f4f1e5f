"""One remark of the linter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong or doubtful in the catalogue."""

    file: str
    line: int
    """Counted from 1."""
    field: str
    """Dotted path inside the file; empty for the whole file."""
    problem: str
    mend: str
    level: str = "error"
    """`error`, `warning` or `note`."""
    rule: str = "catalogue"
    """Which check says so: `entry`, `matchers`, `tests`, `syntax`, `yamllint`, ansible-lint's own names, …"""

    def __str__(self) -> str:
        where = f" {self.field}:" if self.field else ""
        return f"{self.file}:{self.line}: {self.level}:{where} {self.problem} Mend: {self.mend}"
