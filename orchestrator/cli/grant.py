"""`orchestrator grant`: create, list, show, confirm, revoke."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.approval import split
from orchestrator.cli.card import grants_table
from orchestrator.cli.client import segment
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Facts, when
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError


@click.group(cls=Noun, no_args_is_help=True)
def grant() -> None:
    """Let an entry run without asking, within limits; guards stand over every grant."""


@grant.command()
@click.argument("entry")
@click.option("--hosts", multiple=True, help="Inventory hosts; commas or several times.")
@click.option("--group", default="", help="An inventory group instead, resolved to its hosts now.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="How long it lasts from now.")
@click.option("--until", default="", help="Or when it ends: an ISO time with an offset, such as 2026-01-31T06:00:00Z.")
@click.option("--max-runs", type=click.IntRange(1, 100), required=True, help="How many runs at most.")
@click.option("--alertname", "alertnames", multiple=True, help="Only for this alert; several times for more.")
@click.option("--reason", required=True, help="Why it may run without being asked; kept on record.")
@pass_session
def create(session: Session, /, entry: str, hosts: tuple[str, ...], minutes: float | None, until: str, **limits: Any) -> None:
    r"""Give a standing grant: this entry on these hosts, until a time, at most so many runs.

    For an entry of high risk a second person has to confirm it.

    \b
    Example:
      orchestrator grant create restart_service --hosts web1 --minutes 60 --max-runs 2 --reason "the release flaps tonight"
    """
    if (minutes is None) == (not until):
        raise UsageError("give either --minutes or --until.")
    body = {"entry": entry, "hosts": split(hosts), **limits, "alertnames": list(limits["alertnames"])}
    body |= {"minutes": minutes} if minutes is not None else {"until": until}
    with session.client() as client:
        given = client.post("/api/v1/grants", body)
    waits = f"A second person has to confirm it: orchestrator grant confirm {given['id']}."
    said = waits if given["state"] == "waiting" else f"It answers until {when(given['until'])}, at most {given['max_runs']} times."
    session.show(given, (f"Standing grant {given['id']} for {entry} on {', '.join(given['hosts'])}. {said}",))


@grant.command("list")
@click.option("--entry", default="", help="Only grants of this entry.")
@click.option("--state", multiple=True, help="Only this state (default: all); may be given several times.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@pass_session
def list_(session: Session, entry: str, state: tuple[str, ...], limit: int) -> None:
    """List standing grants, newest first."""
    with session.client() as client:
        found = client.items("/api/v1/grants", limit, entry=entry, state=list(state))
    session.show({"items": found}, (grants_table(found),))


@grant.command()
@click.argument("id")
@pass_session
def show(session: Session, id: str) -> None:
    """Show a standing grant: its limits, who gave it, what it is bound to."""
    with session.client() as client:
        found = client.get(f"/api/v1/grants/{segment(id)}")
    ended = f"{when(found['ended_at'])} {found['ended_by']} {found['ended_why']}" if found["ended_at"] else ""
    pairs = (
        ("grant", found["id"]),
        ("state", found["state"]),
        ("entry", found["entry"]),
        ("hosts", found["hosts"]),
        ("group", found["group"]),
        ("alerts", found["alertnames"] or "any"),
        ("used", f"{found['used']} of {found['max_runs']}"),
        ("until", when(found["until"])),
        ("given by", f"{', '.join(found['by'])} ({len(found['by'])} of {found['need']})"),
        ("reason", found["reason"]),
        ("given", when(found["created_at"])),
        ("ended", ended),
        ("digest", found["digest"]),
    )
    session.show(found, (Facts(pairs),))


@grant.command()
@click.argument("id")
@click.option("--reason", default="", help="Why; kept on record.")
@pass_session
def confirm(session: Session, id: str, reason: str) -> None:
    """Give a standing grant as the second person; you confirm the entry as the server shows it now."""
    with session.client() as client:
        found = client.get(f"/api/v1/grants/{segment(id)}")
        if not session.json:
            session.show(found, (grants_table([found]),))
        answer = client.post(f"/api/v1/grants/{segment(id)}/confirm", {"digest": found["digest"], "reason": reason})
    session.done(answer, f"Confirmed; it is {answer['state']} now.")


@grant.command()
@click.argument("id")
@click.option("--reason", default="", help="Why; kept on record.")
@pass_session
def revoke(session: Session, id: str, reason: str) -> None:
    """Take a standing grant back, at once."""
    with session.client() as client:
        answer = client.delete(f"/api/v1/grants/{segment(id)}", reason=reason)
    session.done(answer, f"Taken back after {answer['used']} of {answer['max_runs']} runs.")
