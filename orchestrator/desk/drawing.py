"""Draws the approval card from what is known: pure, so that every face shows the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator import approval as answering
from orchestrator.card import (
    Card,
    CardAlternative,
    CardCheck,
    CardClaim,
    CardEvidence,
    CardGuard,
    CardHost,
    CheckState,
    Decided,
    Deciders,
    HostCheck,
    Narrowing,
    Origin,
    Setting,
    Track,
    UndoPlan,
)
from orchestrator.model import (
    Alternative,
    Approval,
    ApprovalState,
    CheckMode,
    Entry,
    EntryKind,
    Guard,
    Host,
    HostStats,
    Incident,
    Outcome,
    Parameter,
    Proposal,
    Run,
    StandingGrant,
    UndoPolicy,
)

LABELS = "labels."
TITLES: Mapping[str, str] = {
    "firing": "alert still fires",
    "silence": "no silence",
    "window": "no maintenance window",
    "observe": "more than observe",
    "entry": "entry named",
    "hosts": "hosts named",
    "allow_list": "allow-lists",
    "protected": "protected hosts",
    "quarantine": "quarantine",
    "agreement": "matcher and model agree",
    "confirmed": "confirmed firing",
    "mode": "policy mode",
    "risk": "risk",
    "admitted": "entry admitted",
    "auto": "running without a person",
    "preconditions": "preconditions",
    "cooldown": "cooldown",
    "breaker": "circuit breaker",
    "blast_radius": "blast radius",
    "fleet": "fleet",
    "locks": "host locks",
    "kill_switch": "kill switch",
}
"""Guard → what it guards, in a few words."""
ASKING = frozenset({"mode", "risk"})
"""Guards that only say that a person is asked; red is no danger there."""
UNDO_WORDS: Mapping[UndoPolicy, str] = {
    UndoPolicy.NONE: "There is no undo: what it changes stays changed.",
    UndoPolicy.OFFER: "If the service turns out unhealthy, a person may start the undo.",
    UndoPolicy.AUTO: "If the service turns out unhealthy, the undo starts by itself.",
}
ORIGIN_WORDS: Mapping[Origin, str] = {
    Origin.DEFAULT: "the entry's default",
    Origin.MODEL: "chosen by the model, within what the entry allows",
    Origin.PERSON: "given by a person",
    Origin.PINNED: "pinned by narrowing",
    Origin.UNKNOWN: "its origin is not on record",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What a card is drawn from."""

    approval: Approval
    narrowed: Proposal
    """The proposal as it would run: fewer hosts, pinned parameters."""
    incident: Incident
    entries: Mapping[str, Entry]
    now: datetime
    inventory: Mapping[str, Host] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    """Host → the incident that holds it."""
    track: Track = field(default_factory=Track)
    host_tracks: Mapping[str, Track] = field(default_factory=dict)
    paused: str = ""
    stale: bool | None = False
    """None: a host is being changed right now."""
    changed: tuple[str, ...] = ()
    standing: tuple[StandingGrant, ...] = ()

    @property
    def entry(self) -> Entry | None:
        """The entry as the catalogue has it now."""
        return self.entries.get(self.narrowed.entry)

    @property
    def pending(self) -> bool:
        """Whether it can be answered now."""
        return self.approval.state is ApprovalState.PENDING and self.now < self.approval.expires_at


def draw(known: Known) -> Card:
    """Return the card of an approval."""
    approval, incident, proposal, entry = known.approval, known.incident, known.narrowed, known.entry
    hosts, check, guards = _hosts(known), _check(known), _guards(known)
    claims = _claims(proposal, incident)
    return Card(
        id=approval.id,
        incident=approval.incident,
        digest=approval.digest,
        state=approval.state,
        pending=known.pending,
        verdict=_verdict(known, check, guards),
        summary=proposal.summary,
        alertname=incident.alert.name,
        alert_labels=dict(incident.alert.labels),
        alert_summary=str(incident.alert.annotations.get("summary", "")),
        entry=proposal.entry,
        entry_title=entry.title if entry else proposal.entry,
        entry_description=entry.description if entry else "It is no longer in the catalogue.",
        risk=entry.risk if entry else None,
        engine=proposal.engine,
        agreement=str(proposal.agreement),
        settings=_settings(known),
        hosts=hosts,
        check=check,
        evidence=_evidence(incident, claims),
        missing=tuple(f"{one.source}: {one.reason}" for one in incident.context.missing) if incident.context else (),
        claims=claims,
        alternatives=tuple(_alternative(one, known) for one in proposal.alternatives),
        guards=guards,
        track=known.track,
        undo=UndoPlan(approval.undo, bool(entry and entry.undo), UNDO_WORDS[approval.undo]),
        deciders=_deciders(approval),
        narrowing=_narrowing(known),
        asked_at=approval.created_at,
        expires_at=approval.expires_at,
        seconds_left=max(0, math.ceil((approval.expires_at - known.now).total_seconds())),
        changed=known.changed,
        decided=_decided(known),
        snoozed_until=approval.snoozed_until if approval.snoozed(known.now) else None,
        snoozed_by=approval.snoozed_by if approval.snoozed(known.now) else "",
        escalated_to=approval.escalated_to,
        escalated_by=approval.escalated_by,
        escalated_why=approval.escalated_why,
        standing=known.standing,
    )


def _verdict(known: Known, check: CardCheck, guards: Sequence[CardGuard]) -> str:
    entry, proposal = known.entry, known.narrowed
    title = entry.title if entry else proposal.entry
    risk = f" ({entry.risk} risk)" if entry else ""
    red = [(guard.reason or guard.title).replace("_", " ") for guard in guards if not guard.ok and guard.name not in ASKING]
    told = f"not green: {', '.join(red)}" if red else "all guards are green"
    record = known.track.words.partition(";")[0].rstrip(".") or "it never ran for this alert before"
    words = (check.sentence.rstrip("."), record[0].lower() + record[1:], told)
    return f"{title} on {', '.join(proposal.hosts)}{risk}: {'; '.join(words)}."


# ---------------------------------------------------------------- what runs where


def _settings(known: Known) -> tuple[Setting, ...]:
    proposal, shown = known.narrowed, known.approval.proposal
    spec = {one.name: one for one in known.entry.parameters} if known.entry else {}
    order = [name for name in spec if name in proposal.parameters]
    order += [name for name in proposal.parameters if name not in spec]
    return tuple(_setting(name, proposal, shown, spec.get(name)) for name in order)


def _setting(name: str, proposal: Proposal, shown: Proposal, spec: Parameter | None) -> Setting:
    value, said = proposal.parameters[name], proposal.origins.get(name, "")
    origin = _origin(said, pinned=said != shown.origins.get(name, ""))
    source = said if origin in (Origin.LABEL, Origin.INVENTORY) else ""
    if origin is Origin.LABEL:
        words = f"from the alert's label {source.removeprefix(LABELS)}"
    elif origin is Origin.INVENTORY:
        words = f"from the inventory's {source.partition('.')[2] or source}"
    else:
        words = ORIGIN_WORDS[origin]
    if spec and spec.allow_list:
        words += f"; listed in the inventory's {spec.allow_list}"
    return Setting(
        name=name,
        value=value,
        origin=origin,
        source=source,
        words=words,
        description=spec.description if spec else "",
        type=spec.type if spec else "",
        choices=spec.choices if spec else (),
        pinnable=answering.pinnable(shown, name),
        proposed=shown.parameters.get(name),
    )


def _origin(said: str, *, pinned: bool) -> Origin:
    if pinned:
        return Origin.PINNED
    if said.startswith(LABELS):
        return Origin.LABEL
    if said.startswith(("inventory", "hostvars")):
        return Origin.INVENTORY
    return Origin(said) if said in set(Origin) else Origin.UNKNOWN


def _hosts(known: Known) -> tuple[CardHost, ...]:
    run = known.approval.check
    return tuple(
        CardHost(
            name=name,
            check=_host_check(run, name),
            changed=run.hosts[name].changed if run and name in run.hosts else 0,
            diffs=tuple(one for one in run.diffs if one.host == name) if run else (),
            groups=known.inventory[name].groups if name in known.inventory else (),
            locked_by=_lock(known, name),
            track=known.host_tracks.get(name, Track()),
        )
        for name in known.narrowed.hosts
    )


def _lock(known: Known, host: str) -> str:
    owner = known.locks.get(host, "")
    return "" if owner == known.incident.id else owner


def _host_check(run: Run | None, host: str) -> HostCheck:
    stats = run.hosts.get(host) if run else None
    match stats:
        case None:
            return HostCheck.NOT_CHECKED
        case HostStats(unreachable=lost) if lost:
            return HostCheck.UNREACHABLE
        case HostStats(failures=failed) if failed:
            return HostCheck.FAILED
        case HostStats(changed=changed) if changed:
            return HostCheck.WOULD_CHANGE
        case _:
            return HostCheck.NO_CHANGE


# ---------------------------------------------------------------- the check run


def _check(known: Known) -> CardCheck:
    run, hosts = known.approval.check, known.narrowed.hosts
    mode = known.entry.check_mode if known.entry else CheckMode.NONE
    verdicts = [_host_check(run, host) for host in hosts]
    changing = verdicts.count(HostCheck.WOULD_CHANGE)
    if run is None:
        state = CheckState.NONE if mode is CheckMode.NONE else CheckState.MISSING
        words = (
            "This entry cannot be tried in check mode: nothing predicts what it will change."
            if state is CheckState.NONE
            else "The entry has a check mode, and no check run is on record."
        )
        return CardCheck(state, mode, "No check run was made.", words, hosts=len(hosts))
    state, words = _check_state(known, run, mode, verdicts)
    sentence = _check_sentence(changing, hosts, verdicts, at_least=mode is not CheckMode.FULL)
    return CardCheck(state, mode, sentence, words, run.id, run.ended_at, run.message, changing, len(hosts))


def _check_state(known: Known, run: Run, mode: CheckMode, verdicts: Sequence[HostCheck]) -> tuple[CheckState, str]:
    bad = {HostCheck.FAILED, HostCheck.UNREACHABLE, HostCheck.NOT_CHECKED} & set(verdicts)
    if bad or run.outcome is not Outcome.SUCCESSFUL:
        return CheckState.FAILED, f"The check run ended {run.outcome or run.state}: what it shows is not the whole."
    shown, now = known.approval.proposal.parameters, known.narrowed.parameters
    pinned = [name for name in now if now[name] != shown.get(name)]
    if pinned:
        return CheckState.STALE, f"The check ran with other values of {', '.join(pinned)} than the ones pinned: it may not hold for them."
    if known.stale is None:
        return CheckState.STALE, "A host is being changed by another run right now; the check is made again after it."
    if known.stale:
        return CheckState.STALE, "A host was changed by another run since the check; it is being made again."
    if mode is CheckMode.PARTIAL:
        return CheckState.PARTIAL, "Check mode shows only a part: some tasks cannot be tried and may change more than is shown here."
    return CheckState.MADE, ""


def _check_sentence(changing: int, hosts: Sequence[str], verdicts: Sequence[HostCheck], *, at_least: bool) -> str:
    troubled = [host for host, one in zip(hosts, verdicts, strict=True) if one not in (HostCheck.WOULD_CHANGE, HostCheck.NO_CHANGE)]
    noun = "host" if len(hosts) == 1 else "hosts"
    verb = "changes" if changing == 1 else "change"
    least = "at least " if at_least and changing < len(hosts) else ""
    told = f"{least}{changing} of {len(hosts)} {noun} {verb}"
    if troubled:
        return f"{told}; the check failed or said nothing on {', '.join(troubled)}."
    if not changing:
        return f"{told}: it may be healthy already." if not at_least else f"{told}, as far as check mode can tell."
    return f"{told}."


# ---------------------------------------------------------------- why


def _claims(proposal: Proposal, incident: Incident) -> tuple[CardClaim, ...]:
    known = {one.id for one in incident.context.evidence} if incident.context else set()
    found = []
    for claim in proposal.claims:
        ids = tuple(one for one in claim.evidence if one in known)
        found.append(CardClaim(claim.text, ids, cited=bool(ids)))
    return tuple(found)


def _evidence(incident: Incident, claims: Sequence[CardClaim]) -> tuple[CardEvidence, ...]:
    cited = {one for claim in claims for one in claim.evidence}
    pieces = incident.context.evidence if incident.context else ()
    return tuple(CardEvidence(one.id, one.source, one.title, one.text, one.complete, one.id in cited) for one in pieces)


def _alternative(one: Alternative, known: Known) -> CardAlternative:
    entry = known.entries.get(one.entry)
    words = ""
    if entry is None:
        words = "It is not in the catalogue."
    elif entry.kind is not EntryKind.REMEDIATION:
        words = "It only reads."
    elif not known.pending:
        words = "The question is no longer open."
    needed = [p.name for p in entry.parameters if p.required and p.default is None and p.name not in one.parameters] if entry else []
    choosable = not words
    if choosable and needed:
        words = f"It needs a value for {', '.join(needed)}."
    title, risk = (entry.title, entry.risk) if entry else (one.entry, None)
    return CardAlternative(one.entry, title, one.why_not, one.hosts, dict(one.parameters), risk, choosable, words)


def _guards(known: Known) -> tuple[CardGuard, ...]:
    shown = tuple(_guard(one) for one in known.approval.verdict.guards)
    held = {host: owner for host in known.narrowed.hosts if (owner := _lock(known, host))}
    locks = "; ".join(f"{host} is held by incident {owner}" for host, owner in held.items())
    paused = f"Paused by {known.paused}: nothing starts." if known.paused else "It is not pulled."
    return (
        *shown,
        CardGuard("locks", TITLES["locks"], not held, f"{locks}; this waits for it." if held else "No other run holds a host.", live=True),
        CardGuard("kill_switch", TITLES["kill_switch"], not known.paused, paused, live=True),
    )


def _guard(guard: Guard) -> CardGuard:
    return CardGuard(guard.name, TITLES.get(guard.name, guard.name.replace("_", " ")), guard.ok, guard.detail, guard.reason)


# ---------------------------------------------------------------- who and when


def _deciders(approval: Approval) -> Deciders:
    need = answering.need(approval)
    proposer = approval.proposal.proposer if need > 1 else ""
    who = f"Anyone of {', '.join(approval.approvers)}, or an admin" if approval.approvers else "Any approver"
    words = f"{who}; {need} different people have to." if need > 1 else f"{who}; one yes is enough."
    if proposer:
        words += f" Not {proposer}, who proposed it."
    return Deciders(approval.approvers, need, approval.have, proposer, approval.answers, words)


def _narrowing(known: Known) -> Narrowing:
    shown, narrowed = known.approval.proposal, known.narrowed
    first = next((one for one in known.approval.answers if one.approve), None)
    bound = answering.narrow(shown, first.hosts, first.pins) if first else None
    return Narrowing(
        hosts=shown.hosts,
        pinnable=tuple(name for name in shown.parameters if answering.pinnable(shown, name)),
        narrowed=(set(narrowed.hosts), dict(narrowed.parameters)) != (set(shown.hosts), dict(shown.parameters)),
        bound_hosts=bound.hosts if bound else (),
        bound_pins=dict(first.pins) if first else {},
        bound_by=first.actor if first else "",
    )


def _decided(known: Known) -> Decided | None:
    approval = known.approval
    if approval.state is ApprovalState.PENDING and not known.pending:
        return Decided(ApprovalState.EXPIRED, (), approval.expires_at, "", answering.expired_words(approval))
    return answering.decided(approval)
