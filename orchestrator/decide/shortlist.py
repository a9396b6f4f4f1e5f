"""Which entries come near an alert in words: BM25 over their texts. It only suggests: to the model and to a person."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.model import Alert, Context, Entry

_WORD = re.compile(r"[a-z]{2,}|[0-9]{3,}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST_TEXT = 20_000
_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75
_STOP = frozenset(
    re.findall(
        r"\w+",
        "an and are as at be been but by can do does for from has have host if in instance is it its job labels more not of on one only or "
        "that the then there this to value was when where which while will with severity warning critical alertname",
    )
)


def ranked(alert: Alert, context: Context, entries: Sequence[Entry]) -> list[tuple[Entry, float]]:
    """Return all `entries` with their likeness to the alert, most alike first.

    Args:
        alert: its labels and annotations are read as words.
        context: the words of its rule are read too.
        entries: what to rank.

    Returns:
        Pairs of entry and BM25 score (0 or more, no upper bound); equal scores by id.
    """
    documents = {entry.id: Counter(_words(_text(entry))) for entry in entries}
    query = set(_words(_question(alert, context)))
    scores = _scores(documents, query)
    return sorted(((entry, scores[entry.id]) for entry in entries), key=lambda pair: (-pair[1], pair[0].id))


def shortlist(alert: Alert, context: Context, entries: Sequence[Entry], matched: Sequence[Entry], size: int) -> tuple[Entry, ...]:
    """Return at most `size` of `entries`: those whose matchers fit first, then the most alike."""
    known = {entry.id for entry in entries}
    first = [entry for entry in matched if entry.id in known][:size]
    taken = {entry.id for entry in first}
    rest = [entry for entry, _ in ranked(alert, context, entries) if entry.id not in taken]
    return (*first, *rest[: size - len(first)])


def _scores(documents: Mapping[str, Counter[str]], query: set[str]) -> dict[str, float]:
    lengths = {name: words.total() for name, words in documents.items()}
    mean = max(1.0, sum(lengths.values()) / max(1, len(lengths)))
    held = Counter(word for words in documents.values() for word in words if word in query)
    rarity = {word: math.log(1 + (len(documents) - count + 0.5) / (count + 0.5)) for word, count in held.items()}
    scores = {}
    for name, words in documents.items():
        stretch = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * lengths[name] / mean)
        scores[name] = sum(
            rarity[word] * words[word] * (_SATURATION + 1) / (words[word] + stretch) for word in sorted(held) if word in words
        )
    return scores


def _text(entry: Entry) -> str:
    matchers = " ".join(text for line in entry.matchers for text in line)
    return " ".join([entry.id, entry.id, entry.title, entry.title, entry.description, *entry.use_when, matchers, *entry.roles])


def _question(alert: Alert, context: Context) -> str:
    parts = [alert.name, *alert.labels.values(), *alert.annotations.values()]
    if context.rule:
        parts += [context.rule.name, context.rule.expr, *context.rule.annotations.values()]
    return " ".join(part[:2000] for part in parts)


def _words(text: str) -> list[str]:
    """Return the text's words: camel case split, lower case, a plural's end taken off."""
    words = _WORD.findall(_CAMEL.sub(" ", text[:_LONGEST_TEXT]).lower().replace("_", " "))
    return [_stem(word) for word in words if word not in _STOP]


def _stem(word: str) -> str:
    for end in ("ing", "ed", "es", "s"):
        if word.endswith(end) and len(word) - len(end) >= 4:  # noqa: PLR2004 — shorter stems run into each other
            return word.removesuffix(end)
    return word
