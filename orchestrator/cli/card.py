"""The approval card in the terminal: the same facts as on the page, readable without colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.cli.render import Block, Facts, Page, Part, Table, left, short, when, word

Json = Mapping[str, Any]
CHECK_WORDS: Mapping[str, str] = {
    "would_change": "would change",
    "no_change": "no change",
    "failed": "failed",
    "unreachable": "unreachable",
    "not_checked": "not checked",
}


def card_page(card: Json) -> Page:
    """Return everything that an answer covers, the most telling first."""
    return (
        *_head(card),
        _facts(card),
        *_settings(card),
        *_hosts(card),
        *_check(card),
        *_why(card),
        *_guards(card),
        *_answers(card),
        *_standing(card),
    )


def _head(card: Json) -> Iterator[Part]:
    yield card["verdict"]
    decided = card.get("decided")
    if decided:
        yield f"Decided already: {decided['words']}"
    if card.get("changed"):
        yield f"Changed since it was shown, an approval would be refused: {'; '.join(card['changed'])}."
    if card.get("snoozed_until"):
        yield f"Put off by {card['snoozed_by']} until {when(card['snoozed_until'])}."
    if card.get("escalated_to"):
        yield f"Handed to {card['escalated_to']} by {card['escalated_by']}: {card['escalated_why']}"
    if card["narrowing"]["narrowed"]:
        yield f"Narrowed: {len(card['hosts'])} of {len(card['narrowing']['hosts'])} proposed hosts are shown, with the pinned parameters."
    bound = card["narrowing"]
    if bound.get("bound_by") and card["pending"]:
        pins = f", pinned {word(bound['bound_pins'])}" if bound["bound_pins"] else ""
        yield f"{bound['bound_by']} approved it for {', '.join(bound['bound_hosts'])}{pins}: the next person has to name the same."
    yield ""


def _facts(card: Json) -> Facts:
    deciders = card["deciders"]
    expires = f"{when(card['expires_at'])} ({left(card['seconds_left'])})" if card["pending"] else when(card["expires_at"])
    return Facts(
        (
            ("approval", card["id"]),
            ("incident", card["incident"]),
            ("state", card["state"]),
            ("alert", card["alertname"]),
            ("says", short(card["alert_summary"])),
            ("play", f"{card['entry']}: {card['entry_title']}"),
            ("does", short(card["entry_description"])),
            ("risk", card["risk"]),
            ("proposed", card["summary"]),
            ("chosen by", f"{card['engine']} ({card['agreement'].replace('_', ' ')})"),
            ("record", card["track"]["words"]),
            ("undo", card["undo"]["words"]),
            ("approved", f"{deciders['have']} of {deciders['need']}"),
            ("who may", deciders["words"]),
            ("asked", when(card["asked_at"])),
            ("expires", expires),
            ("digest", card["digest"]),
        )
    )


def _settings(card: Json) -> Iterator[Part]:
    rows = [
        (one["name"], one["value"], one["words"], f"was {word(one['proposed'])}" if one["value"] != one["proposed"] else "")
        for one in card["settings"]
    ]
    if rows:
        yield ""
        yield Table(("parameter", "value", "where it came from", ""), rows, title="What will run")


def _hosts(card: Json) -> Iterator[Part]:
    rows = [
        (
            one["name"],
            CHECK_WORDS.get(one["check"], one["check"]),
            one["changed"] or "",
            f"incident {one['locked_by']}" if one["locked_by"] else "",
            one["track"]["words"],
        )
        for one in card["hosts"]
    ]
    yield ""
    yield Table(("host", "check run", "changes", "held by", "record"), rows, "No host.", title="Where")


def _check(card: Json) -> Iterator[Part]:
    check = card["check"]
    yield ""
    yield f"Check run ({check['state']}): {check['sentence']} {check['words']}".rstrip()
    if check["message"]:
        yield f"It said: {check['message']}"
    for host in card["hosts"]:
        for one in host["diffs"]:
            yield Block(one["diff"], f"{one['host']}: {one['task']}")


def _why(card: Json) -> Iterator[Part]:
    claims = [(one["text"], one["evidence"] if one["cited"] else "uncited") for one in card["claims"]]
    if claims:
        yield ""
        yield Table(("because", "evidence"), claims, title="Why")
    pieces = [(one["id"], one["title"], short(one["text"]) + ("" if one["complete"] else " (cut)")) for one in card["evidence"]]
    if pieces:
        yield ""
        yield Table(("evidence", "what", "says"), pieces)
    if card["missing"]:
        yield f"Gave nothing: {'; '.join(card['missing'])}."
    others = [(one["entry"], one["why_not"], one["words"] or ("yes" if one["choosable"] else "no")) for one in card["alternatives"]]
    if others:
        yield ""
        yield Table(("not chosen", "why not", "may be chosen"), others, title="Alternatives")


def _guards(card: Json) -> Iterator[Part]:
    rows = [(one["title"], "ok" if one["ok"] else "no", one["detail"]) for one in card["guards"]]
    yield ""
    yield Table(("guard", "holds", "detail"), rows, title="Guards")


def _answers(card: Json) -> Iterator[Part]:
    rows = [
        (one["actor"], "yes" if one["approve"] else "no", when(one["at"]), one["hosts"], one["pins"], one["reason"])
        for one in card["deciders"]["answers"]
    ]
    if rows:
        yield ""
        yield Table(("who", "said", "when", "hosts", "pinned", "why"), rows, title="Answers")


def _standing(card: Json) -> Iterator[Part]:
    if card["standing"]:
        yield ""
        yield grants_table(card["standing"], "Standing grants of this entry")


def grants_table(grants: list[dict[str, Any]], title: str = "") -> Table:
    """Return the table of standing grants."""
    rows = [
        (
            one["id"],
            one["state"],
            one["entry"],
            one["group"] or one["hosts"],
            one["alertnames"] or "any alert",
            f"{one['used']}/{one['max_runs']}",
            when(one["until"]),
            one["by"],
        )
        for one in grants
    ]
    return Table(("id", "state", "entry", "hosts", "alerts", "used", "until", "by"), rows, "No standing grants.", title=title)
