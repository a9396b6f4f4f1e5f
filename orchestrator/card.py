"""The approval card: everything that an answer covers, as values that page, Slack, mail and command line all render.

Each part carries its figures and, where a person needs one, a ready sentence (`words`), so that every face says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.model import Answer, ApprovalState, CheckMode, HostDiff, IncidentSummary, Reason, Risk, StandingGrant, UndoPolicy


class Origin(StrEnum):
    """Where a parameter's value came from."""

    LABEL = "label"
    """A label of the alert."""
    INVENTORY = "inventory"
    """A variable of the host in the inventory."""
    DEFAULT = "default"
    """The entry's own default."""
    MODEL = "model"
    """The model chose it among what the entry allows."""
    PERSON = "person"
    """A person gave it when proposing."""
    PINNED = "pinned"
    """A person pinned it when narrowing."""
    UNKNOWN = "unknown"
    """Nobody wrote down where it came from."""


class CheckState(StrEnum):
    """How far the check run can be trusted."""

    MADE = "made"
    """It ran, and the entry's check mode is full."""
    PARTIAL = "partial"
    """It ran, and shows only a part of what the play does."""
    NONE = "none"
    """The entry has no check mode."""
    FAILED = "failed"
    """It ran and failed, or a host did not answer."""
    STALE = "stale"
    """The host was changed while it ran or since, or a pinned parameter is not the one it ran with."""
    MISSING = "missing"
    """The entry has a check mode and there is no check run."""


class HostCheck(StrEnum):
    """What the check run says of one host."""

    WOULD_CHANGE = "would_change"
    NO_CHANGE = "no_change"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class Track:
    """What became of an entry's earlier runs: for this alert, or on one host."""

    runs: int = 0
    verified: int = 0
    """After how many of them health was shown and the alert was gone."""
    usual_s: float | None = None
    """The median duration of the play, in seconds."""
    last: str = ""
    """How the latest one ended: `verified`, `not verified`, or the run's outcome."""
    last_at: datetime | None = None
    last_incident: str = ""
    share: float | None = None
    """The verified share, 0–1; None where nothing ran yet."""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """One parameter as it would run."""

    name: str
    value: Any
    origin: Origin
    source: str = ""
    """The label or variable: `labels.service`; empty for the others."""
    words: str = ""
    """Where it came from: "from the alert's label service; listed in recoverable_services"."""
    description: str = ""
    type: str = ""
    choices: tuple[Any, ...] = ()
    pinnable: bool = False
    """Whether narrowing may give it another value."""
    proposed: Any = None
    """The value before it was pinned; the same as `value` where it was not."""


@dataclass(frozen=True, slots=True)
class CardHost:
    """One resolved host, and what is known of it."""

    name: str
    check: HostCheck
    changed: int = 0
    """How many tasks would change something there."""
    diffs: tuple[HostDiff, ...] = ()
    groups: tuple[str, ...] = ()
    locked_by: str = ""
    """The incident whose changing run holds this host now."""
    track: Track = field(default_factory=Track)


@dataclass(frozen=True, slots=True)
class CardCheck:
    """The check run over the hosts that are shown."""

    state: CheckState
    mode: CheckMode
    sentence: str
    """"2 of 3 hosts change.", or why that cannot be told."""
    words: str
    """What check mode leaves open, or why it cannot be trusted; empty where it tells all."""
    run: str = ""
    at: datetime | None = None
    """When it ended."""
    message: str = ""
    """Its first failure in words."""
    hosts_changing: int = 0
    hosts: int = 0


@dataclass(frozen=True, slots=True)
class CardEvidence:
    """One piece of evidence, with how it is used."""

    id: str
    source: str
    title: str
    text: str
    complete: bool
    cited: bool
    """Whether a claim rests on it."""


@dataclass(frozen=True, slots=True)
class CardClaim:
    """A claim of the decision and what it rests on."""

    text: str
    evidence: tuple[str, ...]
    """Ids that are on this card."""
    cited: bool
    """False: nothing on record supports it."""


@dataclass(frozen=True, slots=True)
class CardAlternative:
    """Another entry, why it was not chosen, and whether a person may choose it."""

    entry: str
    title: str
    why_not: str
    hosts: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    risk: Risk | None = None
    choosable: bool = False
    words: str = ""
    """Why it cannot be chosen; empty where it can."""


@dataclass(frozen=True, slots=True)
class CardGuard:
    """One guard, green or red."""

    name: str
    title: str
    """What it guards, in two or three words."""
    ok: bool
    detail: str
    reason: Reason | None = None
    live: bool = False
    """True: looked at when the card was made; False: when the question was asked."""


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """What happens if it goes wrong."""

    policy: UndoPolicy
    available: bool
    words: str


@dataclass(frozen=True, slots=True)
class Decided:
    """How the question was decided, by whom and when."""

    state: ApprovalState
    by: tuple[str, ...]
    at: datetime | None
    reason: str
    words: str
    """"Approved by mia and olga at 2026-03-01 12:00:00 UTC."."""


@dataclass(frozen=True, slots=True)
class Deciders:
    """Who may answer."""

    groups: tuple[str, ...]
    need: int
    have: int
    proposer: str
    """Who proposed it and may not answer, where two are needed; else empty."""
    answers: tuple[Answer, ...]
    words: str


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Fewer hosts and pinned parameters: what a person may do, and what the first yes has bound the second to."""

    hosts: tuple[str, ...]
    """All the hosts that were proposed."""
    pinnable: tuple[str, ...]
    """The parameters that may be pinned."""
    narrowed: bool = False
    """Whether this card shows less than was proposed."""
    bound_hosts: tuple[str, ...] = ()
    """The hosts that the first person approved; the second has to approve the same."""
    bound_pins: Mapping[str, Any] = field(default_factory=dict)
    bound_by: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that an answer covers."""

    id: str
    """The approval's id."""
    incident: str
    digest: str
    state: ApprovalState
    pending: bool
    """Whether it can be answered now."""
    verdict: str
    """One sentence: what, where, what the check, the record and the guards say."""
    summary: str
    """The decision's own sentence."""
    alertname: str
    alert_labels: Mapping[str, str]
    alert_summary: str
    """The alert's annotation `summary`: outside text."""
    entry: str
    entry_title: str
    entry_description: str
    risk: Risk | None
    """None where the entry is gone."""
    engine: str
    agreement: str
    settings: tuple[Setting, ...]
    hosts: tuple[CardHost, ...]
    check: CardCheck
    evidence: tuple[CardEvidence, ...]
    missing: tuple[str, ...]
    """Sources that gave nothing, and why."""
    claims: tuple[CardClaim, ...]
    alternatives: tuple[CardAlternative, ...]
    guards: tuple[CardGuard, ...]
    track: Track
    undo: UndoPlan
    deciders: Deciders
    narrowing: Narrowing
    asked_at: datetime
    expires_at: datetime
    seconds_left: int
    """Until it expires, by the database's clock; 0 where that is over."""
    changed: tuple[str, ...] = ()
    """What changed since it was shown, in plain words; an approval would be refused."""
    decided: Decided | None = None
    snoozed_until: datetime | None = None
    """Hidden from what needs somebody now until then."""
    snoozed_by: str = ""
    escalated_to: str = ""
    escalated_by: str = ""
    escalated_why: str = ""
    standing: tuple[StandingGrant, ...] = ()
    """Standing grants of this entry that are in force."""


@dataclass(frozen=True, slots=True)
class Need:
    """One incident that needs a person, with its question where it has one."""

    incident: IncidentSummary
    approval: str = ""
    """The open approval's id; empty: the incident is escalated."""
    entry: str = ""
    hosts: tuple[str, ...] = ()
    risk: Risk | None = None
    have: int = 0
    need: int = 0
    expires_at: datetime | None = None
    mine: bool = True
    """Whether this actor may answer it now: in its groups, not its proposer where two are needed, has not said yes already."""
    snoozed_until: datetime | None = None
    snoozed_by: str = ""
    escalated_to: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """What lies on the desk of one person."""

    now: tuple[Need, ...]
    """Open questions and escalated incidents, the ones that expire first before the others."""
    snoozed: tuple[Need, ...]
    """Open questions that somebody has put off until a time."""
    standing: tuple[StandingGrant, ...]
    """Standing grants in force, and those that wait for a second person."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote down at an incident."""

    id: int
    """Number of the audit event that holds it."""
    incident: str
    at: datetime
    by: str
    text: str
