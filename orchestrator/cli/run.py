"""`orchestrator run`: list, show, tail, cancel, undo, settle, start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from orchestrator.cli.approval import parameters, split, types_of
from orchestrator.cli.client import Client, segment
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.incident import diffs
from orchestrator.cli.render import Facts, Table, clock, following, when
from orchestrator.cli.session import Session
from orchestrator.errors import NotFound

Json = Mapping[str, Any]


@click.group(cls=Noun, no_args_is_help=True)
def run() -> None:
    """Follow, cancel, undo, settle and start runs."""


@run.command("list")
@click.option("--incident", help="Only runs of this incident.")
@click.option("--entry", help="Only runs of this catalogue entry.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@pass_session
def list_(session: Session, incident: str | None, entry: str | None, limit: int) -> None:
    """List runs, newest first."""
    with session.client() as client:
        found = client.items("/api/v1/runs", limit, incident=incident, entry=entry)
    rows = [
        (item["id"], item["kind"], item["entry"], item["state"], item.get("outcome"), list(item["hosts"]), when(item.get("started_at")))
        for item in found
    ]
    session.show({"items": found}, (Table(("id", "kind", "entry", "state", "outcome", "hosts", "started"), rows, "No runs."),))


@run.command()
@click.argument("id")
@pass_session
def show(session: Session, id: str) -> None:
    """Show a run: its outcome per host, and what it changed."""
    with session.client() as client:
        found = client.get(f"/api/v1/runs/{segment(id)}")
    facts = Facts(
        (
            ("run", found["id"]),
            ("kind", found["kind"]),
            ("entry", found["entry"]),
            ("state", found["state"]),
            ("outcome", found.get("outcome")),
            ("message", found.get("message")),
            ("started", when(found.get("started_at"))),
            ("ended", when(found.get("ended_at"))),
        )
    )
    session.show(found, (facts, "", _per_host(found), *diffs(found)))


@run.command()
@click.argument("id")
@click.option("--follow/--no-follow", default=True, help="Wait for more until the run has ended (default), or print what there is.")
@click.option("--host", "hosts", multiple=True, help="Only lines of this host; commas or several times.")
@click.option("--kind", "kinds", multiple=True, help="Only these kinds of line: ok, changed, failed, unreachable, skipped, task, output …")
@pass_session
def tail(session: Session, id: str, follow: bool, hosts: tuple[str, ...], kinds: tuple[str, ...]) -> int:
    """Follow a run until it ends, with a bar against its usual duration; exit code 1 if it has ended and was not successful."""
    with session.client() as client:
        path = f"/api/v1/runs/{segment(id)}"
        found = client.get(path)
        wanted = (event for event in client.events(id, follow=follow) if _wanted(event, split(hosts), split(kinds)))
        if session.json:
            session.show_lines((event, "") for event in wanted)
        else:
            with following(id, _usual_s(client, found), found.get("started_at")) as line:
                for event in wanted:
                    line(_line(event))
        found = client.get(path)
    if not session.json and found["hosts"]:
        session.show(found, (_per_host(found),))
    return 0 if found.get("outcome") == "successful" or (not follow and found["state"] in ("intent", "running")) else 1


def _usual_s(client: Client, found: Json) -> float | None:
    try:
        stats = client.get(f"/api/v1/catalogue/{segment(found['entry'])}").get("stats") or {}
    except NotFound:
        return None
    return stats.get("usual_s")


def _wanted(event: Json, hosts: list[str], kinds: list[str]) -> bool:
    return (not hosts or event.get("host") in hosts) and (not kinds or event["kind"] in kinds)


def _line(event: Json) -> str:
    words = (clock(event.get("at")), event["kind"], event.get("host"), event.get("task"), event.get("text"))
    return "  ".join(" ".join(str(item).split()) for item in words if item)


def _per_host(found: Json) -> Table:
    names = ("ok", "changed", "failures", "unreachable", "skipped")
    rows = [(host, *(stats.get(name, 0) for name in names)) for host, stats in found["hosts"].items()]
    return Table(("host", *names), rows, "No host was reached.")


@run.command()
@click.argument("id")
@pass_session
def cancel(session: Session, id: str) -> None:
    """Cancel a run that goes on; what it has done so far stays done."""
    with session.client() as client:
        answer = client.post(f"/api/v1/runs/{segment(id)}/cancel")
    session.done(answer, f"{id}: is being cancelled; the outcome is then verified.")


@run.command()
@click.argument("id")
@pass_session
def undo(session: Session, id: str) -> None:
    """Take a run back by the entry's undo play: a run with its own guards."""
    with session.client() as client:
        answer = client.post(f"/api/v1/runs/{segment(id)}/undo")
    session.done(answer, f"{id}: the undo is on its way; the incident is {answer.get('status', 'open')}.")


@run.command()
@click.argument("id")
@click.option("--outcome", type=click.Choice(["done", "not-done"]), required=True, help="What you found on the host.")
@click.option("--reason", required=True, help="How you know; kept on record.")
@pass_session
def settle(session: Session, id: str, outcome: str, reason: str) -> None:
    """Say how a run of unknown outcome ended; this frees its hosts."""
    with session.client() as client:
        answer = client.post(f"/api/v1/runs/{segment(id)}/settle", {"outcome": outcome, "reason": reason})
    session.done(answer, f"{id}: settled as {outcome}; its hosts are free.")


@run.command()
@click.argument("entry")
@click.option("--host", "hosts", multiple=True, required=True, help="An inventory host; commas or several times.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--reason", default="", help="Why; kept on record.")
@pass_session
def start(session: Session, entry: str, hosts: tuple[str, ...], values: tuple[str, ...], reason: str) -> None:
    r"""Propose a run yourself: the same card, the same guards.

    \b
    Example:
      orchestrator run start restart_service --host web1 --set restart_service_name=nginx --reason "config deployed"
    """
    with session.client() as client:
        given = parameters(values, types_of(client, entry))
        body = {"entry": entry, "hosts": split(hosts), "parameters": given, "reason": reason}
        answer = client.post("/api/v1/runs", body)
    session.done(answer, f"Incident {answer['id']} carries it; it is {answer['status']}.")
