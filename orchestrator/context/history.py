"""What happened before: earlier incidents of the same alert or target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.model import Alert, Evidence, Host, IncidentSummary, Rule

_MAX_INCIDENTS = 20


@dataclass(frozen=True)
class History:
    """Earlier incidents as a source.

    Args:
        past: returns earlier incidents that matter for an alert, newest first.
        name: prefix of ids.
    """

    past: Callable[[Alert], list[IncidentSummary]]
    name: str = "hist"

    def collect(self, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> list[Evidence]:  # noqa: ARG002 - one door for all sources
        """Return one piece that lists the earlier incidents, and says so where there are none."""
        incidents = self.past(alert)
        lines = [_line(incident) for incident in incidents[:_MAX_INCIDENTS]]
        data = {"incidents": [incident.id for incident in incidents[:_MAX_INCIDENTS]]}
        return [Evidence("", self.name, "Earlier incidents", "\n".join(lines) or "None.", data, complete=len(incidents) <= _MAX_INCIDENTS)]


def _line(incident: IncidentSummary) -> str:
    tried = f", entry {incident.entry}, attempt {incident.attempt}" if incident.entry else ""
    reason = f" ({incident.reason})" if incident.reason else ""
    detail = f": {incident.detail}" if incident.detail else ""
    return f"{incident.created_at:%Y-%m-%d %H:%M}Z {incident.alertname} on {incident.target}: {incident.status}{reason}{tried}{detail}"
