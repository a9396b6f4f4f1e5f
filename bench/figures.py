"""One line of the table, and the arithmetic behind it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of the table; `ratio` is value / baseline."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    n: int = 0
    note: str = ""


def figure(name: str, value: float, unit: str, baseline: float | None = None, n: int = 0, note: str = "") -> Figure:
    """Return a line with its ratio."""
    ratio = round(value / baseline, 3) if baseline else None
    return Figure(name, round(value, 3), unit, round(baseline, 3) if baseline else None, ratio, n, note)


def percentile(values: list[float], share: float) -> float:
    """Return the value that this share of all is not above."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
