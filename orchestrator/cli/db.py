"""`orchestrator db`: upgrade, backup, restore, restored, move."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError


@click.group(cls=Noun, no_args_is_help=True)
def db() -> None:
    """Upgrade, back up, restore and move the database."""


@db.command()
@pass_session
def upgrade(session: Session) -> None:
    """Bring the database to this program's version; stop the server and workers first. Safe to repeat.

    A SQLite database is copied beside itself first; the server upgrades one by itself when it starts.
    """
    from orchestrator.app import upgrade_database

    said = upgrade_database(session.settings())
    session.done({"database": said}, said)


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@pass_session
def backup(session: Session, file: Path) -> None:
    """Write a consistent copy of the database to FILE, also while the server runs."""
    if file.exists():
        raise UsageError(f"{file}: exists. Mend: name a file that does not.")
    with session.orchestrator() as program:
        program.db_backup(file)
    session.done({"file": str(file)}, f"{file} holds the database now.")


@db.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Replace the present database without asking.")
@pass_session
def restore(session: Session, file: Path, yes: bool) -> None:
    """Put the database of FILE in place; stop the server first.

    Everything that was in flight is unknown afterwards, and nothing runs by itself until an admin says `orchestrator resume`.
    """
    if not yes:
        click.confirm("This replaces the present database. Go on?", abort=True, err=True)
    from orchestrator.app import restore_database

    _told(session, file.name, restore_database(session.settings(), file))


@db.command()
@click.option("--from", "source", default="pg_restore", show_default=True, help="What was restored; shown until an admin resumes.")
@pass_session
def restored(session: Session, source: str) -> None:
    """Say that the database was put back by other means, such as pg_restore; before the server starts again."""
    from orchestrator.store.backup import after_restore

    with session.orchestrator() as program:
        flying = after_restore(program.store.db, program.store.chain, source)
    _told(session, source, flying)


@db.command()
@click.option("--to", required=True, help="Address of an empty database: postgresql://USER@HOST/NAME; the password stands in ~/.pgpass.")
@pass_session
def move(session: Session, to: str) -> None:
    """Copy the SQLite database to an empty PostgreSQL one; stop the server first.

    Everything is copied in one transaction and checked, the audit log included; what is in flight goes on there. The old file is
    kept, and no server starts on it again.
    """
    from orchestrator.app import move_database

    counts = move_database(session.settings(), to)
    words = (
        f"{sum(counts.values())} rows of {len(counts)} tables were copied and checked. Now write this address in database.url, and start."
    )
    session.done({"moved": True, "rows": counts}, words)


def _told(session: Session, source: str, flying: int) -> None:
    session.done(
        {"restored": source, "in_flight": flying},
        f"{source} is in place. {flying} runs that were in flight are unknown; nothing runs by itself until `orchestrator resume`.",
    )
