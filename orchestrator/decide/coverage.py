"""How much of real alert rules the catalogue answers, and that it answers none it should not: a table labelled by people, decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.decide.evaluate import assumed_host
from orchestrator.errors import UsageError
from orchestrator.model import Alert, AlertStatus, Catalogue, Choice, Context, Host, Proposal, Rule

Decide = Callable[[Alert, Context, Catalogue, tuple[Host, ...]], Proposal]


class LabelledAlert(BaseModel):
    """One alert of a rule set as it would fire, and what a person says of it."""

    model_config = ConfigDict(extra="forbid")

    alert: str
    labels: dict[str, str] = {}
    """Besides `alertname`."""
    metric: str = ""
    """The metric that the rule's expression is about, where a matcher looks at the expression."""
    host_level: bool = True
    """Whether it is about a host, or a service on one, that a play could reach."""
    fits: list[str] = []
    """Entries whose meaning it is; empty: none."""


class LabelledRules(BaseModel):
    """A rule set with its labels."""

    model_config = ConfigDict(extra="forbid")

    name: str
    source: str
    alerts: list[LabelledAlert]


class Mark(StrEnum):
    """What the catalogue makes of one alert."""

    ANSWERED = "answered"
    """An entry that fits is proposed."""
    MISSED = "missed"
    """An entry would fit, and none is proposed."""
    LEFT = "left"
    """No entry fits, and none is proposed."""
    WRONG = "wrong"
    """An entry is proposed whose meaning it is not."""


@dataclass(frozen=True, slots=True)
class Covered:
    """One alert and what was made of it."""

    rules: str
    alert: str
    host_level: bool
    fits: tuple[str, ...]
    got: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Coverage:
    """One rule set, or several."""

    name: str
    items: tuple[Covered, ...]

    def count(self, mark: Mark) -> int:
        """Return how many alerts have a mark."""
        return sum(item.mark is mark for item in self.items)

    @property
    def host_level(self) -> int:
        """How many alerts are about a host or a service on one."""
        return sum(item.host_level for item in self.items)

    @property
    def share(self) -> float:
        """Share of host-level alerts that are answered, 0 to 1."""
        answered = sum(item.host_level and item.mark is Mark.ANSWERED for item in self.items)
        return answered / self.host_level if self.host_level else 0.0

    @property
    def cells(self) -> tuple[str | int, ...]:
        """Name, alerts, host-level, answered, share of host-level, missed, wrong: its row in a table."""
        counts = self.count(Mark.MISSED), self.count(Mark.WRONG)
        return self.name, len(self.items), self.host_level, self.count(Mark.ANSWERED), f"{self.share:.0%}", *counts


def read_labelled(data: Any, file: str) -> LabelledRules:
    """Return a labelled rule set.

    Args:
        data: what its YAML file holds.
        file: its name, for the message.

    Raises:
        UsageError: it is none; names the field.
    """
    try:
        return LabelledRules.model_validate(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(
            f"{file}: {where}: {first['msg']}. Mend: write name, source and alerts: [{{alert, labels, host_level, fits}}]."
        ) from exc


def cover(rules: LabelledRules, catalogue: Catalogue, decide: Decide) -> Coverage:
    """Decide every alert of a rule set by the matchers; its target is taken as a host that allows what the alert names."""
    return Coverage(rules.name, tuple(_covered(rules.name, one, catalogue, decide) for one in rules.alerts))


def _covered(rules: str, one: LabelledAlert, catalogue: Catalogue, decide: Decide) -> Covered:
    alert = Alert("0" * 16, AlertStatus.FIRING, {"alertname": one.alert, **one.labels})
    context = Context(rule=Rule(one.alert, one.metric)) if one.metric else Context()
    proposal = decide(alert, context, catalogue, assumed_host(alert, catalogue))
    got = proposal.entry if proposal.choice is Choice.RUN else ""
    return Covered(rules, one.alert, one.host_level, tuple(one.fits), got, _mark(got, one.fits))


def _mark(got: str, fits: list[str]) -> Mark:
    if got:
        return Mark.ANSWERED if got in fits else Mark.WRONG
    return Mark.MISSED if fits else Mark.LEFT


def together(name: str, found: Iterable[Coverage]) -> Coverage:
    """Return several rule sets as one."""
    return Coverage(name, tuple(item for one in found for item in one.items))


def markdown(found: list[Coverage]) -> str:
    """Return the tables as a page."""
    lines = ["| rule set | alerts | host-level | answered | share of host-level | missed | wrong |", "|---|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(map(str, one.cells)) + " |" for one in (*found, together("**all**", found))]
    for one in found:
        lines += ["", f"## {one.name}", "", "| alert | proposed | |", "|---|---|---|"]
        lines += [
            f"| `{item.alert}` | {f'`{item.got}`' if item.got else '–'} | {_remark(item)} |"
            for item in one.items
            if item.host_level or item.got
        ]
    return "\n".join(lines) + "\n"


def _remark(item: Covered) -> str:
    match item.mark:
        case Mark.ANSWERED | Mark.LEFT:
            return ""
        case Mark.MISSED:
            return f"missed: {', '.join(item.fits)} would fit, and a label that it needs is not there"
        case Mark.WRONG:
            return "**wrong**"
