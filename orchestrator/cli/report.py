"""An incident as a report in Markdown: what a post-mortem starts from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from orchestrator.cli.render import moment
from orchestrator.cli.story import pairs, sentence

Json = Mapping[str, Any]
HOLDS: Final = {True: "holds", False: "**fails**", None: "unknown"}


def report(incident: Json, events: Sequence[Json], runs: Sequence[Json]) -> str:
    """Return the report of an incident.

    Args:
        incident: as `GET /api/v1/incidents/{id}` answers.
        events: its timeline, oldest first.
        runs: its runs, newest first.

    Returns:
        Markdown. Text from outside is in tables or fenced blocks and can neither be markup nor end its block.
    """
    parts = [
        _head(incident),
        _timeline(events),
        _evidence(incident.get("context") or {}),
        _decision(incident),
        _runs(runs),
        _health(incident),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(incident: Json) -> str:
    labels, annotations = incident["alert"]["labels"], incident["alert"].get("annotations") or {}
    proposal = incident.get("proposal") or {}
    rows = [
        ("Incident", incident["id"]),
        ("Outcome", f"{incident['status']}" + (f" ({incident['reason']})" if incident.get("reason") else "")),
        ("Detail", incident.get("detail")),
        ("Alert", ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))),
        *(("Annotation " + name, value) for name, value in sorted(annotations.items())),
        ("Began", moment(incident.get("created_at"))),
        ("Ended or last changed", moment(incident.get("updated_at"))),
        ("Entry", proposal.get("entry")),
        ("Hosts", ", ".join(proposal.get("hosts") or ())),
        ("Parameters", pairs(proposal.get("parameters") or {})),
        ("Attempts", incident.get("attempt")),
        ("Approved by", ", ".join((incident.get("grant") or {}).get("by") or ())),
        ("Digest", incident.get("digest")),
    ]
    title = f"# {_inline(labels.get('alertname') or 'Incident')} on {_inline(labels.get('instance') or labels.get('host') or 'an unnamed target')}"
    return f"{title}\n\n{_table(('', ''), [row for row in rows if row[1]])}"


def _timeline(events: Sequence[Json]) -> str:
    rows = [(moment(event["at"]), event["kind"], event["actor"], sentence(event)) for event in events]
    return f"## What happened\n\n{_table(('Time', 'What', 'Who', 'Details'), rows)}" if rows else ""


def _evidence(context: Json) -> str:
    parts = [f"### {_inline(piece['id'])}: {_inline(piece['title'])}\n\n{_fence(piece['text'])}" for piece in context.get("evidence", ())]
    missing = [(piece["source"], piece["reason"]) for piece in context.get("missing", ())]
    if missing:
        parts.append(f"### Not known\n\n{_table(('Source', 'Why'), missing)}")
    return "\n\n".join(["## What was known", *parts]) if parts else ""


def _decision(incident: Json) -> str:
    proposal, verdict = incident.get("proposal") or {}, incident.get("verdict") or {}
    if not proposal:
        return ""
    parts = [f"## What was decided\n\n{_fence(proposal['summary'])}\n\nChosen by {_inline(proposal['engine'])}."]
    claims = [(claim["text"], ", ".join(claim["evidence"]) or "no evidence named") for claim in proposal.get("claims", ())]
    if claims:
        parts.append(_table(("Because", "Evidence"), claims))
    others = [(other["entry"], other["why_not"]) for other in proposal.get("alternatives", ())]
    if others:
        parts.append(_table(("Not chosen", "Why"), others))
    guards = [(guard["name"], HOLDS[guard["ok"]], guard["detail"]) for guard in verdict.get("guards", ())]
    if guards:
        parts.append(f"The policy said {_inline(verdict['effect'])}.\n\n{_table(('Guard', 'Holds', 'Detail'), guards)}")
    return "\n\n".join(parts)


def _runs(runs: Sequence[Json]) -> str:
    parts = [_run(run) for run in reversed(runs) if run["kind"] in ("check", "apply", "undo")]
    return "\n\n".join(["## What was run", *parts]) if parts else ""


def _run(run: Json) -> str:
    names = ("ok", "changed", "failures", "unreachable", "skipped")
    rows = [(host, *(counts[name] for name in names)) for host, counts in sorted(run["hosts"].items())]
    times = f"{moment(run.get('started_at'))} to {moment(run.get('ended_at'))}"
    parts = [f"### {_inline(run['kind'])} {_inline(run['entry'])}: {_inline(run.get('outcome') or run['state'])}\n\n{times}"]
    if run.get("message"):
        parts.append(_fence(run["message"]))
    if rows:
        parts.append(_table(("Host", *names), rows))
    parts += [f"{_inline(diff['host'])}, {_inline(diff['task'])}:\n\n{_fence(diff['diff'], 'diff')}" for diff in run.get("diffs", ())]
    return "\n\n".join(parts)


def _health(incident: Json) -> str:
    verification = incident.get("verification")
    if not verification:
        return ""
    rows = [(check["name"], HOLDS[check["ok"]], check["detail"]) for check in verification["checks"]]
    return f"## Verification: {_inline(verification['health'])}\n\n{_table(('Check', 'Holds', 'Detail'), rows)}"


# ---------------------------------------------------------------- Markdown


def _inline(value: Any) -> str:
    """Return text as one line in which nothing is markup."""
    return re.sub(r"([\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", escape(" ".join(str(value).split()), quote=False))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return "\n".join(_lines(head, rows))


def _lines(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell if cell in HOLDS.values() else _inline(cell) for cell in row) + " |"


def _fence(text: str, language: str = "text") -> str:
    """Return text as a block whose fence is longer than any in it."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"
