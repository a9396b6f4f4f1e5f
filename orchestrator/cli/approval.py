"""`orchestrator approval`: list, show, approve, reject, choose, escalate, snooze."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from orchestrator.cli.card import card_page
from orchestrator.cli.client import Client, segment
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Table, when
from orchestrator.cli.session import Session
from orchestrator.errors import Conflict, UsageError

Json = Mapping[str, Any]


@click.group(cls=Noun, no_args_is_help=True)
def approval() -> None:
    """Answer what waits for a person."""


@approval.command("list")
@click.option("--state", multiple=True, help="Only this state (default: pending).")
@click.option("--now", is_flag=True, help="Only what needs somebody now: without what was put off.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@pass_session
def list_(session: Session, state: tuple[str, ...], now: bool, limit: int) -> None:
    """List approvals; without options those that wait for an answer."""
    if now and state:
        raise UsageError("--now lists pending approvals only. Mend: leave --state or --now out.")
    with session.client() as client:
        found = client.items("/api/v1/approvals", limit, state=list(state))
        needed = {one["approval"] for one in client.get("/api/v1/desk")["now"]} if now else set()
    found = [item for item in found if not now or item["id"] in needed]
    rows = [
        (
            item["id"],
            item["state"],
            item["proposal"]["entry"],
            item["proposal"]["hosts"],
            f"{have(item)}/{item['need']}",
            when(item["expires_at"]),
            _aside(item),
        )
        for item in found
    ]
    columns = ("id", "state", "entry", "hosts", "yes", "expires", "aside")
    session.show({"items": found}, (Table(columns, rows, "Nothing waits for an answer."),))


def _aside(item: Json) -> str:
    words = [f"put off until {when(item['snoozed_until'])}" if item.get("snoozed_until") else ""]
    words.append(f"handed to {item['escalated_to']}" if item.get("escalated_to") else "")
    return "; ".join(one for one in words if one)


@approval.command()
@click.argument("id")
@click.option("--hosts", multiple=True, help="Show it narrowed to these of the proposed hosts; commas or several times.")
@click.option("--pin", "pins", multiple=True, metavar="NAME=VALUE", help="Show it with a parameter held at a value.")
@pass_session
def show(session: Session, id: str, hosts: tuple[str, ...], pins: tuple[str, ...]) -> None:
    """Show the card: what would run where, why, the check run's diff, guards, record, undo and who may decide."""
    with session.client() as client:
        found = _card(client, id, hosts, pins)
    session.show(found, card_page(found))


def _card(client: Client, id: str, hosts: tuple[str, ...], pins: tuple[str, ...]) -> Json:
    """Return the card, narrowed as asked; pinned text stays text where the proposed value is text."""
    path = f"/api/v1/approvals/{segment(id)}/card"
    found: Json = client.get(path)
    if not hosts and not pins:
        return found
    pinned = parse_pins(pins, {one["name"]: one["proposed"] for one in found["settings"]})
    narrowed: Json = client.get(path, hosts=",".join(split(hosts)), pins=json.dumps(pinned) if pinned else "")
    return narrowed


@approval.command()
@click.argument("id")
@click.option("--reason", default="", help="Why; kept on record.")
@click.option("--hosts", multiple=True, help="Only on these of the proposed hosts; commas or several times.")
@click.option("--pin", "pins", multiple=True, metavar="NAME=VALUE", help="Hold a parameter at a value; it can only narrow.")
@click.option("--digest", default="", help="Approve only what has this digest, as it was shown before.")
@pass_session
def approve(session: Session, id: str, reason: str, hosts: tuple[str, ...], pins: tuple[str, ...], digest: str) -> None:
    r"""Approve exactly what the card shows.

    The card is fetched and shown, narrowed as you say, and its digest is sent along: if what it covers changes in between, the
    server refuses and says what changed. Where two people are needed, the second names the same hosts and pins as the first.

    \b
    Examples:
      orchestrator approval approve 01h9…:1 --reason "seen on the dashboard"
      orchestrator approval approve 01h9…:1 --hosts web1 --pin restart_service_port=443
    """
    with session.client() as client:
        found = _card(client, id, hosts, pins)
        _demand(found, digest)
        body: dict[str, Any] = {"digest": found["digest"], "reason": reason}
        if hosts:
            body["hosts"] = split(hosts)
        if pins:
            body["pins"] = parse_pins(pins, {one["name"]: one["proposed"] for one in found["settings"]})
        if not session.json:
            session.show(found, card_page(found))
        answer = client.post(f"/api/v1/approvals/{segment(id)}/approve", body)
    waits = f"Approved by {answer['have']} of {answer['need']}: another person has to approve the same, too." if "have" in answer else ""
    session.done(answer, waits or "Approved.")


@approval.command()
@click.argument("id")
@click.option("--reason", required=True, help="Why not; kept on record and shown to the others.")
@click.option("--digest", default="", help="Reject only what has this digest.")
@pass_session
def reject(session: Session, id: str, reason: str, digest: str) -> None:
    """Reject; the incident goes to a person."""
    with session.client() as client:
        found = client.get(f"/api/v1/approvals/{segment(id)}")
        _demand(found, digest)
        answer = client.post(f"/api/v1/approvals/{segment(id)}/reject", {"digest": found["digest"], "reason": reason})
    session.done(answer, "Rejected; the incident is with a person now.")


@approval.command()
@click.argument("id")
@click.argument("entry")
@click.option("--reason", required=True, help="Why the other one; kept on record.")
@click.option("--hosts", multiple=True, help="Only on these of the proposed hosts; commas or several times.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A parameter that neither labels nor defaults give.")
@pass_session
def choose(session: Session, id: str, entry: str, reason: str, hosts: tuple[str, ...], values: tuple[str, ...]) -> None:
    r"""Choose another entry instead: a new proposal with its own check, and you are its proposer.

    \b
    Example:
      orchestrator approval choose 01h9…:1 rotate_logs --reason "the logs fill the disk"
    """
    with session.client() as client:
        given = parameters(values, types_of(client, entry), "rotate_logs_name=nginx")
        body = {"alternative": entry, "reason": reason, "parameters": given, "hosts": split(hosts)}
        answer = client.post(f"/api/v1/approvals/{segment(id)}/choose", body)
    session.done(answer, f"{entry} is proposed instead; incident {answer['id']} is {answer['status']}.")


@approval.command()
@click.argument("id")
@click.option("--to", required=True, help="A person or a group.")
@click.option("--reason", required=True, help="Why; kept on record.")
@pass_session
def escalate(session: Session, id: str, to: str, reason: str) -> None:
    """Hand an open question to somebody; who may answer it and when it expires stay as they are."""
    with session.client() as client:
        answer = client.post(f"/api/v1/approvals/{segment(id)}/escalate", {"to": to, "reason": reason})
    session.done(answer, f"Handed to {to}; it expires {when(answer['expires_at'])} as before.")


@approval.command()
@click.argument("id")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="For how long.")
@click.option("--until", default="", help="Or until when: an ISO time with an offset.")
@click.option("--reason", default="", help="Why; kept on record.")
@pass_session
def snooze(session: Session, id: str, minutes: float | None, until: str, reason: str) -> None:
    """Put an open question off until a time before it expires; it stays listed, and a first yes or a resolve wakes it."""
    if (minutes is None) == (not until):
        raise UsageError("give either --minutes or --until.")
    body = {"reason": reason} | ({"minutes": minutes} if minutes is not None else {"until": until})
    with session.client() as client:
        answer = client.post(f"/api/v1/approvals/{segment(id)}/snooze", body)
    session.done(answer, f"Put off until {when(answer['snoozed_until'])}; it expires {when(answer['expires_at'])}.")


def _demand(found: Json, digest: str) -> None:
    if digest and digest != found["digest"]:
        raise Conflict(
            f"the proposal has changed: its digest is {found['digest']}, not {digest}. Mend: look at it again with `approval show`."
        )


def split(values: tuple[str, ...]) -> list[str]:
    """Return the names in options that were given several times or with commas."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def parse_pins(pins: tuple[str, ...], proposed: Mapping[str, Any]) -> dict[str, Any]:
    """Return `name=value` options as parameters; a value is text where the proposed one is text, else JSON.

    Raises:
        UsageError: an option has no `=` or no name.
    """
    return parse_pairs("--pin", "restart_service_port=443", pins, lambda name: isinstance(proposed.get(name), str))


def types_of(client: Client, entry: str) -> dict[str, str]:
    """Return the type of each parameter of an entry, as the server's catalogue tells it."""
    return {item["name"]: item["type"] for item in client.get(f"/api/v1/catalogue/{segment(entry)}").get("parameters", ())}


def parameters(values: tuple[str, ...], types: Mapping[str, str], example: str = "restart_service_name=nginx") -> dict[str, Any]:
    """Return `name=value` options as parameters; a value is text where the entry says `str`, else JSON.

    Raises:
        UsageError: an option has no `=` or no name.
    """
    return parse_pairs("--set", example, values, lambda name: types.get(name) == "str")


def parse_pairs(option: str, example: str, pairs: tuple[str, ...], is_text: Callable[[str], bool]) -> dict[str, Any]:
    """Return `name=value` options as parameters; a value is text where `is_text` says so of its name, else JSON.

    Raises:
        UsageError: an option has no `=` or no name.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"{option} {pair!r}: is not name=value. Mend: write {option} {example}.")
        parsed[name] = text if is_text(name) else value_of(text)
    return parsed


def value_of(text: str) -> Any:
    """Return the JSON value that `text` is, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def have(item: Json) -> int:
    """Return how many different people have approved."""
    return len({answer["actor"] for answer in item.get("answers", ()) if answer["approve"]})
