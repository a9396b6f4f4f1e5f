"""From an alert and what is known to a proposal: the room's one door.

| who says what | then |
|---|---|
| matchers and model name the same entry, hosts and parameters | `agreed` |
| the model alone | `model_alone` |
| they differ, or the model says none or escalate where a matcher fired | `differ`, with both shown |
| the model is configured and failed | the matchers' proposal, `model_failed` |
| no model by the owner's choice | the matchers' proposal, `matchers` |
| the rule's own template could not be read | `rule_unread`, a person |
| nothing fits, no inventory host, a value that may not be used | NONE or ESCALATE with a summary |

The policy reads the agreement. Risk, reversibility and blast radius come from the entry, never from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.decide import matchers
from orchestrator.decide.choice import Model, ModelChoice, choosable, faults
from orchestrator.decide.matchers import matching
from orchestrator.decide.plain import one_line
from orchestrator.decide.shortlist import ranked, shortlist
from orchestrator.decide.values import derive
from orchestrator.errors import ModelUnavailable
from orchestrator.model import (
    Agreement,
    Alert,
    Alternative,
    Catalogue,
    Choice,
    Claim,
    Context,
    Entry,
    EntryKind,
    Host,
    Proposal,
    Reason,
)

__all__ = ["Model", "ModelChoice", "decide", "derive", "matching"]

_SUGGESTIONS = 3


def decide(
    alert: Alert,
    context: Context,
    catalogue: Catalogue,
    hosts: tuple[Host, ...],
    *,
    tried: tuple[str, ...] = (),
    model: Model | None = None,
    failure: str = "",
    rule_read: bool | None = None,
    size: int = 8,
    clock: Callable[[], float] = time.monotonic,
) -> Proposal:
    """Choose one entry of the catalogue for an alert, or none, or a person.

    Args:
        alert: the alert.
        context: what was gathered about it; partial is allowed.
        catalogue: the closed list of entries.
        hosts: the inventory hosts of the alert's own targets, resolved by the caller; nothing else can be touched.
        tried: ids of entries that ran already for this incident; not chosen again.
        model: a language model that chooses beside the matchers; None: the matchers alone, by the owner's choice.
        failure: why a configured model cannot even be asked; empty where it can, or where none is configured.
        rule_read: whether Prometheus gave the rule behind the alert; None where no Prometheus is configured.
        size: most entries shown to the model, 1 or more.
        clock: seconds that only grow, for `took_s`.

    Returns:
        The proposal. `choice` is RUN only with an entry of the catalogue, hosts from `hosts` and parameters that the entry and the hosts
        allow.
    """
    began = clock()
    if not hosts:
        return _no_target(alert)
    own = matchers.propose(alert, context, catalogue, hosts, tried)
    if own.choice is Choice.NONE:
        own = _with_suggestions(own, alert, context, catalogue, hosts, tried)
    if model is not None and not failure:
        proposal = _with_model(own, alert, context, catalogue, hosts, tried, model, size)
    elif failure:
        proposal = _model_failed(own, failure)
    else:
        proposal = own
    return replace(_with_rule(proposal, context, rule_read), took_s=max(0.0, clock() - began))


def _with_model(
    own: Proposal,
    alert: Alert,
    context: Context,
    catalogue: Catalogue,
    hosts: tuple[Host, ...],
    tried: tuple[str, ...],
    model: Model,
    size: int,
) -> Proposal:
    """Ask the model too; an answer that breaks a rule counts as none."""
    open_entries = [entry for entry in _fresh(catalogue, tried) if choosable(entry, alert, hosts)]
    entries = shortlist(alert, context, open_entries, matching(alert, context, catalogue), max(1, size))
    try:
        said = model.choose(alert, context, entries, hosts, tried)
    except ModelUnavailable as exc:
        return _model_failed(own, str(exc))
    wrong = faults(said, alert, entries, hosts)
    if wrong:
        return _model_failed(own, f"its answer was refused: {'; '.join(wrong)}")
    return _joined(own, said, model.name, alert, catalogue, hosts, context)


def _joined(
    own: Proposal, said: ModelChoice, name: str, alert: Alert, catalogue: Catalogue, hosts: tuple[Host, ...], context: Context
) -> Proposal:
    """Return what matchers and model say together."""
    claims = _cited(said.claims, context)
    others = _known(said.alternatives, catalogue)
    base = replace(own, claims=(*own.claims, *claims), prompt_digest=said.prompt_digest)
    match own.choice, said.choice:
        case Choice.RUN, Choice.RUN if _same(own, said):
            return replace(base, agreement=Agreement.AGREED, engine=name, alternatives=_merged(own.alternatives, others))
        case Choice.RUN, _:
            return replace(base, agreement=Agreement.DIFFER, alternatives=_merged((_as_alternative(said, name),), own.alternatives, others))
        case _, Choice.RUN:
            return _models_own(base, said, name, alert, catalogue, hosts, others)
        case Choice.NONE, Choice.ESCALATE:
            summary = f"{own.summary} {name} wants a person: {one_line(said.summary, 200)}"
            return replace(base, choice=Choice.ESCALATE, summary=summary, alternatives=_merged(own.alternatives, others))
        case _:
            return replace(base, agreement=Agreement.AGREED, alternatives=_merged(own.alternatives, others))


def _models_own(
    base: Proposal,
    said: ModelChoice,
    name: str,
    alert: Alert,
    catalogue: Catalogue,
    hosts: tuple[Host, ...],
    others: tuple[Alternative, ...],
) -> Proposal:
    """Return the model's entry as the proposal: it stands alone, or against matchers that fired and could not run."""
    entry = catalogue.entries[said.entry]
    values = replace(derive(entry, alert, [host for host in hosts if host.name in said.hosts]), parameters=said.parameters)
    origins = {key: _origin(value, entry, key, values.origins.get(key, "")) for key, value in said.parameters.items()}
    fired = base.choice is Choice.ESCALATE
    because = f"the matchers say otherwise ({base.summary})" if fired else "no matcher does"
    return replace(
        base,
        choice=Choice.RUN,
        agreement=Agreement.DIFFER if fired else Agreement.MODEL_ALONE,
        engine=name,
        summary=f"{matchers.headline(entry, values, said.hosts)}: {name} names the entry {entry.id}; {because}.",
        entry=entry.id,
        hosts=said.hosts,
        parameters=said.parameters,
        origins=origins,
        alternatives=tuple(item for item in _merged(base.alternatives, others) if item.entry != entry.id),
        reason=None,
    )


def _origin(value: object, entry: Entry, name: str, derived: str) -> str:
    """Return where a value of the model's comes from; `model` where it chose among the entry's choices."""
    if derived.startswith("labels."):
        return derived
    default = next((parameter.default for parameter in entry.parameters if parameter.name == name), None)
    return "default" if value == default else "model"


def _model_failed(own: Proposal, why: str) -> Proposal:
    """Return the matchers' proposal, marked: the model gave nothing."""
    claim = Claim(f"The model gave no usable answer: {one_line(why, 400)}")
    marked = replace(own, agreement=Agreement.MODEL_FAILED, claims=(*own.claims, claim))
    if own.choice is not Choice.NONE:
        return marked
    return replace(marked, choice=Choice.ESCALATE, reason=Reason.MODEL_FAILED, summary=f"{own.summary} The model gave no usable answer.")


def _with_rule(proposal: Proposal, context: Context, rule_read: bool | None) -> Proposal:
    """Mark a proposal that could run without a person although the rule's own template is not known."""
    unread = context.rule is None and rule_read is not None
    may_run = proposal.agreement in (Agreement.MATCHERS, Agreement.AGREED, Agreement.MODEL_FAILED)
    if not unread or not may_run or proposal.choice is not Choice.RUN:
        return proposal
    claim = Claim("The alert's rule could not be read from Prometheus; the entry was chosen by labels alone.")
    return replace(proposal, agreement=Agreement.RULE_UNREAD, claims=(*proposal.claims, claim))


def _with_suggestions(
    own: Proposal, alert: Alert, context: Context, catalogue: Catalogue, hosts: tuple[Host, ...], tried: tuple[str, ...]
) -> Proposal:
    """Add the entries nearest in words, for a person to look at."""
    named = {item.entry for item in own.alternatives}
    near = [entry for entry, score in ranked(alert, context, _fresh(catalogue, tried)) if score > 0 and entry.id not in named]
    why = "only similar in words; its matchers do not fit"
    suggestions = tuple(matchers.alternative(entry, why, alert, hosts) for entry in near[:_SUGGESTIONS])
    return replace(own, alternatives=(*own.alternatives, *suggestions))


def _no_target(alert: Alert) -> Proposal:
    target = one_line(alert.target, 120)
    which = f"no inventory host belongs to its target {target!r}" if target else "no label of it names a host"
    name = one_line(alert.name, 80) or "An alert without a name"
    summary = f"{name} fired and {which}. Mend: add the host to the inventory, or its prometheus_instance."
    return Proposal(Choice.ESCALATE, Agreement.MATCHERS, matchers.ENGINE, summary, reason=Reason.NO_TARGET)


def _fresh(catalogue: Catalogue, tried: Sequence[str]) -> list[Entry]:
    return [entry for entry in catalogue.entries.values() if entry.kind is EntryKind.REMEDIATION and entry.id not in tried]


def _same(own: Proposal, said: ModelChoice) -> bool:
    return own.entry == said.entry and set(own.hosts) == set(said.hosts) and dict(own.parameters) == dict(said.parameters)


def _as_alternative(said: ModelChoice, name: str) -> Alternative:
    """Return the model's differing word; the entry is `none` or `escalate` where it names no entry."""
    why = f"{name} says so, the matchers differ: {one_line(said.summary, 200)}"
    return Alternative(said.entry or said.choice.value, why, said.hosts, said.parameters)


def _cited(claims: Sequence[Claim], context: Context) -> tuple[Claim, ...]:
    """Return the claims with only such citations as exist."""
    ids = {evidence.id for evidence in context.evidence}
    return tuple(Claim(one_line(claim.text, 400), tuple(id_ for id_ in claim.evidence if id_ in ids)) for claim in claims[:10])


def _known(alternatives: Sequence[Alternative], catalogue: Catalogue) -> tuple[Alternative, ...]:
    """Return the model's alternatives that exist, without hosts or parameters of its own."""
    return tuple(Alternative(item.entry, one_line(item.why_not, 200)) for item in alternatives[:10] if item.entry in catalogue.entries)


def _merged(*lists: Sequence[Alternative]) -> tuple[Alternative, ...]:
    """Return all alternatives, each entry with the same hosts and parameters once; ours before the model's."""
    kept: list[Alternative] = []
    for item in (item for items in lists for item in items):
        bare = not item.hosts and not item.parameters
        if not any(item.entry == other.entry and (bare or item.hosts == other.hosts) for other in kept):
            kept.append(item)
    return tuple(kept)
