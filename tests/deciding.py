"""Alerts, entries, hosts and a fake model for the tests of deciding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.decide import ModelChoice
from orchestrator.errors import ModelUnavailable
from orchestrator.model import (
    Alert,
    AlertStatus,
    Catalogue,
    Choice,
    Context,
    Entry,
    EntryKind,
    Evidence,
    Host,
    Parameter,
    Rule,
    Targets,
    VerifySpec,
)

WEB = Host("web-01", ("recoverable", "web"), {"recoverable_services": ["nginx", "redis.service"], "recoverable_paths": ["/var"]})
OTHER = Host("web-02", ("recoverable", "web"), {"recoverable_services": ["nginx"], "recoverable_paths": []})
RULE = Rule("ServiceDown", "probe_success\n  == 0", annotations={"summary": "{{ $labels.service }} is down", "description": "Probe fails."})
CONTEXT = Context((Evidence("prom-1", "prometheus", "Probe", "probe_success 0"),), rule=RULE)


def alert(name: str = "ServiceDown", annotations: dict[str, str] | None = None, /, **labels: str) -> Alert:
    """Return a firing alert about nginx on web-01; an empty label is left out."""
    merged = {"alertname": name, "instance": "web-01:9100", "service": "nginx", "severity": "critical", **labels}
    return Alert("00112233445566aa", AlertStatus.FIRING, {key: value for key, value in merged.items() if value}, annotations or {})


def entry(entry_id: str = "restart_service", *lines: tuple[str, ...], **fields: Any) -> Entry:
    """Return a remediation that names a service, unless told otherwise."""
    service = Parameter(
        f"{entry_id}_name",
        "str",
        required=True,
        pattern="[a-z0-9][a-z0-9@._-]{0,63}",
        sources=("labels.service", "labels.name"),
        allow_list="recoverable_services",
    )
    port = Parameter(f"{entry_id}_port", "int", minimum=0, maximum=65535, default=0)
    given: dict[str, Any] = {
        "title": "Restart one service",
        "description": "Restarts one service and waits until its port answers.",
        "kind": EntryKind.REMEDIATION,
        "folder": f"/nowhere/{entry_id}",
        "digest": "d" * 64,
        "parameters": (service, port),
        "use_when": ("The service's process is down or hangs.",),
        "matchers": lines or (('alertname="ServiceDown"', 'service=~".+"'),),
        "targets": Targets(groups=("recoverable",)),
        "verify": VerifySpec(),
        "order": 100,
    }
    return Entry(id=entry_id, **{**given, **fields})


def disk_entry(**fields: Any) -> Entry:
    """Return a remediation for a full disk, with a choice and a path."""
    parameters = (
        Parameter(
            "clear_disk_path", "str", required=True, pattern="/[a-z/]*", sources=("labels.mountpoint",), allow_list="recoverable_paths"
        ),
        Parameter("clear_disk_what", "str", choices=("logs", "cache"), default="logs"),
    )
    given = {
        "title": "Clear disk space",
        "description": "Removes old journals, package caches and rotated logs when the disk or filesystem runs full.",
        "parameters": parameters,
        "use_when": ("A filesystem is almost full.",),
        "order": 200,
    }
    return entry("clear_disk", ('alertname="DiskFull"',), **{**given, **fields})


def catalogue(*entries: Entry) -> Catalogue:
    """Return a catalogue of the entries given."""
    return Catalogue({item.id: item for item in entries})


@dataclass
class FakeModel:
    """A model that answers what it is told to, and remembers what it was asked."""

    answer: ModelChoice | None = None
    name: str = "fake-model"
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def choose(self, alert: Alert, context: Context, entries: Sequence[Entry], hosts: Sequence[Host], tried: Sequence[str]) -> ModelChoice:
        """Return the answer, or fail where there is none."""
        self.asked.append(tuple(item.id for item in entries))
        if self.answer is None:
            raise ModelUnavailable("too slow")
        return self.answer


def said(**fields: Any) -> ModelChoice:
    """Return the model's answer `restart nginx on web-01`, changed by `fields`."""
    given: dict[str, Any] = {
        "choice": Choice.RUN,
        "entry": "restart_service",
        "hosts": ("web-01",),
        "parameters": {"restart_service_name": "nginx", "restart_service_port": 0},
        "summary": "nginx is down.",
        "prompt_digest": "p" * 64,
    }
    return ModelChoice(**{**given, **fields})
