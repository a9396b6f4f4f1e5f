"""Which silences are ours: made to hold pages back while work advances, and no word of people's about what may run."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.context.alertmanager import Silence

AUTHOR = "recovery-orchestrator"
MARGIN_S = 30.0
"""How much longer than one of ours a silence may seem, by clocks that differ."""
_COMMENT = re.compile(r"incident=(\S+) since=(\d{1,12}) mark=([0-9a-f]{32})\Z")


@dataclass(frozen=True, slots=True)
class Held:
    """A silence of ours."""

    silence: Silence
    incident: str
    since: datetime
    """Since when pages of this incident are held back without a break."""


def comment(key: bytes, incident: str, since: datetime) -> str:
    """Return the comment of a silence of ours: words for people, and a mark that only we can make."""
    stamp = int(since.timestamp())
    return f"A repair is under way; pages are held back while it advances. incident={incident} since={stamp} mark={_mark(key, incident, stamp)}"


def held(silence: Silence, key: bytes, hold_s: float) -> Held | None:
    """Return a silence as ours; None where a person made it, or made a longer one of ours.

    Args:
        silence: as Alertmanager tells it.
        key: what our marks are made with.
        hold_s: how long one of ours lasts at most.
    """
    found = _COMMENT.search(silence.comment)
    if silence.author != AUTHOR or found is None:
        return None
    incident, stamp = found[1], int(found[2])
    if not hmac.compare_digest(found[3], _mark(key, incident, stamp)):
        return None
    if (silence.ends_at - silence.updated_at).total_seconds() > hold_s + MARGIN_S:
        return None
    return Held(silence, incident, datetime.fromtimestamp(stamp, UTC))


def _mark(key: bytes, incident: str, stamp: int) -> str:
    return hmac.new(key, f"hold:{incident}:{stamp}".encode(), hashlib.sha256).hexdigest()[:32]
