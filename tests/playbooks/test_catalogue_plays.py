"""Every entry's own play tests, on throw-away hosts with the real software; the second half is in `test_catalogue_plays_more.py`."""

from __future__ import annotations

import pytest
from catalogue_plays import carry_out, shipped_play_tests


@pytest.mark.root
@pytest.mark.timeout(900)  # a scenario is some ten plays; on a busy machine each takes its time
@pytest.mark.parametrize("case", shipped_play_tests()[::2], ids=str)
def test_the_entry_does_what_its_play_test_says(case):
    """An entry repairs what its play test breaks, once; check mode predicts it, verification tells it, undo takes it back."""
    carry_out(case)
