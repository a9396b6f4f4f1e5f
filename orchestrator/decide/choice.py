"""What a language model may say, and the rules that every answer of one is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.decide.plain import one_line
from orchestrator.decide.values import Values, derive, forbidden, targets_problem
from orchestrator.model import Alert, Alternative, Choice, Claim, Context, Entry, Host, Parameter


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model's answer, parsed; nothing in it is trusted before `faults` finds none."""

    choice: Choice
    entry: str = ""
    hosts: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    claims: tuple[Claim, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    prompt_digest: str = ""


class Model(Protocol):
    """A language model that chooses from a shortlist."""

    name: str
    """Shown to people and written to the record: `mistral-large-latest`."""

    def choose(self, alert: Alert, context: Context, entries: Sequence[Entry], hosts: Sequence[Host], tried: Sequence[str]) -> ModelChoice:
        """Choose one of `entries`, none, or a person.

        Args:
            alert: the alert.
            context: the evidence; outside text.
            entries: the shortlist; nothing else can be chosen.
            hosts: the alert's own inventory hosts; nothing else can be touched.
            tried: ids of entries that ran already for this incident.

        Returns:
            The answer.

        Raises:
            ModelUnavailable: no usable answer in time.
        """


def choosable(entry: Entry, alert: Alert, hosts: Sequence[Host]) -> bool:
    """Return whether `entry` could run at all on `hosts`: groups, number of hosts, and a value for every parameter that needs one."""
    if targets_problem(entry, alert, hosts):
        return False
    values = derive(entry, alert, hosts)
    open_names = {parameter.name for parameter in entry.parameters if allowed(parameter, values)}
    needed = {parameter.name for parameter in entry.parameters if parameter.required}
    return needed <= open_names and not forbidden(entry, values.parameters, hosts)


def allowed(parameter: Parameter, values: Values) -> tuple[Any, ...]:
    """Return the values a model may give `parameter`: the label's own where a label tells, else the choices and the default."""
    if values.origins.get(parameter.name, "").startswith("labels."):
        return (values.parameters[parameter.name],)
    choices: list[Any] = [[choice] for choice in parameter.choices] if parameter.type == "list" else list(parameter.choices)
    default = values.parameters.get(parameter.name)
    return tuple(choices) if default is None or default in choices else (*choices, default)


def faults(choice: ModelChoice, alert: Alert, entries: Sequence[Entry], hosts: Sequence[Host]) -> list[str]:
    """Say what is wrong with a model's answer, in words that the model can mend it by.

    Args:
        choice: the answer.
        alert: the alert; its labels decide what a parameter may be.
        entries: the shortlist that the model was shown.
        hosts: the alert's own inventory hosts.

    Returns:
        One line per fault; empty where the answer may be used.
    """
    if choice.choice is not Choice.RUN:
        named = choice.entry or choice.hosts or choice.parameters
        return ["entry, hosts and parameters must be empty unless an entry is to run"] if named else []
    entry = next((entry for entry in entries if entry.id == choice.entry), None)
    if entry is None:
        return [f"entry {one_line(choice.entry, 80)!r} is not one of the entries shown"]
    touched = [host for host in hosts if host.name in choice.hosts]
    found = _host_faults(choice, hosts)
    if not touched:
        return [*found, "hosts must name at least one of the alert's hosts"]
    if problem := targets_problem(entry, alert, touched):
        found.append(problem.detail)
    found += _parameter_faults(choice, entry, alert, touched)
    return found + [problem.detail for problem in forbidden(entry, choice.parameters, touched)]


def _host_faults(choice: ModelChoice, hosts: Sequence[Host]) -> list[str]:
    own = {host.name for host in hosts}
    found = [f"host {one_line(name, 80)!r} is not one of the alert's hosts" for name in choice.hosts if name not in own]
    if len(set(choice.hosts)) != len(choice.hosts):
        found.append("a host is named twice")
    return found


def _parameter_faults(choice: ModelChoice, entry: Entry, alert: Alert, hosts: Sequence[Host]) -> list[str]:
    known = {parameter.name: parameter for parameter in entry.parameters}
    found = []
    values = derive(entry, alert, hosts)
    for name, parameter in known.items():
        if name not in choice.parameters:
            if parameter.required or name in values.parameters:
                found.append(f"parameter {name} is missing")
        elif not any(_same(choice.parameters[name], value) for value in allowed(parameter, values)):
            shown = one_line(repr(choice.parameters[name]), 80)
            found.append(f"parameter {name} = {shown} is traced to no label, choice or default of the entry")
    return found


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal and of one kind: 1 is 1.0, but not true."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_same(left, right) for left, right in zip(one, other, strict=True))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
