"""The engine without a model: entries whose matchers fit the labels and the rule's own template.

Besides the alert's labels, matchers may name `rule_expr`, `rule_summary` and `rule_description`: the rule as its author wrote it, from
Prometheus. Rendered annotations are never read: they carry outside text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.decide.plain import one_line
from orchestrator.decide.values import Problem, Values, derive, targets_problem
from orchestrator.errors import UsageError
from orchestrator.matcher import matches_any_line
from orchestrator.model import (
    Agreement,
    Alert,
    Alternative,
    Catalogue,
    Choice,
    Context,
    Entry,
    EntryKind,
    Host,
    Proposal,
    Reason,
)

ENGINE = "matchers"
_LONGEST_LABEL = 4096
_TITLE = re.compile(r"(?P<verb>\w+) (?:one|a|an|the) .+")


def matching(alert: Alert, context: Context, catalogue: Catalogue) -> tuple[Entry, ...]:
    """Return the remediations whose matchers fit, best order first.

    Args:
        alert: only its labels are read.
        context: only its rule is read.
        catalogue: where the entries come from.

    Returns:
        Entries by `order`, then id; none where a label is so long that a pattern would take its time over it.
    """
    if any(len(value) > _LONGEST_LABEL for value in alert.labels.values()):
        return ()
    seen = _seen(alert, context)
    fitting = [entry for entry in catalogue.entries.values() if entry.kind is EntryKind.REMEDIATION and _fits(entry, seen)]
    return tuple(sorted(fitting, key=lambda entry: (entry.order, entry.id)))


def propose(alert: Alert, context: Context, catalogue: Catalogue, hosts: tuple[Host, ...], tried: tuple[str, ...] = ()) -> Proposal:
    """Choose by matchers alone.

    Args:
        alert: the alert.
        context: what was gathered; only the rule's own template is read.
        catalogue: the closed list of entries.
        hosts: the inventory hosts of the alert's own targets; at least one.
        tried: ids of entries that ran already for this incident.

    Returns:
        RUN with the best entry, NONE where no entry fits, ESCALATE where one fits and may not or cannot run as it stands.
    """
    fitting = matching(alert, context, catalogue)
    fresh = [entry for entry in fitting if entry.id not in tried]
    left_out = [alternative(entry, "it was tried already", alert, hosts) for entry in fitting if entry.id in tried]
    refusals = {entry.id: targets_problem(entry, alert, hosts) for entry in fresh}
    able = [entry for entry in fresh if refusals[entry.id] is None]
    refused = [(entry, problem) for entry in fresh if (problem := refusals[entry.id])]
    left_out += [Alternative(entry.id, problem.detail) for entry, problem in refused]
    if not able:
        if refused:
            return _cannot(alert, refused[0][0], refused[0][1], left_out)
        return _nothing(alert, left_out, tried=bool(fitting))
    best = [entry for entry in able if entry.order == able[0].order]
    others = [alternative(entry, _later(entry, best[0]), alert, hosts) for entry in able[len(best) :]] + left_out
    if len(best) > 1:
        return _conflict(alert, best, hosts, others)
    return _chosen(alert, best[0], hosts, others)


def alternative(entry: Entry, why_not: str, alert: Alert, hosts: Sequence[Host]) -> Alternative:
    """Return `entry` as an alternative, with hosts and parameters where a person could start it as it is."""
    values = derive(entry, alert, hosts)
    if values.problems or targets_problem(entry, alert, hosts):
        return Alternative(entry.id, why_not)
    return Alternative(entry.id, why_not, tuple(host.name for host in hosts), values.parameters)


def headline(entry: Entry, values: Values, hosts: Iterable[str]) -> str:
    """Return what would be done in a few words: `Restart nginx on web-01`."""
    named = [parameter.name for parameter in entry.parameters if parameter.allow_list and values.parameters.get(parameter.name)]
    named = named or [name for name, origin in values.origins.items() if origin.startswith("labels.")]
    shown = one_line(", ".join(_shown(values.parameters[name]) for name in named), 120)
    title = one_line(entry.title, 120).rstrip(".")
    found = _TITLE.fullmatch(title)
    if shown and found:
        title = f"{found['verb']} {shown}"
    elif shown:
        title = f"{title} ({shown})"
    return f"{title or entry.id} on {', '.join(hosts)}"


def _seen(alert: Alert, context: Context) -> Mapping[str, str]:
    """Return the labels with the rule's template beside them; a label of such a name cannot stand for the rule."""
    rule = context.rule
    texts = (rule.expr, rule.annotations.get("summary", ""), rule.annotations.get("description", "")) if rule else ("", "", "")
    names = ("rule_expr", "rule_summary", "rule_description")
    return {**alert.labels, **{name: " ".join(text.split()) for name, text in zip(names, texts, strict=True)}}


def _fits(entry: Entry, labels: Mapping[str, str]) -> bool:
    try:
        return matches_any_line(entry.matchers, labels)
    except UsageError:
        return False  # the loader refuses such an entry; one that slipped through chooses nothing


def _chosen(alert: Alert, entry: Entry, hosts: Sequence[Host], others: Sequence[Alternative]) -> Proposal:
    values = derive(entry, alert, hosts)
    if values.problems:
        return _cannot(alert, entry, values.problems[0], [Alternative(entry.id, values.problems[0].detail), *others])
    names = tuple(host.name for host in hosts)
    return Proposal(
        choice=Choice.RUN,
        agreement=Agreement.MATCHERS,
        engine=ENGINE,
        summary=f"{headline(entry, values, names)}: {_name(alert)} fired and the entry {entry.id} matches.",
        entry=entry.id,
        hosts=names,
        parameters=values.parameters,
        origins=values.origins,
        alternatives=tuple(others),
    )


def _cannot(alert: Alert, entry: Entry, problem: Problem, others: Sequence[Alternative]) -> Proposal:
    summary = f"{_name(alert)} fired and the entry {entry.id} matches, but cannot run: {problem.detail}"
    return _person(Choice.ESCALATE, summary, problem.reason, others)


def _conflict(alert: Alert, best: Sequence[Entry], hosts: Sequence[Host], others: Sequence[Alternative]) -> Proposal:
    ids = " and ".join(entry.id for entry in best)
    both = [alternative(entry, f"it matches with the same order {entry.order} as another entry", alert, hosts) for entry in best]
    summary = f"{_name(alert)} fired and the entries {ids} match equally well; a person has to choose."
    return _person(Choice.ESCALATE, summary, Reason.CONFLICT, [*both, *others])


def _nothing(alert: Alert, others: Sequence[Alternative], *, tried: bool) -> Proposal:
    why = "every entry that matches was tried already" if tried else "no catalogue entry matches"
    return _person(Choice.NONE, f"{_name(alert)} fired and {why}.", Reason.NO_ENTRY, others)


def _person(choice: Choice, summary: str, reason: Reason, others: Sequence[Alternative]) -> Proposal:
    return Proposal(choice, Agreement.MATCHERS, ENGINE, summary, reason=reason, alternatives=tuple(others))


def _later(entry: Entry, best: Entry) -> str:
    return f"it matches too, but {best.id} comes first (order {best.order} before {entry.order})"


def _name(alert: Alert) -> str:
    return one_line(alert.name, 80) or "An alert without a name"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
