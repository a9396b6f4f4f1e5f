"""`orchestrator catalogue`: list, show, new, lint, test, docs, admit, coverage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator import __version__
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.coverage import coverage
from orchestrator.cli.entries import loaded, picked, places
from orchestrator.cli.entry_tests import test
from orchestrator.cli.render import Facts, Part, Table, word
from orchestrator.cli.session import Session
from orchestrator.model import Entry, Risk

if TYPE_CHECKING:
    from orchestrator.catalogue import Sketch


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
@click.argument("entry", required=False)
@click.option("--title", default="", help="What it does, in a few words.")
@click.option("--alert", default="", help="Name of the alert it is for (default: made from the id).")
@click.option("--service-label", default="service", show_default=True, help="The alert's label that names the service.")
@click.option("--risk", type=click.Choice([str(risk) for risk in Risk]), default="high", show_default=True, help="How much harm it can do.")
@click.option("--group", default="recoverable", show_default=True, help="The inventory group it acts on.")
@click.option("--undo", is_flag=True, help="It can be taken back: write undo.yml, too.")
@pass_session
def new(session: Session, entry: str | None, title: str, alert: str, service_label: str, risk: str, group: str, undo: bool) -> None:
    r"""Write a complete new entry with its role and tests, to be changed; without an id everything is asked.

    \b
    Examples:
      orchestrator catalogue new
      orchestrator catalogue new flush_cache --title "Flush the cache" --alert CacheStale --risk low
    """
    from orchestrator.catalogue import Sketch, scaffold

    sketch = Sketch(entry, title, alert, service_label, Risk(risk), group, undo) if entry else _asked()
    written = scaffold(*places(session), sketch)
    names = [str(file) for file in written]
    name = sketch.entry
    steps = f"Next: fill tests/plays/repairs.yml, then `orchestrator catalogue lint`, `catalogue test {name}`, `catalogue admit {name}`."
    session.show({"entry": name, "written": names}, "\n".join([*names, steps]))


def _asked() -> Sketch:
    """Ask a person for everything that a new entry needs; what is asked goes to stderr, so that --json stays JSON."""
    from orchestrator.catalogue import Sketch

    def ask(text: str, default: str, **more: Any) -> str:
        return str(click.prompt(text, default=default or None, err=True, **more))

    entry = ask("Id (small letters, digits, _)", "")
    title = ask("What it does, in a few words", entry.replace("_", " ").capitalize())
    alert = ask("Name of the alert it is for", "".join(part.capitalize() for part in entry.split("_")))
    label = ask("The alert's label that names the service", "service")
    risk = ask("Risk", "high", type=click.Choice([str(risk) for risk in Risk]))
    group = ask("Inventory group it acts on", "recoverable")
    return Sketch(entry, title, alert, label, Risk(risk), group, click.confirm("Can it be taken back?", default=False, err=True))


@catalogue.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
@pass_session
def schema(session: Session, out: Path | None) -> None:
    r"""Print the JSON Schema of `playbook.meta.yml`, for editors that complete it.

    \b
    Example: orchestrator catalogue schema --out playbooks/playbook.meta.schema.json
    and as the file's first line: # yaml-language-server: $schema=../playbook.meta.schema.json
    """
    from orchestrator.catalogue import meta_schema

    if out is None:
        print(json.dumps(meta_schema(), indent=1))
        return
    out.write_text(json.dumps(meta_schema(), indent=1) + "\n", encoding="utf-8")
    session.done({"written": str(out)}, f"The schema is written to {out}.")


@catalogue.command()
@click.option(
    "--rules",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Prometheus rule file: are the matchers' names there?",
)
@click.option("--style", "--ansible-lint", is_flag=True, help="Run yamllint and ansible-lint's production profile, too (several seconds).")
@click.option(
    "--format", "form", type=click.Choice(["text", "sarif", "github"]), default="text", show_default=True, help="How to print the findings."
)
@pass_session
def lint(session: Session, rules: tuple[Path, ...], style: bool, form: str) -> int:
    r"""Say everything that is wrong or doubtful: file, line, field and mend. Exit code 1 with an error.

    \b
    Examples:
      orchestrator catalogue lint --style --rules rules/host.yml
      orchestrator catalogue lint --style --format sarif > lint.sarif
    """
    from orchestrator.catalogue import lint as examine
    from orchestrator.catalogue.telling import github, sarif

    path, roles = places(session)
    found = examine(path, roles, rules, style=style)
    counts = {level: sum(item.level == level for item in found) for level in ("error", "warning", "note")}
    if form == "sarif":
        print(json.dumps(sarif(found, Path(), __version__), indent=1))
    elif form == "github":
        print("\n".join(github(found, Path())), end="\n" if found else "")
    else:
        closing = f"{counts['error']} errors, {counts['warning']} warnings, {counts['note']} notes"
        session.show({"ok": not counts["error"], "items": found}, "\n".join([*(str(item) for item in found), closing]))
    return 1 if counts["error"] else 0


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
