"""The command for earned autonomy tells what was earned and sends an admin's answer."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("server")

LINE = ("restart_service", "ServiceDown", "recoverable")


def test_the_record_is_listed(call):
    """Counts, bound and level stand in one line; a level filters."""
    told = call("autonomy", "list").out
    assert "29 of 29" in told
    assert "0.90" in told
    assert call("autonomy", "list", "--level", "promoted", "--json").json["items"] == []


@pytest.mark.parametrize(("verb", "word"), [("accept", "promoted"), ("decline", "declined"), ("demote", "demoted")])
def test_an_answer_is_sent(call, verb, word):
    """Each verb is one answer to one line, with its reason."""
    said = call("autonomy", verb, *LINE, "--reason", "seen", "--json")
    assert (said.code, said.json["level"], said.json["why"]) == (0, word, "seen")


@pytest.mark.parametrize("verb", ["decline", "demote"])
def test_taking_away_needs_a_reason(call, verb):
    """Whoever reads the log later wants to know why."""
    assert call("autonomy", verb, *LINE).code == 2
