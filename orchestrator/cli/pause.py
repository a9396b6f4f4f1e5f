"""`orchestrator pause` and `resume`: the kill switch, also with the server down."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.command import Verb, pass_session
from orchestrator.cli.session import Session
from orchestrator.errors import ServerUnreachable


@click.command(cls=Verb)
@click.option("--reason", default="", help="Why; shown on every page.")
@pass_session
def pause(session: Session, reason: str) -> None:
    """Kill switch: from now on no run starts.

    Intake and deciding go on; a play that runs is left to end. With the server down this writes the file `paused` in the data
    folder, which every worker on this machine obeys, and a row in PostgreSQL, which every worker does.
    """
    try:
        with session.client() as client:
            answer = client.post("/api/v1/pause", {"reason": reason})
    except ServerUnreachable:
        from orchestrator.app import pause_without_server

        path = _file(session)
        shared = pause_without_server(session.settings(), session.actor(), reason)
        where = f"{path} and the database say it" if shared else f"{path} says it"
        session.done(
            {"paused": str(path), "database": shared}, f"Paused. No server answers, so {where}: no run starts until `orchestrator resume`."
        )
        return
    session.done(answer, "Paused: no run starts until `orchestrator resume`.")


@click.command(cls=Verb)
@pass_session
def resume(session: Session) -> None:
    """Take the kill switch back: approved incidents go on."""
    try:
        with session.client() as client:
            answer = client.post("/api/v1/resume")
    except ServerUnreachable:
        # A row may have been written for several machines, too: take both back.
        with session.orchestrator() as program:
            program.resume(session.actor())
        _file(session).unlink(missing_ok=True)
        session.done({"paused": ""}, "Resumed; no server answers at the moment.")
        return
    session.done(answer, "Resumed: approved incidents go on.")


def _file(session: Session) -> Path:
    return Path(session.settings().data_dir) / "paused"
