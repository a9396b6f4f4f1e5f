"""PromQL as text: what is filled in stays in its string, what an answer means is told exactly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.context import promql
from orchestrator.errors import UsageError

HOSTILE = [
    '"} or vector(1)',
    "\\",
    '\\"',
    'a\\" or up{job="x',
    "line\nbreak",
    "tab\tand\x00nul",
    "'} or vector(1) #",
    "`} or vector(1)",
    "$instance ${job}",
    "\\u0022",
    "\ud800 lone surrogate",
    "ünïcödé ☃",
]


def read_string(text: str, start: int) -> tuple[str, int]:
    """Read one Go string literal as Prometheus' lexer does: return its value and where it ends."""
    quote, at, value = text[start], start + 1, ""
    while text[at] != quote:
        assert text[at] != "\n", "a line feed ends a literal"
        if text[at] != "\\":
            value, at = value + text[at], at + 1
        elif text[at + 1] == "u":
            value, at = value + chr(int(text[at + 2 : at + 6], 16)), at + 6
        else:
            assert text[at + 1] in ("\\", quote), text[at + 1]
            value, at = value + text[at + 1], at + 2
    return value, at + 1


def without_surrogates(text: str) -> str:
    return "".join("\ufffd" if 0xD800 <= ord(character) <= 0xDFFF else character for character in text)


@settings(deadline=None)
@given(st.one_of(st.text(st.characters(), min_size=1), st.sampled_from(HOSTILE)), st.sampled_from(['"', "'"]))
def test_a_value_never_leaves_its_string(value, quote):
    """Whatever a label holds, the literal ends where the template ends it and reads as exactly that value."""
    head, tail = "up{job=", ",instance!=" + quote + "x" + quote + "} == 1"
    filled = promql.fill(f"{head}{quote}$name{quote}{tail}", {"name": value})
    read, end = read_string(filled, len(head))
    assert filled.startswith(head)
    assert read == without_surrogates(value)
    assert filled[end:] == tail


@settings(deadline=None)
@given(st.text(min_size=1), st.text(min_size=1))
def test_filling_is_done_once(first, second):
    """A value that looks like a placeholder is not filled in again."""
    filled = promql.fill('a{x="$one",y="${two}"}', {"one": "$two" + first, "two": "${one}" + second})
    assert read_string(filled, 4)[0] == without_surrogates("$two" + first)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ('up{instance="$instance"} == 1', 'up{instance="web1:9100"} == 1'),
        ("up{instance='${instance}'}", "up{instance='web1:9100'}"),
        ('up{instance!="$instance"}', 'up{instance!="web1:9100"}'),
        ('up{instance = "http://$instance/x"}', 'up{instance = "http://web1:9100/x"}'),
        ('up{host="$host"}', 'up{host="web1"}'),
        ('up{a=~"web.*$"} > 1', 'up{a=~"web.*$"} > 1'),
        (
            'label_replace(up{instance="$instance"}, "a", "$1", "b", "(.*)")',
            'label_replace(up{instance="web1:9100"}, "a", "$1", "b", "(.*)")',
        ),
        ('{job="x"} # it\'s a comment', '{job="x"} # it\'s a comment'),
        ('sum by (job) (rate(x{job="$job"}[5m:1m] offset 1h))', 'sum by (job) (rate(x{job="node"}[5m:1m] offset 1h))'),
    ],
)
def test_placeholders_in_equality_matchers_are_filled(template, filled):
    """`$label`, `${label}` and `$host` are replaced; everything else stays byte for byte."""
    assert promql.fill(template, {"instance": "web1:9100", "job": "node", "host": "other"}, host="web1") == filled


@pytest.mark.parametrize(
    "template",
    [
        'up{instance=~"$instance"}',
        'up{instance!~"$instance"}',
        "up{instance=`$instance`}",
        "up > $instance",
        "up{$instance}",
        'up{instance="x"} # $instance',
        'label_replace(up, "a", "$instance", "b", "(.*)")',
        'count_values("$instance", up)',
        'up == "$instance"',
        '{job="x"} |= "$instance"',
        'up{instance="$nothing"}',
        'up{instance="$empty"}',
        'up{instance="$instance}',
        "up{instance='$instance\"}",
        "up{instance=${instance}}",
    ],
)
def test_a_placeholder_elsewhere_is_refused(template):
    """A value is compared literally or not at all: patterns, raw strings, bare places, unknown and empty labels are refused."""
    with pytest.raises(UsageError):
        promql.fill(template, {"instance": "web1", "empty": ""})


def test_a_backslash_in_front_of_a_placeholder_does_not_join_the_value():
    """An escaped dollar sign is no placeholder, so that no backslash of the template can eat the value's first escape."""
    assert promql.fill(r'up{a="\$instance"}', {"instance": '"} or vector(1)'}) == r'up{a="\$instance"}'


@pytest.mark.parametrize(
    ("expr", "operator", "left"),
    [
        ("up == 1", "==", "up"),
        ('((up{a="=="} != 1))', "!=", 'up{a="=="}'),
        ("a + b > 1", ">", "a + b"),
        ("a > 1 and b < 2", "and", "a > 1"),
        ("a > 1 and b < 2 or c", "or", "a > 1 and b < 2"),
        ("a unless on(x) b", "unless", "a"),
        ("sum(a > 1)", "", "sum(a > 1)"),
        ("(a) + (b)", "", "(a) + (b)"),
        ("rate(a[5m]) # > 1", "", "rate(a[5m])"),
        ("a > 1 < 5", "<", "a > 1"),
    ],
)
def test_the_outermost_operator_is_found(expr, operator, left):
    """An expression is cut at the operator that binds weakest."""
    part = promql.split(expr)
    assert (part.operator, part.left) == (operator, left)


NAN = math.nan


@pytest.mark.parametrize(
    ("expr", "answers", "expected"),
    [
        ("up == 1", {"up == bool 1": [1.0]}, True),
        ("up == 0", {"up == bool 0": [1.0]}, True),
        ("up == 1", {"up == bool 1": [0.0], "up": [0.0]}, False),
        ("up == 1", {"up == bool 1": [1.0, 0.0], "up": [1.0, 0.0]}, False),
        ("up == 1", {}, None),
        ("a / b < 0.1", {"a / b < bool 0.1": [0.0], "a / b": [NAN]}, None),
        ("up == bool 1", {"up == bool 1": [0.0], "up": [0.0]}, False),
        ("up == bool 1", {"up == bool 1": [1.0]}, True),
        ("probe_success", {"probe_success": [1.0]}, True),
        ("probe_success", {"probe_success": [1.0, 0.0]}, False),
        ("probe_success", {"probe_success": [NAN]}, None),
        ("probe_success", {}, None),
        ("absent(up)", {"absent(up)": [1.0]}, True),
        ("absent(up)", {}, False),
        ("a > 1 < 5", {"a > bool 1": [0.0], "a": [0.0]}, False),
        ("a > 1 and on(x) b < 2", {"a > bool 1": [1.0], "b < bool 2": [1.0], "a > 1 and on(x) b < 2": [3.0]}, True),
        ("a > 1 and b < 2", {"a > bool 1": [1.0], "b < bool 2": [0.0], "b": [5.0]}, False),
        ("a > 1 and b < 2", {"a > bool 1": [1.0], "b < bool 2": [1.0]}, None),
        ("a > 1 and b < 2", {"a > bool 1": [1.0]}, None),
        ("a == 0 or b", {"a == bool 0": [0.0], "a": [1.0], "b": [1.0]}, True),
        ("a or b", {"a": [0.0], "b": [0.0]}, False),
        ("a or b", {"a": [0.0]}, None),
        ("a unless b", {"a": [1.0], "a unless b": [1.0]}, True),
        ("a unless b", {"a": [1.0]}, False),
        ("a unless b", {}, None),
    ],
)
def test_what_an_answer_means(expr, answers, expected):
    """A condition holds only by positive evidence; empty, stale and undefined values are undecided."""
    assert promql.holds(expr, lambda asked: answers.get(asked, [])) is expected
