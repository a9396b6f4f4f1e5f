"""Scores decisions on labelled alerts: right, wrong action, refused correctly, missed. Pure: it decides nothing itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.decide.plain import one_line
from orchestrator.errors import UsageError
from orchestrator.model import Alert, AlertStatus, Catalogue, Choice, Host, Proposal

_NONE = "none"
_UNIT = ".service"


class Mark(StrEnum):
    """What a decision is worth on one labelled alert."""

    RIGHT = "right"
    """An accepted entry, on the right hosts, with the right parameters."""
    REFUSED = "refused"
    """Nothing was to be done, and nothing was proposed."""
    WRONG_ACTION = "wrong_action"
    """Something was proposed that must not run: another entry, other hosts, other parameters, or anything at all."""
    MISSED = "missed"
    """An entry was to run and none was proposed: a person has to find it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled alert."""

    id: str
    alert: Alert
    accept: tuple[str, ...]
    """Entries that are right; `none` among them where doing nothing is."""
    hosts: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Name (without an entry's prefix) → value."""


@dataclass(frozen=True, slots=True)
class Result:
    """One case and what was decided."""

    case: str
    mark: Mark
    entry: str
    """What was proposed; `none` where nothing was."""
    expected: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over all cases."""

    total: int
    counts: Mapping[str, int]
    """Mark → how many."""
    results: tuple[Result, ...] = ()

    @property
    def right_rate(self) -> float:
        """Share of cases decided as a person would: right actions and correct refusals, 0 to 1."""
        return self._share(Mark.RIGHT, Mark.REFUSED)

    @property
    def wrong_action_rate(self) -> float:
        """Share of cases with an action that must not run, 0 to 1."""
        return self._share(Mark.WRONG_ACTION)

    def _share(self, *marks: Mark) -> float:
        return sum(self.counts.get(mark, 0) for mark in marks) / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed between two scores of the same cases."""

    better: tuple[str, ...]
    worse: tuple[str, ...]
    """One line per case: `n: right → missed`."""
    missing: tuple[str, ...]
    """Cases that only one of the two has."""

    @property
    def ok(self) -> bool:
        """Whether nothing got worse and no case was lost."""
        return not self.worse and not self.missing


def read_cases(text: str) -> tuple[Case, ...]:
    """Read labelled alerts.

    Args:
        text: a JSON list of objects with `n`, `gold`, `accept`, `gold_hosts`, `gold_params` and `alert` (`labels`, `annotations`).

    Returns:
        The cases, in order.

    Raises:
        UsageError: it is no such list; the message names the case and the field.
    """
    try:
        items = json.loads(text)
    except ValueError as exc:
        raise UsageError(f"the cases are not JSON: {exc}") from exc
    if not isinstance(items, list):
        raise UsageError("the cases are not a JSON list")
    return tuple(_case(index, item) for index, item in enumerate(items))


def judge(case: Case, proposal: Proposal) -> Result:
    """Return what `proposal` is worth on `case`."""
    expected = " or ".join(case.accept)
    if proposal.choice is not Choice.RUN:
        refused = _NONE in case.accept
        return Result(case.id, Mark.REFUSED if refused else Mark.MISSED, _NONE, expected, one_line(proposal.summary))
    wrong = _wrong(case, proposal)
    return Result(case.id, Mark.WRONG_ACTION if wrong else Mark.RIGHT, proposal.entry, expected, wrong)


def score(results: Iterable[Result]) -> Score:
    """Count the marks."""
    listed = tuple(results)
    return Score(len(listed), {mark.value: sum(item.mark is mark for item in listed) for mark in Mark}, listed)


def compare(before: Score, after: Score) -> Comparison:
    """Say which cases got better and which worse; a wrong action is worse than a miss, a miss worse than right."""
    old, new = ({item.case: item.mark for item in side.results} for side in (before, after))
    rank = {Mark.WRONG_ACTION: 0, Mark.MISSED: 1, Mark.RIGHT: 2, Mark.REFUSED: 2}
    both = [case for case in old if case in new]
    lines = {case: f"{case}: {old[case]} → {new[case]}" for case in both}
    better = tuple(lines[case] for case in both if rank[new[case]] > rank[old[case]])
    worse = tuple(lines[case] for case in both if rank[new[case]] < rank[old[case]])
    return Comparison(better, worse, tuple(sorted(old.keys() ^ new.keys())))


def assumed_host(alert: Alert, catalogue: Catalogue, named: tuple[str, ...] = ()) -> tuple[Host, ...]:
    """Return the alert's own target as a host that allows what the alert names, so that the choice is scored and not an inventory.

    Args:
        alert: the labelled alert.
        catalogue: its entries name the groups and allow-lists to assume.
        named: the case's own hosts; where the target is a name in a domain (`www.example.com`, a service rather than a machine) and the
            case names one host, that stands for what an inventory would say.

    Returns:
        One host; none where no label names a machine.
    """
    if not alert.target:
        return ()
    entries = catalogue.entries.values()
    groups = tuple(sorted({group for entry in entries for group in entry.targets.groups}))
    values = sorted({alert.target, *(form for value in alert.labels.values() for form in (value, value.removesuffix(_UNIT)))})
    lists = {parameter.allow_list for entry in entries for parameter in entry.parameters if parameter.allow_list}
    is_service = "." in alert.target and re.fullmatch(r"[\d.]+", alert.target) is None
    name = named[0] if is_service and len(named) == 1 else alert.target
    return (Host(name, groups, dict.fromkeys(sorted(lists), values)),)


def _wrong(case: Case, proposal: Proposal) -> str:
    """Say why a proposal must not run; empty where it may."""
    if proposal.entry not in case.accept:
        return f"entry {proposal.entry}"
    if case.hosts and set(proposal.hosts) != set(case.hosts):
        return f"hosts {', '.join(proposal.hosts)} instead of {', '.join(case.hosts)}"
    for name, value in case.parameters.items():
        given = _given(proposal, name)
        if given is not None and given.removesuffix(_UNIT) != value.removesuffix(_UNIT):
            return one_line(f"{name} {given} instead of {value}")
    return ""


def _given(proposal: Proposal, name: str) -> str | None:
    """Return the proposal's value for a generic name: `service` is `restart_service_name` or `…_service`; None where it has none."""
    for key, value in proposal.parameters.items():
        short = key.removeprefix(f"{proposal.entry}_")
        if short == name or (short == "name" and name in proposal.entry) or (short == "path" and name == "mountpoint"):
            return str(value)
    return None


def _case(index: int, item: Any) -> Case:
    try:
        labels = {str(key): str(value) for key, value in item["alert"]["labels"].items()}
        annotations = {str(key): str(value) for key, value in item["alert"].get("annotations", {}).items()}
        accept = tuple(map(str, item.get("accept") or [item["gold"]]))
        hosts = tuple(map(str, item.get("gold_hosts", ())))
        parameters = {str(key): str(value) for key, value in item.get("gold_params", {}).items()}
    except (KeyError, TypeError, AttributeError) as exc:
        raise UsageError(f"case {index}: {type(exc).__name__} {exc}; see the fields of a case in the reference of `eval run`") from exc
    fingerprint = hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]
    alert = Alert(fingerprint, AlertStatus.FIRING, labels, annotations)
    return Case(str(item.get("n", index)), alert, accept, hosts, parameters)


def as_rows(results: Sequence[Result]) -> list[dict[str, str]]:
    """Return the results as plain rows for a table or JSON; `from_rows` reads them back."""
    return [
        {"case": item.case, "mark": item.mark.value, "entry": item.entry, "expected": item.expected, "detail": item.detail}
        for item in results
    ]


def from_rows(rows: Sequence[Mapping[str, str]]) -> Score:
    """Return the score that `as_rows` wrote.

    Raises:
        UsageError: a row is not one of ours.
    """
    try:
        return score(Result(row["case"], Mark(row["mark"]), row["entry"], row["expected"], row.get("detail", "")) for row in rows)
    except (KeyError, ValueError, TypeError) as exc:
        raise UsageError(f"this is no result of `eval run`: {exc}") from exc
