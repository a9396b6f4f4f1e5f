"""Matchers are read and applied as Alertmanager does it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import matcher
from orchestrator.errors import UsageError

CALM = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])  # a slow machine fails nothing


NAMES = st.from_regex(r"[A-Za-z_:][A-Za-z0-9_:]{0,10}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ('service="nginx"', {"service": "nginx"}, True),
        ('service="nginx"', {"service": "nginx2"}, False),
        ("service=nginx", {"service": "nginx"}, True),
        ('service!="nginx"', {"service": "redis"}, True),
        ('service!="nginx"', {}, True),
        ('service=""', {}, True),
        ('service=""', {"service": "x"}, False),
        ("service=", {}, True),
        ('service=~".+"', {}, False),
        ('service=~".+"', {"service": "x"}, True),
        ('service=~"a|b"', {"service": "b"}, True),
        ('service=~"a|b"', {"service": "ab"}, False),
        ('service=~"a|b"', {"service": "b\n"}, False),
        ('service!~"a|b"', {"service": "ab"}, True),
        ('service!~"a|b"', {"service": "a"}, False),
        ("  service =~ a.c  ", {"service": "abc"}, True),
        (r'path="C:\\dir\"x\n"', {"path": 'C:\\dir"x\n'}, True),
        (r'path=~"\d+"', {"path": "12"}, True),
        ('a="x,y={z}"', {"a": "x,y={z}"}, True),
    ],
)
def test_a_matcher_fits_what_alertmanager_would_fit(text, labels, expected):
    """An absent label is an empty string, and a regular expression has to fit the whole value."""
    assert matcher.parse(text).matches(labels) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "service",
        '="x"',
        "a=b c",
        'a="b',
        'a="b"c',
        'a=~"("',
        "a==b",
        "1a=b",
        "a-b=c",
        'a="b", c="d"',
        "{a=b}",
        r'a=~"(a)\1"',
        'a=~"(?=x)x"',
        "a=" + "x" * 5000,
    ],
)
def test_what_is_no_matcher_is_refused(text):
    """A matcher that cannot be read is an error and never fits or fails silently."""
    with pytest.raises(UsageError):
        matcher.parse(text)


@CALM
@given(NAMES, st.sampled_from(["=", "!="]), st.text(max_size=50))
def test_writing_and_reading_give_the_same_matcher(name, op, value):
    """Any value survives being written with quotes and escapes."""
    one = matcher.Matcher(name, op, value)
    assert matcher.parse(str(one)) == one


@CALM
@given(st.text(max_size=60))
def test_any_text_is_a_matcher_or_a_usage_error(text):
    """Hostile text raises nothing but our own error."""
    try:
        matcher.parse(text)
    except UsageError:
        return
    assert matcher.parse(str(matcher.parse(text))) == matcher.parse(text)


@CALM
@given(NAMES, st.text(max_size=30), st.dictionaries(NAMES, st.text(max_size=30), max_size=3))
def test_a_negated_matcher_is_the_opposite(name, value, labels):
    """`!=` fits exactly where `=` does not."""
    assert matcher.Matcher(name, "=", value).matches(labels) is not matcher.Matcher(name, "!=", value).matches(labels)


def test_all_matchers_of_a_line_have_to_fit():
    """One matcher that does not fit makes the line not fit."""
    line = ['alertname=~"ServiceDown|InstanceDown"', 'service=~".+"']
    assert matcher.matches_all(line, {"alertname": "ServiceDown", "service": "nginx"})
    assert not matcher.matches_all(line, {"alertname": "ServiceDown"})


def test_any_line_is_enough_and_an_empty_line_fits_nothing():
    """An entry without matchers, or with an empty line, is never chosen by them."""
    lines = [['alertname="A"'], ['alertname="B"', "x=1"]]
    assert matcher.matches_any_line(lines, {"alertname": "B", "x": "1"})
    assert not matcher.matches_any_line(lines, {"alertname": "B"})
    assert not matcher.matches_any_line([], {"alertname": "B"})
    assert not matcher.matches_any_line([[]], {"alertname": "B"})
