"""PromQL as text: labels filled into a template, and what the answer to a condition means.

Source: Prometheus querying basics (string literals, matchers) and operators (precedence), 2.42.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.errors import UsageError

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>\#[^\n]*)
  | (?P<string>"(?:\\[^\n]|[^"\\\n])*"|'(?:\\[^\n]|[^'\\\n])*'|`[^`]*`)
  | (?P<number>(?:\d[\w.]*|\.\d\w*)(?:(?<=[eE])[+-]\d+)?)
  | (?P<name>[a-zA-Z_:][\w:]*)
  | (?P<op>==|!=|>=|<=|=~|!~|.)
    """,
    re.VERBOSE | re.ASCII,
)
_PIECE = re.compile(r"\\.|\$\{(?P<braced>\w+)\}|\$(?P<bare>[a-zA-Z_]\w*)|[^\\$]+|.", re.DOTALL | re.ASCII)
_PLACEHOLDER = re.compile(r"\$\{\w+\}|\$[a-zA-Z_]\w*", re.ASCII)
_MODIFIER = re.compile(r"\s*(?:(?:on|ignoring)\s*\([^)]*\)\s*)?(?:group_(?:left|right)\s*(?:\([^)]*\))?\s*)?", re.IGNORECASE)
COMPARISONS = ("==", "!=", ">=", "<=", ">", "<")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Token:
    """One lexical piece of an expression; `depth` counts the brackets around it."""

    kind: str
    text: str
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class Split:
    """An expression cut at its outermost set operator or comparison; `operator` is empty where it has neither."""

    operator: str
    left: str
    right: str
    """What follows the operator, matching modifiers included."""
    is_bool: bool = False


def fill(template: str, labels: Mapping[str, str], host: str = "") -> str:
    r"""Return `template` with `$label`, `${label}` and `$host` replaced by escaped values.

    A placeholder may stand only inside the quotes of an equality matcher (`instance="$instance"`, `job!="${job}"`), so that
    a value is compared literally and can never leave its string. `$1` and a `$` at the end of a pattern are left alone.

    Args:
        template: PromQL, or a LogQL stream selector; written by the catalogue's or the settings' owner.
        labels: the alert's labels; outside text.
        host: what `$host` stands for; empty: the label `host`.

    Raises:
        UsageError: for a placeholder elsewhere (regex matcher, raw string, bare), an unknown or empty label, or an unclosed string.
    """
    values = {**labels, "host": host} if host else dict(labels)
    pieces: list[str] = []
    before = ""
    for token in tokens(template):
        text = token.text
        if token.kind == "string" and _PLACEHOLDER.search(text):
            if text[0] == "`" or before not in ("=", "!=") or not token.depth:
                raise UsageError(f"{template!r}: {text} may hold a placeholder only inside the quotes of an equality matcher (= or !=).")
            text = text[0] + "".join(_fill_piece(match, values, text[0], template) for match in _PIECE.finditer(text[1:-1])) + text[0]
        elif token.kind == "comment" and _PLACEHOLDER.search(text):
            raise UsageError(f"{template!r}: a placeholder stands in a comment.")
        elif text == "$":
            raise UsageError(f"{template!r}: a placeholder stands outside the quotes of an equality matcher (= or !=).")
        if token.kind != "space":
            before = text
        pieces.append(text)
    return "".join(pieces)


def escape(value: str, quote: str = '"') -> str:
    """Return `value` as the inside of a string literal that `quote` opens and closes.

    Control characters become escapes; a lone surrogate, which no server would take, becomes U+FFFD.
    """
    return "".join(_escape_character(character, quote) for character in value)


def tokens(expr: str) -> Iterator[Token]:
    """Yield the pieces of `expr`, spaces and comments included, so that they join to the same text.

    Raises:
        UsageError: where a string is not closed.
    """
    depth = 0
    for match in _TOKEN.finditer(expr):
        kind, text = str(match.lastgroup), match.group()
        if kind == "op" and text in "\"'`":
            raise UsageError(f"{expr!r}: a string is not closed.")
        if kind == "op" and text in _CLOSE:
            depth -= 1
        yield Token(kind, text, match.start(), match.end(), depth)
        if kind == "op" and text in _OPEN:
            depth += 1


def split(expr: str) -> Split:
    """Cut `expr` at the operator that binds weakest: `or`, then `and` / `unless`, then a comparison; the last of its kind.

    Parentheses around the whole are taken off first.
    """
    whole = _bare(expr)
    top = [token for token in tokens(whole) if token.depth == 0]
    words = [token for token in top if token.kind == "name" and token.text.lower() in ("or", "and", "unless")]
    unions = [token for token in words if token.text.lower() == "or"]
    comparisons = [token for token in top if token.kind == "op" and token.text in COMPARISONS]
    found = unions or words or comparisons
    if not found:
        return Split("", whole, "")
    cut = found[-1]
    right = whole[cut.end :]
    return Split(cut.text.lower(), whole[: cut.start].strip(), right, bool(re.match(r"\s*bool\b", right, re.IGNORECASE)))


def holds(expr: str, query: Callable[[str], list[float]]) -> bool | None:
    """Return whether a condition holds now: True, False, or None where nothing can be told.

    - **comparison** (`x == 1`): asked with `bool`, so that each series answers 1 or 0. All 1: True. Any 0: False, unless a series'
      left side is NaN: None. No series at all (no such target, stale, nothing to match): None.
    - **`bool` comparison or plain expression** (`x == bool 1`, `probe_success`): True if each value is non-zero, False if any is 0,
      None if empty or NaN.
    - **`absent(…)`**: True, or False where the series exist.
    - **`a and b`**: False if either is False; True if both are True and something matches; else None.
    - **`a or b`**: True if either is True; False if both are False; else None.
    - **`a unless b`**: as `a`, but False where `a` is True and `b` takes all of it away.

    Args:
        expr: PromQL, filled in already.
        query: runs an instant query and returns the values of its samples.
    """
    part = split(expr)
    match part.operator:
        case "or":
            sides = holds(part.left, query), holds(_operand(part.right), query)
            return True if True in sides else (False if sides == (False, False) else None)
        case "and":
            return _both(holds(part.left, query), holds(_operand(part.right), query), expr, query)
        case "unless":
            left = holds(part.left, query)
            return bool(query(expr)) if left else left
        case "":
            return _plain(part.left, query)
        case _:
            return _compared(part, query)


def _both(left: bool | None, right: bool | None, expr: str, query: Callable[[str], list[float]]) -> bool | None:
    if left is False or right is False:
        return False
    return True if left and right and query(expr) else None


def _plain(expr: str, query: Callable[[str], list[float]]) -> bool | None:
    values = query(expr)
    if not values:
        return False if re.match(r"absent(_over_time)?\s*\(", expr) else None
    if any(math.isnan(value) for value in values):
        return None
    return all(values)


def _compared(part: Split, query: Callable[[str], list[float]]) -> bool | None:
    verdict = _plain(f"{part.left} {part.operator} {'' if part.is_bool else 'bool '}{part.right.strip()}", query)
    if verdict is False and any(math.isnan(value) for value in query(part.left)):
        return None  # NaN compares as false, but says nothing: 0 / 0 right after a restart
    if verdict is None and split(part.left).operator and holds(part.left, query) is False:
        return False  # a > 1 < 5: the first comparison filtered everything out
    return verdict


def _operand(right: str) -> str:
    """Return the right side of a set operator without its matching modifier."""
    return _MODIFIER.sub("", right, count=1)


def _bare(expr: str) -> str:
    """Return `expr` without comments, outer spaces and parentheses around the whole."""
    text = "".join(" " if token.kind == "comment" else token.text for token in tokens(expr)).strip()
    while text.startswith("("):
        closing = next((token for token in tokens(text) if token.text == ")" and token.kind == "op" and token.depth == 0), None)
        if closing is None or closing.end != len(text):
            return text
        text = text[1:-1].strip()
    return text


def _fill_piece(match: re.Match[str], values: Mapping[str, str], quote: str, template: str) -> str:
    name = match["braced"] or match["bare"]
    if not name:
        return match.group()
    if not values.get(name):
        raise UsageError(f"{template!r}: ${name} has no value: the alert has no label {name!r}.")
    return escape(values[name], quote)


def _escape_character(character: str, quote: str) -> str:
    code = ord(character)
    if character in ("\\", quote):
        return "\\" + character
    if code < 0x20 or 0x7F <= code < 0xA0:  # noqa: PLR2004 - the two blocks of control characters
        return f"\\u{code:04x}"
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else character  # noqa: PLR2004 - surrogates
