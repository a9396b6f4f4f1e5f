r"""Alertmanager's matchers: `service=~"nginx|redis"`.

A label that is absent counts as an empty string; a regular expression has to fit the whole value.

Source: https://prometheus.io/docs/alerting/latest/configuration/#matcher
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.errors import UsageError

_MATCHER = re.compile(r"\s*([A-Za-z_:][A-Za-z0-9_:]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"[^\s\"'`{},=!~]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}
_NOT_RE2 = re.compile(r"(?<!\\)(?:\\\\)*(?:\(\?(?:=|!|<=|<!|P=|\(|>)|\\[1-9])")
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label."""

    name: str
    op: str
    """`=`, `!=`, `=~` or `!~`."""
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether `labels` fulfil this condition; an absent label counts as an empty string."""
        found = labels.get(self.name, "")
        match self.op:
            case "=":
                return found == self.value
            case "!=":
                return found != self.value
            case "=~":
                return _compiled(self.value).fullmatch(found) is not None
            case _:
                return _compiled(self.value).fullmatch(found) is None

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{value}"'


@lru_cache(maxsize=4096)
def parse(text: str) -> Matcher:
    r"""Read one matcher.

    Args:
        text: `name op value`, where op is `=`, `!=`, `=~` or `!~`. The value stands in double quotes, with the escapes `\"`, `\\` and `\n`
            (a backslash before anything else stands for itself), or bare where it holds no space, quote, brace, comma or operator.

    Returns:
        The matcher; `parse(str(matcher)) == matcher`.

    Raises:
        UsageError: this is no matcher; the message tells why.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"a matcher has at most {_LONGEST} characters")
    found = _MATCHER.fullmatch(text)
    if not found:
        raise UsageError(f'{text!r} is no matcher: write name="value", with one of = != =~ !~')
    name, op, raw = found.groups()
    value = _value(text, raw)
    if op in ("=~", "!~"):
        _compiled(value)
    return Matcher(name, op, value)


def matches_all(texts: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Return whether `labels` fulfil every matcher of a line; true where the line is empty.

    Raises:
        UsageError: one of `texts` is no matcher.
    """
    return all(parse(text).matches(labels) for text in texts)


def matches_any_line(lines: Iterable[Sequence[str]], labels: Mapping[str, str]) -> bool:
    """Return whether `labels` fulfil every matcher of at least one line; an empty line fits nothing.

    Raises:
        UsageError: a line holds something that is no matcher.
    """
    return any(line and matches_all(line, labels) for line in lines)


def _value(text: str, raw: str) -> str:
    """Return the value that `raw` writes, without quotes and escapes."""
    if raw.startswith('"'):
        quoted = _QUOTED.fullmatch(raw)
        if not quoted:
            raise UsageError(f"{text!r} is no matcher: the quoted value does not end where the text ends")
        return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[0]), quoted[1])
    if not _BARE.fullmatch(raw):
        raise UsageError(f"{text!r} is no matcher: put the value in double quotes")
    return raw


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern.

    Raises:
        UsageError: no regular expression, or one that Alertmanager's own (RE2) has no words for.
    """
    if _NOT_RE2.search(pattern):
        raise UsageError(f"{pattern!r} uses look-around or a back-reference, which Alertmanager does not know")
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError, FutureWarning) as exc:
        raise UsageError(f"{pattern!r} is no regular expression: {exc}") from exc
