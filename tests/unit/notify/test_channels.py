"""What is sent over which channel, and when it is tried again."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from orchestrator.errors import Unavailable
from orchestrator.notify import backoff_s, channels, retry_after_s, wanted
from orchestrator.settings import NotifySettings


def test_no_settings_no_channels() -> None:
    """With the defaults nothing is sent anywhere; a mail server without receivers is no channel."""
    assert channels(NotifySettings()) == []
    assert channels(NotifySettings(smtp_host="mail.example")) == []


def test_each_setting_builds_its_channel() -> None:
    """Slack, mail and each Apprise address are channels of their own, with names that tell them apart."""
    built = channels(
        NotifySettings(
            slack_webhook_url=SecretStr("https://hooks.slack.com/services/a"),
            smtp_host="mail.example",
            mail_to=("a@example.org",),
            apprise_urls=(SecretStr("json://one"), SecretStr("json://two")),
        )
    )
    assert [one.name for one in built] == ["slack", "mail", "apprise-1", "apprise-2"]


@pytest.mark.parametrize(
    ("kind", "severity", "least", "sent"),
    [
        ("approval.asked", "info", "", True),
        ("approval.asked", "info", "warning", False),
        ("approval.asked", "Warning", "warning", True),
        ("approval.asked", "critical", "warning", True),
        ("approval.asked", "", "critical", True),
        ("approval.asked", "sev-17", "critical", True),
        ("run.started", "critical", "", False),
    ],
)
def test_what_is_wanted(kind: str, severity: str, least: str, sent: bool) -> None:
    """A kind must be listed and its severity high enough; an unknown severity is sent."""
    assert wanted(kind, severity, ("approval.asked",), least) is sent


def test_waits_grow_and_end_at_fifteen_minutes() -> None:
    """Attempts wait longer and longer, never more than fifteen minutes, and without chance."""
    assert [backoff_s(attempt) for attempt in (0, 1, 2, 3, 4, 5, 1000)] == [5, 5, 15, 60, 300, 900, 900]


@pytest.mark.parametrize(
    ("text", "wait"), [("slack: too many messages, retry_after_s=30", 30), ("slack: answered 500", 0), ("retry_after_s=99999", 900)]
)
def test_a_named_wait_is_read_back(text: str, wait: float) -> None:
    """What the other side asks us to wait is found in the error, at most fifteen minutes."""
    assert retry_after_s(Unavailable(text)) == wait
