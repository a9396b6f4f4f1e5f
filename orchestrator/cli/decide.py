"""`orchestrator decide` and `policy test`: dry answers; nothing is stored and nothing runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from orchestrator.cli.command import Noun, Verb, pass_session
from orchestrator.cli.incident import judged
from orchestrator.cli.render import Facts, Part, Table, plain_json
from orchestrator.cli.session import Session, read_input
from orchestrator.errors import UsageError
from orchestrator.model import Effect


@click.command(cls=Verb)
@click.argument("file")
@pass_session
def decide(session: Session, file: str) -> None:
    """Decide on a webhook body without running anything; FILE may be `-`.

    Tells for each alert which entry would run where and with what, and what the policy would say.
    """
    body = read_input(file)
    with session.orchestrator() as program:
        found = plain_json(program.decide(body))
    parts: list[Part] = []
    for item in found:
        parts += [*_told(item), ""]
    session.show({"items": found}, tuple(parts) or ("No usable alert.",))


def _told(item: Mapping[str, Any]) -> list[Part]:
    proposal, verdict = item["proposal"], item.get("verdict") or {}
    labels = item["alert"]["labels"]
    facts = Facts(
        (
            ("alert", labels.get("alertname") or labels),
            ("choice", proposal["choice"]),
            ("entry", proposal["entry"]),
            ("hosts", proposal["hosts"]),
            ("parameters", proposal["parameters"]),
            ("engine", f"{proposal['engine']} ({proposal['agreement']})"),
            ("summary", proposal["summary"]),
        )
    )
    return [facts, *judged(verdict)]


@click.group(cls=Noun, no_args_is_help=True)
def policy() -> None:
    """Ask the policy."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a policy test: labels of an alert, and what the policy has to say of it."""

    name: str
    labels: Mapping[str, str]
    effect: str
    entry: str = ""
    reasons: tuple[str, ...] = ()


@policy.command()
@click.argument("file")
@pass_session
def test(session: Session, file: str) -> int:
    r"""Check what the policy says of alerts; exit code 1 where it says something else.

    FILE is YAML: a list of cases.

    \b
    - name: nginx may be restarted by itself
      labels: {alertname: ServiceDown, service: nginx, instance: "web1:80"}
      effect: allow            # allow, ask, deny, or none where nothing is to run
      entry: restart_service   # optional
      reasons: [cooldown]      # optional; each must be among those given
    """
    cases = read_cases(read_input(file), file)
    with session.orchestrator() as program:
        results = [judge(case, plain_json(program.decide(webhook(case.labels)))) for case in cases]
    rows = [(result["case"], "ok" if result["ok"] else "fail", result["expected"], result["got"]) for result in results]
    wrong = sum(not result["ok"] for result in results)
    session.show(
        {"ok": not wrong, "items": results},
        (Table(("case", "", "expected", "got"), rows, "No cases."), f"{len(rows)} cases, {wrong} wrong"),
    )
    return 1 if wrong else 0


def read_cases(body: bytes, file: str) -> list[Case]:
    """Return the cases of a YAML file.

    Raises:
        UsageError: it is not a list of cases; names the case and the field.
    """
    import yaml

    try:
        listed = yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise UsageError(f"{file}: is not YAML: {error}. Mend: see `orchestrator policy test --help`.") from error
    if not isinstance(listed, list):
        raise UsageError(f"{file}: is not a list of cases. Mend: see `orchestrator policy test --help`.")
    return [_case(item, f"{file}: case {number}") for number, item in enumerate(listed, 1)]


def _case(item: Any, where: str) -> Case:
    if not isinstance(item, dict) or not isinstance(item.get("labels"), dict):
        raise UsageError(f"{where}: labels: are missing. Mend: give the alert's labels.")
    effects = [*(effect.value for effect in Effect), "none"]
    if item.get("effect") not in effects:
        raise UsageError(f"{where}: effect: {item.get('effect')!r} is unknown. Mend: write one of {', '.join(effects)}.")
    unknown = sorted(set(item) - {"name", "labels", "effect", "entry", "reasons"})
    if unknown:
        raise UsageError(f"{where}: {unknown[0]}: no such field. Mend: see `orchestrator policy test --help`.")
    labels = {str(name): str(value) for name, value in item["labels"].items()}
    return Case(str(item.get("name", where)), labels, item["effect"], str(item.get("entry", "")), tuple(item.get("reasons", ())))


def webhook(labels: Mapping[str, str]) -> bytes:
    """Return a webhook body of one firing alert.

    Source: Alertmanager webhook, version 4.
    """
    alert = {"status": "firing", "labels": dict(labels), "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"}
    group = {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "test", "groupLabels": {}, "commonLabels": dict(labels)}
    return json.dumps({**group, "commonAnnotations": {}, "externalURL": "", "alerts": [alert]}).encode()


def judge(case: Case, decided: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare what was decided with what the case expects."""
    proposal = decided[0]["proposal"] if decided else {"choice": "none", "entry": ""}
    verdict = (decided[0].get("verdict") if decided else None) or {}
    effect = verdict.get("effect", "none") if proposal["choice"] == "run" else "none"
    reasons = list(verdict.get("reasons", ()))
    ok = effect == case.effect and case.entry in ("", proposal["entry"]) and set(case.reasons) <= set(reasons)
    expected = " ".join(part for part in (case.effect, case.entry, ",".join(case.reasons)) if part)
    got = " ".join(part for part in (effect, proposal["entry"], ",".join(reasons)) if part)
    return {"case": case.name, "ok": ok, "expected": expected, "got": got}
