"""The frozen values that walk through the rooms, and the closed lists of words they use.

Nothing here does I/O, knows a database or reads a clock. Times are aware UTC datetimes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

# ---------------------------------------------------------------- words


class AlertStatus(StrEnum):
    """What Alertmanager says of one alert."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Status(StrEnum):
    """Where an incident stands."""

    RECEIVED = "received"
    """Stored; nothing has looked at it yet."""
    INVESTIGATING = "investigating"
    """Context is gathered and an entry is chosen."""
    PROPOSED = "proposed"
    """An entry is chosen; its check run and the policy come next."""
    AWAITING_APPROVAL = "awaiting_approval"
    """A person has to answer."""
    EXECUTING = "executing"
    """An apply or undo is about to run or runs."""
    VERIFYING = "verifying"
    """The play has ended; is the service healthy and the alert gone?"""
    ESCALATED = "escalated"
    """A person has it; open until a person closes it."""
    RESOLVED = "resolved"
    """Repaired and verified."""
    CLEARED = "cleared"
    """The alert went away before anything ran."""
    SUPPRESSED = "suppressed"
    """Silence, window, watchdog or observe mode: recorded, nothing ran."""
    CANCELLED = "cancelled"
    """Stopped by a person."""
    CLOSED = "closed"
    """Closed by a person."""


OPEN = frozenset(
    {
        Status.RECEIVED,
        Status.INVESTIGATING,
        Status.PROPOSED,
        Status.AWAITING_APPROVAL,
        Status.EXECUTING,
        Status.VERIFYING,
        Status.ESCALATED,
    }
)
"""Statuses of an incident that is not over."""


class Reason(StrEnum):
    """Why an incident stands where it stands: the same words in audit, metrics, pages and docs."""

    VERIFIED = "verified"
    """Health was positively shown and the alert is gone."""
    ALERT_RESOLVED = "alert_resolved"
    """The alert resolved before anything ran."""
    NOT_FIRING = "not_firing"
    """Asked right before the play, monitoring said that the alert does not fire."""
    SILENCED = "silenced"
    """A silence in Alertmanager covers it."""
    WINDOW = "window"
    """A maintenance window covers it."""
    WATCHDOG = "watchdog"
    """An alert that always fires, to show that monitoring lives."""
    OBSERVE_MODE = "observe_mode"
    """The policy only observes; the proposal is recorded."""
    REJECTED = "rejected"
    """A person said no."""
    EXPIRED = "expired"
    """Nobody answered in time."""
    UNHEALTHY = "unhealthy"
    """The play ran and health positively failed."""
    UNDECIDED = "undecided"
    """The play ran and health could not be told."""
    UNKNOWN_RUN = "unknown_run"
    """Nobody can tell whether, or how far, the play ran."""
    RUN_FAILED = "run_failed"
    """The play failed, or refused in its preflight."""
    UNREACHABLE = "unreachable"
    """A host did not answer."""
    NO_TARGET = "no_target"
    """No inventory host belongs to the alert."""
    NO_ENTRY = "no_entry"
    """No catalogue entry fits the alert."""
    CONFLICT = "conflict"
    """Matcher and model differ, or one alert matches several entries."""
    MODEL_FAILED = "model_failed"
    """The model is configured and did not give a usable answer."""
    MODEL_ALONE = "model_alone"
    """Only the model named this entry; no matcher fired."""
    RULE_UNREAD = "rule_unread"
    """The rule's own template could not be read from Prometheus."""
    PERSON_CHOICE = "person_choice"
    """A person asked for it."""
    CANNOT_CONFIRM = "cannot_confirm"
    """Monitoring could not be asked whether the alert still fires."""
    MODE_ASKS = "mode_asks"
    """The policy's mode asks a person."""
    RISK_ASKS = "risk_asks"
    """The entry's risk asks a person."""
    NOT_ADMITTED = "not_admitted"
    """The entry is new or changed and no admin has admitted its digest."""
    NOT_ALLOWED = "not_allowed"
    """A host or a parameter is not on the inventory's allow-list."""
    COOLDOWN = "cooldown"
    """The entry ran on this host a short while ago."""
    BREAKER_OPEN = "breaker_open"
    """Repeated runs had no effect here."""
    BLAST_RADIUS = "blast_radius"
    """Too many hosts at once."""
    FLEET_ALARM = "fleet_alarm"
    """So much of the fleet alerts that monitoring itself may be wrong."""
    PRECONDITION = "precondition"
    """A precondition of the entry does not hold or cannot be asked."""
    PROTECTED_HOST = "protected_host"
    """A host of the orchestrator or of monitoring itself."""
    AUTO_OFF = "auto_off"
    """Running without a person is off: after a restore, or while monitoring is silent."""
    QUARANTINED = "quarantined"
    """A read-only play of this entry changed something."""
    CHANGED = "changed"
    """What was approved has changed since."""
    PARENT_ESCALATED = "parent_escalated"
    """The incident that caused it is with a person."""
    TAKEN = "taken"
    """A person took it."""
    BY_PERSON = "by_person"
    """A person closed or cancelled it."""
    INTERNAL_ERROR = "internal_error"
    """A step failed in our own code; the error is in the audit log."""


class Mode(StrEnum):
    """How far the policy goes by itself."""

    OBSERVE = "observe"
    """Record proposals, run nothing."""
    APPROVE = "approve"
    """Ask a person before each changing play."""
    EARNED = "earned"
    """Run what has shown often enough that it helps, and ask for the rest; per risk only."""
    AUTO = "auto"
    """Run what the other rules allow."""


class Risk(StrEnum):
    """How much harm an entry can do; said by the entry, never by the model."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class EntryKind(StrEnum):
    """What an entry does."""

    REMEDIATION = "remediation"
    """Changes something on the host."""
    DIAGNOSTIC = "diagnostic"
    """Only reads; may run before deciding, without approval."""


class CheckMode(StrEnum):
    """How honestly check mode predicts the entry."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"


class UndoPolicy(StrEnum):
    """What happens with `undo.yml` when a repair turns out unhealthy."""

    NONE = "none"
    """There is no undo."""
    OFFER = "offer"
    """A person may start it."""
    AUTO = "auto"
    """Starts by itself where semantics allow."""


class RunKind(StrEnum):
    """What a run is for."""

    CONTEXT = "context"
    DIAGNOSE = "diagnose"
    CHECK = "check"
    APPLY = "apply"
    VERIFY = "verify"
    UNDO = "undo"

    @property
    def changing(self) -> bool:
        """Whether it needs a grant, an intent and the host's slot."""
        return self in (RunKind.APPLY, RunKind.UNDO)


class RunState(StrEnum):
    """The write-ahead life of a run."""

    INTENT = "intent"
    """Committed; not begun."""
    RUNNING = "running"
    """Begun; may have reached the host."""
    DONE = "done"
    """Ended, with a known outcome."""
    UNKNOWN = "unknown"
    """Begun, and nobody can say how it ended."""


class Outcome(StrEnum):
    """How a run ended."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    NOT_BEGUN = "not_begun"
    """Its intent was written, and too much time went by, or the alert resolved, before it began."""
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a token or a user may do; each but `webhook` includes the ones before."""

    WEBHOOK = "webhook"
    """Post alerts, nothing else."""
    VIEWER = "viewer"
    APPROVER = "approver"
    ADMIN = "admin"


class Choice(StrEnum):
    """What a decision says."""

    RUN = "run"
    NONE = "none"
    ESCALATE = "escalate"


class Agreement(StrEnum):
    """Who stands behind a proposal; policy reads it."""

    AGREED = "agreed"
    """Matcher and model name the same entry, hosts and parameters."""
    MATCHERS = "matchers"
    """The matchers alone, by the owner's choice."""
    MODEL_ALONE = "model_alone"
    """The model alone: no matcher fired."""
    DIFFER = "differ"
    """Matcher and model differ, or the model says none where a matcher fired."""
    MODEL_FAILED = "model_failed"
    """The model is configured and failed; this is the matcher's."""
    RULE_UNREAD = "rule_unread"
    """The matchers alone, and the rule's template could not be read."""
    PERSON = "person"
    """A person's own choice."""


class Effect(StrEnum):
    """What the policy says."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Health(StrEnum):
    """What verification says."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNDECIDED = "undecided"


# ---------------------------------------------------------------- alerts


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as Alertmanager delivered it.

    Source: Alertmanager webhook, version 4.
    """

    fingerprint: str
    """16 lower-case hex digits, as Prometheus computes it from the label set."""
    status: AlertStatus
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    generator_url: str = ""

    @property
    def name(self) -> str:
        """The `alertname` label, or an empty string."""
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> str:
        """The `severity` label, or an empty string."""
        return self.labels.get("severity", "")

    @property
    def target(self) -> str:
        """The machine the alert is about, without a port; empty where no label tells."""
        return target_of(self.labels)


def target_of(labels: Mapping[str, str]) -> str:
    """Return the machine part of the first label that names one: `instance`, `node`, `nodename`, `host`, `hostname`."""
    for name in ("instance", "node", "nodename", "host", "hostname"):
        value = labels.get(name, "")
        if value:
            value = value.split("://", 1)[-1].split("/", 1)[0]
            if value.startswith("["):
                return value[1:].split("]", 1)[0]
            return value.rsplit(":", 1)[0] if value.count(":") == 1 else value
    return ""


@dataclass(frozen=True, slots=True)
class RejectedAlert:
    """An alert of a group that cannot be used, kept raw."""

    index: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """One webhook delivery."""

    alerts: tuple[Alert, ...]
    rejected: tuple[RejectedAlert, ...] = ()
    receiver: str = ""
    status: str = ""
    group_key: str = ""
    group_labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""
    truncated_alerts: int = 0

    @property
    def received(self) -> int:
        """How many alerts the delivery held, usable or not."""
        return len(self.alerts) + len(self.rejected)


# ---------------------------------------------------------------- context


@dataclass(frozen=True, slots=True)
class Rule:
    """The alerting rule behind an alert, as Prometheus' `/api/v1/rules` tells it."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Templates, not rendered: no outside text in them."""
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    interval_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of what is known, redacted and bounded."""

    id: str
    """Short and stable inside an incident: `prom-1`, `logs-2`, `infra-1`, `hist-1`."""
    source: str
    title: str
    text: str
    """What a person and the model read; plain text, outside text included."""
    data: Any = None
    """The same for programs (JSON), e.g. `{"series": [{"labels": {…}, "points": [[unix_s, value], …]}]}`."""
    complete: bool = True
    """False where it was cut or is partial."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A source that gave nothing, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Context:
    """Everything gathered about an alert; partial is allowed and marked."""

    evidence: tuple[Evidence, ...] = ()
    missing: tuple[Missing, ...] = ()
    rule: Rule | None = None
    took_s: float = 0.0


# ---------------------------------------------------------------- catalogue and inventory


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an entry."""

    name: str
    type: str
    """`str`, `int`, `float`, `bool` or `list` (of strings)."""
    required: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    pattern: str = ""
    """Regular expression for `fullmatch`."""
    minimum: float | None = None
    maximum: float | None = None
    description: str = ""
    sources: tuple[str, ...] = ()
    """Where the value comes from, first hit wins: `labels.service`, `labels.name`, …"""
    allow_list: str = ""
    """The inventory variable that lists what this host allows (`recoverable_services`), empty where it names nothing there."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Which hosts an entry may touch."""

    source: str = "labels.instance"
    groups: tuple[str, ...] = ()
    """The host must be in one of them; empty: any inventory host."""
    max_hosts: int = 1


@dataclass(frozen=True, slots=True)
class VerifySpec:
    """How an entry's success is shown."""

    playbook: str = "verify.yml"
    promql: tuple[str, ...] = ()
    """Queries that must hold; `$instance` and other `$label` stand for the alert's labels."""
    settle_s: float = 0.0
    within_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the closed catalogue."""

    id: str
    title: str
    description: str
    kind: EntryKind
    folder: str
    """Absolute path of `playbooks/<id>`."""
    digest: str
    """SHA-256 over the folder and every role it uses."""
    parameters: tuple[Parameter, ...] = ()
    use_when: tuple[str, ...] = ()
    never_when: tuple[str, ...] = ()
    matchers: tuple[tuple[str, ...], ...] = ()
    """Any line matches; all matchers in a line must. Each is Alertmanager's syntax: `service=~".+"`."""
    targets: Targets = Targets()
    risk: Risk = Risk.HIGH
    reversible: bool = False
    undo: str = ""
    """`undo.yml`, or empty."""
    undo_policy: UndoPolicy = UndoPolicy.NONE
    check_mode: CheckMode = CheckMode.NONE
    timeout_s: float = 300.0
    cooldown_s: float = 300.0
    preconditions: tuple[str, ...] = ()
    verify: VerifySpec | None = None
    order: int = 1000
    diagnostics: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    examples: str = ""
    roles: tuple[str, ...] = ()
    max_parallel: int = 0
    """How many changing runs of this entry at once; 0: no limit of its own."""
    read_as_root: bool = False
    """Whether its read-only plays may become root, once an admin has admitted the digest."""


@dataclass(frozen=True, slots=True)
class BrokenEntry:
    """An entry folder that does not load, and every reason."""

    id: str
    folder: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All entries at one moment."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    broken: tuple[BrokenEntry, ...] = ()
    revision: str = ""
    """Git revision of the catalogue's checkout (with `+` when dirty), or a digest."""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """One inventory host."""

    name: str
    groups: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)

    def allows(self, allow_list: str, value: str) -> bool:
        """Return whether this host's allow-list variable `allow_list` holds `value`, literally."""
        listed = self.variables.get(allow_list, ())
        return isinstance(listed, list | tuple) and value in [str(item) for item in listed]


# ---------------------------------------------------------------- decision, policy, approval


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of the decision and the evidence it rests on; uncited where `evidence` is empty."""

    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another entry that was looked at, and why it was not chosen."""

    entry: str
    why_not: str
    hosts: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a decision says: run this entry, run none, or ask a person."""

    choice: Choice
    agreement: Agreement
    engine: str
    """`matchers`, `mistral` (or another model's name) or `person`."""
    summary: str
    """One sentence for a person."""
    entry: str = ""
    hosts: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    """Parameter name → where it came from: `labels.service`, `default`, `model`, `person`."""
    claims: tuple[Claim, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    reason: Reason | None = None
    """Why none or escalate."""
    prompt_digest: str = ""
    took_s: float = 0.0
    proposer: str = ""
    """The person's name where `agreement` is `person`."""
    revision: str = ""
    """The catalogue it was chosen from: git revision, with `+` when dirty, or a digest."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing the policy looked at."""

    name: str
    ok: bool
    detail: str
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says, with every guard."""

    effect: Effect
    reasons: tuple[Reason, ...] = ()
    guards: tuple[Guard, ...] = ()
    need: int = 1
    """How many different people have to approve; 0 with `allow`."""


class ApprovalState(StrEnum):
    """Where an approval stands."""

    PENDING = "pending"
    GRANTED = "granted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"
    """The alert resolved, the incident ended, or a person chose something else, before an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One person's answer."""

    actor: str
    approve: bool
    digest: str
    reason: str = ""
    hosts: tuple[str, ...] = ()
    """The hosts after narrowing; empty: as proposed."""
    pins: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Covered:
    """What a digest covers, piece by piece, so that a change can be named; hashes only, no content."""

    files: Mapping[str, str] = field(default_factory=dict)
    """File of the entry's snapshot (`roles/<role>/tasks/main.yml`) → hash."""
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Host → its resolved variable → keyed hash."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The alert's labels."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Approval:
    """A question to people, bound to what was shown."""

    id: str
    incident: str
    attempt: int
    digest: str
    state: ApprovalState
    proposal: Proposal
    verdict: Verdict
    created_at: datetime
    expires_at: datetime
    need: int = 1
    approvers: tuple[str, ...] = ()
    """Groups that may answer; empty: any approver."""
    undo: UndoPolicy = UndoPolicy.NONE
    check: Run | None = None
    """The check run with its diff, where the entry has one."""
    answers: tuple[Answer, ...] = ()
    covered: Covered = field(default_factory=Covered)
    """What the digest covers, piece by piece."""
    closed_by: str = ""
    """Who made it void, where a person did."""
    closed_at: datetime | None = None
    closed_why: str = ""
    """Why it is void, in words."""
    chosen: str = ""
    """The entry that a person chose instead."""
    snoozed_until: datetime | None = None
    """Hidden from what needs somebody now until then; it expires all the same."""
    snoozed_by: str = ""
    escalated_to: str = ""
    """The person or group it was handed to."""
    escalated_by: str = ""
    escalated_why: str = ""

    def snoozed(self, now: datetime) -> bool:
        """Whether it is hidden from what needs somebody now."""
        return self.state is ApprovalState.PENDING and self.snoozed_until is not None and now < self.snoozed_until

    @property
    def have(self) -> int:
        """How many different people have approved."""
        return len({answer.actor for answer in self.answers if answer.approve})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a person, a token or the program itself."""

    name: str
    role: Role
    groups: tuple[str, ...] = ()
    via: str = ""
    """`page`, `api`, `cli`, `slack`, `engine`."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to run one changing play once."""

    id: str
    digest: str
    hosts: tuple[str, ...]
    parameters: Mapping[str, Any]
    by: tuple[str, ...]
    """The people who approved, or `policy`."""
    undo_shown: bool = False
    """Whether the approval showed an automatic undo."""
    standing: str = ""
    """The standing grant that it was minted from; empty: it comes from people or from the policy itself."""

    @property
    def by_person(self) -> bool:
        """Whether people approved exactly this run."""
        return not self.standing and self.by != ("policy",)


class StandingState(StrEnum):
    """Where a standing grant stands."""

    WAITING = "waiting"
    """A second person has to confirm it."""
    ACTIVE = "active"
    """It mints grants."""
    USED_UP = "used_up"
    """It has minted as many grants as it may."""
    EXPIRED = "expired"
    """Its time is over."""
    REVOKED = "revoked"
    """A person took it back."""
    VOID = "void"
    """The entry is not what it was when the grant was given."""


@dataclass(frozen=True, slots=True)
class StandingGrant:
    """A policy that people made: this entry on these hosts, until a time, at most so many runs."""

    id: str
    entry: str
    digest: str
    """Of the entry's snapshot when it was given; another one makes the grant void."""
    hosts: tuple[str, ...]
    """Resolved when it was given; hosts that join the group later are not covered."""
    until: datetime
    max_runs: int
    created_at: datetime
    used: int = 0
    """How many single-use grants it has minted."""
    need: int = 1
    """How many different people have to give it: two for an entry of high risk."""
    by: tuple[str, ...] = ()
    """Who gave it."""
    state: StandingState = StandingState.ACTIVE
    group: str = ""
    """The inventory group it was given for, if it was."""
    alertnames: tuple[str, ...] = ()
    """Only for these alerts; empty: any."""
    reason: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Host → keyed hash of its resolved variables then; a host that changed is not covered any more."""
    ended_by: str = ""
    ended_at: datetime | None = None
    ended_why: str = ""

    @property
    def left(self) -> int:
        """How many runs it may still mint."""
        return max(0, self.max_runs - self.used)


# ---------------------------------------------------------------- runs and verification


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A play to run."""

    id: str
    """`incident:attempt:kind:n`."""
    kind: RunKind
    entry: str
    playbook: str
    """File name inside the entry's folder: `playbook.yml`, `verify.yml`, `undo.yml`."""
    hosts: tuple[str, ...]
    snapshot: str
    """Absolute path of the content-addressed snapshot the play runs from."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 300.0
    start_by: float | None = None
    """Seconds since this machine's boot, sleep included, after which the play is not begun any more; None: no such time."""


@dataclass(frozen=True, slots=True)
class HostStats:
    """Ansible's counts for one host."""

    ok: int = 0
    changed: int = 0
    failures: int = 0
    unreachable: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class HostDiff:
    """What one task would change, or changed, on one host."""

    host: str
    task: str
    diff: str
    """Unified diff or one line of words."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One line of a run's stream, redacted."""

    seq: int
    kind: str
    """`play`, `task`, `ok`, `changed`, `failed`, `unreachable`, `skipped`, `stats`, `output`."""
    at: datetime
    host: str = ""
    task: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A play and how it ended."""

    id: str
    kind: RunKind
    entry: str
    state: RunState
    outcome: Outcome | None = None
    hosts: Mapping[str, HostStats] = field(default_factory=dict)
    rc: int | None = None
    message: str = ""
    """The first failure in words, or an empty string."""
    diffs: tuple[HostDiff, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the play gave back with `set_stats` (`per_host: true`): host → value."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    node: str = ""

    @property
    def changed(self) -> int:
        """How many changes over all hosts."""
        return sum(stats.changed for stats in self.hosts.values())


@dataclass(frozen=True, slots=True)
class Check:
    """One thing verification looked at; `ok` is None where it could not be told."""

    name: str
    ok: bool | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether the repair helped."""

    health: Health
    checks: tuple[Check, ...] = ()
    detail: str = ""


# ---------------------------------------------------------------- the incident


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident, whole: what the corridor reads and writes."""

    id: str
    alert: Alert
    status: Status = Status.RECEIVED
    reason: Reason | None = None
    detail: str = ""
    """One sentence for a person on why it stands here."""
    attempt: int = 1
    previous: str = ""
    """The incident of the same alert before this one."""
    parent: str = ""
    """The incident that causes this one."""
    group_key: str = ""
    resolved_at: datetime | None = None
    """When a resolve came in, if the alert is resolved now."""
    context: Context | None = None
    proposal: Proposal | None = None
    verdict: Verdict | None = None
    approval: str = ""
    grant: Grant | None = None
    digest: str = ""
    """What an approval of the present proposal is bound to."""
    check: Run | None = None
    run: Run | None = None
    """The latest changing run."""
    kind: RunKind = RunKind.APPLY
    """Which changing run is due or was last."""
    verification: Verification | None = None
    verify_from: datetime | None = None
    tried: tuple[str, ...] = ()
    """Entries that ran for this incident and did not help."""
    blocked_by: str = ""
    """What an approved incident waits for: `paused`, `host:web1`, `cooldown`, `parent:…`."""
    taken_by: str = ""
    waiting_since: datetime | None = None
    """Since when it waits in its present step."""
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it is not over."""
        return self.status in OPEN

    def evolve(self, **changes: Any) -> Incident:
        """Return a copy with these fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to put on record: an audit event before it has its place in a chain."""

    kind: str
    """`alert.received`, `context.gathered`, `decision.made`, `policy.judged`, `approval.asked`, `approval.answered`,
    `run.intent`, `run.started`, `run.ended`, `verification.done`, `incident.status`, `notification.sent`, …"""
    actor: str = "engine"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A happening in its place in the chain of its incident."""

    id: int
    """Position in the whole log."""
    incident: str
    """Incident id, or `system`."""
    seq: int
    """Position in the incident's own chain, from 1."""
    at: datetime
    kind: str
    actor: str
    data: Mapping[str, Any] | None
    """None where it was redacted or pruned; the digest stays."""
    digest: str
    """SHA-256 over salt and data."""
    prev: str
    hash: str
    """SHA-256 over incident, seq, at, kind, actor, digest and prev."""
    salt: str = ""
    """Random, so that the digest of a redacted body tells nothing."""


# ---------------------------------------------------------------- what lists show


@dataclass(frozen=True, slots=True)
class IncidentSummary:
    """One line of a list of incidents."""

    id: str
    status: Status
    reason: Reason | None
    detail: str
    alertname: str
    severity: str
    target: str
    fingerprint: str
    firing: bool
    entry: str
    attempt: int
    blocked_by: str
    parent: str
    previous: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StormTally:
    """What a storm of messages holds; each tuple is (name, how many incidents), the most first."""

    began_at: datetime
    now: datetime
    letters: int
    """Messages that were not sent one by one."""
    incidents: int
    hosts: int
    alertnames: tuple[tuple[str, int], ...] = ()
    targets: tuple[tuple[str, int], ...] = ()
    severities: tuple[tuple[str, int], ...] = ()
    statuses: tuple[tuple[str, int], ...] = ()
    kinds: tuple[tuple[str, int], ...] = ()
    """Kind of event → messages."""


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One stored delivery state of an alert."""

    fingerprint: str
    status: AlertStatus
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime | None
    received_at: datetime
    incident_id: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a webhook delivery became."""

    incidents: tuple[Mapping[str, Any], ...]
    """Each `{"id", "status", "created", "fingerprint"}`."""
    rejected: tuple[RejectedAlert, ...]
    received: int
