"""`orchestrator user`: add, list, passwd."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.approval import split
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Table
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError
from orchestrator.model import Role

ROLES = [Role.VIEWER.value, Role.APPROVER.value, Role.ADMIN.value]


@click.group(cls=Noun, no_args_is_help=True)
def user() -> None:
    """Add and list users; set passwords."""


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default=Role.VIEWER.value, show_default=True, help="What the user may do.")
@click.option("--group", "groups", multiple=True, help="A group that entries name as approvers; may be given several times.")
@pass_session
def add(session: Session, name: str, role: str, groups: tuple[str, ...]) -> None:
    r"""Add a user; the password is asked for, or read from standard input.

    \b
    Example:
      orchestrator user add anna --role approver --group oncall
    """
    password = _password()
    with session.orchestrator() as program:
        program.create_user(name, password, Role(role), tuple(split(groups)))
    session.done({"name": name, "role": role, "groups": split(groups)}, f"{name} is {role} now.")


@user.command("list")
@pass_session
def list_(session: Session) -> None:
    """List users."""
    with session.orchestrator() as program:
        found = program.users()
    rows = [(actor.name, actor.role, actor.groups) for actor in found]
    session.show({"items": found}, (Table(("name", "role", "groups"), rows, "No users."),))


@user.command()
@click.argument("name")
@pass_session
def passwd(session: Session, name: str) -> None:
    """Set a user's password; it is asked for, or read from standard input."""
    password = _password()
    with session.orchestrator() as program:
        program.set_password(name, password)
    session.done({"name": name}, f"{name} has a new password.")


def _password() -> str:
    """Return a password, asked for twice on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise UsageError("no password was given. Mend: type one, or send one on standard input.")
    return text
