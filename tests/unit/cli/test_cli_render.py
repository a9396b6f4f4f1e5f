"""What a person reads in the terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.cli.render import Block, Facts, Table, moment, plain, show, word
from orchestrator.cli.story import sentence


def test_outside_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]):
    """Escape sequences and invisible direction marks of an alert's labels are shown, never obeyed."""
    hostile = "web1\x1b]0;owned\x07\x1b[2J\u202egnp.exe\r"
    show((Table(("host",), [(hostile,)]), Facts([("host", hostile)]), Block(hostile), hostile))
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(out)
    assert "web1" in out


def test_markup_of_outside_text_is_no_markup(capsys: pytest.CaptureFixture[str]):
    """Square brackets are text, whatever they say."""
    show((Table(("label",), [("[bold red]x[/] [/nope]",)]), "[link=http://evil]y[/link]"))
    out = capsys.readouterr().out
    assert "[bold red]x[/] [/nope]" in out
    assert "[link=http://evil]y[/link]" in out


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_tables_stay_within_the_width(columns, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """No line of a table is longer than the terminal, and nothing of a long value is lost."""
    monkeypatch.setenv("COLUMNS", str(columns))
    show((Table(("id", "text"), [("01abcdefghijklmn", "word " * 60), ("x" * 200, "y" * 300)]),))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert out.count("y") == 300


def test_no_colour_in_a_pipe(capsys: pytest.CaptureFixture[str]):
    """Without a terminal there is no colour: the words alone say it."""
    show((Table(("status",), [("escalated",)]),))
    assert "\x1b" not in capsys.readouterr().out


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch):
    """NO_COLOR removes colour even where a terminal is forced."""
    import io

    from orchestrator.cli import render

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    printer = render.console()
    printer.file = stream
    printer.print(render._cell("escalated"))
    assert "escalated" in stream.getvalue()
    assert "31m" not in stream.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (2.0, "2"),
        (["a", "b"], "a, b"),
        ({"a": 1}, "a=1"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04:05Z"),
    ],
)
def test_words_of_values(value, text):
    """Values are told as a person says them."""
    assert word(value) == text


def test_moment_of_the_api():
    """Times of the API are shown to the second, in UTC."""
    assert moment("2026-01-02T03:04:05.678Z") == "2026-01-02 03:04:05Z"
    assert moment(None) == ""


def test_plain_keeps_lines_and_letters():
    """Line breaks, tabs and letters of any script stay."""
    assert plain("é\tß\n漢") == "é\tß\n漢"


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        (
            "policy.judged",
            {"effect": "ask", "reasons": ["cooldown"], "guards": [{"name": "cooldown", "ok": False, "detail": "ran 3 s ago"}]},
            "cooldown: ran 3 s ago",
        ),
        ("run.ended", {"outcome": "successful", "changed": 1}, "successful, 1 changed"),
        ("verification.done", {"health": "healthy", "detail": "", "checks": [{"name": "play", "ok": True, "detail": ""}]}, "play holds"),
        ("incident.status", {"to": "resolved", "reason": "verified", "detail": "all is well"}, "resolved (verified): all is well"),
        ("something.new", {"a": 1, "b": {"c": 2}}, "a=1"),
        ("run.ended", None, "None, 0 changed"),
    ],
)
def test_sentences(kind, data, told):
    """Each event is one line, also where its data is redacted or of a kind that nobody foresaw."""
    assert told in sentence({"kind": kind, "data": data})
    assert "\n" not in sentence({"kind": kind, "data": data})
