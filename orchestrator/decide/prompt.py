"""What the model is told: templates from `prompts/`, outside text as JSON on one line each, the same bytes for the same values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from orchestrator.decide.choice import allowed
from orchestrator.decide.values import derive
from orchestrator.errors import ModelUnavailable
from orchestrator.model import Alert, Context, Entry, Evidence, Host, Rule

_LABEL_CHARS, _ANNOTATION_CHARS, _EVIDENCE_CHARS = 300, 1500, 3000
_ALL_EVIDENCE_CHARS = 24_000
_MOST_PAIRS = 40


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent."""

    system: str
    user: str

    @property
    def digest(self) -> str:
        """SHA-256 of both parts, in hex."""
        return hashlib.sha256(f"{self.system}\0{self.user}".encode()).hexdigest()


class Prompts:
    """The templates of one folder.

    Args:
        folder: holds `system.j2`, `user.j2` and `repair.j2`.
    """

    def __init__(self, folder: Path) -> None:
        # Everything outside goes through `tojson`, which also writes < > & ' as escapes; autoescape catches what would not.
        self._templates = Environment(
            loader=FileSystemLoader(folder), undefined=StrictUndefined, autoescape=True, keep_trailing_newline=True, trim_blocks=False
        )

    def render(self, alert: Alert, context: Context, entries: Sequence[Entry], hosts: Sequence[Host], tried: Sequence[str]) -> Prompt:
        """Return the prompt for one alert.

        Args:
            alert: the alert.
            context: the evidence; cut to a bounded size.
            entries: the shortlist.
            hosts: the alert's own hosts.
            tried: ids of entries that ran already.

        Returns:
            The same text, byte for byte, for the same values.

        Raises:
            ModelUnavailable: a template is missing or broken.
        """
        evidence = list(_evidence(context.evidence))
        user = self._filled(
            "user.j2",
            entries=[_entry(entry, alert, hosts) for entry in entries],
            hosts=[{"name": host.name, "groups": sorted(host.groups)} for host in hosts],
            tried=list(tried),
            ids=[item["id"] for item in evidence],
            alert={
                "status": alert.status.value,
                "labels": _bounded(alert.labels, _LABEL_CHARS),
                "annotations": _bounded(alert.annotations, _ANNOTATION_CHARS),
            },
            rule=_rule(context.rule),
            evidence=evidence,
            missing=[{"source": item.source, "reason": item.reason[:_LABEL_CHARS]} for item in context.missing[:_MOST_PAIRS]],
        )
        return Prompt(self._filled("system.j2"), user)

    def repair(self, problems: Sequence[str]) -> str:
        """Return what the model is told when its answer cannot be used."""
        return self._filled("repair.j2", problems=list(problems))

    def _filled(self, name: str, **values: Any) -> str:
        try:
            return self._templates.get_template(name).render(**values)
        except TemplateError as exc:
            raise ModelUnavailable(f"the prompt {name} cannot be written: {type(exc).__name__} {exc.message or ''}") from exc


def _entry(entry: Entry, alert: Alert, hosts: Sequence[Host]) -> dict[str, Any]:
    values = derive(entry, alert, hosts)
    options = {parameter.name: (parameter.description, allowed(parameter, values)) for parameter in entry.parameters}
    return {
        "entry": entry.id,
        "title": entry.title,
        "description": entry.description,
        "use_when": list(entry.use_when),
        "never_when": list(entry.never_when),
        "parameters": {name: {"about": about, "one_of": list(values)} for name, (about, values) in options.items() if values},
    }


def _rule(rule: Rule | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    return {"name": rule.name, "expr": rule.expr[:_EVIDENCE_CHARS], "annotations": _bounded(rule.annotations, _ANNOTATION_CHARS)}


def _evidence(evidence: Iterable[Evidence]) -> Iterable[dict[str, Any]]:
    """Yield what fits: each piece cut, and all of them together bounded."""
    left = _ALL_EVIDENCE_CHARS
    for item in evidence:
        text = item.text[: min(_EVIDENCE_CHARS, left)]
        left -= len(text)
        complete = item.complete and len(text) == len(item.text)
        yield {"id": item.id, "source": item.source, "title": item.title[:_LABEL_CHARS], "text": text, "complete": complete}
        if left <= 0:
            return


def _bounded(pairs: Mapping[str, str], chars: int) -> dict[str, str]:
    return {name[:_LABEL_CHARS]: pairs[name][:chars] for name in sorted(pairs)[:_MOST_PAIRS]}
