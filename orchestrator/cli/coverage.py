"""`orchestrator catalogue coverage`: which alerting rules have an entry that could answer them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.command import Verb, pass_session
from orchestrator.cli.entries import loaded
from orchestrator.cli.render import Table
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError
from orchestrator.model import Entry


@click.command(cls=Verb)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rules", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A rule file; may be repeated.")
@pass_session
def coverage(session: Session, files: tuple[Path, ...], rules: tuple[Path, ...]) -> None:
    """Tell for each alerting rule of Prometheus' rule files which entries could answer it."""
    rules = (*rules, *files)
    if not rules:
        raise click.UsageError("name at least one rule file: orchestrator catalogue coverage --rules FILE")
    entries = list(loaded(session).entries.values())
    items = [{"alert": rule["alert"], "entries": answering(rule, entries)} for file in rules for rule in read_rules(file)]
    covered = sum(bool(item["entries"]) for item in items)
    rows = [(item["alert"], item["entries"] or "–") for item in items]
    closing = f"{covered} of {len(items)} alerts could be answered"
    session.show({"covered": covered, "items": items}, (Table(("alert", "entries"), rows, "No alerting rules."), "", closing))


def read_rules(file: Path) -> list[dict[str, Any]]:
    """Return the alerting rules of a rule file.

    Raises:
        UsageError: it is no rule file.

    Source: Prometheus' rule files.
    """
    import yaml

    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        return [rule for group in data["groups"] for rule in group["rules"] if "alert" in rule]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file}: is no Prometheus rule file ({type(error).__name__}). Mend: name a file with groups: and rules:."
        ) from error


def answering(rule: Mapping[str, Any], entries: Iterable[Entry]) -> list[str]:
    """Return the entries whose matchers an alert of this rule could fit; labels that the expression brings count as fitting."""
    from orchestrator.matcher import parse

    static = {name: str(value) for name, value in (rule.get("labels") or {}).items() if "{{" not in str(value)}
    annotations = rule.get("annotations") or {}
    texts = {f"rule_{name}": " ".join(str(annotations.get(name, "")).split()) for name in ("summary", "description")}
    known = {**static, **texts, "alertname": str(rule["alert"]), "rule_expr": " ".join(str(rule.get("expr", "")).split())}

    def fits(line: Sequence[str]) -> bool:
        return all(one.name not in known or one.matches(known) for one in map(parse, line))

    return [entry.id for entry in entries if any(fits(line) for line in entry.matchers)]
