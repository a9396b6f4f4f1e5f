"""Lists that stay readable in a storm: many incidents of one alert are told as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.model import IncidentSummary, Status
from orchestrator.web import words

CALM = 8
"""Incidents up to which a list shows each by itself."""
MANY = 3
"""From how many on incidents of one alert are told as one."""
_WORST = ("bad", "ask", "work", "good", "idle")


@dataclass(frozen=True, slots=True)
class Lot:
    """One line of a list: an incident, or all those of one alert."""

    name: str
    items: tuple[IncidentSummary, ...]

    @property
    def key(self) -> str:
        """What tells it from the others of a list."""
        return self.name or "unnamed"

    @property
    def statuses(self) -> list[tuple[Status, int]]:
        """How many stand where, the most first."""
        return Counter(one.status for one in self.items).most_common()

    @property
    def targets(self) -> list[str]:
        """The machines it is about, each once."""
        return list(dict.fromkeys(one.target for one in self.items if one.target))

    @property
    def newest(self) -> datetime:
        """When the latest of them changed."""
        return max(one.updated_at for one in self.items)

    @property
    def tone(self) -> str:
        """The tone of the worst of them."""
        return min((words.TONES.get(one.status, "idle") for one in self.items), key=_WORST.index)


def lots(items: Sequence[IncidentSummary]) -> list[Lot]:
    """Return incidents line by line in their order; where there are many, those of one alert stand together where its first stood."""
    counts = Counter(one.alertname for one in items)
    together = {name for name, number in counts.items() if number >= MANY} if len(items) > CALM else set()
    found: dict[str, list[IncidentSummary]] = {}
    for one in items:
        found.setdefault(f"alert:{one.alertname}" if one.alertname in together else f"incident:{one.id}", []).append(one)
    return [Lot(group[0].alertname, tuple(group)) for group in found.values()]
