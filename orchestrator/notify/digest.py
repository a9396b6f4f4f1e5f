"""One message that stands for a storm of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from orchestrator.model import StormTally
from orchestrator.notify.markup import html_of, slack_blocks, text_of
from orchestrator.notify.message import GREEN, HEADLINES, ORANGE, RED, SUBJECT_CHARS, Message, plain

NAMED = 5


class Stage(StrEnum):
    """Where a storm is."""

    BEGAN = "began"
    """Single messages are held back from now on."""
    GOES_ON = "goes_on"
    """It has lasted for a while."""
    OVER = "over"
    """Single messages are sent again."""


def digest(tally: StormTally, stage: Stage, waiting: int, public_url: str) -> Message:
    """Say in one message what a storm holds.

    Args:
        tally: what was counted.
        stage: where the storm is.
        waiting: incidents that nobody has looked at yet.
        public_url: where people reach the pages.
    """
    minutes = max(1, round((tally.now - tally.began_at).total_seconds() / 60))
    about = f"{tally.incidents:,} incidents on {tally.hosts:,} hosts"
    match stage:
        case Stage.BEGAN:
            subject, then = f"Alert storm: {about}", "Single messages are held back until it is over; everything is on the page."
        case Stage.GOES_ON:
            subject, then = f"Alert storm goes on: {about} in {minutes} minutes", "Single messages are still held back."
        case Stage.OVER:
            subject, then = f"Alert storm over: {about} in {minutes} minutes", "Single messages are sent again."
    lines = [
        ("Alerts", _named(tally.alertnames)),
        ("Severity", _named(tally.severities)),
        ("Hosts", _named(tally.targets)),
        ("Stand", _named(tally.statuses)),
        ("Held back", "; ".join(f"{HEADLINES.get(kind, kind)}: {count:,}" for kind, count in tally.kinds)),
        ("Not looked at yet", f"{waiting:,}" if waiting else ""),
        ("Then", then),
    ]
    lines = [(name, plain(value)) for name, value in lines if value]
    link, subject = public_url.rstrip("/"), plain(subject, SUBJECT_CHARS)
    severe = any(name == "critical" for name, _ in tally.severities)
    return Message(
        subject=subject,
        text=text_of(subject, lines, link, False),
        html=html_of(subject, lines, link),
        blocks=slack_blocks(subject, lines, link, []),
        severity="critical" if severe else next((name for name, _ in tally.severities if name), ""),
        link=link,
        color=GREEN if stage is Stage.OVER else RED if severe else ORANGE,
        kind=f"storm.{stage}",
        key=f"storm.{tally.began_at.timestamp():.0f}.{stage}.{tally.letters}",
    )


def _named(counts: Sequence[tuple[str, int]]) -> str:
    words = [f"{name or 'none'} {count:,}" for name, count in counts[:NAMED]]
    return f"{', '.join(words)}{', …' if len(counts) > NAMED else ''}"
