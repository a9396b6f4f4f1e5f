"""Ranking entries by their words, and the model's breaker."""

from __future__ import annotations

from deciding import CONTEXT, alert, disk_entry, entry

from orchestrator.decide.breaker import Breaker
from orchestrator.decide.plain import one_line
from orchestrator.decide.shortlist import ranked, shortlist
from orchestrator.model import Context

FILL = [entry(f"filler_{n:02}", title=f"Do thing {n}", description="Nothing of note.", use_when=()) for n in range(70)]
FULL = alert("HostOutOfDiskSpace", {"summary": "Disk is almost full on /var"}, service="")


def test_words_bring_the_right_entry_first() -> None:
    """An alert about a full disk ranks the entry about disks first of many."""
    entries = [*FILL, entry(), disk_entry()]
    assert ranked(FULL, Context(), entries)[0][0].id == "clear_disk"
    assert "clear_disk" in [item.id for item in shortlist(FULL, Context(), entries, (), 8)]


def test_matched_entries_come_first() -> None:
    """Entries whose matchers fit lead the list, whatever the words say, and the size holds."""
    listed = shortlist(FULL, CONTEXT, [*FILL, disk_entry()], [FILL[69]], 3)
    assert [item.id for item in listed][:2] == ["filler_69", "clear_disk"]
    assert len(listed) == 3


def test_matched_but_not_on_offer() -> None:
    """An entry that could not run is not on the list even where its matchers fit."""
    assert shortlist(FULL, CONTEXT, [disk_entry()], [entry()], 8) == (disk_entry(),)


def test_nothing_to_rank() -> None:
    """No entries, no list; no common word, no likeness, order by id."""
    assert ranked(FULL, Context(), []) == []
    assert [(item.id, score) for item, score in ranked(alert("Qqq", service="zzz"), Context(), FILL[:2])] == [
        ("filler_00", 0),
        ("filler_01", 0),
    ]


def test_breaker_lets_one_try_after_its_time() -> None:
    """Failures in a row open it; then one call per open time may try, and only success closes it."""
    now = [0.0]
    breaker = Breaker(2, 10.0, lambda: now[0])
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.admit()
    breaker.failed()
    assert (breaker.admit(), breaker.is_open) == (False, True)
    now[0] = 10.0
    assert [breaker.admit(), breaker.admit()] == [True, False]
    breaker.failed()
    assert not breaker.admit()
    now[0] = 20.0
    assert breaker.admit()
    breaker.succeeded()
    assert [breaker.admit(), breaker.admit(), breaker.is_open] == [True, True, False]


def test_one_line_shows_no_hidden_character() -> None:
    """A line for a person has no control or direction characters and a bounded length."""
    assert one_line("a\x00b\u202ec\n\n d", 50) == "a b c d"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"
    assert one_line("naïve 日本", 10) == "naïve 日本"
