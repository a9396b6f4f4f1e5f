"""`orchestrator db`: upgrade, backup, restore."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError


@click.group(cls=Noun, no_args_is_help=True)
def db() -> None:
    """Upgrade, back up and restore the database."""


@db.command()
@pass_session
def upgrade(session: Session) -> None:
    """Bring the database to this program's version; safe to repeat."""
    with session.orchestrator() as program:
        said = program.db_upgrade()
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

    restore_database(session.settings(), file)
    session.done(
        {"file": str(file)}, f"{file} is in place. What was in flight is unknown; nothing runs by itself until `orchestrator resume`."
    )
