"""`orchestrator autonomy`: list, accept, decline, demote."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Table
from orchestrator.cli.session import Session


@click.group(cls=Noun, no_args_is_help=True)
def autonomy() -> None:
    """See what entries have earned; accept or take back that they run by themselves."""


@autonomy.command("list")
@click.option("--level", default="", help="Only lines that stand here: proposed, promoted, declined, demoted.")
@pass_session
def list_(session: Session, level: str) -> None:
    """List each alert × entry × group with its record and the lower bound that it has earned."""
    with session.client() as client:
        found = client.get("/api/v1/autonomy")["items"]
    items = [item for item in found if not level or item["level"] == level]
    rows = [
        (
            item["entry"],
            item["alertname"],
            item["group"],
            f"{item['successes']} of {item['trials']}",
            f"{item['bound']:.2f}",
            f"{item['wanted']:g}" if item["earnable"] else "asks",
            item["level"],
            item["by"],
        )
        for item in items
    ]
    columns = ("entry", "alert", "group", "verified", "at least", "wanted", "level", "by")
    session.show({"items": items}, (Table(columns, rows, "Nothing has run yet."),))


def _answer(session: Session, answer: str, said: str, line: dict[str, Any]) -> None:
    with session.client() as client:
        given = client.post("/api/v1/autonomy", {"answer": answer, **line})
    name = f"{line['entry']} for {line['alertname']} in {line['group']}"
    session.done(given, f"{name}: {said}.")


@autonomy.command()
@click.argument("entry")
@click.argument("alertname")
@click.argument("group")
@click.option("--reason", default="", help="Why; kept on record.")
@pass_session
def accept(session: Session, /, **line: str) -> None:
    r"""Accept a proposal: the entry may answer this alert in this group without a person, as far as every other guard lets it.

    \b
    Example: orchestrator autonomy accept restart_service ServiceDown recoverable
    """
    _answer(session, "accept", "promoted", line)


@autonomy.command()
@click.argument("entry")
@click.argument("alertname")
@click.argument("group")
@click.option("--reason", required=True, help="Why not; kept on record.")
@pass_session
def decline(session: Session, /, **line: str) -> None:
    """Decline a proposal; only runs after this one count towards another."""
    _answer(session, "decline", "declined", line)


@autonomy.command()
@click.argument("entry")
@click.argument("alertname")
@click.argument("group")
@click.option("--reason", required=True, help="Why; kept on record.")
@pass_session
def demote(session: Session, /, **line: str) -> None:
    """Take a promotion back: from now on a person is asked again."""
    _answer(session, "demote", "demoted", line)
