"""`orchestrator catalogue`: list, show, new, lint, test, docs, admit, coverage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Facts, Part, Table, word
from orchestrator.cli.session import Session
from orchestrator.errors import NotFound, UsageError
from orchestrator.model import Alert, AlertStatus, Choice, Context, Entry

if TYPE_CHECKING:
    from orchestrator.catalogue import EntryTest
    from orchestrator.model import Catalogue


@click.group(cls=Noun, no_args_is_help=True)
def catalogue() -> None:
    """List, check, write and admit catalogue entries."""


def _places(session: Session) -> tuple[Path, Path]:
    settings = session.settings()
    return Path(settings.catalogue.path), Path(settings.catalogue.roles)


def _loaded(session: Session) -> Catalogue:
    from orchestrator.catalogue import load

    return load(*_places(session))


def _picked(found: Catalogue, ids: Sequence[str]) -> list[Entry]:
    """Return the entries of these ids, or all of them.

    Raises:
        NotFound: there is no such entry, or it is broken.
    """
    for name in ids:
        broken = next((item for item in found.broken if item.id == name), None)
        if broken:
            raise NotFound(f"{name} is broken: {'; '.join(broken.problems)}")
        if name not in found.entries:
            raise NotFound(f"there is no entry {name}. Mend: see `orchestrator catalogue list`.")
    return [found.entries[name] for name in (ids or found.entries)]


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
    (found,) = _picked(_loaded(session), [entry])
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
    pages = {entry.id: page(entry) for entry in _picked(_loaded(session), entries)}
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

    path, roles = _places(session)
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

    found = examine(*_places(session), rules, ansible_lint=ansible_lint)
    errors = sum(item.level == "error" for item in found)
    closing = f"{errors} errors, {len(found) - errors} warnings"
    session.show({"ok": not errors, "items": found}, "\n".join([*(str(item) for item in found), closing]))
    return 1 if errors else 0


@catalogue.command()
@click.argument("entries", nargs=-1)
@pass_session
def test(session: Session, entries: tuple[str, ...]) -> int:
    """Decide the alerts in the entries' own tests by the matchers; exit code 1 where another answer comes out.

    An alert's target is taken as an inventory host in every group, whose allow-lists hold the alert's label values.
    """
    from orchestrator.catalogue import entry_tests

    found = _loaded(session)
    results = [judge(case, found) for entry in _picked(found, entries) for case in entry_tests(entry)]
    wrong = sum(not result.ok for result in results)
    rows = [(result.name, "ok" if result.ok else "fail", result.expected, result.got) for result in results]
    closing = f"{len(rows)} tests, {wrong} wrong"
    session.show({"ok": not wrong, "items": results}, (Table(("test", "", "expected", "got"), rows, "No tests."), "", closing))
    return 1 if wrong else 0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one test of an entry."""

    file: str
    name: str
    ok: bool
    expected: str
    got: str


def judge(case: EntryTest, found: Catalogue) -> Result:
    """Decide the test's alert and compare."""
    from orchestrator.decide import decide
    from orchestrator.decide.evaluate import assumed_host

    alert = Alert("0" * 16, AlertStatus.FIRING, case.labels, case.annotations)
    proposal = decide(alert, Context(rule=case.rule), found, assumed_host(alert, found))
    runs = proposal.choice is Choice.RUN
    got = (proposal.entry if runs else "", proposal.hosts if runs else (), dict(proposal.parameters) if runs else {})
    wanted = (
        case.entry,
        got[1] if case.hosts is None else case.hosts,
        got[2] if case.parameters is None else dict(case.parameters),
    )
    return Result(case.file, case.name, got == wanted, _said(*wanted), _said(*got))


def _said(entry: str, hosts: Sequence[str], parameters: Mapping[str, Any]) -> str:
    return " ".join(part for part in (entry or "none", word(list(hosts)), word(parameters)) if part)


@catalogue.command()
@click.argument("entry")
@pass_session
def admit(session: Session, entry: str) -> None:
    """Let policy run this entry by itself, as it stands now; any change of it asks for this again."""
    with session.orchestrator() as program:
        found = program.entry(entry)
        program.admit(entry, session.actor())
    session.done({"entry": entry, "digest": found.digest, "admitted": True}, f"{entry} is admitted at {found.digest}.")


# ---------------------------------------------------------------- coverage


@catalogue.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rules", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A rule file; may be repeated.")
@pass_session
def coverage(session: Session, files: tuple[Path, ...], rules: tuple[Path, ...]) -> None:
    """Tell for each alerting rule of Prometheus' rule files which entries could answer it."""
    rules = (*rules, *files)
    if not rules:
        raise click.UsageError("name at least one rule file: orchestrator catalogue coverage --rules FILE")
    entries = list(_loaded(session).entries.values())
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
