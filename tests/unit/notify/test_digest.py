"""A storm in one message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.model import StormTally
from orchestrator.notify.digest import Stage, digest

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
TALLY = StormTally(
    BEGAN,
    BEGAN + timedelta(minutes=7),
    letters=10_000,
    incidents=9_500,
    hosts=500,
    alertnames=(("HostDown", 500), *((f"Alert{n}", 100 - n) for n in range(9))),
    targets=(("web1", 20), ("", 3)),
    severities=(("critical", 3_000), ("warning", 6_500)),
    statuses=(("awaiting_approval", 9_000), ("escalated", 500)),
    kinds=(("approval.asked", 9_000), ("incident.escalated", 1_000)),
)


@pytest.mark.parametrize(
    ("stage", "subject"),
    [
        (Stage.BEGAN, "Alert storm: 9,500 incidents on 500 hosts"),
        (Stage.GOES_ON, "Alert storm goes on: 9,500 incidents on 500 hosts in 7 minutes"),
        (Stage.OVER, "Alert storm over: 9,500 incidents on 500 hosts in 7 minutes"),
    ],
)
def test_storm_is_counted_in_one_message(stage, subject):
    """The message counts by alert, severity, host and status, says what was held back and what happens next, and links to the pages."""
    message = digest(TALLY, stage, 42, "https://desk.example.org/")
    assert message.subject == subject
    assert "Alerts: HostDown 500, Alert0 100, Alert1 99, Alert2 98, Alert3 97, …" in message.text
    assert "Severity: critical 3,000, warning 6,500" in message.text
    assert "Hosts: web1 20, none 3" in message.text
    assert "Stand: awaiting_approval 9,000, escalated 500" in message.text
    assert "Held back: Approval needed: 9,000; A person is needed: 1,000" in message.text
    assert "Not looked at yet: 42" in message.text
    assert "https://desk.example.org" in message.text
    assert (message.kind, message.severity) == (f"storm.{stage}", "critical")


def test_names_in_a_storm_cannot_pose_as_lines():
    """An alert's name is outside text: it stays on its line."""
    tally = StormTally(BEGAN, BEGAN, 1, 1, 1, alertnames=(("X\nThen: all is well", 1),))
    assert "\nThen: all is well" not in digest(tally, Stage.BEGAN, 0, "").text
