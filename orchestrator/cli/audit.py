"""`orchestrator audit`: verify, export, redact, prune."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Facts, Table
from orchestrator.cli.session import Session, read_input
from orchestrator.errors import UsageError


@click.group(cls=Noun, no_args_is_help=True)
def audit() -> None:
    """Verify, export, redact and prune the audit log."""


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


@audit.command()
@click.argument("event", type=int)
@click.option("--reason", required=True, help="Why; it stays in the log, so name no secret here.")
@pass_session
def redact(session: Session, event: int, reason: str) -> None:
    """Take the body of one EVENT out of the log; its number is the `id` that `audit export` prints.

    A tombstone says who did it and why, and the log still verifies. The incident itself, its alert and the output of its runs
    stay: see `audit prune`.
    """
    with session.orchestrator() as program:
        program.store.chain.redact(event, session.actor().name, reason)
    session.done({"redacted": event}, f"The body of event {event} is gone; a tombstone says so.")


@audit.command()
@click.option("--before", required=True, help="ISO time; what is older is taken out.")
@click.option("--reason", default="", help="Why; it stays in the log.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@pass_session
def prune(session: Session, before: str, reason: str, yes: bool) -> None:
    r"""Take out the bodies of all events before a time, and the output of runs that ended before it.

    Incidents that are still open are left whole. The hashes stay, one tombstone says what was done, and the log still verifies.

    \b
    Example:
      orchestrator audit prune --before 2025-01-01T00:00:00Z --reason "kept for a year" --yes
    """
    until = _time(before, "--before")
    if not yes:
        click.confirm(f"This takes out everything before {until.isoformat()} for good. Go on?", abort=True, err=True)
    with session.orchestrator() as program:
        bodies, pieces = program.store.chain.prune(until, session.actor().name, reason)
    session.done({"events": bodies, "output": pieces}, f"The bodies of {bodies} events and {pieces} pieces of run output are gone.")


def _time(text: str, option: str = "--since") -> datetime:
    """Return an aware time; one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: is no ISO time. Mend: write 2026-01-31T08:00:00Z.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
