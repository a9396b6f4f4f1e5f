"""May this run by itself, must a person be asked, or may it not run at all?

Pure: everything that is known comes in as `Facts`. What is not known is unsafe, so `ALLOW` needs every guard to hold positively.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from orchestrator.errors import SettingsError
from orchestrator.model import (
    Agreement,
    Alert,
    Choice,
    Effect,
    Entry,
    EntryKind,
    Guard,
    Host,
    Mode,
    Proposal,
    Reason,
    Risk,
    StandingGrant,
    StandingState,
    Verdict,
)


class WindowLike(Protocol):
    """A maintenance window, as the settings hold it."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def start(self) -> str:
        """A cron expression, or an ISO time for once."""

    @property
    def duration_s(self) -> float:
        """How long it lasts."""

    @property
    def timezone(self) -> str:
        """The IANA time zone of `start`."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts or groups; empty: all."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at the moment of judging; each default is the unsafe side or says that nothing is in the way."""

    now: datetime
    mode: Mode
    autonomy: Mapping[Risk, Mode]
    """How far to go per risk, within `mode`; a risk that is not named asks."""
    admitted: bool = False
    earned: bool = False
    """Whether this alert × entry × group has been promoted and still holds; counts where the risk's autonomy is `earned`."""
    record: str = ""
    """What was earned, or why not, in words."""
    firing: bool | None = None
    """Whether monitoring itself says so; None: it cannot be asked."""
    preconditions: tuple[tuple[str, bool | None], ...] = ()
    """Each precondition and whether it holds; None: it cannot be asked."""
    last_run_at: Mapping[str, datetime] = field(default_factory=dict)
    """Host → when this entry last ran there."""
    breaker: tuple[str, ...] = ()
    """Open breakers, in words."""
    windows: tuple[str, ...] = ()
    """Names of the maintenance windows in force."""
    silences: tuple[str, ...] = ()
    """Silences that cover the alert, in words."""
    hosts_changed_last_hour: frozenset[str] = frozenset()
    """Hosts changed without a person."""
    alerting_hosts: int = 0
    inventory_hosts: int = 0
    protected: frozenset[str] = frozenset()
    """Hosts that are never changed."""
    auto_off: str = ""
    """Why running without a person is off; empty: it is not."""
    quarantined: bool = False
    allowed: tuple[str, ...] = ()
    """What the inventory's allow-lists or the parameters' schema refuse, in words."""
    monitoring_hosts: frozenset[str] = frozenset()
    """Hosts of Prometheus and Alertmanager."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The owner's limits."""

    max_hosts_per_hour: int = 10
    fleet_share: float = 0.5
    fleet_minimum: int = 5
    auto_without_model: bool = False
    allow_monitoring_hosts: bool = False


Rule = Callable[[Proposal, Entry, Facts, Limits], Guard]


def judge(proposal: Proposal, entry: Entry, facts: Facts, limits: Limits) -> Verdict:
    """Judge one proposal.

    Args:
        proposal: what the decision says.
        entry: the catalogue entry it names.
        facts: what is known now.
        limits: the owner's limits.

    Returns:
        The verdict with every guard that was looked at. `deny` carries only what denies, the most telling first: an alert that
        does not fire, a silence, a window, observe mode, then what forbids the play itself. `ask` carries every reason to ask.
    """
    if entry.kind is EntryKind.DIAGNOSTIC:
        # It only reads, which execution enforces: silences, cooldown and limits are about changes.
        denying, asking = _DENY_READING, _ASK_READING
    else:
        denying, asking = _DENY, _ASK
    denied = tuple(rule(proposal, entry, facts, limits) for rule in denying)
    asked = tuple(rule(proposal, entry, facts, limits) for rule in asking)
    need = 2 if entry.risk is Risk.HIGH else 1
    if reasons := _reasons(denied):
        return Verdict(Effect.DENY, reasons, denied + asked, need)
    if reasons := _reasons(asked):
        return Verdict(Effect.ASK, reasons, denied + asked, need)
    return Verdict(Effect.ALLOW, (), denied + asked, 0)


def is_fleet_alarm(alerting: int, known: int, limits: Limits) -> bool:
    """Return whether so many of the known hosts alert at once that monitoring itself may be wrong."""
    return alerting >= limits.fleet_minimum and alerting > limits.fleet_share * known


def active_windows(windows: Sequence[WindowLike], now: datetime, hosts: Sequence[Host]) -> tuple[str, ...]:
    """Return the names of the maintenance windows that cover `now` and any of `hosts`.

    Raises:
        SettingsError: a window's start or time zone cannot be read.
    """
    names = {host.name for host in hosts} | {group for host in hosts for group in host.groups}
    return tuple(one.name for one in windows if (not one.hosts or names & set(one.hosts)) and _covers(one, now.astimezone(UTC)))


# ---------------------------------------------------------------- standing grants

STANDING_ANSWERS = frozenset({Reason.MODE_ASKS, Reason.RISK_ASKS})
"""The only reasons to ask that a standing grant answers: the others are guards, and no grant overrides a guard."""


def may_mint(verdict: Verdict) -> bool:
    """Return whether nothing but the mode and the risk ask for a person, which is what a standing grant stands in for."""
    return verdict.effect is Effect.ASK and bool(verdict.reasons) and set(verdict.reasons) <= STANDING_ANSWERS


def not_covered(
    grant: StandingGrant, proposal: Proposal, alert: Alert, digest: str, variables: Mapping[str, str], need: int, now: datetime
) -> str:
    """Return why a standing grant does not cover a proposal, in plain words; an empty string where it does.

    Args:
        grant: as it stands.
        proposal: what would run.
        alert: why it would run.
        digest: of the entry's snapshot now.
        variables: host → keyed hash of its resolved variables now.
        need: how many people the entry's risk asks for now.
        now: the database's time.
    """
    over = StandingState.EXPIRED if now >= grant.until else StandingState.USED_UP if grant.left <= 0 else StandingState.ACTIVE
    state = over if grant.state is StandingState.ACTIVE else grant.state
    if state is not StandingState.ACTIVE:
        return f"the standing grant is {state.replace('_', ' ')}"
    if grant.entry != proposal.entry:
        return f"it is for {grant.entry}"
    if grant.digest != digest:
        return f"{grant.entry} has changed since it was given"
    if len(set(grant.by)) < max(need, grant.need):
        return f"{max(need, grant.need)} people have to give it"
    if not proposal.hosts or set(proposal.hosts) - set(grant.hosts):
        return f"it is for {', '.join(grant.hosts)} only"
    if moved := sorted(host for host in proposal.hosts if grant.variables.get(host) != variables.get(host)):
        return f"the variables of {', '.join(moved)} have changed since it was given"
    if grant.alertnames and alert.name not in grant.alertnames:
        return f"it is for {', '.join(grant.alertnames)} only"
    return ""


# ---------------------------------------------------------------- what denies


def _fires(_proposal: Proposal, _entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    # A play that a person starts without any alert cannot be confirmed (None) and is asked about, see `_confirmed`; an alternative that a
    # person chose for an alert stands and falls with that alert.
    if facts.firing is False:
        return Guard("firing", ok=False, detail="Monitoring says that the alert does not fire any more.", reason=Reason.NOT_FIRING)
    return Guard("firing", ok=True, detail="Monitoring does not say that the alert is over.")


def _no_silence(_proposal: Proposal, _entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.silences:
        return Guard("silence", ok=False, detail=f"Silenced in Alertmanager: {'; '.join(facts.silences)}.", reason=Reason.SILENCED)
    return Guard("silence", ok=True, detail="No silence covers the alert.")


def _no_window(_proposal: Proposal, _entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.windows:
        return Guard("window", ok=False, detail=f"Maintenance window in force: {', '.join(facts.windows)}.", reason=Reason.WINDOW)
    return Guard("window", ok=True, detail="No maintenance window is in force.")


def _not_observing(_proposal: Proposal, entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.mode is Mode.OBSERVE:
        return Guard("observe", ok=False, detail="The policy's mode is observe: nothing runs.", reason=Reason.OBSERVE_MODE)
    if entry.kind is EntryKind.REMEDIATION and facts.autonomy.get(entry.risk) is Mode.OBSERVE:
        return Guard("observe", ok=False, detail=f"The policy only observes entries of {entry.risk} risk.", reason=Reason.OBSERVE_MODE)
    return Guard("observe", ok=True, detail="The policy does more than observe.")


def _has_play(proposal: Proposal, entry: Entry, _facts: Facts, _limits: Limits) -> Guard:
    if proposal.choice is not Choice.RUN:
        return Guard("entry", ok=False, detail="The decision names nothing to run.", reason=proposal.reason or Reason.NO_ENTRY)
    if proposal.entry != entry.id:
        detail = f"The decision names {proposal.entry or 'no entry'}, but {entry.id} was to be judged."
        return Guard("entry", ok=False, detail=detail, reason=Reason.NO_ENTRY)
    return Guard("entry", ok=True, detail=f"The decision names {entry.id}.")


def _has_hosts(proposal: Proposal, entry: Entry, _facts: Facts, _limits: Limits) -> Guard:
    hosts = set(proposal.hosts)
    if not hosts:
        return Guard("hosts", ok=False, detail="The decision names no host.", reason=Reason.NO_TARGET)
    if len(hosts) > entry.targets.max_hosts:
        detail = f"{len(hosts)} hosts are named; {entry.id} may touch {entry.targets.max_hosts} at once."
        return Guard("hosts", ok=False, detail=detail, reason=Reason.NOT_ALLOWED)
    return Guard("hosts", ok=True, detail=f"On {', '.join(sorted(hosts))}; {entry.targets.max_hosts} at once are allowed.")


def _allowed(_proposal: Proposal, _entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.allowed:
        return Guard("allow_list", ok=False, detail=f"Not allowed: {'; '.join(facts.allowed)}.", reason=Reason.NOT_ALLOWED)
    return Guard("allow_list", ok=True, detail="Hosts and parameters are allowed by the inventory.")


def _unprotected(proposal: Proposal, _entry: Entry, facts: Facts, limits: Limits) -> Guard:
    monitoring = frozenset() if limits.allow_monitoring_hosts else facts.monitoring_hosts
    hit = sorted(set(proposal.hosts) & (facts.protected | monitoring))
    if hit:
        detail = f"{', '.join(hit)} must never be changed: protected, or a host of monitoring itself."
        return Guard("protected", ok=False, detail=detail, reason=Reason.PROTECTED_HOST)
    return Guard("protected", ok=True, detail="No protected host is touched.")


def _not_quarantined(_proposal: Proposal, entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.quarantined:
        detail = f"{entry.id} is in quarantine: one of its read-only plays changed something."
        return Guard("quarantine", ok=False, detail=detail, reason=Reason.QUARANTINED)
    return Guard("quarantine", ok=True, detail=f"{entry.id} is not in quarantine.")


# ---------------------------------------------------------------- what asks a person


def _agreed(proposal: Proposal, _entry: Entry, _facts: Facts, limits: Limits) -> Guard:
    reason: Reason | None = None
    match proposal.agreement:
        case Agreement.AGREED:
            detail = "Matcher and model agree."
        case Agreement.MATCHERS:
            detail = "The matchers chose it; no model is in use."
        case Agreement.MODEL_ALONE:
            detail, reason = "Only the model chose it; no matcher fired.", Reason.MODEL_ALONE
        case Agreement.DIFFER:
            detail, reason = "Matcher and model differ.", Reason.CONFLICT
        case Agreement.MODEL_FAILED if limits.auto_without_model:
            detail = "The model failed; the settings let the matchers act alone."
        case Agreement.MODEL_FAILED:
            detail, reason = "The model failed; the matchers chose it.", Reason.MODEL_FAILED
        case Agreement.RULE_UNREAD:
            detail, reason = "The alert's rule could not be read from Prometheus.", Reason.RULE_UNREAD
        case Agreement.PERSON:
            detail, reason = f"{proposal.proposer or 'A person'} asked for it.", Reason.PERSON_CHOICE
    return Guard("agreement", ok=reason is None, detail=detail, reason=reason)


def _confirmed(_proposal: Proposal, _entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.firing:
        return Guard("confirmed", ok=True, detail="Monitoring says that the alert fires.")
    said = "The alert is over." if facts.firing is False else "Monitoring could not be asked whether the alert fires."
    return Guard("confirmed", ok=False, detail=said, reason=Reason.CANNOT_CONFIRM)


def _mode_allows(_proposal: Proposal, _entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.mode is Mode.AUTO:
        return Guard("mode", ok=True, detail="The policy's mode is auto.")
    return Guard("mode", ok=False, detail=f"The policy's mode is {facts.mode}: a person is asked.", reason=Reason.MODE_ASKS)


def _risk_allows(_proposal: Proposal, entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.autonomy.get(entry.risk) is Mode.AUTO:
        return Guard("risk", ok=True, detail=f"{entry.risk.capitalize()} risk may run by itself.")
    if facts.autonomy.get(entry.risk) is Mode.EARNED:
        return Guard(
            "risk", ok=facts.earned, detail=facts.record or "Nothing is earned.", reason=None if facts.earned else Reason.RISK_ASKS
        )
    people = "two people are" if entry.risk is Risk.HIGH else "a person is"
    return Guard("risk", ok=False, detail=f"{entry.risk.capitalize()} risk: {people} asked.", reason=Reason.RISK_ASKS)


def _admitted(_proposal: Proposal, entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.admitted:
        return Guard("admitted", ok=True, detail=f"An admin has admitted {entry.id} as it is now.")
    detail = f"{entry.id} is new or changed, and no admin has admitted it yet."
    return Guard("admitted", ok=False, detail=detail, reason=Reason.NOT_ADMITTED)


def _auto_on(_proposal: Proposal, _entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.auto_off:
        return Guard("auto", ok=False, detail=f"Running without a person is off: {facts.auto_off}.", reason=Reason.AUTO_OFF)
    return Guard("auto", ok=True, detail="Running without a person is on.")


def _preconditions_hold(_proposal: Proposal, entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    known = dict(facts.preconditions)
    problems = []
    for one in dict.fromkeys((*entry.preconditions, *known)):
        holds = known.get(one)
        if holds is not True:
            problems.append(f"{one} {'could not be asked' if holds is None else 'does not hold'}")
    if problems:
        return Guard("preconditions", ok=False, detail=f"{'; '.join(problems)}.", reason=Reason.PRECONDITION)
    return Guard("preconditions", ok=True, detail="Every precondition holds." if known else "The entry has no precondition.")


def _cooled_down(proposal: Proposal, entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    hot = []
    for host in sorted(set(proposal.hosts) & set(facts.last_run_at)):
        ago = (facts.now - facts.last_run_at[host]).total_seconds()
        if ago < entry.cooldown_s:
            hot.append(f"{entry.id} ran on {host} {max(ago, 0):.0f} s ago, its cooldown is {entry.cooldown_s:.0f} s")
    if hot:
        return Guard("cooldown", ok=False, detail=f"{'; '.join(hot)}.", reason=Reason.COOLDOWN)
    return Guard("cooldown", ok=True, detail=f"{entry.id} did not run here in the last {entry.cooldown_s:.0f} s.")


def _breaker_closed(_proposal: Proposal, _entry: Entry, facts: Facts, _limits: Limits) -> Guard:
    if facts.breaker:
        detail = f"Repeated runs had no effect: {'; '.join(facts.breaker)}."
        return Guard("breaker", ok=False, detail=detail, reason=Reason.BREAKER_OPEN)
    return Guard("breaker", ok=True, detail="No circuit breaker is open.")


def _blast_is_small(proposal: Proposal, _entry: Entry, facts: Facts, limits: Limits) -> Guard:
    total = len(facts.hosts_changed_last_hour | set(proposal.hosts))
    detail = f"{total} hosts changed without a person within an hour, this run included; the limit is {limits.max_hosts_per_hour}."
    if total > limits.max_hosts_per_hour:
        return Guard("blast_radius", ok=False, detail=detail, reason=Reason.BLAST_RADIUS)
    return Guard("blast_radius", ok=True, detail=detail)


def _fleet_is_well(_proposal: Proposal, _entry: Entry, facts: Facts, limits: Limits) -> Guard:
    alerting, known = facts.alerting_hosts, facts.inventory_hosts
    detail = f"{alerting} of {known} hosts alert."
    if is_fleet_alarm(alerting, known, limits):
        return Guard("fleet", ok=False, detail=f"{detail} Monitoring itself may be wrong.", reason=Reason.FLEET_ALARM)
    return Guard("fleet", ok=True, detail=detail)


_DENY: tuple[Rule, ...] = (
    _fires,
    _no_silence,
    _no_window,
    _not_observing,
    _has_play,
    _has_hosts,
    _allowed,
    _unprotected,
    _not_quarantined,
)
_ASK: tuple[Rule, ...] = (
    _agreed,
    _confirmed,
    _mode_allows,
    _risk_allows,
    _admitted,
    _auto_on,
    _preconditions_hold,
    _cooled_down,
    _breaker_closed,
    _blast_is_small,
    _fleet_is_well,
)
_DENY_READING: tuple[Rule, ...] = (_not_observing, _has_play, _has_hosts, _allowed, _not_quarantined)
_ASK_READING: tuple[Rule, ...] = (_admitted,)


def _reasons(guards: Sequence[Guard]) -> tuple[Reason, ...]:
    """Return why, each once; a guard that does not hold always has a reason."""
    return tuple(dict.fromkeys(guard.reason or Reason.INTERNAL_ERROR for guard in guards if not guard.ok))


# ---------------------------------------------------------------- windows


def _covers(window: WindowLike, now: datetime) -> bool:
    """Return whether the window has begun and is not over; the end itself is outside."""
    length = timedelta(seconds=window.duration_s)
    try:
        zone = ZoneInfo(window.timezone)
        once = _once(window.start, zone)
        start = once or _next_start(window.start, (now - length).astimezone(zone))
    except (ValueError, OSError, OverflowError, KeyError) as error:
        raise SettingsError([f"policy.windows: {window.name}: {error}. Mend: correct start or timezone."]) from error
    return start is not None and start <= now < start + length


def _once(start: str, zone: ZoneInfo) -> datetime | None:
    """Return the moment of an ISO time in UTC, or None where `start` is a cron expression."""
    if len(start.split()) > 2:  # noqa: PLR2004 # an ISO time has at most a date and a time
        return None
    moment = datetime.fromisoformat(start)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _next_start(expression: str, after: datetime) -> datetime | None:
    """Return when a cron expression next holds after `after`, in UTC, or None where it never does."""
    from cronsim import CronSim, CronSimError

    try:
        found: datetime = next(CronSim(expression, after))
    except StopIteration:
        return None
    except CronSimError as error:
        raise ValueError(f"{expression!r} is no cron expression ({error})") from error
    return found.astimezone(UTC)
