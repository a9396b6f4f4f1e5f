"""The approval card in lines of words, for chat and mail: the same sentences as on the page, and never a diff's body."""

from __future__ import annotations

import json

from orchestrator.card import Card, Setting
from orchestrator.notify.markup import Line

CLAIMS, ALTERNATIVES, SETTINGS = 6, 3, 12


def card_lines(card: Card) -> list[Line]:
    """Return what a card says, name by name; long lists are cut, and the page has them whole."""
    hosts = ", ".join(f"{one.name}{f' (held by {one.locked_by})' if one.locked_by else ''}" for one in card.hosts)
    lines = [
        ("Verdict", card.verdict),
        ("Proposal", card.summary),
        ("Play", f"{card.entry}{f', risk {card.risk}' if card.risk else ''}"),
        ("Hosts", hosts),
        *(("Parameter", _setting(one)) for one in card.settings[:SETTINGS]),
        ("Check run", " ".join(part for part in (card.check.sentence, card.check.words, card.check.message) if part)),
        *(
            ("Because", f"{one.text} [{', '.join(one.evidence) if one.cited else 'nothing on record supports this'}]")
            for one in card.claims[:CLAIMS]
        ),
        ("Missing", "; ".join(card.missing)),
        *(("Not chosen", f"{one.entry}: {one.why_not}") for one in card.alternatives[:ALTERNATIVES]),
        *(("Stands against it", f"{one.title}: {one.detail}") for one in card.guards if not one.ok),
        ("In order", ", ".join(one.title for one in card.guards if one.ok)),
        ("Record", card.track.words),
        ("Undo", card.undo.words),
        ("Changed since", "; ".join(card.changed)),
        ("Who decides", card.deciders.words),
        ("Standing grants", f"{len(card.standing)} in force for this entry" if card.standing else ""),
        ("Handed to", f"{card.escalated_to} by {card.escalated_by}: {card.escalated_why}" if card.escalated_to else ""),
    ]
    if card.pending:
        lines.append(("Expires", f"{card.expires_at:%Y-%m-%d %H:%M:%S} UTC"))
    return [(name, value) for name, value in lines if value]


def _setting(one: Setting) -> str:
    value = one.value if isinstance(one.value, str) else json.dumps(one.value, ensure_ascii=False, default=str)
    return f"{one.name} = {value}{f' ({one.words})' if one.words else ''}"
