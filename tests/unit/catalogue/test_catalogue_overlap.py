"""Two entries never fit one alert without an order between them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.catalogue.overlap import could_meet
from orchestrator.matcher import Matcher, matches_all, parse

CALM = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])  # a slow machine fails nothing


WORDS = st.sampled_from(["", "a", "b", "ab", "abc"])
MATCHERS = st.builds(
    Matcher,
    st.sampled_from(["x", "y"]),
    st.sampled_from(["=", "!=", "=~", "!~"]),
    st.sampled_from(["", "a", "b", "a|b", "(a|b)c?", "a(b|bc)?", ".+", "(?:ab|a)", "a|", "(a|b)(b|)"]),
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["a=x"], ["a=x"], True),
        (["a=x"], ["a=y"], False),
        (["a=x"], ["b=y"], True),
        (["a=x"], ['a=~"x|y"'], True),
        (["a=z"], ['a=~"x|y"'], False),
        (['a=~"u|v"'], ['a=~"x|y"'], False),
        (['a=~"(Host)(Up|Down)"'], ["a=HostDown"], True),
        (['a=~"(Host)(Up|Down)"'], ["a=Host"], False),
        (['a=~"Host.*"'], ["a=HostDown"], True),
        (['a=~"Host.*"'], ["a=DiskFull"], False),
        (['a=~"Host.*"'], ['a=~"Disk.*"'], True),
        (["a=x", 'b=~".+"'], ["a=x", 'b=""'], False),
        (["a=x", "b!=c"], ["a=x", "b=c"], False),
        (["a=x", "b!=c"], ["a=x", "b=d"], True),
    ],
)
def test_lines_that_exclude_each_other_are_told_apart(first, second, expected):
    """Equality and alternatives are compared; where it cannot be told, the lines count as meeting."""
    assert could_meet([parse(text) for text in (*first, *second)]) is expected


@CALM
@given(st.lists(MATCHERS, min_size=1, max_size=4), st.fixed_dictionaries({"x": WORDS, "y": WORDS}))
def test_lines_that_fit_one_alert_are_never_told_apart(matchers, labels):
    """Conservative: whatever one label set fulfils is found to meet."""
    if matches_all([str(one) for one in matchers], labels):
        assert could_meet(matchers)


def test_the_later_of_two_overlapping_entries_is_refused(shop):
    """Both are named; the earlier one goes on."""
    shop.add("zeta", order=100)
    assert list(shop.load().entries) == ["restart_service"]
    assert "zeta" in shop.problems("zeta")
    assert "restart_service" in shop.problems("zeta")


def test_an_order_between_them_is_enough(shop):
    """Smaller wins, so there is no doubt."""
    shop.add("zeta", order=101)
    assert list(shop.load().entries) == ["restart_service", "zeta"]


def test_no_order_at_all_is_no_order(shop):
    """Two defaults are equal."""
    shop.change(lambda meta, spec: spec["catalogue"].pop("order"))
    shop.add("zeta", order=None)
    assert "both have order 1000" in shop.problems("zeta")


def test_a_broken_entry_takes_no_other_down_by_its_matchers(shop):
    """Only entries that load count."""
    (shop.entry / "playbook.yml").unlink()
    shop.add("zeta", order=100)
    assert list(shop.load().entries) == ["zeta"]
