"""Earned autonomy counts verified runs of one play, conservatively, and loses at the first run that did not help."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.autonomy import Level, Line, Outcome, Standing, Tally, earned, lines_of, lost_by, lower_bound, next_standing, tally

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LINE = Line("ServiceDown", "restart_service", "web")
CALM = settings(deadline=None, derandomize=True)


def runs(verdicts: str, digest: str = "d", start: int = 0) -> list[Outcome]:
    """Return one run per character: `+` verified, `-` not."""
    return [
        Outcome(f"r{start + n}", LINE.alertname, LINE.entry, digest, ("web1",), NOW + timedelta(minutes=start + n), mark == "+")
        for n, mark in enumerate(verdicts)
    ]


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [(0, 0, 0.0), (0, 5, 0.0), (1, 1, 0.05), (10, 10, 0.7411), (28, 28, 0.8985), (29, 29, 0.9019), (45, 46, 0.9010), (8, 10, 0.4931)],
)
def test_the_bound_is_clopper_pearson_s(successes, trials, expected):
    """Known values of the exact one-sided 95 % bound; n of n is the n-th root of 0.05."""
    assert lower_bound(successes, trials) == pytest.approx(expected, abs=1e-4)


@CALM
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_bound_promises_no_more_than_was_seen(successes, failures, confidence):
    """At the bound so many successes are as unlikely as the confidence says; one more failure never raises it, one more success never lowers it."""
    trials = successes + failures
    bound = lower_bound(successes, trials, confidence)
    assert 0 <= bound <= (successes / trials if trials else 0)
    if successes:
        chance = sum(comb(trials, k) * bound**k * (1 - bound) ** (trials - k) for k in range(successes, trials + 1))
        assert chance == pytest.approx(1 - confidence, abs=1e-6)
    assert lower_bound(successes, trials + 1, confidence) <= bound + 1e-12
    assert lower_bound(successes + 1, trials + 1, confidence) >= bound - 1e-12


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(-1, 2, 0.9), (3, 2, 0.9), (1, 2, 1.0), (1, 2, 0.0)])
def test_what_is_no_record_is_refused(successes, trials, confidence):
    """A slip in the counting never becomes autonomy."""
    with pytest.raises(ValueError, match="is no record"):
        lower_bound(successes, trials, confidence)


def test_only_runs_of_this_very_play_count():
    """A changed play starts from nothing; so does a line after it was demoted."""
    many = [*runs("+++", "old"), *runs("++-", "d", 10)]
    assert tally(many, "d", None) == Tally(2, 3)
    assert tally(many, "d", NOW + timedelta(minutes=10)) == Tally(1, 2)


STEPS = {
    "too few runs": (None, "+" * 28, None),
    "enough runs": (None, "+" * 29, Level.PROPOSED),
    "one failure among many": (None, "+" * 45 + "-", Level.PROPOSED),
    "failures among few": (None, "+" * 29 + "-", None),
    "a proposal that waits": (Level.PROPOSED, "", None),
    "a failure while it waits": (Level.PROPOSED, "-", Level.DEMOTED),
    "promoted and helping": (Level.PROMOTED, "++", None),
    "promoted and once of no help": (Level.PROMOTED, "++-", Level.DEMOTED),
    "demoted, and not enough since": (Level.DEMOTED, "+" * 28, None),
    "demoted, and earned anew": (Level.DEMOTED, "+" * 29, Level.PROPOSED),
    "declined, and not enough since": (Level.DECLINED, "+" * 28, None),
}


@pytest.mark.parametrize("case", STEPS)
def test_where_a_line_comes_to_stand_by_itself(case):
    """The engine proposes and demotes; it never promotes."""
    level, verdicts, expected = STEPS[case]
    known = Standing(LINE, level, "d", NOW - timedelta(minutes=1)) if level else None
    after = next_standing(LINE, known, runs(verdicts), "d", NOW + timedelta(days=1), 0.9)
    assert (after.level if after else None) is expected
    assert expected is not Level.PROMOTED


def test_a_changed_play_loses_what_was_promoted():
    """A promotion is for the play that earned it."""
    standing = Standing(LINE, Level.PROMOTED, "d", NOW)
    assert lost_by(standing, [], "d") == ""
    assert "changed" in lost_by(standing, [], "e")
    assert next_standing(LINE, standing, [], "e", NOW, 0.9).level is Level.DEMOTED


def test_every_host_has_to_be_covered():
    """One host outside the promoted group, or one line that lost, and a person is asked."""
    promoted = {LINE: Standing(LINE, Level.PROMOTED, "d", NOW, "ada", "29 of 29")}
    ask = {"web1": ("web",)}
    assert earned(ask, "ServiceDown", "restart_service", promoted, {})[0]
    for hosts, lost in (({**ask, "db1": ("db",)}, {}), (ask, {LINE: "run r9 was not seen to help"}), ({"web1": ()}, {}), ({}, {})):
        assert earned(hosts, "ServiceDown", "restart_service", promoted, lost)[0] is False
    proposed = {LINE: Standing(LINE, Level.PROPOSED, "d", NOW)}
    assert earned(ask, "ServiceDown", "restart_service", proposed, {})[0] is False


def test_a_run_counts_for_each_group_of_its_hosts():
    """A run on hosts of two groups speaks for both; one on a host that left the inventory for none."""
    outcome = Outcome("r", "A", "e", "d", ("h1", "h2", "gone"), NOW, verified=True)
    assert lines_of(outcome, {"h1": ("web",), "h2": ("web", "blue")}) == {Line("A", "e", "web"), Line("A", "e", "blue")}
