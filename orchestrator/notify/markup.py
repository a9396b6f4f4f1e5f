"""The same lines as Slack's Block Kit and as HTML; both escape everything that is not ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from html import escape
from typing import Any

HEADER_CHARS = 150
SECTION_CHARS = 3000
MAX_SECTIONS = 20

_SLACK = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "*": "∗", "`": "ˋ"}
_CALLS_EVERYONE = re.compile(r"@(?=(?:here|channel|everyone)\b)", re.IGNORECASE)

Line = tuple[str, str]
"""Name and value, each on one line."""


def slack_text(text: str, limit: int = SECTION_CHARS) -> str:
    """Return `text` so that Slack shows it literally: no mention, no link, no emphasis; at most `limit` characters.

    Source: Slack, "Formatting text for app surfaces": `&`, `<` and `>` are control characters.
    """
    parts = [_SLACK.get(character, character) for character in hush(text)]
    if sum(map(len, parts)) <= limit:
        return "".join(parts)
    # Whole parts only: an entity cut in half would be shown as it is.
    total = 1
    for kept, part in enumerate(parts):
        total += len(part)
        if total > limit:
            return "".join(parts[:kept]) + "…"
    return "".join(parts)


def hush(text: str) -> str:
    """Return `text` so that `@here` and its like call nobody."""
    return _CALLS_EVERYONE.sub("@\u2060", text)


def slack_blocks(subject: str, lines: Sequence[Line], link: str, buttons: Sequence[tuple[str, str]]) -> tuple[dict[str, Any], ...]:
    """Return a message as Block Kit.

    Args:
        subject: the header.
        lines: name and value; as many sections as they need.
        link: address of the page, or an empty string.
        buttons: `approve` or `reject`, each with the value that Slack sends back.
    """
    header: dict[str, Any] = {"type": "header", "text": {"type": "plain_text", "text": slack_text(subject, HEADER_CHARS), "emoji": False}}
    sections = [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}} for text in _sections(lines)]
    elements = [_button(decision, value) for decision, value in buttons]
    if link:
        elements.append({"type": "button", "action_id": "open", "text": _label("Open"), "url": link})
    return (header, *sections, *([{"type": "actions", "elements": elements}] if elements else []))


def answerable(blocks: Sequence[dict[str, Any]], answers: Collection[str], link: str) -> tuple[dict[str, Any], ...]:
    """Return blocks with only those of our answers that can be given there; a rejection that cannot leads to the page instead.

    Args:
        blocks: what `slack_blocks` made.
        answers: `approve`, `reject`, both or none.
        link: address of the page, or an empty string.
    """
    return tuple(
        block if block["type"] != "actions" else {**block, "elements": _elements(block["elements"], answers, link)} for block in blocks
    )


def _elements(elements: Sequence[dict[str, Any]], answers: Collection[str], link: str) -> list[dict[str, Any]]:
    kept = [one for one in elements if one["action_id"] == "open" or one["action_id"] in answers]
    if "approve" in answers and "reject" not in answers and link and any(one["action_id"] == "approve" for one in kept):
        kept.append({"type": "button", "action_id": "open_reject", "text": _label("Reject on the page"), "url": link})
    return kept


def text_of(subject: str, lines: Sequence[Line], link: str, answerable: bool) -> str:
    """Return a message as plain text.

    Args:
        subject: the first line.
        lines: name and value.
        link: address of the page, or an empty string.
        answerable: whether an answer is asked for.
    """
    tail = ("Approve or reject: " if answerable else "More: ") + link if link else ""
    return "\n".join([subject, "", *(f"{name}: {value}" for name, value in lines), "", tail]).strip()


def html_of(subject: str, lines: Sequence[Line], link: str) -> str:
    """Return a message as a small HTML page."""
    rows = "".join(f'<tr><th align="left" valign="top">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in lines)
    more = f'<p><a href="{escape(link)}">{escape(link)}</a></p>' if link else ""
    return f'<!doctype html><html lang="en"><body><h1 style="font-size:1.1em">{escape(subject)}</h1><table cellpadding="4">{rows}</table>{more}</body></html>'


def _sections(lines: Sequence[Line]) -> list[str]:
    """Return the lines' text in as few sections as their length allows."""
    sections: list[str] = []
    for name, value in lines:
        label = slack_text(name, 100)
        line = f"*{label}:* {slack_text(value, SECTION_CHARS - len(label) - 5)}"
        if sections and len(sections[-1]) + 1 + len(line) <= SECTION_CHARS:
            sections[-1] += "\n" + line
        else:
            sections.append(line)
    return sections[:MAX_SECTIONS]


def _button(decision: str, value: str) -> dict[str, Any]:
    style = "primary" if decision == "approve" else "danger"
    if decision == "reject":  # a form asks for the reason, and can be left
        return {"type": "button", "action_id": decision, "style": style, "text": _label("Reject…"), "value": value}
    confirm = {
        "title": _label("Approve?"),
        "text": _label("Your name is put on record. The page shows the check run and its diff."),
        "confirm": _label("Approve"),
        "deny": _label("Back"),
    }
    return {"type": "button", "action_id": decision, "style": style, "text": _label("Approve"), "value": value, "confirm": confirm}


def _label(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
