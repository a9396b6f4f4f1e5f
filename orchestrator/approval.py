"""People's answers: who may give one, what it may narrow, and the grant that comes of it.

An approval is bound by a digest to what was shown; it may only narrow, is answered once, and expires.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from orchestrator.card import Decided
from orchestrator.errors import Conflict, Expired, Forbidden, InvalidRequest
from orchestrator.model import Actor, Alert, Answer, Approval, ApprovalState, Covered, Grant, Proposal, Role, UndoPolicy

Check = Callable[[Mapping[str, Any]], list[str]]
"""Parameters → what is wrong with them, an empty list where nothing is."""


def digest(snapshot_digest: str, proposal: Proposal, hosts_digest: str | Mapping[str, str], alert: Alert) -> str:
    """Return what an approval is bound to, SHA-256 in hex.

    Args:
        snapshot_digest: of the entry's folder and all that it uses.
        proposal: its entry, hosts and parameters are covered, not its prose.
        hosts_digest: per host its name and a keyed hash of its resolved variables, or one digest of all that.
        alert: its fingerprint and labels are covered; annotations are not, they hold values that move.
    """
    hosts = hosts_digest if isinstance(hosts_digest, str) else dict(hosts_digest)
    covered = {
        "snapshot": snapshot_digest,
        "entry": proposal.entry,
        "hosts": sorted(set(proposal.hosts)),
        "parameters": dict(proposal.parameters),
        "variables": hosts,
        "fingerprint": alert.fingerprint,
        "labels": dict(alert.labels),
    }
    return hashlib.sha256(_canonical(covered).encode("utf-8", "surrogatepass")).hexdigest()


def answer(approval: Approval, actor: Actor, given: Answer, now: datetime, check: Check) -> Approval:
    """Take one person's answer.

    Args:
        approval: the question, as stored.
        actor: who answers; an admin answers for any group.
        given: the answer; its `actor` and `at` are set here.
        now: the database's time.
        check: tells what is wrong with parameters after pinning.

    Returns:
        The approval after it: still pending while another person is needed, else granted or rejected.

    Raises:
        Forbidden: not an approver, own proposal where two people are needed, or the same person twice.
        Conflict: decided already, changed since, or the answer would widen or differs from the first person's narrowing.
        Expired: the time is over.
        InvalidRequest: a rejection without a reason, or pinned values that the entry does not take.
    """
    _require_approver(approval, actor)
    _require_undecided(approval, now)
    if given.digest != approval.digest:
        raise Conflict(
            f"changed since: you answered {given.digest[:12] or 'without a digest'}, the question is now {approval.digest[:12]}. Mend: look at it again."
        )
    recorded = replace(given, actor=actor.name, at=now, reason=given.reason.strip())
    if not given.approve:
        _require_words("reason", recorded.reason, "say in a few words why not")
        return replace(approval, state=ApprovalState.REJECTED, answers=(*approval.answers, recorded))
    _require_another_person(approval, actor)
    narrowed = narrow(approval.proposal, given.hosts, given.pins)
    _require_valid(narrowed, given, check)
    _require_same_narrowing(approval, narrowed)
    # Somebody is at work on it: it is no longer hidden from the person who is needed next.
    answered = replace(approval, answers=(*approval.answers, recorded), snoozed_until=None, snoozed_by="")
    return replace(answered, state=ApprovalState.GRANTED) if answered.have >= need(approval) else answered


def narrow(proposal: Proposal, hosts: Sequence[str], pins: Mapping[str, Any]) -> Proposal:
    """Return the proposal with fewer hosts and with pinned parameters.

    Args:
        proposal: what was proposed.
        hosts: the hosts to keep; empty: all.
        pins: parameter → value; only parameters that the proposal has, and of a list only a part of it.

    Raises:
        Conflict: the result would be wider than the proposal.
    """
    foreign = sorted(set(hosts) - set(proposal.hosts))
    if foreign:
        raise Conflict(f"hosts: {', '.join(foreign)} would widen the proposal. Mend: choose among {', '.join(proposal.hosts)}.")
    for name, value in pins.items():
        _require_narrower(proposal, name, value)
    kept = tuple(host for host in proposal.hosts if not hosts or host in hosts)
    changed = {name: value for name, value in pins.items() if _canonical(value) != _canonical(proposal.parameters[name])}
    return replace(
        proposal,
        hosts=kept,
        parameters={**proposal.parameters, **changed},
        origins={**proposal.origins, **dict.fromkeys(changed, "person")},
    )


def need(approval: Approval) -> int:
    """Return how many different people are needed: at least one, whatever was stored."""
    return max(approval.need, approval.verdict.need, 1)


def may_answer(approval: Approval, actor: Actor) -> bool:
    """Return whether this person could say yes to an open question now."""
    try:
        _require_approver(approval, actor)
        _require_another_person(approval, actor)
    except Forbidden:
        return False
    return True


def pinnable(proposal: Proposal, name: str) -> bool:
    """Return whether narrowing may give a parameter another value: what a label names may not become another thing."""
    if name not in proposal.parameters:
        return False
    labelled = proposal.origins.get(name, "").startswith("labels.")
    return not labelled or isinstance(proposal.parameters[name], list | tuple)


def grant(approval: Approval, grant_id: str) -> Grant:
    """Return the right to run what was approved, once, as narrowed by the people who approved.

    Raises:
        Conflict: it is not granted.
    """
    yes = [one for one in approval.answers if one.approve]
    if approval.state is not ApprovalState.GRANTED or not yes or approval.have < need(approval):
        raise Conflict(f"approval {approval.id} is {approval.state}, not granted: have {approval.have}, need {need(approval)}")
    narrowed = narrow(approval.proposal, yes[0].hosts, yes[0].pins)
    return Grant(
        id=grant_id,
        digest=approval.digest,
        hosts=narrowed.hosts,
        parameters=narrowed.parameters,
        by=tuple(dict.fromkeys(one.actor for one in yes)),
        undo_shown=approval.undo is UndoPolicy.AUTO,
    )


# ---------------------------------------------------------------- other things that people do with a question


def snooze(approval: Approval, actor: Actor, until: datetime, now: datetime) -> Approval:
    """Hide a question from what needs somebody now until a time; it stays in every list and expires all the same.

    Raises:
        Forbidden: not an approver.
        Conflict: decided already.
        Expired: the time is over.
        InvalidRequest: `until` is past, or not before the question expires: a snooze must not let it lapse unseen.
    """
    _require_approver(approval, actor)
    _require_undecided(approval, now)
    if until <= now:
        raise InvalidRequest(f"until: {_moment(until)} is past. Mend: name a later time.")
    if until >= approval.expires_at:
        raise InvalidRequest(
            f"until: the question expires at {_moment(approval.expires_at)}, and a snooze must end before. Mend: snooze for less, or reject."
        )
    return replace(approval, snoozed_until=until, snoozed_by=actor.name)


def hand_over(approval: Approval, actor: Actor, to: str, reason: str, now: datetime) -> Approval:
    """Hand a question to a person or a group; who may answer it, and when it expires, stays as it is.

    Raises:
        Forbidden: not an approver.
        Conflict: decided already.
        Expired: the time is over.
        InvalidRequest: no reason, or nobody named.
    """
    _require_approver(approval, actor)
    _require_undecided(approval, now)
    _require_words("to", to, "name a person or a group")
    _require_words("reason", reason, "say in a few words why")
    return replace(
        approval, escalated_to=to.strip(), escalated_by=actor.name, escalated_why=reason.strip(), snoozed_until=None, snoozed_by=""
    )


def replaced(approval: Approval, actor: Actor, entry: str, reason: str, now: datetime) -> Approval:
    """Make a question void because a person chose another entry instead.

    Raises:
        Forbidden: not an approver.
        Conflict: decided already.
        Expired: the time is over.
        InvalidRequest: no reason.
    """
    _require_approver(approval, actor)
    _require_undecided(approval, now)
    _require_words("reason", reason, "say in a few words why the other one")
    why = f"{actor.name} chose {entry} instead: {reason.strip()}"
    return replace(approval, state=ApprovalState.VOID, closed_by=actor.name, closed_at=now, closed_why=why, chosen=entry)


def decided(approval: Approval) -> Decided | None:
    """Return how a question was decided, by whom and when, None where it was not."""
    yes = [one for one in approval.answers if one.approve]
    no = next((one for one in approval.answers if not one.approve), None)
    match approval.state:
        case ApprovalState.PENDING:
            return None
        case ApprovalState.GRANTED:
            by = tuple(dict.fromkeys(one.actor for one in yes))
            at = yes[-1].at if yes else None
            return Decided(approval.state, by, at, yes[-1].reason if yes else "", f"approved by {' and '.join(by) or 'policy'}{_at(at)}.")
        case ApprovalState.REJECTED:
            who, at, reason = (no.actor, no.at, no.reason) if no else ("a person", None, "")
            return Decided(approval.state, (who,), at, reason, f"rejected by {who}{_at(at)}{': ' + reason if reason else ''}.")
        case ApprovalState.EXPIRED:
            return Decided(approval.state, (), approval.expires_at, "", expired_words(approval))
        case ApprovalState.VOID:
            why = approval.closed_why or "the alert resolved or the incident ended before an answer"
            by = (approval.closed_by,) if approval.closed_by else ()
            return Decided(approval.state, by, approval.closed_at, approval.closed_why, f"void{_at(approval.closed_at)}: {why}.")


def expired_words(approval: Approval) -> str:
    """Return when an unanswered question ended."""
    return f"expired at {_moment(approval.expires_at)}."


def changes(shown: Covered, now: Covered) -> list[str]:
    """Return what differs between what was shown and what is there now, in plain words; empty where nothing does.

    Args:
        shown: what the question covered.
        now: the same, made anew.
    """
    words = _differing("the file", shown.files, now.files)
    words += [f"{host} is not covered any more" for host in sorted(set(shown.variables) - set(now.variables))]
    words += [f"{host} came in" for host in sorted(set(now.variables) - set(shown.variables))]
    for host in sorted(set(shown.variables) & set(now.variables)):
        words += _differing(f"{host}'s variable", shown.variables[host], now.variables[host])
    words += _differing("the alert's label", shown.labels, now.labels)
    before, after = ({name: _canonical(value) for name, value in one.parameters.items()} for one in (shown, now))
    return words + _differing("the parameter", before, after)


def _differing(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    words = []
    for name in sorted({*before, *after}):
        if name not in after:
            words.append(f"{what} {name} is gone")
        elif name not in before:
            words.append(f"{what} {name} is new")
        elif before[name] != after[name]:
            words.append(f"{what} {name} changed")
    return words


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _at(moment: datetime | None) -> str:
    return f" at {_moment(moment)}" if moment else ""


# ---------------------------------------------------------------- what an answer has to be


def _require_words(name: str, words: str, mend: str) -> None:
    if not words.strip():
        raise InvalidRequest(f"{name}: is empty. Mend: {mend}.")


def _require_approver(approval: Approval, actor: Actor) -> None:
    if actor.role is Role.ADMIN:
        return
    if actor.role is not Role.APPROVER:
        raise Forbidden(f"{actor.name} has the role {actor.role}, which may not answer. Mend: ask an approver.")
    if approval.approvers and not set(approval.approvers) & set(actor.groups):
        raise Forbidden(f"{actor.name} is in none of the groups that may answer this: {', '.join(approval.approvers)}.")


def _require_undecided(approval: Approval, now: datetime) -> None:
    known = decided(approval)
    if known is not None and known.state is not ApprovalState.EXPIRED:
        by = {"state": str(known.state), "by": list(known.by), "at": known.at.isoformat() if known.at else None, "reason": known.reason}
        raise Conflict(f"decided already: {known.words}", decided=by)
    if approval.state is ApprovalState.EXPIRED or now >= approval.expires_at:
        raise Expired(f"expired at {_moment(approval.expires_at)}. Mend: retry the incident to be asked anew.")


def _require_another_person(approval: Approval, actor: Actor) -> None:
    if need(approval) > 1 and approval.proposal.proposer == actor.name:
        raise Forbidden(f"{actor.name} proposed this, and it needs {need(approval)} other people.")
    if any(one.approve and one.actor == actor.name for one in approval.answers):
        raise Forbidden(f"{actor.name} approved already; it needs another person.")


def _require_narrower(proposal: Proposal, name: str, value: Any) -> None:
    if name not in proposal.parameters:
        raise Conflict(
            f"pins.{name}: would widen the proposal, which has no such parameter. Mend: pin one of {', '.join(proposal.parameters) or 'none'}."
        )
    proposed = proposal.parameters[name]
    if not pinnable(proposal, name):
        if _canonical(value) != _canonical(proposed):
            raise Conflict(f"pins.{name}: names another thing than was shown. Mend: propose it as a run of its own.")
        return
    if isinstance(proposed, list | tuple):
        allowed = {_canonical(item) for item in proposed}
        if not isinstance(value, list | tuple) or any(_canonical(item) not in allowed for item in value):
            raise Conflict(f"pins.{name}: would widen the proposal. Mend: name a part of what was proposed.")


def _require_valid(narrowed: Proposal, given: Answer, check: Check) -> None:
    problems = check(narrowed.parameters) if given.pins else []
    if problems:
        raise InvalidRequest("pins: " + "; ".join(problems))


def _require_same_narrowing(approval: Approval, narrowed: Proposal) -> None:
    for one in approval.answers:
        if not one.approve:
            continue
        first = narrow(approval.proposal, one.hosts, one.pins)
        if _scope(first) != _scope(narrowed):
            raise Conflict(
                f"{one.actor} approved hosts {', '.join(first.hosts)} with {_canonical(dict(first.parameters))}. Mend: approve the same, or reject."
            )


def _scope(proposal: Proposal) -> str:
    # As JSON, because to Python True and 1 are the same.
    return _canonical([sorted(proposal.hosts), dict(proposal.parameters)])


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_jsonable)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
