"""Whether a repair helped: one look at one instant, and what it means when time is up.

Health needs positive evidence: the verify playbook succeeds and changes nothing, each query holds on each host, and the alert is gone.
What cannot be told is undecided, never healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.model import Alert, Check, Entry, Health, Host, Outcome, Run, Verification

PLAYBOOK = "verify playbook"
"""Name of the playbook's check."""
ALERT_GONE = "alert gone"
"""Name of the check that the alert no longer fires."""


def look(
    entry: Entry,
    alert: Alert,
    hosts: tuple[Host, ...],
    parameters: Mapping[str, Any],
    *,
    run_play: Callable[[], Run],
    holds: Callable[[str, Alert, Host], bool | None],
    gone: Callable[[], bool | None],
    before: Verification | None = None,
) -> Verification:
    """Look once at a repaired service.

    Args:
        entry: what was run; its `verify` says what to look at.
        alert: what it was run for.
        hosts: where it ran.
        parameters: what it ran with; named in the playbook's check.
        run_play: runs the verify playbook on these hosts with these parameters.
        holds: whether one of the entry's queries holds for a host; None where that cannot be told.
        gone: whether the alert no longer fires; None where that cannot be told.
        before: the look before this one; a playbook that succeeded then is not run again.

    Returns:
        Healthy only if every check is true; unhealthy if the playbook or a query positively fails; else undecided.
    """
    if entry.verify is None or not hosts:
        why = "the entry does not say how success is shown" if hosts else "there is no host to look at"
        return Verification(Health.UNDECIDED, (), f"Cannot be told: {why}.")
    checks = [_playbook(entry.verify.playbook, parameters, run_play, before)]
    for query in entry.verify.promql:
        checks += [_query(query, alert, host, holds, several=len(hosts) > 1) for host in hosts]
    checks.append(_gone(gone))
    return _judge(tuple(checks))


def final(verification: Verification) -> Verification:
    """Return what the last look means now that time is up.

    Healthy and unhealthy stand. Where playbook and queries hold and only the alert has not gone, it stays undecided and says so: a
    person looks, nothing is undone.
    """
    if verification.health is not Health.UNDECIDED:
        return verification
    service = [check for check in verification.checks if check.name != ALERT_GONE]
    alert = next((check for check in verification.checks if check.name == ALERT_GONE), None)
    if service and alert and all(check.ok for check in service):
        state = "the alert still fires" if alert.ok is False else f"whether the alert still fires cannot be told ({alert.detail})"
        detail = f"The service is healthy by playbook and queries, but at the deadline {state}. A person has to look; nothing is undone."
        return Verification(Health.UNDECIDED, verification.checks, detail)
    return Verification(Health.UNDECIDED, verification.checks, f"At the deadline: {verification.detail or 'nothing can be told.'}")


def _judge(checks: tuple[Check, ...]) -> Verification:
    failed = [check for check in checks if check.ok is False and check.name != ALERT_GONE]
    unknown = [check for check in checks if check.ok is None]
    if failed:
        return Verification(Health.UNHEALTHY, checks, _tell("Not healthy", failed))
    if unknown:
        return Verification(Health.UNDECIDED, checks, _tell("Cannot be told", unknown))
    if all(check.ok for check in checks):
        return Verification(Health.HEALTHY, checks, "Playbook and queries hold, and the alert is gone.")
    return Verification(Health.UNDECIDED, checks, "Playbook and queries hold; the alert still fires.")


def _playbook(playbook: str, parameters: Mapping[str, Any], run_play: Callable[[], Run], before: Verification | None) -> Check:
    earlier = next((check for check in before.checks if check.name == PLAYBOOK), None) if before else None
    if earlier is not None and earlier.ok:
        return earlier
    with_what = ", ".join(f"{name}={value!r}" for name, value in sorted(parameters.items()))
    label = f"{playbook} ({with_what})" if with_what else playbook
    try:
        run = run_play()
    except OrchestratorError as error:
        return Check(PLAYBOOK, None, f"{label} could not be run: {error}")
    return _judge_run(run, label)


def _judge_run(run: Run, label: str) -> Check:
    if run.changed:
        return Check(PLAYBOOK, None, f"{label} changed something although it only may read; the entry is to be quarantined.")
    unreachable = [name for name, stats in sorted(run.hosts.items()) if stats.unreachable]
    match run.outcome:
        case Outcome.SUCCESSFUL if run.hosts and not unreachable and not any(stats.failures for stats in run.hosts.values()):
            return Check(PLAYBOOK, True, f"{label} succeeded.")
        case Outcome.SUCCESSFUL:
            return Check(PLAYBOOK, None, f"{label} ended well, but its counts do not show that it ran on a host.")
        case Outcome.FAILED:
            return Check(PLAYBOOK, False, f"{label} failed: {run.message or 'no message'}")
        case Outcome.UNREACHABLE:
            return Check(PLAYBOOK, None, f"{label}: not reachable: {', '.join(unreachable) or run.message or 'the host'}.")
        case Outcome.TIMEOUT:
            return Check(PLAYBOOK, None, f"{label} took too long.")
        case Outcome.CANCELLED | Outcome.NOT_BEGUN | Outcome.UNKNOWN | None:
            return Check(PLAYBOOK, None, f"{label}: nobody can tell how it ended. {run.message}".rstrip())


def _query(query: str, alert: Alert, host: Host, holds: Callable[[str, Alert, Host], bool | None], *, several: bool) -> Check:
    name = f"{query} on {host.name}" if several else query
    try:
        ok = holds(query, alert, host)
    except OrchestratorError as error:
        return Check(name, None, f"could not be asked: {error}")
    detail = {True: "holds.", False: "does not hold.", None: "empty: no such series, or stale data."}[ok]
    return Check(name, ok, detail)


def _gone(gone: Callable[[], bool | None]) -> Check:
    try:
        ok = gone()
    except OrchestratorError as error:
        return Check(ALERT_GONE, None, f"could not be asked: {error}")
    return Check(ALERT_GONE, ok, {True: "it no longer fires.", False: "it still fires.", None: "monitoring could not tell."}[ok])


def _tell(what: str, checks: list[Check]) -> str:
    return f"{what}: " + "; ".join(f"{check.name}: {check.detail}" for check in checks)
