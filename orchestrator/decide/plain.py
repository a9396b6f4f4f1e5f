"""Outside text made harmless to show: one line, no control characters, bounded."""

from __future__ import annotations

import unicodedata

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def one_line(text: str, limit: int = 300) -> str:
    """Return `text` as one line for a person.

    Args:
        text: anything.
        limit: most characters of the result.

    Returns:
        The text with each run of blanks and unseen characters (control, direction, surrogate) as one space, cut with `…`.
    """
    seen = "".join(" " if unicodedata.category(char) in _UNSEEN else char for char in text[: limit * 8])
    line = " ".join(seen.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
