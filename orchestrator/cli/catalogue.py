"""`orchestrator catalogue`: list, show, new, lint, test, docs, admit, coverage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.coverage import coverage
from orchestrator.cli.entries import loaded, picked, places
from orchestrator.cli.entry_tests import test
from orchestrator.cli.render import Facts, Part, Table, word
from orchestrator.cli.session import Session
from orchestrator.model import Entry


@click.group(cls=Noun, no_args_is_help=True)
def catalogue() -> None:
    """List, check, write and admit catalogue entries."""


# ---------------------------------------------------------------- reading


@catalogue.command("list")
@pass_session
def list_(session: Session) -> int:
    """List every entry; exit code 1 where one is broken."""
    with session.orchestrator() as program:
        found = program.catalogue()
        admitted = {entry.id: program.admitted(entry) for entry in found.entries.values()}
    rows: list[tuple[Any, ...]] = [
        (entry.id, entry.kind, entry.risk, "yes" if admitted[entry.id] else "no", entry.title) for entry in found.entries.values()
    ]
    rows += [(item.id, "broken", "", "", "; ".join(item.problems)) for item in found.broken]
    items = [{**_summary(entry), "admitted": admitted[entry.id]} for entry in found.entries.values()]
    value = {"items": items, "broken": found.broken, "revision": found.revision, "digest": found.digest}
    session.show(value, (Table(("entry", "kind", "risk", "admitted", "what it does"), rows, "The catalogue is empty."),))
    return 1 if found.broken else 0


def _summary(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, "kind": entry.kind, "risk": entry.risk, "title": entry.title, "digest": entry.digest}


@catalogue.command()
@click.argument("entry")
@pass_session
def show(session: Session, entry: str) -> None:
    """Show one entry: when it is used, on what, with which parameters and limits."""
    (found,) = picked(loaded(session), [entry])
    session.show(found, tuple(_described(found)))


def _described(entry: Entry) -> Iterator[Part]:
    undo = f"{entry.undo} ({entry.undo_policy})" if entry.undo else "none"
    verify = [entry.verify.playbook, *entry.verify.promql] if entry.verify else []
    yield Facts(
        (
            ("entry", entry.id),
            ("title", entry.title),
            ("what", entry.description),
            ("kind", entry.kind),
            ("risk", entry.risk),
            ("use when", entry.use_when),
            ("never when", entry.never_when),
            ("alerts", " or ".join(" and ".join(line) for line in entry.matchers)),
            ("hosts", f"{entry.targets.source}, in {word(entry.targets.groups) or 'any group'}, at most {entry.targets.max_hosts}"),
            ("verify", verify),
            ("undo", undo),
            ("check mode", entry.check_mode),
            ("time-out", f"{entry.timeout_s:g} s"),
            ("cooldown", f"{entry.cooldown_s:g} s"),
            ("preconditions", entry.preconditions),
            ("approvers", entry.approvers),
            ("owners", entry.owners),
            ("digest", entry.digest),
        )
    )
    yield ""
    yield Table(
        ("parameter", "type", "required", "default", "allowed", "from"),
        [_parameter_row(item) for item in entry.parameters],
        "No parameters.",
    )


def _parameter_row(item: Any) -> tuple[Any, ...]:
    span = [f"{name} {limit:g}" for name, limit in (("from", item.minimum), ("to", item.maximum)) if limit is not None]
    allowed = [*(str(choice) for choice in item.choices), *([item.pattern] if item.pattern else []), *span]
    listed = f" on the host's {item.allow_list}" if item.allow_list else ""
    return (item.name, item.type, item.required, item.default, " ".join(allowed) + listed, item.sources)


@catalogue.command()
@click.argument("entries", nargs=-1)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write one page per entry into this folder.")
@pass_session
def docs(session: Session, entries: tuple[str, ...], out: Path | None) -> None:
    """Print a Markdown page for each entry, from what the entry itself declares."""
    pages = {entry.id: page(entry) for entry in picked(loaded(session), entries)}
    if out is None:
        session.show({"pages": pages}) if session.json else print("\n".join(pages.values()), end="")
        return
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (out / f"{name}.md").write_text(text, encoding="utf-8")
    session.done({"written": sorted(pages)}, f"{len(pages)} pages written to {out}.")


def page(entry: Entry) -> str:
    """Return an entry's page in Markdown."""
    lines = [f"# {entry.title}", "", entry.description, ""]
    lines += [f"`{entry.id}`, {entry.kind}, risk {entry.risk}, {'reversible' if entry.reversible else 'not reversible'}.", ""]
    for title, items in (("Use when", entry.use_when), ("Never when", entry.never_when)):
        lines += [f"## {title}", "", *(f"- {item}" for item in items or ("nothing is said",)), ""]
    if entry.matchers:
        lines += ["## Alerts", "", *(f"- `{', '.join(line)}`" for line in entry.matchers), ""]
    if entry.parameters:
        lines += ["## Parameters", "", "| name | type | required | default | meaning |", "|---|---|---|---|---|"]
        for item in entry.parameters:
            cells = (f"`{item.name}`", item.type, word(item.required), word(item.default), item.description)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    if entry.verify:
        checks = [entry.verify.playbook, *entry.verify.promql]
        lines += ["## Verified by", "", *(f"- `{check}`" for check in checks), ""]
    return "\n".join(lines)


# ---------------------------------------------------------------- writing and checking


@catalogue.command()
@click.argument("entry")
@click.option("--title", default="", help="What it does, in a few words.")
@click.option("--service-label", default="service", show_default=True, help="The alert's label that names the service.")
@pass_session
def new(session: Session, entry: str, title: str, service_label: str) -> None:
    r"""Write a complete new entry with its role and tests, to be changed.

    \b
    Example:
      orchestrator catalogue new flush_cache --title "Flush the cache"
    """
    from orchestrator.catalogue import scaffold

    path, roles = places(session)
    written = scaffold(path, roles, entry, title=title, service_label=service_label)
    names = [str(file) for file in written]
    steps = f"Next: change them, then `orchestrator catalogue lint`, `catalogue test {entry}`, `catalogue admit {entry}`."
    session.show({"entry": entry, "written": names}, "\n".join([*names, steps]))


@catalogue.command()
@click.option(
    "--rules",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Prometheus rule file: are the matchers' names there?",
)
@click.option("--ansible-lint", is_flag=True, help="Run ansible-lint's production profile, too (several seconds).")
@pass_session
def lint(session: Session, rules: tuple[Path, ...], ansible_lint: bool) -> int:
    """Say everything that is wrong or doubtful: file, line, field and mend. Exit code 1 with an error."""
    from orchestrator.catalogue import lint as examine

    found = examine(*places(session), rules, ansible_lint=ansible_lint)
    errors = sum(item.level == "error" for item in found)
    closing = f"{errors} errors, {len(found) - errors} warnings"
    session.show({"ok": not errors, "items": found}, "\n".join([*(str(item) for item in found), closing]))
    return 1 if errors else 0


@catalogue.command()
@click.argument("entry")
@pass_session
def admit(session: Session, entry: str) -> None:
    """Let policy run this entry by itself, as it stands now; any change of it asks for this again."""
    with session.orchestrator() as program:
        found = program.entry(entry)
        program.admit(entry, session.actor())
    session.done({"entry": entry, "digest": found.digest, "admitted": True}, f"{entry} is admitted at {found.digest}.")


for command in (test, coverage):
    catalogue.add_command(command)
