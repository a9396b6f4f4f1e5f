"""`orchestrator audit`: verify, export."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Facts, Table
from orchestrator.cli.session import Session, read_input
from orchestrator.errors import UsageError


@click.group(cls=Noun, no_args_is_help=True)
def audit() -> None:
    """Verify and export the audit log."""


@audit.command()
@click.option("--head", "head_file", help="File with heads of the global chain that were kept elsewhere; the last one counts.")
@pass_session
def verify(session: Session, head_file: str | None) -> int:
    """Check every hash of the audit log; exit code 1 where a chain is broken.

    Without --head an attacker who can write the whole database could compute every hash anew: keep a head outside.
    """
    words = read_input(head_file).decode(errors="replace").split() if head_file else []
    head = words[-1] if words else ""
    with session.orchestrator() as program:
        found = program.verify_audit(head)
    facts = Facts((("intact", found["ok"]), ("events", found["events"]), ("incidents", found["incidents"]), ("against a head", bool(head))))
    session.show(found, (facts, "", Table(("problem",), [(problem,) for problem in found["problems"]], "No problem was found.")))
    return 0 if found["ok"] else 1


@audit.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "ecs"]),
    default="jsonl",
    show_default=True,
    help="One JSON object a line; ecs: Elastic's field names.",
)
@click.option("--since", help="Only events since this ISO time.")
@pass_session
def export(session: Session, form: str, since: str | None) -> None:
    r"""Print the audit log, oldest first, one event a line.

    \b
    Example:
      orchestrator audit export --since 2026-01-01T00:00:00Z > audit.jsonl
    """
    with session.orchestrator() as program:
        for line in program.audit_export(form, _time(since) if since else None):
            print(line.rstrip("\n"))


def _time(text: str) -> datetime:
    """Return an aware time; one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--since {text!r}: is no ISO time. Mend: write 2026-01-31T08:00:00Z.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
