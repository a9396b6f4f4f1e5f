"""A run's stream as a person reads it: plays, their tasks, and what each host said to them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.model import Run, RunEvent

_WORST = ("output", "skipped", "ok", "changed", "failed", "unreachable")
_FAULTS = frozenset({"failed", "unreachable"})
_TOLD = ("msg", "stderr", "stdout", "module_stderr", "module_stdout", "reason")
"""Keys of a result that say something to a person."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one host said to a task."""

    kind: str
    host: str
    parts: tuple[tuple[str, str], ...]
    """Pairs of a label (`stderr`; may be empty) and a text."""


@dataclass(slots=True)
class Task:
    """One task of a play."""

    seq: int
    name: str
    lines: list[Said] = field(default_factory=list)

    @property
    def worst(self) -> str:
        """The worst thing that a host said: `unreachable`, `failed`, `changed`, `ok`, `skipped` or `output`."""
        return max((line.kind for line in self.lines), key=_WORST.index, default="output")

    @property
    def failed(self) -> bool:
        """Whether a host failed in it."""
        return self.worst in _FAULTS

    @property
    def tally(self) -> str:
        """How many hosts said what: `2 ok, 1 changed`."""
        counts = Counter(line.kind for line in self.lines if line.kind != "output")
        return ", ".join(f"{number} {kind}" for kind, number in counts.items())


@dataclass(slots=True)
class Play:
    """One play and its tasks."""

    name: str
    tasks: list[Task] = field(default_factory=list)


@dataclass(slots=True)
class HostState:
    """What is known of one host of a run, while it goes on and after."""

    name: str
    last: str = ""
    counts: Counter[str] = field(default_factory=Counter)


def plays(events: Iterable[RunEvent]) -> list[Play]:
    """Return a stream folded by play and task; what belongs to no play stands in one without a name."""
    found: list[Play] = []
    for event in events:
        if event.kind == "play":
            found.append(Play(event.task or _bare(event)))
            continue
        if event.kind == "stats":
            continue
        if not found:
            found.append(Play(""))
        tasks = found[-1].tasks
        if event.kind == "task":
            tasks.append(Task(event.seq, event.task or _bare(event)))
            continue
        if not tasks:
            tasks.append(Task(event.seq, ""))
        kind = event.kind if event.kind in _WORST else "output"
        tasks[-1].lines.append(Said(kind, event.host, _parts(event)))
    return found


def hosts(run: Run, events: Iterable[RunEvent]) -> list[HostState]:
    """Return the hosts of a run with their counts: Ansible's own where it has told them, else counted so far."""
    states: dict[str, HostState] = {}
    for event in events:
        if event.host and event.kind in _WORST:
            state = states.setdefault(event.host, HostState(event.host))
            state.last = f"{event.kind}: {event.task}"
            state.counts[event.kind] += 1
    for name, stats in run.hosts.items():
        state = states.setdefault(name, HostState(name))
        told = {"ok": stats.ok, "changed": stats.changed, "failed": stats.failures, "unreachable": stats.unreachable}
        state.counts = Counter({**told, "skipped": stats.skipped})
    return [states[name] for name in sorted(states)]


def _bare(event: RunEvent) -> str:
    """Return the name in Ansible's own line: `PLAY [Write the page] ****`."""
    line = event.text.strip().partition("\n")[0]
    named = re.fullmatch(r"(?:PLAY|TASK|RUNNING HANDLER) \[(.*)\] \**", line)
    return named[1] if named else line


def _parts(event: RunEvent) -> tuple[tuple[str, str], ...]:
    """Return what a line says beyond its host and kind."""
    text = event.text.strip("\n")
    lead, arrow, body = text.partition(" => ")
    result = _result(body) if arrow else None
    if result is None:
        rest = "\n".join(line for line in text.split("\n") if line.strip() != f"{event.kind}: [{event.host}]").strip("\n")
        return (("", rest),) if rest.strip() else ()
    before = "\n".join(lead.split("\n")[:-1]).strip("\n")
    told = [("", before)] if before.strip() else []
    told += [(name, value) for name in _TOLD if isinstance(value := result.get(name), str) and value.strip()]
    return tuple(told) or (("", text),)


def _result(body: str) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
