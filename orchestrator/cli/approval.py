"""`orchestrator approval`: list, show, approve, reject."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from orchestrator.cli.client import segment
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.incident import diffs, judged
from orchestrator.cli.render import Facts, Page, Part, Table, moment
from orchestrator.cli.session import Session
from orchestrator.errors import Conflict, UsageError

Json = Mapping[str, Any]


@click.group(cls=Noun, no_args_is_help=True)
def approval() -> None:
    """Answer what waits for a person."""


@approval.command("list")
@click.option("--state", multiple=True, help="Only this state (default: pending).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many at most.")
@pass_session
def list_(session: Session, state: tuple[str, ...], limit: int) -> None:
    """List approvals; without options those that wait for an answer."""
    with session.client() as client:
        found = client.items("/api/v1/approvals", limit, state=list(state))
    rows = [
        (item["id"], item["state"], _title(item), item["proposal"]["hosts"], f"{have(item)}/{item['need']}", moment(item["expires_at"]))
        for item in found
    ]
    session.show({"items": found}, (Table(("id", "state", "entry", "hosts", "yes", "expires"), rows, "Nothing waits for an answer."),))


@approval.command()
@click.argument("id")
@pass_session
def show(session: Session, id: str) -> None:
    """Show the card: what would run where, why, the check run's diff, and what the policy said."""
    with session.client() as client:
        found = client.get(f"/api/v1/approvals/{segment(id)}")
    session.show(found, card(found))


@approval.command()
@click.argument("id")
@click.option("--reason", default="", help="Why; kept on record.")
@click.option("--hosts", multiple=True, help="Only on these of the proposed hosts; commas or several times.")
@click.option("--pin", "pins", multiple=True, metavar="NAME=VALUE", help="Hold a parameter at a value; it can only narrow.")
@click.option("--digest", default="", help="Approve only what has this digest, as it was shown before.")
@pass_session
def approve(session: Session, id: str, reason: str, hosts: tuple[str, ...], pins: tuple[str, ...], digest: str) -> None:
    r"""Approve exactly what the card shows.

    The card is fetched and shown, and its digest is sent along: if what it covers changes in between, the server refuses.

    \b
    Examples:
      orchestrator approval approve 01h9…:1 --reason "seen on the dashboard"
      orchestrator approval approve 01h9…:1 --hosts web1 --pin restart_service_port=443
    """
    with session.client() as client:
        found = client.get(f"/api/v1/approvals/{segment(id)}")
        _demand(found, digest)
        body: dict[str, Any] = {"digest": found["digest"], "reason": reason}
        if hosts:
            body["hosts"] = split(hosts)
        if pins:
            body["pins"] = parse_pins(pins, found["proposal"]["parameters"])
        if not session.json:
            session.show(found, card(found))
        answer = client.post(f"/api/v1/approvals/{segment(id)}/approve", body)
    waits = f"Approved by {answer['have']} of {answer['need']}: another person has to approve, too." if "have" in answer else ""
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


def _title(item: Json) -> str:
    return str(item["proposal"]["entry"]) + (" (undo)" if item.get("kind") == "undo" else "")


def card(found: Json) -> Page:
    """Return everything that an answer covers."""
    proposal = found["proposal"]
    facts = Facts(
        (
            ("approval", found["id"]),
            ("state", found["state"]),
            ("entry", _title(found)),
            ("hosts", proposal["hosts"]),
            ("parameters", proposal["parameters"]),
            ("origins", proposal.get("origins")),
            ("summary", proposal["summary"]),
            ("chosen by", f"{proposal['engine']} ({proposal['agreement']})"),
            ("undo", found.get("undo")),
            ("approved", f"{have(found)} of {found['need']}"),
            ("who may", found.get("approvers") or "any approver"),
            ("expires", moment(found["expires_at"])),
            ("digest", found["digest"]),
        )
    )
    answers = [(answer["actor"], "yes" if answer["approve"] else "no", answer["reason"]) for answer in found.get("answers", ())]
    parts: list[Part] = [facts, *judged(found.get("verdict") or {})]
    if answers:
        parts += ["", Table(("who", "said", "why"), answers)]
    check = found.get("check")
    if check:
        said = [f"It said: {check['message']}"] if check.get("message") else []
        parts += ["", f"Check run: {check.get('outcome')}; it would change {len(check.get('diffs', ()))} thing(s).", *said, *diffs(check)]
    return tuple(parts)
