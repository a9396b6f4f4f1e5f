"""The timeline: an audit event as a title, a sentence and a tone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.model import AuditEvent, Status
from orchestrator.web import words

Data = Mapping[str, Any]
Told = tuple[str, str, str]
"""Tone, title, sentence."""

_ENGINES: Final = frozenset({"engine", "matchers", "mistral", "policy", "alertmanager"})
_DOUBLED: Final = frozenset({f"incident.{status}" for status in (Status.ESCALATED, Status.RESOLVED)})
"""Events that repeat, for the notifications, what `incident.status` has said."""
_CHANGES: Final = {"effect": {"allow": ("good", "may run by itself"), "ask": ("ask", "asks a person"), "deny": ("bad", "denies")}}


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of a timeline as a person reads it."""

    event: AuditEvent
    tone: str
    title: str
    sentence: str
    by_person: bool


def moments(events: Sequence[AuditEvent]) -> list[Moment]:
    """Return the events of one incident as a story, in their order."""
    return [_moment(event) for event in events if event.kind not in _DOUBLED]


def _moment(event: AuditEvent) -> Moment:
    if event.data is None:
        tone, title, sentence = "idle", _named(event.kind), "Its content was redacted; that it happened stays on record."
    else:
        tone, title, sentence = _TELLERS.get(event.kind, _any(event.kind))(event.data)
    return Moment(event, tone, title, words.short(sentence, 400), event.actor not in _ENGINES)


def _named(kind: str) -> str:
    return words.spoken(kind.replace(".", " ")).capitalize()


def _any(kind: str) -> Callable[[Data], Told]:
    return lambda data: ("idle", _named(kind), words.brief(data))


def _items(data: Data, name: str) -> Sequence[Any]:
    value = data.get(name)
    return value if isinstance(value, list | tuple) else ()


def _list(data: Data, name: str) -> str:
    value = data.get(name) or ()
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)


def _alert(data: Data) -> Told:
    firing = data.get("status", "firing") == "firing"
    labels = data.get("labels") if isinstance(data.get("labels"), Mapping) else {}
    name = data.get("alertname") or (labels or {}).get("alertname") or "The alert"
    return "bad" if firing else "good", "Alert fires" if firing else "Alert resolved", f"{name} came in from Alertmanager."


def _context(data: Data) -> Told:
    evidence, missing = _items(data, "evidence"), _items(data, "missing")
    nothing = ", ".join(str(one.get("source", "")) for one in missing if isinstance(one, Mapping))
    took = f" in {words.span(data['took_s'])}" if isinstance(data.get("took_s"), int | float) else ""
    return "work", "Context gathered", f"{len(evidence)} pieces of evidence{took}" + (f"; nothing from {nothing}." if nothing else ".")


def _decision(data: Data) -> Told:
    chosen = data.get("entry") or words.spoken(data.get("choice"))
    return "work", f"Decided: {chosen}" if chosen else "Decided", str(data.get("summary") or words.spoken(data.get("agreement")))


def _policy(data: Data) -> Told:
    tone, said = _CHANGES["effect"].get(str(data.get("effect")), ("idle", "judged"))
    return tone, f"Policy {said}", words.spoken(_list(data, "reasons")).capitalize() or "Every guard holds."


def _asked(data: Data) -> Told:
    need = data.get("need", 1)
    people = "one person" if need == 1 else f"{need} people"
    return (
        "ask",
        "Approval asked",
        f"{data.get('entry', '')} on {_list(data, 'hosts')} needs {people}.".replace(" on  needs", " needs").strip(),
    )


def _answered(data: Data) -> Told:
    yes = bool(data.get("approve"))
    scope = f" for {_list(data, 'hosts')}" if data.get("hosts") else ""
    reason = f": {data['reason']}" if data.get("reason") else ""
    return "good" if yes else "bad", "Approved" if yes else "Rejected", f"{data.get('have', 1)} of {data.get('need', 1)}{scope}{reason}"


def _intent(data: Data) -> Told:
    return "work", "Run committed", f"{data.get('entry', '')} on {_list(data, 'hosts')}, allowed by {_list(data, 'by') or 'the policy'}."


def _started(data: Data) -> Told:
    return "work", "Run started", f"on node {data['node']}" if data.get("node") else ""


def _ended(data: Data) -> Told:
    outcome = str(data.get("outcome") or data.get("state") or "")
    tone = {"successful": "good", "cancelled": "idle"}.get(outcome, "bad")
    changed = data.get("changed", 0)
    return tone, f"Run ended: {words.spoken(outcome)}", f"{changed} changed. {data.get('message') or ''}"


def _verified(data: Data) -> Told:
    health = str(data.get("health", ""))
    return {"healthy": "good", "unhealthy": "bad"}.get(health, "ask"), f"Verified: {health}", str(data.get("detail") or "")


def _status(data: Data) -> Told:
    to = str(data.get("to") or data.get("status") or "")
    tone = words.TONES.get(Status(to), "idle") if to in set(Status) else "idle"
    return tone, f"Now {words.spoken(to)}", str(data.get("detail") or words.spoken(data.get("reason")))


def _linked(data: Data) -> Told:
    return "idle", "Linked to its cause", f"Incident {data.get('parent', '')} causes it; it waits for that one's end."


def _settled(data: Data) -> Told:
    return "idle", "Run settled", f"It was {'done' if data.get('done') else 'not done'}: {data.get('reason', '')}"


_TELLERS: Final[Mapping[str, Callable[[Data], Told]]] = {
    "alert.received": _alert,
    "context.gathered": _context,
    "decision.made": _decision,
    "policy.judged": _policy,
    "approval.asked": _asked,
    "approval.answered": _answered,
    "run.intent": _intent,
    "run.started": _started,
    "run.ended": _ended,
    "run.settled": _settled,
    "verification.done": _verified,
    "incident.status": _status,
    "incident.linked": _linked,
}
