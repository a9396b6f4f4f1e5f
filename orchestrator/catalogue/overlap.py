"""Whether two lines of matchers could fit one and the same alert."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from orchestrator.matcher import Matcher, parse
from orchestrator.model import Entry

_MOST_VALUES = 2000
_ONE = re.compile(r"\[(?P<class>[A-Za-z0-9_ ]+)\]|\\(?P<escaped>[^A-Za-z0-9])|(?P<plain>[^.^$*+?{}\[\]\\|()])")


def overlapping(first: Entry, second: Entry) -> tuple[Sequence[str], Sequence[str]] | None:
    """Return a line of each entry that could both fit one label set, or None where no two lines can."""
    for line in first.matchers:
        for other in second.matchers:
            if could_meet([parse(text) for text in (*line, *other)]):
                return line, other
    return None


def could_meet(matchers: Iterable[Matcher]) -> bool:
    """Return whether one label set could fulfil all matchers; true where that cannot be told."""
    by_name: dict[str, list[Matcher]] = {}
    for one in matchers:
        by_name.setdefault(one.name, []).append(one)
    return all(_satisfiable(group) for group in by_name.values())


def _satisfiable(group: list[Matcher]) -> bool:
    """Return whether some value of one label could fulfil all of its matchers."""
    finite = [values for values in (values_of(one) for one in group) if values is not None]
    if finite:
        return any(all(one.matches({one.name: value}) for one in group) for value in min(finite, key=len))
    return True


@lru_cache(maxsize=4096)
def values_of(matcher: Matcher) -> frozenset[str] | None:
    """Return every value that fulfils a matcher, or None where there is no end of them or it cannot be told."""
    if matcher.op == "=":
        return frozenset({matcher.value})
    if matcher.op != "=~":
        return None
    listed = _alternatives(matcher.value)
    return frozenset(listed) if listed is not None else None


def _alternatives(pattern: str) -> list[str] | None:
    """Return what a pattern of literals, groups, `|`, `?` and plain `[…]` can be, or None for any other pattern."""
    values, rest = _branches(pattern.replace("(?:", "("))
    return values if not rest else None


def _branches(text: str) -> tuple[list[str] | None, str]:
    """Read alternatives up to a closing parenthesis or the end; return their values and what is left."""
    done: list[str] = []
    current: list[str] = [""]
    while text and text[0] != ")":
        if text[0] == "|":
            done, current, text = done + current, [""], text[1:]
            continue
        pieces, text = _piece(text)
        if pieces is None or len(done) + len(current) * len(pieces) > _MOST_VALUES:
            return None, ""
        current = [before + piece for before in current for piece in pieces]
    return done + current, text


def _piece(text: str) -> tuple[list[str] | None, str]:
    """Read one literal, group or class, with a `?` after it; return what it can be, None for anything else, and what is left."""
    pieces: list[str] | None
    if text[0] == "(":
        pieces, rest = _branches(text[1:])
        if pieces is None or not rest.startswith(")"):
            return None, ""
        rest = rest[1:]
    elif found := _ONE.match(text):
        pieces, rest = list(found["class"] or found["escaped"] or found["plain"]), text[found.end() :]
    else:
        return None, ""
    if rest.startswith("?"):
        pieces, rest = ["", *pieces], rest[1:]
    return (None, "") if rest[:1] in ("?", "*", "+", "{") else (pieces, rest)
