"""How values read for a person: times, words, diffs, and outside text made harmless to the eye."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from orchestrator.model import CheckMode, Status, UndoPolicy

LONGEST = 20_000
"""Characters of one text that a page shows; the API gives all."""

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)

TONES = {
    Status.RECEIVED: "work",
    Status.INVESTIGATING: "work",
    Status.PROPOSED: "work",
    Status.AWAITING_APPROVAL: "ask",
    Status.EXECUTING: "work",
    Status.VERIFYING: "work",
    Status.ESCALATED: "bad",
    Status.RESOLVED: "good",
    Status.CLEARED: "good",
    Status.SUPPRESSED: "idle",
    Status.CANCELLED: "idle",
    Status.CLOSED: "idle",
}
"""Status → tone of its badge."""

STEPS = (
    (Status.RECEIVED, "Received"),
    (Status.INVESTIGATING, "Context"),
    (Status.PROPOSED, "Decision"),
    (Status.AWAITING_APPROVAL, "Approval"),
    (Status.EXECUTING, "Run"),
    (Status.VERIFYING, "Verify"),
)
"""The corridor as the pages draw it."""

CHECK_WORDS = {
    CheckMode.FULL: "The dry run predicts everything that this entry changes.",
    CheckMode.PARTIAL: "The dry run shows only a part: some tasks cannot be tried dry and may change more than is shown here.",
    CheckMode.NONE: "This entry cannot be tried dry: nothing here predicts what it will change.",
}
UNDO_WORDS = {
    UndoPolicy.NONE: "There is no undo: what it changes stays changed.",
    UndoPolicy.OFFER: "If the service turns out unhealthy, a person may start the undo.",
    UndoPolicy.AUTO: "If the service turns out unhealthy, the undo starts by itself.",
}


ASKING = frozenset({"agreement", "confirmed", "mode", "risk", "admitted", "auto"})
"""Guards that, where they do not hold, ask a person; the others deny."""


def visible(value: Any) -> Any:
    """Return text with hidden characters shown and what is too long cut; other values as they are.

    Every expression of every template passes through here before it is escaped.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = value
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n… cut here; {len(value):,} characters in all"
    return _HIDDEN.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x20:  # noqa: PLR2004 - the control pictures' block mirrors ASCII's control characters
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"  # noqa: PLR2004 - DEL


def short(value: Any, most: int = 160) -> str:
    """Return text on one line, cut to `most` characters."""
    text = " ".join(str(value)[: most * 4].split())
    return text if len(text) <= most else text[: most - 1] + "…"


def spoken(word: Any) -> str:
    """Return a word of a closed list as a person says it: `awaiting_approval` → `awaiting approval`."""
    return str(word or "").replace("_", " ").replace("-", " ")


def span(seconds: float | None) -> str:
    """Return a duration in words: `8 s`, `4 min`, `3 h`, `2 d`."""
    if seconds is None:
        return "unknown"
    size = abs(seconds)
    for limit, unit, digits in ((10, 1, 1), (90, 1, 0)):
        if size < limit:
            return f"{round(size / unit, digits):g} s"
    for limit_s, unit_s, name in ((5400, 60, "min"), (172_800, 3600, "h")):
        if size < limit_s:
            return f"{round(size / unit_s)} {name}"
    return f"{round(size / 86_400)} d"


def ago(moment: datetime, now: datetime) -> str:
    """Return how far `moment` lies from `now`: `4 min ago`, `in 12 min`."""
    distance = (now - moment).total_seconds()
    if abs(distance) < 1:
        return "now"
    return f"{span(distance)} ago" if distance > 0 else f"in {span(distance)}"


def left(moment: datetime, now: datetime) -> str:
    """Return the time until `moment` as a clock shows it: `11:40`, `2 h`, `over`."""
    seconds = int((moment - now).total_seconds())
    if seconds <= 0:
        return "over"
    return span(seconds) if seconds >= 3600 else f"{seconds // 60}:{seconds % 60:02d}"  # noqa: PLR2004 - an hour


def slug(value: Any) -> str:
    """Return text as a part of an element's id: letters, digits, `-` and `_`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", str(value)[:200])[:80]


def plainly(value: Any) -> str:
    """Return a parameter's value as a person writes it: text as it is, a list with commas, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(plainly(item) for item in value)
    return json.dumps(value, ensure_ascii=False, default=str)


def stamp(moment: datetime) -> str:
    """Return a time as `2026-03-01 12:00:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def as_json(value: Any) -> str:
    """Return a value as indented JSON text, to be escaped like any text."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def brief(data: Mapping[str, Any] | None, most: int = 160) -> str:
    """Return an event's data on one line: `status: received · reason: …`."""
    if data is None:
        return "(redacted)"
    return short(" · ".join(f"{key}: {_said(value)}" for key, value in data.items()), most)


def _said(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def diff_lines(diff: str) -> list[tuple[str, str]]:
    """Return a diff's lines, each with its kind: `add`, `del`, `hunk` or empty."""
    cut = diff if len(diff) <= LONGEST else f"{diff[:LONGEST]}\n… cut here; {len(diff):,} characters in all"
    kinds = {"+": "add", "-": "del", "@": "hunk"}
    return [("hunk" if line.startswith(("+++", "---")) else kinds.get(line[:1], ""), line) for line in cut.split("\n")]


def origin(word: str) -> tuple[str, str]:
    """Return tone and words of where a parameter came from."""
    source, _, label = word.partition(".")
    match source:
        case "labels":
            return "good", f"from the alert's label {label}"
        case "default":
            return "idle", "the entry's default"
        case "person":
            return "idle", "given by a person"
        case "model":
            return "ask", "chosen by the model"
        case "":
            return "ask", "origin not recorded"
        case _:
            return "idle", f"from {word}"


def web_link(address: str) -> str:
    """Return an address from outside if a browser may open it, else an empty string."""
    return address if address.startswith(("http://", "https://")) and address.isprintable() and len(address) < LONGEST else ""
