"""What the worker's status and the events together say about how a run ended; in doubt it is unknown, never successful."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.execute import worker
from orchestrator.execute.reading import Reading
from orchestrator.model import HostStats, Outcome, Run, RunRequest, RunState


def judge(request: RunRequest, reading: Reading, status: Mapping[str, Any], *, node: str, now: datetime) -> Run:
    """Return the run as it ended.

    Args:
        request: what was asked for.
        reading: has read every event.
        status: the worker's last status; empty where there is none.
        node: this machine's name.
        now: stands for the end where the worker has not told it.
    """
    outcome, message = _outcome(request, reading, status)
    if status.get("left"):
        message += f" Processes {', '.join(map(str, status['left']))} could not be ended."
    return Run(
        id=request.id,
        kind=request.kind,
        entry=request.entry,
        state=RunState.UNKNOWN if outcome is Outcome.UNKNOWN else RunState.DONE,
        outcome=outcome,
        hosts=reading.stats or {},
        rc=status.get("rc"),
        message=message.strip(),
        diffs=reading.diffs,
        facts=reading.facts,
        started_at=_time(status.get("started_at")),
        ended_at=_time(status.get("ended_at")) or now,
        node=node,
    )


def _outcome(request: RunRequest, reading: Reading, status: Mapping[str, Any]) -> tuple[Outcome, str]:
    if status.get("state") != "ended":
        said = reading.shown(str(status.get("log", "")))
        return Outcome.UNKNOWN, f"the worker of this run died, or never began: nobody can say how far the play came. {said}"
    if status.get("runner") == worker.LATE:
        return Outcome.NOT_BEGUN, "Too much time had passed before it could start, so nothing ran."
    if status.get("ended_by") == "timeout":
        return Outcome.TIMEOUT, f"the play took longer than {request.timeout_s:g} s and was ended. {reading.failure}"
    if status.get("ended_by") == "cancelled":
        return Outcome.CANCELLED, f"the play was ended on request. {reading.failure}"
    if status.get("error"):
        return Outcome.UNKNOWN, f"ansible-runner failed, nobody can say how far the play came: {reading.shown(status['error'])}"
    if reading.stats is None:
        return _without_counts(reading, status)
    return _with_counts(request, reading, reading.stats, status.get("rc"))


def _without_counts(reading: Reading, status: Mapping[str, Any]) -> tuple[Outcome, str]:
    """Judge a play that ended without Ansible's counts: refused before its first task, or broken off."""
    rc = status.get("rc")
    if reading.began or status.get("lost") or rc in (0, None):
        return (
            Outcome.UNKNOWN,
            f"the play broke off (exit code {rc}), nobody can say how far it came. {reading.failure or reading.complaint}",
        )
    return Outcome.FAILED, reading.failure or reading.complaint or f"ansible-playbook ended with {rc}"


def _with_counts(request: RunRequest, reading: Reading, stats: Mapping[str, HostStats], rc: Any) -> tuple[Outcome, str]:
    foreign, missing = sorted(set(stats) - set(request.hosts)), sorted(set(request.hosts) - set(stats))
    if foreign:
        allowed = ", ".join(request.hosts)
        return Outcome.UNKNOWN, f"THE PLAY RAN ON HOSTS THAT NOBODY ASKED FOR: {', '.join(foreign)} (allowed: {allowed}). {reading.failure}"
    if any(one.failures for one in stats.values()):
        return Outcome.FAILED, reading.failure
    if any(one.unreachable for one in stats.values()):
        return Outcome.UNREACHABLE, reading.failure
    if rc != 0:
        return Outcome.FAILED, reading.failure or reading.complaint or f"ansible-playbook ended with {rc}"
    if missing:
        return Outcome.FAILED, f"the play did nothing on {', '.join(missing)}: its `hosts` line or the inventory leaves it out"
    return Outcome.SUCCESSFUL, ""


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
