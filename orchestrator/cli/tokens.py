"""`orchestrator token`: create, list, revoke."""

from __future__ import annotations

import click

from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Table
from orchestrator.cli.session import Session
from orchestrator.model import Role


@click.group(cls=Noun, no_args_is_help=True)
def token() -> None:
    """Create, list and revoke API tokens."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What the token may do.")
@pass_session
def create(session: Session, name: str, role: str) -> None:
    r"""Create a token; it is shown once, here.

    \b
    Example:
      orchestrator token create grafana --role viewer
    """
    with session.orchestrator() as program:
        secret = program.create_token(name, Role(role))
    session.show({"name": name, "role": role, "token": secret}, secret)


@token.command("list")
@pass_session
def list_(session: Session) -> None:
    """List tokens, without their secrets."""
    with session.orchestrator() as program:
        found = program.tokens()
    rows = [(item["name"], item["role"], item["created_at"], item["last_used_at"], item["revoked"]) for item in found]
    session.show({"items": found}, (Table(("name", "role", "created", "last used", "revoked"), rows, "No tokens."),))


@token.command()
@click.argument("name")
@pass_session
def revoke(session: Session, name: str) -> None:
    """Revoke a token at once."""
    with session.orchestrator() as program:
        program.revoke_token(name)
    session.done({"name": name, "revoked": True}, f"{name} is revoked.")
