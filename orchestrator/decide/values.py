"""Hosts and parameters of an entry, derived from the alert's labels and the inventory alone.

The matchers use what stands here as it is; a model's answer is measured against it. No text of an annotation ever becomes a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.catalogue import check_names, check_parameters
from orchestrator.decide.plain import one_line
from orchestrator.model import Alert, Entry, Host, Parameter, Reason, target_of

_INTEGER = re.compile(r"-?[0-9]{1,15}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_UNIT = ".service"
_LABELS = "labels."
_INSTANCE = "labels.instance"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an entry cannot run as it stands, with its mend."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Values:
    """What the labels say about an entry's parameters."""

    parameters: Mapping[str, Any]
    origins: Mapping[str, str]
    """Parameter name → `labels.<name>` or `default`."""
    problems: tuple[Problem, ...] = ()


def targets_problem(entry: Entry, alert: Alert, hosts: Sequence[Host]) -> Problem | None:
    """Say why `entry` may not touch `hosts`, or None where it may: the label they come from, group membership and number."""
    source = entry.targets.source
    if source != _INSTANCE and not _named_by(source, alert, hosts):
        detail = f"the entry acts on the host that {source} names, and the alert's hosts are others. Mend: start the entry by hand."
        return Problem(Reason.NOT_ALLOWED, detail)
    if entry.targets.groups:
        for host in hosts:
            if not set(host.groups) & set(entry.targets.groups):
                groups = ", ".join(entry.targets.groups)
                detail = f"host {host.name} is in none of the groups {groups}. Mend: add it to one of them in the inventory."
                return Problem(Reason.NOT_ALLOWED, detail)
    if len(hosts) > entry.targets.max_hosts:
        detail = f"the alert has {len(hosts)} hosts and the entry takes at most {entry.targets.max_hosts}. Mend: choose hosts by hand."
        return Problem(Reason.BLAST_RADIUS, detail)
    return None


def derive(entry: Entry, alert: Alert, hosts: Sequence[Host]) -> Values:
    """Return the parameters of `entry` as the alert's labels give them.

    Args:
        entry: a catalogue entry.
        alert: the alert; only its labels are read.
        hosts: the hosts that the play would touch; their allow-lists decide.

    Returns:
        The values, where each comes from, and every reason why they cannot be used.
    """
    parameters: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[Problem] = []
    for parameter in entry.parameters:
        value, origin = _labelled(parameter, alert, hosts)
        if not origin and parameter.default is not None:
            value, origin = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default, "default"
        if origin:
            parameters[parameter.name], origins[parameter.name] = value, origin
        elif parameter.required:
            problems.append(_without_value(parameter))
    problems += forbidden(entry, parameters, hosts)
    return Values(parameters, origins, tuple(problems))


def forbidden(entry: Entry, parameters: Mapping[str, Any], hosts: Sequence[Host]) -> list[Problem]:
    """Say what of `parameters` the entry's schema or a host's allow-list refuses; parameters without a value are not looked at."""
    absent = [parameter.name for parameter in entry.parameters if parameter.required and parameter.name not in parameters]
    misfits = [] if absent else check_parameters(entry, parameters)
    problems = [f"{one_line(line)}. Mend: correct the alert's label, or start the entry by hand." for line in misfits]
    unlisted = check_names(entry, parameters, hosts)
    problems += [f"{one_line(line)}. Mend: add it to that list in the inventory, if it may be touched." for line in unlisted]
    return [Problem(Reason.NOT_ALLOWED, problem) for problem in problems]


def _named_by(source: str, alert: Alert, hosts: Sequence[Host]) -> bool:
    """Return whether the label `source` means the hosts at hand: an alert about a node may come from another machine's exporter."""
    machine = target_of({"instance": alert.labels.get(source.removeprefix(_LABELS), "")})
    known = {alert.target, *(name for host in hosts for name in (host.name, str(host.variables.get("ansible_host", ""))))}
    return bool(machine) and machine in known


def _labelled(parameter: Parameter, alert: Alert, hosts: Sequence[Host]) -> tuple[Any, str]:
    """Return the first label's value that is there, and its name; an empty name where none is."""
    for source in parameter.sources:
        raw = alert.labels.get(source.removeprefix(_LABELS), "") if source.startswith(_LABELS) else ""
        if raw:
            return _typed(parameter, _as_listed(parameter, raw, hosts)), source
    return None, ""


def _typed(parameter: Parameter, raw: str) -> Any:
    """Return `raw` as the parameter's type; unchanged, for the schema to refuse, where it is no such thing."""
    match parameter.type:
        case "int" if _INTEGER.fullmatch(raw):
            return int(raw)
        case "float" if _NUMBER.fullmatch(raw) and math.isfinite(float(raw)):
            return float(raw)
        case "bool" if raw in ("true", "false"):
            return raw == "true"
        case "list":
            return [raw]
        case _:
            return raw


def _as_listed(parameter: Parameter, raw: str, hosts: Sequence[Host]) -> str:
    """Return a label's value as the allow-lists write it: `nginx.service` may be listed as `nginx`, `https://www.example.com/` by its host."""
    if not parameter.allow_list:
        return raw
    forms = (raw, raw.removesuffix(_UNIT), target_of({"instance": raw}))
    return next((form for form in forms if _fits(parameter, form) and _all_allow(parameter, form, hosts)), raw)


def _fits(parameter: Parameter, value: str) -> bool:
    return not parameter.pattern or re.fullmatch(parameter.pattern, value) is not None


def _all_allow(parameter: Parameter, value: str, hosts: Sequence[Host]) -> bool:
    return all(host.allows(parameter.allow_list, value) for host in hosts)


def _without_value(parameter: Parameter) -> Problem:
    labels = " or ".join(source.removeprefix(_LABELS) for source in parameter.sources)
    mend = f"give the alert the label {labels}" if labels else "start the entry by hand with a value"
    return Problem(Reason.NO_ENTRY, f"{parameter.name} has no value. Mend: {mend}.")
