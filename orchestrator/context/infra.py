"""What the host itself says: its state and its logs, through read-only plays of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import SourceUnavailable
from orchestrator.model import Alert, Evidence, Host, Outcome, Rule, Run

RunPlay = Callable[[str, Mapping[str, Any], tuple[str, ...]], Run]
"""Runs a read-only entry: its id, its parameters, the hosts' names."""

_MAX_DEPTH = 8
_MAX_LINES = 500
"""The most that the shipped entry `service_logs` takes."""


@dataclass(frozen=True)
class HostState:
    """Load, memory, disks, processes, services and uptime of each host.

    Args:
        run_play: runs a read-only entry of the catalogue.
        entry: the entry's id.
        name: prefix of ids.
    """

    run_play: RunPlay
    entry: str = "host_state"
    name: str = "infra"

    def collect(self, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> list[Evidence]:  # noqa: ARG002 - one door for all sources
        """Return one piece per host.

        Raises:
            SourceUnavailable: where there is no host, or no host gave anything.
        """
        if not hosts:
            raise SourceUnavailable("No inventory host belongs to the alert.")
        names = tuple(host.name for host in hosts)
        return _per_host(self.run_play(self.entry, {}, names), names, self.name, "State")


@dataclass(frozen=True)
class HostLogs:
    """Journal, log files and status of the alert's service on each host.

    Args:
        run_play: runs a read-only entry of the catalogue.
        lines: lines per log.
        entry: the entry's id.
        allow_list: inventory variable that lists the services a host lets us look at.
        name: prefix of ids.
    """

    run_play: RunPlay
    lines: int = 100
    entry: str = "service_logs"
    allow_list: str = "recoverable_services"
    name: str = "logs"

    def collect(self, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> list[Evidence]:  # noqa: ARG002 - one door for all sources
        """Return one piece per host that allows the service.

        Raises:
            SourceUnavailable: where the alert names no service, no host allows it, or no host gave anything.
        """
        service = _service(alert)
        if not service:
            raise SourceUnavailable("The alert names no service.")
        names = tuple(host.name for host in hosts if host.allows(self.allow_list, service))
        if not names:
            raise SourceUnavailable(f"No host of the alert lists the service in its {self.allow_list}.")
        parameters = {f"{self.entry}_service": service, f"{self.entry}_lines": min(self.lines, _MAX_LINES)}
        return _per_host(self.run_play(self.entry, parameters, names), names, self.name, f"Logs of {service}")


@dataclass(frozen=True)
class Diagnosis:
    """What a diagnostic entry says that an entry which fits the alert asks for.

    Args:
        run_play: runs a read-only entry of the catalogue.
        entry: the diagnostic's id.
        parameters: its parameters by name.
        problem: why it cannot be run for this alert, empty where it can.
        name: prefix of ids.
    """

    run_play: RunPlay
    entry: str
    parameters: Mapping[str, Any]
    problem: str = ""
    name: str = "diagnosis"

    def collect(self, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> list[Evidence]:  # noqa: ARG002 - one door for all sources
        """Return one piece per host.

        Raises:
            SourceUnavailable: where there is no host, a parameter has no value, or no host gave anything.
        """
        if self.problem:
            raise SourceUnavailable(f"{self.entry} was not run: {self.problem}")
        if not hosts:
            raise SourceUnavailable(f"{self.entry} was not run: no inventory host belongs to the alert.")
        names = tuple(host.name for host in hosts)
        return _per_host(
            self.run_play(self.entry, self.parameters, names), names, self.name, f"{self.entry.replace('_', ' ').capitalize()}"
        )


def render(value: Any) -> str:
    """Return any JSON value as indented, readable text: a line per value, lists with dashes, small tables on one line."""
    return "\n".join(_lines(value, 0))


def _lines(value: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if depth > _MAX_DEPTH:
        yield f"{indent}…"
    elif isinstance(value, Mapping) and value:
        for key, part in value.items():
            if isinstance(part, Mapping | list | tuple) and part:
                yield f"{indent}{key}:"
                yield from _lines(part, depth + 1)
            else:
                yield from _labelled(f"{indent}{key}: ", part)
    elif isinstance(value, list | tuple) and value:
        for part in value:
            if isinstance(part, Mapping | list | tuple) and part:
                yield f"{indent}- {_flat(part)}"
            else:
                yield from _labelled(f"{indent}", part)
    else:
        yield f"{indent}{_scalar(value)}"


def _labelled(label: str, value: Any) -> Iterator[str]:
    first, *rest = _scalar(value).split("\n")
    yield label + first
    yield from (" " * len(label) + line for line in rest)


def _flat(value: Any, depth: int = 0) -> str:
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_flat(part, depth + 1)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flat(part, depth + 1) for part in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None or (isinstance(value, list | tuple | Mapping) and not value):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _per_host(run: Run, names: tuple[str, ...], source: str, title: str) -> list[Evidence]:
    """Return what a run gave back, a host that said nothing named too."""
    if not any(run.facts.get(name) for name in names):
        raise SourceUnavailable(f"The host gave nothing: {run.message or run.outcome or run.state}.")
    return [_host(run, name, source, f"{title} on {name}") for name in names]


def _host(run: Run, name: str, source: str, title: str) -> Evidence:
    facts = run.facts.get(name)
    if facts:
        return Evidence("", source, title, render(facts), facts, complete=run.outcome is Outcome.SUCCESSFUL)
    stats = run.hosts.get(name)
    why = "it was not reachable" if stats and stats.unreachable else run.message or "the play gave nothing back"
    return Evidence("", source, title, f"Nothing known: {why}.", complete=False)


def _service(alert: Alert) -> str:
    """Return the service an alert names: its `service` label, else a systemd unit's or a process group's name."""
    labels = alert.labels
    return labels.get("service", "") or labels.get("name", "").removesuffix(".service") or labels.get("groupname", "")
