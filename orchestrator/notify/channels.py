"""Which channels there are, what is sent over them, and how long to wait after a failure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Protocol

from orchestrator.notify.links import Links
from orchestrator.notify.mail import Mail
from orchestrator.notify.message import Message
from orchestrator.notify.others import Apprise
from orchestrator.notify.slack import Slack, SlackBot

MAX_WAIT_S = 900.0
_WAITS_S = (5.0, 15.0, 60.0, 300.0)
_RANKS = {"debug": 0, "info": 0, "none": 0, "notice": 0, "low": 0, "warning": 1, "medium": 1, "high": 2, "error": 2, "critical": 2}


class Channel(Protocol):
    """One way to people."""

    @property
    def name(self) -> str:
        """What the outbox calls it."""

    def send(self, message: Message) -> str | None:
        """Send a message, or raise `Unavailable`; return where it stands, if it can be changed there later."""


def channels(settings: Any, links: Links | None = None) -> list[Channel]:
    """Build the channels that the settings' section `notify` names; each is tried on its own.

    Args:
        settings: the section, or any value with its fields.
        links: makes the links in mails; None: they hold the page's address.
    """
    found: list[Channel] = []
    # Without the signing secret nobody could tell whether a press comes from Slack: no buttons then.
    signed = bool(_secret(settings.slack_signing_secret))
    if token := _secret(settings.slack_bot_token):
        answers = ("approve", "reject") if signed else ()
        found.append(SlackBot(settings.slack_api_url, token, settings.slack_channel, answers=answers))
    elif url := _secret(settings.slack_webhook_url):
        # A webhook cannot open the form that asks for a reason.
        found.append(Slack(url, answers=("approve",) if signed else ()))
    if settings.smtp_host and settings.mail_to:
        mail = Mail(
            settings.smtp_host,
            settings.smtp_port,
            starttls=settings.smtp_starttls,
            user=settings.smtp_user,
            password=_secret(settings.smtp_password),
            ca_file=settings.smtp_ca_file,
            sender=settings.mail_from,
            receivers=settings.mail_to,
            links=links,
        )
        found.append(mail)
    # One channel each: a service that fails does not make the others hear it twice.
    found.extend(Apprise([_secret(url)], f"apprise-{number}") for number, url in enumerate(settings.apprise_urls, start=1))
    return found


def wanted(kind: str, severity: str, events: Collection[str], min_severity: str) -> bool:
    """Return whether an event is sent; an unknown severity is, because nobody knows how bad it is.

    Args:
        kind: the event's kind.
        severity: the alert's label, or an empty string.
        events: the kinds that are sent.
        min_severity: the least severity that is sent; empty: all.
    """
    if kind not in events:
        return False
    least = _RANKS.get(min_severity.lower(), 0)
    return _RANKS.get(severity.lower(), least) >= least


def backoff_s(attempt: int) -> float:
    """Return how many seconds to wait after the failed attempt number `attempt`, counted from 1."""
    index = max(attempt, 1) - 1
    return _WAITS_S[index] if index < len(_WAITS_S) else MAX_WAIT_S


def retry_after_s(error: Exception) -> float:
    """Return the seconds that the other side asked us to wait, at most 900, or 0 where it named none."""
    found = re.search(r"\bretry_after_s=(\d{1,9})\b", str(error))
    return min(float(found[1]), MAX_WAIT_S) if found else 0.0


def _secret(value: Any) -> str:
    reveal = getattr(value, "get_secret_value", None)
    return str(reveal() if reveal else value)
