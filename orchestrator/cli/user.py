"""`orchestrator user`: add, list, passwd, role, groups, disable, enable."""

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
    """Add and list users; set passwords, roles and groups; switch accounts off."""


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
        found, off = program.users(), program.disabled_users()
    items = [{"name": one.name, "role": one.role, "groups": one.groups, "disabled": one.name in off} for one in found]
    rows = [(one.name, one.role, one.groups, "off" if one.name in off else "") for one in found]
    session.show({"items": items}, (Table(("name", "role", "groups", "state"), rows, "No users."),))


@user.command()
@click.argument("name")
@pass_session
def passwd(session: Session, name: str) -> None:
    """Set a user's password, asked for or read from standard input; the user's sessions end."""
    password = _password()
    with session.orchestrator() as program:
        ended = program.set_password(name, password, by=session.actor().name)
    session.done({"name": name, "sessions_ended": ended}, f"{name} has a new password; {ended} sessions have ended.")


@user.command()
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@pass_session
def role(session: Session, name: str, role: str) -> None:
    r"""Give a user another role, at once.

    \b
    Example:
      orchestrator user role anna approver
    """
    with session.orchestrator() as program:
        program.set_role(name, Role(role))
    session.done({"name": name, "role": role}, f"{name} is {role} now.")


@user.command()
@click.argument("name")
@click.argument("groups", nargs=-1)
@pass_session
def groups(session: Session, name: str, groups: tuple[str, ...]) -> None:
    r"""Put a user into these approver groups and no others, at once.

    \b
    Example:
      orchestrator user groups anna oncall,database
    """
    chosen = tuple(split(groups))
    with session.orchestrator() as program:
        program.set_groups(name, chosen)
    session.done({"name": name, "groups": chosen}, f"{name} is in {', '.join(chosen) or 'no group'} now.")


@user.command()
@click.argument("name")
@pass_session
def disable(session: Session, name: str) -> None:
    """Switch an account off: its sessions end, and no way in is left."""
    with session.orchestrator() as program:
        ended = program.disable_user(name)
    session.done({"name": name, "disabled": True, "sessions_ended": ended}, f"{name} is off; {ended} sessions have ended.")


@user.command()
@click.argument("name")
@pass_session
def enable(session: Session, name: str) -> None:
    """Switch an account on again."""
    with session.orchestrator() as program:
        program.enable_user(name)
    session.done({"name": name, "disabled": False}, f"{name} may come in again.")


def _password() -> str:
    """Return a password, asked for twice on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise UsageError("no password was given. Mend: type one, or send one on standard input.")
    return text
