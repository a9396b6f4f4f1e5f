"""The corridor: the life of an incident, told once.

    received → investigating → proposed → [awaiting_approval] → executing → verifying → resolved
                                                        (undo | next attempt) ↩        ↘ escalated

`advance` takes an incident as it stands, what came in from outside since (signals) and the rooms, and returns the next
`Step`: how the incident stands then and what is to be written with it, in one transaction. It never touches a database;
what a room does to the world happens inside the room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from orchestrator.errors import ExecutionError, InventoryError, Unavailable
from orchestrator.model import (
    OPEN,
    Agreement,
    Alert,
    Alternative,
    Approval,
    ApprovalState,
    CheckMode,
    Choice,
    Claim,
    Context,
    Covered,
    Effect,
    Entry,
    Grant,
    Happening,
    Health,
    Host,
    Incident,
    Outcome,
    Proposal,
    Reason,
    Run,
    RunKind,
    RunRequest,
    RunState,
    StandingGrant,
    Status,
    UndoPolicy,
    Verdict,
    Verification,
)

FOLLOWS: Mapping[Status, frozenset[Status]] = {
    Status.RECEIVED: frozenset(
        {Status.INVESTIGATING, Status.SUPPRESSED, Status.CLEARED, Status.ESCALATED, Status.CANCELLED, Status.CLOSED}
    ),
    Status.INVESTIGATING: frozenset(
        {Status.RECEIVED, Status.PROPOSED, Status.CLEARED, Status.ESCALATED, Status.CANCELLED, Status.CLOSED, Status.SUPPRESSED}
    ),
    Status.PROPOSED: frozenset(
        {
            Status.RECEIVED,
            Status.AWAITING_APPROVAL,
            Status.EXECUTING,
            Status.SUPPRESSED,
            Status.CLEARED,
            Status.ESCALATED,
            Status.CANCELLED,
            Status.CLOSED,
        }
    ),
    Status.AWAITING_APPROVAL: frozenset(
        {Status.RECEIVED, Status.PROPOSED, Status.EXECUTING, Status.CLEARED, Status.ESCALATED, Status.CANCELLED, Status.CLOSED}
    ),
    Status.EXECUTING: frozenset(
        {Status.PROPOSED, Status.VERIFYING, Status.INVESTIGATING, Status.CLEARED, Status.ESCALATED, Status.CANCELLED, Status.CLOSED}
    ),
    Status.VERIFYING: frozenset(
        {Status.RESOLVED, Status.EXECUTING, Status.INVESTIGATING, Status.ESCALATED, Status.CANCELLED, Status.CLOSED}
    ),
    Status.ESCALATED: frozenset({Status.RECEIVED, Status.EXECUTING, Status.CLOSED, Status.CANCELLED}),
    Status.SUPPRESSED: frozenset({Status.RECEIVED, Status.CLOSED}),
    Status.RESOLVED: frozenset(),
    Status.CLEARED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.CLOSED: frozenset(),
}
"""What may follow what; a status may always follow itself."""

SUPPRESSING = frozenset({Reason.SILENCED, Reason.WINDOW, Reason.OBSERVE_MODE, Reason.WATCHDOG})
"""Denials that end with their cause: the incident is judged anew then."""

VERIFY_POLL_S = 2.0
BLOCKED_POLL_S = 2.0
PARENT_POLL_S = 30.0
"""A child is woken when its parent ends; in a storm many wait, so they look by themselves only now and then."""
REJUDGE_S = 30.0
OBSERVED_S = 300.0
STALE_S = 5.0
CHECK_TIMEOUT_S = 120.0
FOREVER = float("inf")
"""Wait until something comes in."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that came in from outside."""

    kind: str
    """`resolved`, `firing`, `parent`, `answered`, `choose`, `cancel`, `close`, `take`, `retry`, `undo`, `settle`."""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: the incident as it stands then, and what is written with it in one transaction."""

    incident: Incident
    events: tuple[Happening, ...] = ()
    wait_s: float | None = None
    """None: go on at once; else come back after this long, or when a signal comes."""
    ask: Approval | None = None
    settle_approval: tuple[str, ApprovalState] | None = None
    """Set this approval's state if it is still pending; if it is not, the step does not count and is made again."""
    intent: RunRequest | None = None
    """Take every slot this changing run needs and write its intent; if one is taken, only `blocked_by` is written."""
    free: bool = False
    """Give back the slots of this incident."""
    runs: tuple[Run, ...] = ()
    effective: bool | None = None
    """Whether the latest changing run helped; feeds the breaker."""
    heeded: int | None = None
    """How many of the signals were taken in, the first ones; None: all."""
    mint: str = ""
    """Count one run of this standing grant down; if it has none left, the step does not count and is made again."""
    holds: str = ""
    """This standing grant must not be taken back; if it is, the step does not count and is made again."""
    checked: Run | None = None
    """The check run made again: the open approval shows this one from now on."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """The doors of the rooms, as the corridor knows them; built once in `app.py`."""

    now: Callable[[], datetime]
    hosts: Callable[[Incident], tuple[Host, ...]]
    """The inventory hosts of the alert's own targets. Raises InventoryError."""
    suppression: Callable[[Incident, tuple[Host, ...]], tuple[Reason, str] | None]
    """Whether a silence, a window or the watchdog rule covers it, and in which words."""
    gather: Callable[[Incident, tuple[Host, ...]], Context]
    decide: Callable[[Incident, tuple[Host, ...]], Proposal]
    entry: Callable[[str], Entry | None]
    bind: Callable[[Incident], tuple[str, str]]
    """The digest of what is proposed and the snapshot it runs from. Raises ExecutionError, InventoryError."""
    judge: Callable[[Incident], Verdict]
    observing: Callable[[Incident], bool]
    """Whether the policy only observes what is proposed."""
    play: Callable[[Incident, RunRequest], Run]
    """Run a read-only play."""
    carry_out: Callable[[Incident, str], Run | None]
    """Begin the changing run whose intent is written, once, or find out what became of it; None: not now."""
    look: Callable[[Incident], Verification]
    final: Callable[[Verification], Verification]
    """What a look means once its time is over."""
    verify_within_s: Callable[[Incident], float]
    approval: Callable[[str], Approval]
    grant: Callable[[Approval], Grant]
    parent: Callable[[str], Incident | None]
    paused: Callable[[], str]
    approval_ttl_s: float
    max_attempts: int
    covered: Callable[[Incident], Covered] = lambda _: Covered()
    """What the digest of the proposal covers, piece by piece."""
    standing: Callable[[Incident, Verdict], StandingGrant | None] = lambda _incident, _verdict: None
    """The standing grant that answers for people here, None where a person has to."""
    standing_holds: Callable[[Incident, Verdict], bool] = lambda _incident, _verdict: False
    """Whether the standing grant that the incident's grant came from still answers."""
    stale: Callable[[Incident], bool | None] = lambda _: False
    """Whether the check run has to be made again; None: yes, but its host is still being changed."""
    differences: Callable[[Incident, Covered], list[str]] = lambda _incident, _covered: []
    """What differs from what was shown, in plain words."""


def advance(incident: Incident, signals: Sequence[Signal], rooms: Rooms) -> Step:
    """Return the next step of an incident."""
    events: list[Happening] = []
    for number, signal in enumerate(signals, start=1):
        incident, ended = _heed(incident, signal, rooms, events)
        if ended is not None:
            return replace(ended, events=(*events, *ended.events), heeded=number)
    step = _held_back(incident, rooms) or _walk(incident, rooms)
    return replace(step, events=(*events, *step.events)) if events else step


def _walk(incident: Incident, rooms: Rooms) -> Step:
    match incident.status:
        case Status.RECEIVED:
            return _receive(incident, rooms)
        case Status.INVESTIGATING:
            return _investigate(incident, rooms)
        case Status.PROPOSED:
            return _propose(incident, rooms)
        case Status.AWAITING_APPROVAL:
            return _await_answer(incident, rooms)
        case Status.EXECUTING:
            return _execute(incident, rooms)
        case Status.VERIFYING:
            return _verify(incident, rooms)
        case Status.SUPPRESSED:
            return _judge_anew(incident, rooms)
        case Status.ESCALATED | Status.RESOLVED | Status.CLEARED | Status.CANCELLED | Status.CLOSED:
            return Step(incident, wait_s=FOREVER)


# ---------------------------------------------------------------- the stations


def _receive(incident: Incident, rooms: Rooms) -> Step:
    covered = rooms.suppression(incident, _hosts_or_none(incident, rooms))
    if covered:
        return move(incident, Status.SUPPRESSED, covered[0], covered[1], wait_s=REJUDGE_S)
    return move(incident, Status.INVESTIGATING, None, "Context is being gathered.")


def _investigate(incident: Incident, rooms: Rooms) -> Step:
    try:
        hosts, unread = rooms.hosts(incident), ""
    except (InventoryError, Unavailable) as error:
        hosts, unread = (), f"The alert's host cannot be told: {error} "
    if incident.context is None:
        context = rooms.gather(incident, hosts)
        data = {
            "evidence": [
                {"id": piece.id, "source": piece.source, "title": piece.title, "complete": piece.complete} for piece in context.evidence
            ],
            "missing": [{"source": piece.source, "reason": piece.reason} for piece in context.missing],
            "took_s": round(context.took_s, 3),
        }
        return Step(incident.evolve(context=context), (Happening("context.gathered", data=data),))
    proposal = rooms.decide(incident, hosts)
    decided = Happening("decision.made", actor=proposal.engine, data=_told(proposal))
    incident = incident.evolve(proposal=proposal)
    if proposal.choice is Choice.RUN:
        return move(incident, Status.PROPOSED, None, proposal.summary, events=(decided,))
    reason = proposal.reason or Reason.NO_ENTRY
    detail = f"{unread}{proposal.summary}"
    if incident.tried:
        reason = incident.reason or Reason.UNHEALTHY
        detail = f"{incident.detail} {', '.join(incident.tried)} did not help, and nothing else fits: {proposal.summary}"
    return move(incident, Status.ESCALATED, reason, detail, events=(decided,), wait_s=FOREVER)


def _propose(incident: Incident, rooms: Rooms) -> Step:
    proposal = _proposal(incident)
    entry = rooms.entry(proposal.entry)
    if entry is None:
        return _escalate(incident, Reason.CHANGED, f"The entry {proposal.entry} is no longer in the catalogue.")
    try:
        digest, snapshot = rooms.bind(incident)
    except (ExecutionError, InventoryError) as error:
        return _escalate(incident, Reason.NOT_ALLOWED, str(error))
    incident = incident.evolve(digest=digest)
    verdict = rooms.judge(incident)
    judged = Happening(
        "policy.judged",
        data={
            "effect": verdict.effect,
            "reasons": list(verdict.reasons),
            "guards": [{"name": g.name, "ok": g.ok, "detail": g.detail} for g in verdict.guards],
        },
    )
    incident = incident.evolve(verdict=verdict, kind=RunKind.APPLY, run=None, verification=None)
    if verdict.effect is Effect.DENY:
        return _denied(incident, verdict, judged)
    if verdict.effect is Effect.ALLOW:
        return _granted_by_policy(incident, entry, judged)
    standing = rooms.standing(incident, verdict)
    if standing is not None:
        return _minted(incident, entry, standing, judged)
    return _ask(incident, entry, verdict, snapshot, judged, rooms)


def _granted_by_policy(incident: Incident, entry: Entry, judged: Happening) -> Step:
    grant = _single_use(incident, entry, ("policy",))
    return move(incident.evolve(grant=grant), Status.EXECUTING, None, "The policy allows it without a person.", events=(judged,))


def _minted(incident: Incident, entry: Entry, standing: StandingGrant, judged: Happening) -> Step:
    """Let a standing grant answer: it mints the right to run this once."""
    grant = replace(_single_use(incident, entry, standing.by), standing=standing.id)
    minted = Happening(
        "standing.minted",
        data={
            "grant": standing.id,
            "entry": entry.id,
            "hosts": list(grant.hosts),
            "parameters": dict(grant.parameters),
            "digest": grant.digest,
            "by": list(standing.by),
            "number": standing.used + 1,
            "most": standing.max_runs,
        },
    )
    detail = f"The standing grant {standing.id} of {' and '.join(standing.by)} allows it, run {standing.used + 1} of {standing.max_runs}."
    step = move(incident.evolve(grant=grant), Status.EXECUTING, None, detail, events=(judged, minted))
    return replace(step, mint=standing.id)


def _single_use(incident: Incident, entry: Entry, by: tuple[str, ...]) -> Grant:
    proposal = _proposal(incident)
    return Grant(
        id=f"{incident.id}:{incident.attempt}",
        digest=incident.digest,
        hosts=proposal.hosts,
        parameters=proposal.parameters,
        by=by,
        undo_shown=entry.undo_policy is UndoPolicy.AUTO,
    )


def _ask(incident: Incident, entry: Entry, verdict: Verdict, snapshot: str, judged: Happening, rooms: Rooms) -> Step:
    """Make the check run where the entry has one, then ask people; in a fleet alarm nobody logs in to all of it for checks."""
    proposal = _proposal(incident)
    runs: tuple[Run, ...] = ()
    if entry.check_mode is not CheckMode.NONE and Reason.FLEET_ALARM not in verdict.reasons:
        incident = incident.evolve(check=rooms.play(incident, _check_request(incident, entry, snapshot, rooms.now())))
        runs = (incident.check,) if incident.check else ()
    approval = _question(incident, entry, verdict, rooms)
    asked = Happening(
        "approval.asked",
        data={
            "approval": approval.id,
            "digest": incident.digest,
            "entry": entry.id,
            "hosts": list(proposal.hosts),
            "need": approval.need,
            "expires_at": approval.expires_at.isoformat(),
            "reasons": list(verdict.reasons),
            "summary": proposal.summary,
        },
    )
    incident = incident.evolve(approval=approval.id)
    step = move(
        incident,
        Status.AWAITING_APPROVAL,
        verdict.reasons[0] if verdict.reasons else None,
        "A person has to answer.",
        events=(judged, asked),
    )
    return replace(step, ask=approval, runs=runs)


def _check_request(incident: Incident, entry: Entry, snapshot: str, now: datetime) -> RunRequest:
    proposal = _proposal(incident)
    return RunRequest(
        id=f"{incident.id}:{incident.attempt}:{RunKind.CHECK}:{_stamp(now)}",
        kind=RunKind.CHECK,
        entry=entry.id,
        playbook="playbook.yml",
        hosts=proposal.hosts,
        snapshot=snapshot,
        parameters=proposal.parameters,
        timeout_s=min(entry.timeout_s, CHECK_TIMEOUT_S),
    )


def _await_answer(incident: Incident, rooms: Rooms) -> Step:
    approval = rooms.approval(incident.approval)
    match approval.state:
        case ApprovalState.GRANTED:
            grant = rooms.grant(approval)
            detail = f"Approved by {', '.join(grant.by)}."
            return move(incident.evolve(grant=grant), Status.EXECUTING, None, detail)
        case ApprovalState.REJECTED:
            last = approval.answers[-1]
            return _escalate(incident, Reason.REJECTED, f"Rejected by {last.actor}: {last.reason}")
        case ApprovalState.VOID if approval.chosen:
            return Step(incident, wait_s=BLOCKED_POLL_S)  # what was chosen instead is on its way, written with this state
        case ApprovalState.EXPIRED | ApprovalState.VOID:
            return _escalate(incident, Reason.EXPIRED, "The approval is no longer open.")
        case ApprovalState.PENDING:
            left_s = (approval.expires_at - rooms.now()).total_seconds()
            if left_s > 0:
                return _check_again(incident, rooms) or Step(incident, wait_s=left_s)
            step = _escalate(incident, Reason.EXPIRED, "Nobody answered in time.")
            return replace(step, settle_approval=(approval.id, ApprovalState.EXPIRED))


def _check_again(incident: Incident, rooms: Rooms) -> Step | None:
    """Make a stale check run again, once its host is no longer being changed; None where it still holds."""
    stale = rooms.stale(incident) if incident.check is not None else False
    entry = rooms.entry(_proposal(incident).entry)
    if stale is False or entry is None:
        return None
    if stale is None:
        return Step(incident, wait_s=STALE_S)
    try:
        digest, snapshot = rooms.bind(incident)
    except (ExecutionError, InventoryError):
        return None
    if digest != incident.digest:
        return None  # what was shown has changed; an answer will be refused and says so
    run = rooms.play(incident, _check_request(incident, entry, snapshot, rooms.now()))
    again = Happening("check.repeated", data={"run": run.id, "outcome": run.outcome, "changed": run.changed})
    return Step(incident.evolve(check=run), (again,), wait_s=STALE_S, runs=(run,), checked=run)


def _execute(incident: Incident, rooms: Rooms) -> Step:
    if incident.run is None or incident.run.state is RunState.DONE:
        return _prepare(incident, rooms)
    run = rooms.carry_out(incident, incident.run.id)
    if run is None:
        return _wait(incident, f"paused: {rooms.paused()}" if rooms.paused() else f"run:{incident.run.id}")
    ended = Happening(
        "run.ended",
        data={
            "run": run.id,
            "state": run.state,
            "outcome": run.outcome,
            "changed": run.changed,
            "message": run.message,
            "hosts": {host: {"changed": s.changed, "failures": s.failures, "unreachable": s.unreachable} for host, s in run.hosts.items()},
        },
    )
    incident = incident.evolve(run=run, blocked_by="")
    if run.state is RunState.UNKNOWN:
        detail = run.message or "Nobody can tell whether the play ran. The host stays locked until a person settles the run."
        step = _escalate(incident, Reason.UNKNOWN_RUN, detail)
        return replace(step, events=(ended, *step.events), runs=(run,))
    step = _undone(incident, run, rooms) if run.kind is RunKind.UNDO else _applied(incident, run, rooms)
    return replace(step, events=(ended, *step.events), runs=(run,))


def _prepare(incident: Incident, rooms: Rooms) -> Step:
    """Check everything once more right before the play, then write its intent."""
    grant, proposal = _granted(incident), _proposal(incident)
    entry = rooms.entry(proposal.entry)
    if entry is None:
        return _escalate(incident, Reason.CHANGED, f"The entry {proposal.entry} is no longer in the catalogue.", free=True)
    if paused := rooms.paused():
        return _wait(incident, f"paused: {paused}")
    try:
        digest, snapshot = rooms.bind(incident)
    except (ExecutionError, InventoryError) as error:
        return _escalate(incident, Reason.CHANGED, str(error), free=True)
    if digest != grant.digest:
        return _escalate(incident, Reason.CHANGED, _changed_since(incident, rooms), free=True)
    if incident.kind is RunKind.APPLY:
        refused = _refused_now(incident, rooms)
        if refused:
            return refused
    request = RunRequest(
        id=f"{incident.id}:{incident.attempt}:{incident.kind}:1",
        kind=incident.kind,
        entry=entry.id,
        playbook="playbook.yml" if incident.kind is RunKind.APPLY else entry.undo,
        hosts=grant.hosts,
        snapshot=snapshot,
        parameters=grant.parameters,
        timeout_s=entry.timeout_s,
    )
    intent = Run(id=request.id, kind=request.kind, entry=entry.id, state=RunState.INTENT)
    written = Happening(
        "run.intent",
        data={
            "run": request.id,
            "entry": entry.id,
            "hosts": list(grant.hosts),
            "parameters": dict(grant.parameters),
            "digest": digest,
            "by": list(grant.by),
        },
    )
    holds = grant.standing if incident.kind is RunKind.APPLY else ""
    return Step(incident.evolve(run=intent, blocked_by=""), (written,), intent=request, holds=holds)


def _changed_since(incident: Incident, rooms: Rooms) -> str:
    """Return what changed since the grant was given, in plain words."""
    named: list[str] = []
    if incident.approval and _granted(incident).by_person:
        named = rooms.differences(incident, rooms.approval(incident.approval).covered)
    what = "; ".join(named) or "the playbook, its roles, its parameters or the host's variables"
    return f"Changed since it was approved: {what}."


def _refused_now(incident: Incident, rooms: Rooms) -> Step | None:
    """Judge again, with the world as it is right before the play; a person's yes stands unless the policy denies."""
    verdict = rooms.judge(incident)
    if verdict.effect is Effect.DENY:
        return _denied(incident, verdict, None)
    shown = set(incident.verdict.reasons) if incident.verdict else set()
    fresh = (set(verdict.reasons) - shown) & {Reason.CANNOT_CONFIRM, Reason.PRECONDITION, Reason.AUTO_OFF}
    grant = _granted(incident)
    if grant.standing:
        if not rooms.standing_holds(incident, verdict):
            detail = "The standing grant no longer answers for it; it is judged anew."
            return move(incident.evolve(verdict=verdict, grant=None), Status.PROPOSED, None, detail)
        return None
    if verdict.effect is Effect.ASK and (not grant.by_person or fresh):
        return move(incident.evolve(verdict=verdict, grant=None), Status.PROPOSED, None, "Something changed; a person is asked.")
    return None


def _applied(incident: Incident, run: Run, rooms: Rooms) -> Step:
    match run.outcome:
        case Outcome.CANCELLED:
            detail = f"The play was stopped by a person after {run.changed} changes."
            return move(incident, Status.CANCELLED, Reason.BY_PERSON, detail, free=True, wait_s=FOREVER)
        case Outcome.NOT_BEGUN:
            again = incident.evolve(attempt=incident.attempt + 1, run=None, grant=None)
            return replace(move(again, Status.PROPOSED, None, f"{run.message} It is judged anew."), free=True)
        case Outcome.UNREACHABLE if run.changed == 0:
            return _escalate(
                incident, Reason.UNREACHABLE, run.message or "A host did not answer; nothing was changed.", free=True, effective=False
            )
        case Outcome.UNKNOWN:
            return _escalate(incident, Reason.UNKNOWN_RUN, run.message, free=True, effective=False)
        case Outcome.FAILED if run.changed == 0:
            return _next_attempt(incident, Reason.RUN_FAILED, f"Nothing was changed: {run.message}", rooms)
        case _:
            verifying = incident.evolve(verify_from=rooms.now(), verification=None)
            detail = run.message or "The play has ended; health is being checked."
            return move(verifying, Status.VERIFYING, None, detail)


def _undone(incident: Incident, run: Run, rooms: Rooms) -> Step:
    if run.outcome is Outcome.SUCCESSFUL and incident.reason is Reason.PERSON_CHOICE:
        return _escalate(incident, Reason.UNHEALTHY, f"{incident.detail} It was undone.", free=True)
    if run.outcome is Outcome.SUCCESSFUL:
        return _next_attempt(incident, Reason.UNHEALTHY, f"{incident.detail} It was undone.", rooms)
    return _escalate(incident, Reason.RUN_FAILED, f"The undo did not succeed: {run.message}", free=True, effective=False)


def _verify(incident: Incident, rooms: Rooms) -> Step:
    entry = rooms.entry(_proposal(incident).entry)
    start = incident.verify_from or rooms.now()
    settle_s = entry.verify.settle_s if entry and entry.verify else 0.0
    now = rooms.now()
    if (now - start).total_seconds() < settle_s:
        return Step(incident, wait_s=settle_s - (now - start).total_seconds())
    verification = rooms.look(incident)
    incident = incident.evolve(verification=verification)
    done = Happening(
        "verification.done",
        data={
            "health": verification.health,
            "detail": verification.detail,
            "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in verification.checks],
        },
    )
    if verification.health is Health.HEALTHY:
        detail = verification.detail or "The service is healthy and the alert is gone."
        incident = incident.evolve(resolved_at=incident.resolved_at or rooms.now())
        return move(incident, Status.RESOLVED, Reason.VERIFIED, detail, events=(done,), free=True, effective=True, wait_s=FOREVER)
    if now < start + timedelta(seconds=settle_s + rooms.verify_within_s(incident)):
        return Step(incident, wait_s=VERIFY_POLL_S)
    verification = rooms.final(verification)
    step = _unhealthy(incident.evolve(verification=verification), entry, verification, rooms)
    return replace(step, events=(done, *step.events))


def _unhealthy(incident: Incident, entry: Entry | None, verification: Verification, rooms: Rooms) -> Step:
    if verification.health is Health.UNDECIDED:
        return _escalate(incident, Reason.UNDECIDED, verification.detail, free=True)
    known = incident.run is not None and incident.run.outcome in (Outcome.SUCCESSFUL, Outcome.FAILED)
    automatic = entry is not None and entry.undo_policy is UndoPolicy.AUTO and bool(entry.undo)
    if automatic and known and _granted(incident).undo_shown and incident.kind is RunKind.APPLY and not incident.taken_by:
        undoing = incident.evolve(kind=RunKind.UNDO, run=None, reason=Reason.UNHEALTHY, detail=verification.detail)
        return replace(move(undoing, Status.EXECUTING, Reason.UNHEALTHY, verification.detail), effective=False)
    if entry is not None and entry.undo and known and incident.kind is RunKind.APPLY:
        detail = f"{verification.detail} Its undo can be started."
        return _escalate(incident, Reason.UNHEALTHY, detail, free=True, effective=False)
    return _next_attempt(incident, Reason.UNHEALTHY, verification.detail, rooms)


def _next_attempt(incident: Incident, reason: Reason, detail: str, rooms: Rooms) -> Step:
    """Try another entry where the policy has attempts left; else a person."""
    tried = (*incident.tried, _proposal(incident).entry)
    if incident.taken_by:
        return _escalate(incident.evolve(tried=tried), reason, f"{detail} {incident.taken_by} has it.", free=True, effective=False)
    by_person = _proposal(incident).agreement is Agreement.PERSON
    if incident.attempt >= rooms.max_attempts or by_person or not incident.alert.labels:
        return _escalate(incident.evolve(tried=tried), reason, detail, free=True, effective=False)
    again = _blank(incident).evolve(tried=tried, attempt=incident.attempt + 1)
    return move(again, Status.INVESTIGATING, reason, detail, free=True, effective=False)


def _judge_anew(incident: Incident, rooms: Rooms) -> Step:
    """A suppressed incident whose cause has ended and whose alert still fires starts again."""
    if incident.resolved_at is not None or incident.reason is Reason.WATCHDOG:
        return Step(incident, wait_s=FOREVER)
    if incident.reason is Reason.OBSERVE_MODE and rooms.observing(incident):
        return Step(incident, wait_s=OBSERVED_S)
    if rooms.suppression(incident, _hosts_or_none(incident, rooms)):
        return Step(incident, wait_s=REJUDGE_S)
    return move(_blank(incident), Status.RECEIVED, None, "What suppressed it has ended; it still fires.")


# ---------------------------------------------------------------- what comes in from outside


def _heed(incident: Incident, signal: Signal, rooms: Rooms, events: list[Happening]) -> tuple[Incident, Step | None]:
    """Take one signal in; return the incident after it and, where it ends this step, the step."""
    match signal.kind:
        case "firing":
            return incident.evolve(resolved_at=None), None
        case "resolved":
            return _heed_resolve(incident.evolve(resolved_at=rooms.now()))
        case "parent" if incident.status in BEFORE_RUN and not incident.parent:
            return _adopt(incident, str(signal.data["parent"]), events)
        case "restored" if incident.status is Status.EXECUTING and not _begun(incident):
            detail = "A backup was restored: what had been approved before has to be approved again."
            return incident, _escalate(incident, Reason.AUTO_OFF, detail, free=True)
        case "settle" if incident.run is not None and incident.run.state is RunState.UNKNOWN:
            return incident, _settle(incident, incident.run, signal, str(signal.data.get("actor", "engine")))
        case "take" if incident.open and (_begun(incident) or incident.status is Status.ESCALATED):
            actor = str(signal.data.get("actor", "engine"))
            events.append(Happening("incident.taken", actor))
            return incident.evolve(taken_by=actor), None
        case _ if not _begun(incident):
            return incident, _heed_person(incident, signal)
        case _:
            return incident, None


def _heed_resolve(incident: Incident) -> tuple[Incident, Step | None]:
    waiting = incident.status is Status.EXECUTING and incident.run is None and incident.kind is RunKind.APPLY
    if incident.status in BEFORE_RUN or waiting:
        step = move(incident, Status.CLEARED, Reason.ALERT_RESOLVED, "The alert resolved before anything ran.", free=True)
        return incident, _void(step)
    return incident, None


def _heed_person(incident: Incident, signal: Signal) -> Step | None:
    """Return the step that a person's word leads to while no run is under way, None where it means nothing here."""
    actor = str(signal.data.get("actor", "engine"))
    match signal.kind:
        case "close" if incident.open or incident.status is Status.SUPPRESSED:
            return _void(move(incident, Status.CLOSED, Reason.BY_PERSON, _said("Closed", signal), actor=actor, free=True))
        case "cancel" if incident.open:
            return _void(move(incident, Status.CANCELLED, Reason.BY_PERSON, _said("Cancelled", signal), actor=actor, free=True))
        case "take" if incident.open:
            taken = incident.evolve(taken_by=actor)
            return _void(move(taken, Status.ESCALATED, Reason.TAKEN, f"Taken by {actor}.", actor=actor, free=True, wait_s=FOREVER))
        case "retry" if incident.status in (Status.ESCALATED, Status.SUPPRESSED):
            again = _blank(incident).evolve(attempt=incident.attempt + 1, tried=(), parent="", taken_by="")
            return move(again, Status.RECEIVED, None, f"Tried again by {actor}.", actor=actor)
        case "choose" if incident.status is Status.AWAITING_APPROVAL and signal.data.get("approval") == incident.approval:
            return _choose(incident, signal, actor)
        case "undo" if incident.status is Status.ESCALATED and incident.grant is not None and _is_apply(incident.run):
            own = replace(incident.grant, by=(actor,), digest=incident.digest, standing="")
            undoing = incident.evolve(kind=RunKind.UNDO, run=None, grant=own)
            return move(undoing, Status.EXECUTING, Reason.PERSON_CHOICE, f"Undo asked for by {actor}.", actor=actor)
        case _:
            return None


def _choose(incident: Incident, signal: Signal, actor: str) -> Step:
    """Propose what a person chose instead: with a check and a digest of its own; who chose it is its proposer."""
    before, data = _proposal(incident), signal.data
    hosts = tuple(str(host) for host in data["hosts"])
    entry, reason = str(data["entry"]), str(data.get("reason", ""))
    others = tuple(one for one in before.alternatives if one.entry != entry)
    proposal = Proposal(
        choice=Choice.RUN,
        agreement=Agreement.PERSON,
        engine="person",
        summary=f"{actor} chose {entry} on {', '.join(hosts)} instead of {before.entry}: {reason}",
        entry=entry,
        hosts=hosts,
        parameters=dict(data.get("parameters", {})),
        origins=dict(data.get("origins", {})),
        claims=(Claim(f"{actor}: {reason}"),),
        alternatives=(Alternative(before.entry, f"Proposed before; {actor} chose {entry}.", before.hosts, before.parameters), *others),
        proposer=actor,
    )
    chosen = Happening("proposal.chosen", actor, {"approval": incident.approval, "instead_of": before.entry, **_told(proposal)})
    fresh = incident.evolve(proposal=proposal, verdict=None, grant=None, approval="", check=None, digest="")
    return move(fresh, Status.PROPOSED, Reason.PERSON_CHOICE, proposal.summary, actor=actor, events=(chosen,))


def _is_apply(run: Run | None) -> bool:
    """Whether it is an apply; an undo is never undone."""
    return run is not None and run.kind is RunKind.APPLY


def _begun(incident: Incident) -> bool:
    """Whether a changing run of it has an intent and no known end."""
    return incident.run is not None and incident.run.state is not RunState.DONE


def _blank(incident: Incident) -> Incident:
    """Return an incident without what an attempt had found out."""
    return incident.evolve(context=None, proposal=None, verdict=None, grant=None, approval="", check=None, run=None, verification=None)


BEFORE_RUN = frozenset({Status.RECEIVED, Status.INVESTIGATING, Status.PROPOSED, Status.AWAITING_APPROVAL})
"""Statuses in which nothing has been begun."""


def _adopt(incident: Incident, parent: str, events: list[Happening]) -> tuple[Incident, Step | None]:
    """Take a parent that came later: nothing runs until it has ended."""
    events.append(Happening("incident.linked", data={"parent": parent}))
    incident = incident.evolve(parent=parent)
    if incident.status is Status.RECEIVED:
        return incident, None
    return incident, _void(move(_blank(incident), Status.RECEIVED, None, "Waits for the incident that causes it."), incident)


def _settle(incident: Incident, run: Run, signal: Signal, actor: str) -> Step:
    done = bool(signal.data.get("done"))
    settled = replace(
        run, state=RunState.DONE, outcome=Outcome.SUCCESSFUL if done else Outcome.CANCELLED, message=str(signal.data.get("reason", ""))
    )
    said = Happening("run.settled", actor, {"run": run.id, "done": done, "reason": str(signal.data.get("reason", ""))})
    detail = f"{actor} says that the play {'was done' if done else 'was not done'}: {signal.data.get('reason', '')}"
    return Step(incident.evolve(run=settled, detail=detail), (said,), free=True, runs=(settled,))


def _held_back(incident: Incident, rooms: Rooms) -> Step | None:
    """A child waits for its parent; it is escalated with it, and goes on by itself after it."""
    if not incident.parent or incident.status not in BEFORE_RUN:
        return None
    parent = rooms.parent(incident.parent)
    if parent is None or parent.status not in OPEN:
        return None
    if parent.status is Status.ESCALATED:
        return _void(_escalate(incident, Reason.PARENT_ESCALATED, f"Its cause, incident {parent.id}, is with a person."))
    return replace(_wait(incident, f"parent:{parent.id}"), wait_s=PARENT_POLL_S)


# ---------------------------------------------------------------- small words


def move(
    incident: Incident,
    status: Status,
    reason: Reason | None,
    detail: str,
    *,
    events: tuple[Happening, ...] = (),
    actor: str = "engine",
    free: bool = False,
    effective: bool | None = None,
    wait_s: float | None = None,
) -> Step:
    """Return the step that puts the incident into `status`, with its audit events."""
    data = {
        "from": incident.status,
        "to": status,
        "reason": reason,
        "detail": detail,
        "attempt": incident.attempt,
        "alertname": incident.alert.name,
    }
    happenings = [*events, Happening("incident.status", actor, data)]
    if status in (Status.ESCALATED, Status.RESOLVED):
        happenings.append(Happening(f"incident.{status}", actor, data))
    final = status not in OPEN
    moved = incident.evolve(status=status, reason=reason, detail=detail, blocked_by="")
    return Step(moved, tuple(happenings), wait_s=FOREVER if final and wait_s is None else wait_s, free=free, effective=effective)


def _escalate(incident: Incident, reason: Reason, detail: str, *, free: bool = False, effective: bool | None = None) -> Step:
    return move(incident, Status.ESCALATED, reason, detail, free=free, effective=effective, wait_s=FOREVER)


def _denied(incident: Incident, verdict: Verdict, judged: Happening | None) -> Step:
    reason = verdict.reasons[0] if verdict.reasons else Reason.NOT_ALLOWED
    detail = next((guard.detail for guard in verdict.guards if guard.reason is reason and not guard.ok), str(reason))
    events = (judged,) if judged else ()
    if reason in SUPPRESSING and incident.status is Status.PROPOSED:
        return move(incident, Status.SUPPRESSED, reason, detail, events=events, free=True, wait_s=REJUDGE_S)
    if reason is Reason.NOT_FIRING:
        return move(incident, Status.CLEARED, reason, detail, events=events, free=True)
    return move(incident, Status.ESCALATED, reason, detail, events=events, free=True, wait_s=FOREVER)


def _void(step: Step, before: Incident | None = None) -> Step:
    """Add to a step that the incident's open approval no longer counts."""
    approval = (before or step.incident).approval
    return replace(step, settle_approval=(approval, ApprovalState.VOID)) if approval else step


def _wait(incident: Incident, blocked_by: str) -> Step:
    return Step(incident.evolve(blocked_by=blocked_by), wait_s=BLOCKED_POLL_S)


def _question(incident: Incident, entry: Entry, verdict: Verdict, rooms: Rooms) -> Approval:
    now = rooms.now()
    return Approval(
        id=f"{incident.id}:{incident.attempt}:{_stamp(now)}",
        incident=incident.id,
        attempt=incident.attempt,
        digest=incident.digest,
        state=ApprovalState.PENDING,
        proposal=_proposal(incident),
        verdict=verdict,
        created_at=now,
        expires_at=now + timedelta(seconds=rooms.approval_ttl_s),
        need=max(1, verdict.need),
        approvers=entry.approvers,
        undo=entry.undo_policy,
        check=incident.check,
        covered=rooms.covered(incident),
    )


def _told(proposal: Proposal) -> dict[str, Any]:
    return {
        "choice": proposal.choice,
        "entry": proposal.entry,
        "hosts": list(proposal.hosts),
        "parameters": dict(proposal.parameters),
        "origins": dict(proposal.origins),
        "agreement": proposal.agreement,
        "summary": proposal.summary,
        "reason": proposal.reason,
        "claims": [{"text": claim.text, "evidence": list(claim.evidence)} for claim in proposal.claims],
        "alternatives": [{"entry": other.entry, "why_not": other.why_not} for other in proposal.alternatives],
        "prompt_digest": proposal.prompt_digest,
        "catalogue": proposal.revision,
    }


def _said(verb: str, signal: Signal) -> str:
    reason = str(signal.data.get("reason", ""))
    return f"{verb} by {signal.data.get('actor', 'a person')}{': ' + reason if reason else ''}."


def _stamp(now: datetime) -> int:
    return int(now.timestamp() * 1000) % 10**9


def _hosts_or_none(incident: Incident, rooms: Rooms) -> tuple[Host, ...]:
    try:
        return rooms.hosts(incident)
    except (InventoryError, Unavailable):
        return ()


def _proposal(incident: Incident) -> Proposal:
    if incident.proposal is None:
        raise ExecutionError(f"incident {incident.id} has no proposal")
    return incident.proposal


def _granted(incident: Incident) -> Grant:
    if incident.grant is None:
        raise ExecutionError(f"incident {incident.id} has no grant")
    return incident.grant


def manual(alert: Alert) -> bool:
    """Return whether this stands for a person's own proposal rather than for an alert from monitoring."""
    return alert.generator_url == "orchestrator:manual"
