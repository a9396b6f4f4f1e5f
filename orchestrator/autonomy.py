"""Earned autonomy: how sure is it that an entry helps, from how often it was seen to help? Pure.

One line of the record is one alert × one entry × one inventory group. What counts are whole runs of one and the same play, whoever let
them run; a success is a run whose effect was verified, and whatever cannot be told is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import comb

CONFIDENCE = 0.95
_HALVINGS = 50


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """What a promotion is for."""

    alertname: str
    entry: str
    group: str
    """Inventory group; `all` where the entry asks for none."""

    def __str__(self) -> str:
        return f"{self.entry} for {self.alertname} in {self.group}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One past run."""

    run: str
    alertname: str
    entry: str
    digest: str
    """Of the play it ran."""
    hosts: tuple[str, ...]
    at: datetime
    """When it was over."""
    verified: bool


class Level(StrEnum):
    """Where a line stands."""

    PROPOSED = "proposed"
    """The record is good enough; an admin has not answered."""
    PROMOTED = "promoted"
    """It may run without a person, as far as every other guard lets it."""
    DECLINED = "declined"
    """An admin said no; runs after that may earn another proposal."""
    DEMOTED = "demoted"
    """It lost what it had earned; runs after that may earn it again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one line stands, and since when."""

    line: Line
    level: Level
    digest: str
    """Of the play it is for."""
    since: datetime
    """When it came to stand there."""
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """A line's record."""

    successes: int = 0
    trials: int = 0

    @property
    def bound(self) -> float:
        """The lower bound of the share of runs that help."""
        return lower_bound(self.successes, self.trials)

    def __str__(self) -> str:
        return f"{self.successes} of {self.trials} runs verified, at least {self.bound:.2f} with {CONFIDENCE:.0%} confidence"


def lower_bound(successes: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided lower confidence bound of a share.

    Args:
        successes: 0 to `trials`.
        trials: how many there were.
        confidence: how sure, between 0 and 1.

    Returns:
        The share p at which `successes` or more of `trials` would still be seen with probability `1 - confidence`; 0 where nothing succeeded.

    Raises:
        ValueError: the numbers are no counts.

    Source: C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26 (1934): conservative for every share and every count, which normal approximations are not.
    """
    if not 0 <= successes <= trials or not 0 < confidence < 1:
        raise ValueError(f"{successes} of {trials} with confidence {confidence} is no record")
    if successes == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_least(successes, trials, middle) < 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def _at_least(successes: int, trials: int, share: float) -> float:
    """Return the probability of this many successes or more."""
    return sum(comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(successes, trials + 1))


def lines_of(outcome: Outcome, groups: Mapping[str, Sequence[str]]) -> set[Line]:
    """Return the lines that a run counts for: one per group that any of its hosts is in.

    Args:
        outcome: the run.
        groups: host → the groups of it that the entry asks for; a host that is not there counts for no line.
    """
    return {Line(outcome.alertname, outcome.entry, group) for host in outcome.hosts for group in groups.get(host, ())}


def tally(outcomes: Iterable[Outcome], digest: str, since: datetime | None) -> Tally:
    """Return the record of one line.

    Args:
        outcomes: the line's runs.
        digest: only runs of this play count; another play is another record.
        since: only runs that ended after this count.
    """
    counted = [one for one in outcomes if one.digest == digest and (since is None or one.at > since)]
    return Tally(sum(one.verified for one in counted), len(counted))


def lost_by(standing: Standing, outcomes: Iterable[Outcome], digest: str) -> str:
    """Return why a line no longer stands where it was promoted or proposed, in words; empty where it does.

    Args:
        standing: promoted or proposed.
        outcomes: the line's runs.
        digest: of the play as it is now.
    """
    if standing.digest != digest:
        return "the play has changed since"
    failed = [one for one in outcomes if one.digest == digest and one.at > standing.since and not one.verified]
    return f"run {failed[0].run} was not seen to help" if failed else ""


def next_standing(
    line: Line, known: Standing | None, outcomes: Sequence[Outcome], digest: str, now: datetime, wanted: float
) -> Standing | None:
    """Return where a line comes to stand by itself; None where it stays where it is.

    Args:
        line: what it is for.
        known: where it stands; None: nowhere yet.
        outcomes: its runs.
        digest: of the play as it is now.
        now: the database's time.
        wanted: the lower bound at which a promotion is proposed.
    """
    if known and known.level in (Level.PROMOTED, Level.PROPOSED):
        lost = lost_by(known, outcomes, digest)
        return Standing(line, Level.DEMOTED, digest, now, "engine", lost) if lost else None
    record = tally(outcomes, digest, known.since if known else None)
    if record.trials and record.bound >= wanted:
        return Standing(line, Level.PROPOSED, digest, now, "engine", str(record))
    return None


def earned(
    hosts: Mapping[str, Sequence[str]], alertname: str, entry: str, standings: Mapping[Line, Standing], lost: Mapping[Line, str]
) -> tuple[bool, str]:
    """Return whether an entry may run for an alert on all of some hosts without a person, and why or why not, in words.

    Args:
        hosts: host → the groups of it that the entry asks for.
        alertname: the alert's name.
        entry: the entry's id.
        standings: where lines stand.
        lost: why a promoted line does not hold at this moment, empty where it does.
    """
    words = []
    for host, groups in hosts.items():
        lines = [Line(alertname, entry, group) for group in groups]
        holding = [line for line in lines if (one := standings.get(line)) and one.level is Level.PROMOTED and not lost.get(line)]
        if not holding:
            why = next((lost[line] for line in lines if lost.get(line)), "")
            return False, f"{entry} has not earned it for {alertname} on {host}{': ' + why if why else ''}."
        words.append(f"{holding[0]} ({standings[holding[0]].why})")
    return bool(words), f"Earned: {'; '.join(dict.fromkeys(words))}." if words else f"{entry} has not earned it: no host is named."
