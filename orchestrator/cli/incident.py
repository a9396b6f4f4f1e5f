"""`orchestrator incident`: list, show, explain, cancel, close, retry, take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from orchestrator.cli.client import Client, segment
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Block, Facts, Page, Part, Table, short, watching, when
from orchestrator.cli.report import report
from orchestrator.cli.session import Session
from orchestrator.cli.story import sentence

Json = Mapping[str, Any]
WATCH_S: Final = 2.0


@click.group(cls=Noun, no_args_is_help=True)
def incident() -> None:
    """List, show, explain and end incidents."""


@incident.command("list")
@click.option("--status", multiple=True, help="Only this status; may be given several times.")
@click.option("--fingerprint", help="Only incidents of this alert.")
@click.option("--alertname", help="Only alerts of this name.")
@click.option("--host", help="Only incidents of this host.")
@click.option("--since", help="Only incidents created since this ISO time.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@click.option("--watch", is_flag=True, help="Show the list anew every two seconds until Ctrl-C.")
@pass_session
def list_(session: Session, /, limit: int, watch: bool, **filters: Any) -> None:
    r"""List incidents, newest first.

    \b
    Examples:
      orchestrator incident list --status escalated --status awaiting_approval
      orchestrator incident list --host web1 --watch
    """
    with session.client() as client:
        if not watch:
            found = client.items("/api/v1/incidents", limit, **filters)
            session.show({"items": found}, (listing(found),))
            return
        _watch(session, lambda: client.items("/api/v1/incidents", limit, **filters))


def _watch(session: Session, ask: Callable[[], list[dict[str, Any]]]) -> None:
    """Show a list anew until Ctrl-C: in the same place on a terminal; with --json one object a line whenever it has changed."""
    before: list[dict[str, Any]] | None = None
    with watching() as draw:
        while True:
            found = ask()
            if session.json:
                session.show_lines([({"items": found}, "")] if found != before else [])
            elif found != before:
                draw((listing(found),))
            before = found
            time.sleep(WATCH_S)


@incident.command()
@click.argument("id")
@pass_session
def show(session: Session, id: str) -> None:
    """Show one incident and what happened."""
    with session.client() as client:
        found = _incident(client, id)
        events = client.items(f"/api/v1/incidents/{segment(id)}/timeline", 1000)
    session.show({**found, "timeline": events}, (*_head(found), timeline(events)))


@incident.command()
@click.argument("id")
@pass_session
def explain(session: Session, id: str) -> None:
    """Tell why an incident stands where it stands: evidence, choice, policy, verification."""
    with session.client() as client:
        found = _incident(client, id)
    keys = ("id", "status", "reason", "detail", "blocked_by", "context", "proposal", "verdict", "verification", "tried")
    session.show({key: found.get(key) for key in keys}, explanation(found))


@incident.command("report")
@click.argument("id")
@pass_session
def report_(session: Session, id: str) -> None:
    r"""Write an incident down as Markdown, for a post-mortem.

    \b
    Example:
      orchestrator incident report 01h9… > incident.md
    """
    with session.client() as client:
        found = _incident(client, id)
        events = client.items(f"/api/v1/incidents/{segment(id)}/timeline", 1000)
        runs = client.items("/api/v1/runs", 1000, incident=id)
    text = report(found, events, runs)
    session.show({"markdown": text}) if session.json else click.echo(text, nl=False)


def _act(name: str, help_text: str, past: str) -> None:
    @incident.command(name, help=help_text)
    @click.argument("id")
    @click.option("--reason", default="", help="Why; kept on record.")
    @pass_session
    def act(session: Session, id: str, reason: str) -> None:
        with session.client() as client:
            answer = client.post(f"/api/v1/incidents/{segment(id)}/{name}", {"reason": reason})
        session.done(answer, f"{id}: {past}; it is {answer.get('status', past)} now.")


_act("cancel", "Stop an incident. A play that runs is left to end.", "cancelled")
_act("close", "Close an incident that a person has dealt with.", "closed")
_act("retry", "Let the program look at an escalated incident anew.", "sent back")
_act("take", "Take an incident over; the program leaves it alone.", "taken")


@incident.command()
@click.argument("id")
@click.argument("text", required=False)
@pass_session
def note(session: Session, id: str, text: str | None) -> None:
    """Write TEXT down at an incident, on record, also when it has ended; without TEXT, list what was written."""
    path = f"/api/v1/incidents/{segment(id)}/notes"
    with session.client() as client:
        if text is not None:
            session.done(client.post(path, {"text": text}), f"{id}: noted.")
            return
        found = client.get(path)
    rows = [(when(one["at"]), one["by"], one["text"]) for one in found["items"]]
    session.show(found, (Table(("time", "who", "note"), rows, "No notes."),))


def _incident(client: Client, id: str) -> Json:
    found: Json = client.get(f"/api/v1/incidents/{segment(id)}")
    return found


# ---------------------------------------------------------------- what a person reads


def listing(items: list[dict[str, Any]]) -> Table:
    """Return the table of incidents."""
    rows = [
        (
            item["id"],
            item["status"],
            item.get("blocked_by") or item.get("reason"),
            item["alertname"],
            item["target"],
            item["entry"],
            when(item["created_at"]),
        )
        for item in items
    ]
    return Table(("id", "status", "why", "alert", "target", "entry", "created"), rows, "No incidents.")


def _head(found: Json) -> tuple[Part, ...]:
    alert, proposal = found["alert"], found.get("proposal") or {}
    facts = Facts(
        (
            ("incident", found["id"]),
            ("status", found["status"]),
            ("reason", found.get("reason")),
            ("detail", found.get("detail")),
            ("waits for", found.get("blocked_by")),
            ("alert", alert["labels"].get("alertname")),
            ("labels", alert["labels"]),
            ("entry", proposal.get("entry")),
            ("hosts", proposal.get("hosts")),
            ("parameters", proposal.get("parameters")),
            ("attempt", found.get("attempt")),
            ("approval", found.get("approval")),
            ("allowed by", (found.get("grant") or {}).get("by")),
            ("standing grant", (found.get("grant") or {}).get("standing")),
            ("parent", found.get("parent")),
            ("previous", found.get("previous")),
            ("taken by", found.get("taken_by")),
            ("created", when(found.get("created_at"))),
        )
    )
    return (facts, "")


def timeline(events: list[dict[str, Any]]) -> Table:
    """Return the table of what happened."""
    return Table(
        ("time", "what", "who", "details"),
        [(when(event["at"]), event["kind"], event["actor"], sentence(event)) for event in events],
        "Nothing is on record.",
    )


def explanation(found: Json) -> Page:
    """Return the reasons behind an incident's state, in the order in which they came up."""
    parts: list[Part] = [*_head(found)]
    parts.append(f"It is {found['status']}" + (f" because: {found['reason']}" if found.get("reason") else "") + ".")
    parts.extend(_evidence(found.get("context") or {}))
    parts.extend(_choice(found.get("proposal") or {}))
    parts.extend(judged(found.get("verdict") or {}))
    verification = found.get("verification")
    if verification:
        rows = [(check["name"], {True: "ok", False: "fail", None: "?"}[check["ok"]], check["detail"]) for check in verification["checks"]]
        parts += ["", Table(("check", "holds", "detail"), rows, title=f"Verification: {verification['health']}")]
    return tuple(parts)


def _evidence(context: Json) -> list[Part]:
    rows = [(item["id"], item["title"], short(item["text"])) for item in context.get("evidence", ())]
    rows += [(item["source"], "gave nothing", item["reason"]) for item in context.get("missing", ())]
    return ["", Table(("evidence", "what", "says"), rows, title="What was known")] if rows else []


def _choice(proposal: Json) -> list[Part]:
    if not proposal:
        return []
    facts = Facts(
        (
            ("choice", proposal["choice"]),
            ("summary", proposal["summary"]),
            ("engine", proposal["engine"]),
            ("agreement", proposal["agreement"]),
            ("entry", proposal.get("entry")),
            ("hosts", proposal.get("hosts")),
            ("parameters", proposal.get("parameters")),
            ("origins", proposal.get("origins")),
        ),
        title="What was chosen",
    )
    parts: list[Part] = ["", facts]
    claims = [(claim["text"], claim["evidence"] or "no evidence named") for claim in proposal.get("claims", ())]
    if claims:
        parts.append(Table(("because", "evidence"), claims))
    others = [(other["entry"], other["why_not"]) for other in proposal.get("alternatives", ())]
    if others:
        parts.append(Table(("not chosen", "why"), others))
    return parts


def judged(verdict: Json) -> list[Part]:
    """Return what the policy looked at."""
    if not verdict:
        return []
    rows = [(guard["name"], "ok" if guard["ok"] else "no", guard["detail"]) for guard in verdict.get("guards", ())]
    title = f"What the policy said: {verdict['effect']}" + (f" ({', '.join(verdict['reasons'])})" if verdict.get("reasons") else "")
    return ["", Table(("guard", "holds", "detail"), rows, title=title)]


def diffs(run: Json) -> list[Part]:
    """Return the diffs of a run."""
    return [Block(item["diff"], f"{item['host']}: {item['task']}") for item in run.get("diffs", ())]
