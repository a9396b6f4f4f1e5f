"""What a person reads in the terminal: tables, facts and lines, readable without colour and safe against outside text."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH: Final = 100
"""Columns where output goes into a pipe and COLUMNS says nothing."""
SECONDS: Final = len("2026-01-31T08:00:00")
CELL: Final = 120
"""Characters of one value in a table."""
STYLES: Final[Mapping[str, str]] = {
    "resolved": "green",
    "ok": "green",
    "healthy": "green",
    "successful": "green",
    "cleared": "green",
    "escalated": "bold red",
    "fail": "bold red",
    "failed": "red",
    "unhealthy": "red",
    "unknown": "bold red",
    "broken": "red",
    "warn": "yellow",
    "awaiting_approval": "yellow",
    "pending": "yellow",
    "waiting": "yellow",
    "active": "green",
    "revoked": "red",
    "void": "red",
    "yes": "green",
    "no": "red",
    "uncited": "yellow",
    "would change": "cyan",
    "unreachable": "bold red",
    "low": "green",
    "medium": "yellow",
    "high": "bold red",
    "executing": "cyan",
    "verifying": "cyan",
}
"""A cell that is exactly this word gets this colour; the word alone says it all."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `empty` is said where there are no rows."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    empty: str = "Nothing."
    title: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, one pair a line; pairs without a value are left out."""

    pairs: Sequence[tuple[str, Any]]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Text as it stands, such as a diff; lines that start with + or - are coloured."""

    text: str
    title: str = ""


Part = Table | Facts | Block | str
Page = tuple[Part, ...]


def show(page: Page | str) -> None:
    """Print a page, or one sentence, on standard output."""
    printer = console()
    for part in (page,) if isinstance(page, str) else page:
        printer.print(_renderable(part), soft_wrap=isinstance(part, str))


def console() -> Console:
    """Return a console on standard output that honours NO_COLOR, TERM and COLUMNS."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def plain(text: str) -> str:
    """Return `text` without characters that a terminal would obey; line breaks and tabs stay."""
    return "".join(
        character if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co") else "\ufffd"
        for character in text
    )


def word(value: Any) -> str:
    """Return one value as a person reads it: lists with commas, times to the second, nothing as an empty string."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%SZ")
        case Mapping():
            return ", ".join(f"{name}={word(item)}" for name, item in value.items())
        case list() | tuple() | set() | frozenset():
            return ", ".join(word(item) for item in value)
        case _:
            return plain(str(value))


def moment(text: str | None) -> str:
    """Return an ISO time of the API as a person reads it: UTC, to the second."""
    return f"{text[:10]} {text[11:SECONDS]}Z" if text and len(text) >= SECONDS else ""


def when(text: str | None) -> str:
    """Return an ISO time of the API in this machine's zone, with UTC beside it where the two differ."""
    if not text:
        return ""
    try:
        local = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return plain(text)
    offset = local.utcoffset()
    if not offset:
        return moment(text)
    return f"{local:%Y-%m-%d %H:%M:%S} {_offset(offset)} ({text[11:SECONDS]}Z)"


def clock(text: str | None) -> str:
    """Return the time of day of an ISO time of the API: in this machine's zone, marked with Z where that is UTC."""
    return when(text)[11:].partition(" (")[0]


def _offset(offset: timedelta) -> str:
    minutes = int(offset.total_seconds()) // 60
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"


def left(seconds: float) -> str:
    """Return how long something still lasts: `in 12 min 5 s`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if rest and not hours else ""]
    return f"in {' '.join(part for part in parts if part)}" if any(parts) else "now"


def short(value: Any, most: int = CELL) -> str:
    """Return a value on one line, cut to `most` characters."""
    text = " ".join(word(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"


@contextmanager
def watching() -> Iterator[Callable[[Page], None]]:
    """Give a function that shows a page in the place of the one before; into a pipe, one after the other."""
    if not sys.stdout.isatty():
        yield show
        return
    from rich.console import Group
    from rich.live import Live

    with Live(console=console(), auto_refresh=False, screen=True) as live:
        yield lambda page: live.update(Group(*(_renderable(part) for part in page)), refresh=True)


@contextmanager
def following(title: str, usual_s: float | None, began: str | None = None) -> Iterator[Callable[[str], None]]:
    """Give a function that prints one line; on a terminal a bar against the usual duration moves below the lines.

    Args:
        title: stands before the bar.
        usual_s: how long it usually takes; None: nobody knows.
        began: ISO time at which it began; None: now.
    """
    if not sys.stdout.isatty():
        yield lambda line: print(plain(line), flush=True)
        return
    from rich.progress import Progress, ProgressColumn, Task, TextColumn
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    spent_s = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(began)).total_seconds()) if began else 0.0

    class Usual(ProgressColumn):
        def render(self, task: Task) -> ProgressBar:
            elapsed = spent_s + (task.elapsed or 0.0)
            return ProgressBar(total=usual_s, completed=min(elapsed, usual_s or 0.0), width=30, pulse=usual_s is None)

    class Spent(ProgressColumn):
        def render(self, task: Task) -> Text:
            usual = f" of usually {usual_s:.0f} s" if usual_s else ""
            return Text(f"{spent_s + (task.elapsed or 0.0):.0f} s{usual}")

    with Progress(TextColumn("{task.description}", markup=False), Usual(), Spent(), console=console(), transient=True) as bar:
        bar.add_task(plain(title), total=usual_s)
        yield lambda line: bar.console.print(Text(plain(line)))


def plain_json(value: Any) -> Any:
    """Return a value as JSON can hold it; dataclasses become objects, enums their values, times ISO text."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def _renderable(part: Part) -> RenderableType:
    from rich.text import Text

    match part:
        case str():
            return Text(plain(part))
        case Table():
            return _table(part)
        case Facts():
            return _facts(part)
        case Block():
            return _block(part)


def _table(part: Table) -> RenderableType:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    if not part.rows:
        return Text(part.empty)
    table = RichTable(box=box.SIMPLE_HEAD, title=part.title or None, title_justify="left", pad_edge=False, show_edge=False)
    for name in part.columns:
        table.add_column(name, overflow="fold")
    for row in part.rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _facts(part: Facts) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=None, show_header=False, title=part.title or None, title_justify="left", pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in part.pairs:
        if word(value):
            table.add_row(Text(name, style="bold"), _cell(value))
    return table


def _block(part: Block) -> RenderableType:
    from rich.text import Text

    text = Text(f"{part.title}\n" if part.title else "", style="bold")
    for line in plain(part.text).splitlines():
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else "not bold"
        text.append(f"  {line}\n", style=f"not bold {style}" if style != "not bold" else style)
    return text


def _cell(value: Any) -> RenderableType:
    from rich.text import Text

    text = word(value)
    return Text(text, style=STYLES.get(text, ""))
