"""Recorded alerts decided by two catalogues: which decisions change. Pure: alerts, catalogues and the way to decide come in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from orchestrator.decide.evaluate import assumed_host
from orchestrator.errors import UsageError
from orchestrator.model import Alert, AlertStatus, Catalogue, Choice, Context, Host, Proposal, Rule

Decide = Callable[[Alert, Context, Catalogue, tuple[Host, ...]], Proposal]
NONE = "none"
_SHOWN = 200
"""Rows of one table in a comment; the sum tells of the others."""


class _RecordedRule(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = ""
    expr: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Recorded(BaseModel):
    """One recorded alert: what was delivered, and the rule behind it where it was known."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    rule: _RecordedRule | None = None
    incident: str = ""
    decided: str = ""
    """The entry that was chosen then, or `none`."""


_RECORDED = TypeAdapter(list[Recorded])


class Kind(StrEnum):
    """What became of one decision."""

    GAINED = "gained"
    """Nothing was proposed before; now an entry is."""
    LOST = "lost"
    """An entry was proposed before; now nothing is."""
    OTHER_ENTRY = "other entry"
    OTHER_HOSTS = "other hosts"
    OTHER_PARAMETERS = "other parameters"


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision, as far as two of them can differ."""

    entry: str
    hosts: tuple[str, ...] = ()
    parameters: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        if self.entry == NONE:
            return NONE
        given = " ".join(f"{name}={value}" for name, value in (self.parameters or {}).items())
        return " ".join(part for part in (self.entry, f"on {', '.join(self.hosts)}", given) if part)


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that the second catalogue decides in another way."""

    fingerprint: str
    alertname: str
    target: str
    kind: Kind
    before: Decided
    after: Decided


@dataclass(frozen=True, slots=True)
class Backtest:
    """What two catalogues make of the same alerts."""

    alerts: int
    changes: tuple[Change, ...]
    touched: tuple[str, ...]
    """Entries that are still chosen and whose play has changed; sorted."""


def read_recorded(text: str) -> list[Recorded]:
    """Read recorded alerts.

    Args:
        text: a JSON list of `{"fingerprint", "labels", "annotations"?, "rule"?, "incident"?, "decided"?}`.

    Raises:
        UsageError: it is no such list; names the item and the field.
    """
    try:
        return _RECORDED.validate_json(text)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{where}: {first['msg']}. Mend: write the file with `orchestrator eval record --out FILE`.") from exc


def backtest(alerts: Iterable[Recorded], before: Catalogue, after: Catalogue, decide: Decide) -> Backtest:
    """Decide every alert by both catalogues and compare.

    An alert's target is taken as a host that allows what the alert names, the same for both sides, so that the choice is compared and not
    an inventory.
    """
    changes, chosen, count = [], set(), 0
    for one in alerts:
        count += 1
        alert = Alert(one.fingerprint, AlertStatus.FIRING, one.labels, one.annotations)
        rule = Rule(one.rule.name, one.rule.expr, one.rule.labels, one.rule.annotations) if one.rule else None
        first, second = (_decided(decide(alert, Context(rule=rule), side, assumed_host(alert, side))) for side in (before, after))
        chosen |= {first.entry} & {second.entry}
        kind = _kind(first, second)
        if kind is not None:
            changes.append(Change(one.fingerprint, alert.name, alert.target, kind, first, second))
    kept = sorted(name for name in chosen - {NONE} if before.entries[name].digest != after.entries[name].digest)
    return Backtest(count, tuple(changes), tuple(kept))


def _decided(proposal: Proposal) -> Decided:
    if proposal.choice is not Choice.RUN:
        return Decided(NONE)
    return Decided(proposal.entry, proposal.hosts, dict(proposal.parameters))


def _kind(before: Decided, after: Decided) -> Kind | None:
    if before == after:
        return None
    if before.entry != after.entry:
        return Kind.GAINED if before.entry == NONE else Kind.LOST if after.entry == NONE else Kind.OTHER_ENTRY
    return Kind.OTHER_HOSTS if before.hosts != after.hosts else Kind.OTHER_PARAMETERS


def markdown(found: Backtest, before: str, after: str) -> str:
    """Return the comparison as a pull request's comment.

    Args:
        found: the comparison.
        before: what people call the first catalogue: a revision or a folder.
        after: what they call the second.
    """
    head = f"### Backtest: {_code(before)} → {_code(after)}"
    same = found.alerts - len(found.changes)
    lines = [head, "", f"{found.alerts} recorded alerts: **{len(found.changes)} decisions change**, {same} stay.", ""]
    if found.changes:
        lines += ["| alert | target | what | before | after |", "|---|---|---|---|---|"]
        lines += [
            f"| {_code(one.alertname)} | {_code(one.target)} | {one.kind} | {_code(str(one.before))} | {_code(str(one.after))} |"
            for one in found.changes[:_SHOWN]
        ]
        lines += ["", f"… and {len(found.changes) - _SHOWN} more."] if len(found.changes) > _SHOWN else []
        lines.append("")
    if found.touched:
        names = ", ".join(_code(name) for name in found.touched)
        lines += [f"Chosen as before, with a changed play: {names}. Each asks a person until an admin admits it.", ""]
    return "\n".join(lines)


def _code(text: str) -> str:
    """Return outside text so that it can be nothing but text in a table of Markdown."""
    plain = "".join(character if character.isprintable() else " " for character in text).replace("`", "'").replace("|", "¦")
    return f"`{plain}`" if plain.strip() else "–"


def as_json(alerts: Sequence[Recorded]) -> str:
    """Return recorded alerts as `read_recorded` reads them."""
    return json.dumps([one.model_dump(exclude_defaults=True) for one in alerts], indent=1, ensure_ascii=False) + "\n"
