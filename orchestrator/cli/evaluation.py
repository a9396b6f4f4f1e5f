"""`orchestrator eval`: run, compare, record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.backtest import compare_catalogues, record
from orchestrator.cli.command import Noun, pass_session
from orchestrator.cli.render import Facts, Table
from orchestrator.cli.session import Session, read_input
from orchestrator.errors import UsageError
from orchestrator.model import Context

if TYPE_CHECKING:
    from orchestrator.decide.evaluate import Score


@click.group("eval", cls=Noun, no_args_is_help=True)
def evaluation() -> None:
    """Measure decisions against labelled cases."""


@evaluation.command()
@click.argument("file")
@click.option("--matchers", is_flag=True, help="Ask no model, even where one is configured.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here, for `eval compare`.")
@pass_session
def run(session: Session, file: str, matchers: bool, out: Path | None) -> int:
    """Decide labelled alerts and count: right, refused, missed, wrong action. Exit code 1 with a wrong action.

    FILE is a JSON list of cases: `n`, `gold` or `accept` (entries, `none` among them), `gold_hosts`, `gold_params` and `alert` with
    `labels` and `annotations`. An alert's target is taken as a host that allows what the alert names. Nothing runs.
    """
    from orchestrator.catalogue import load
    from orchestrator.decide import decide
    from orchestrator.decide.evaluate import as_rows, assumed_host, judge, read_cases, score
    from orchestrator.parts import make_model

    cases = read_cases(read_input(file).decode("utf-8", errors="replace"))
    settings = session.settings()
    catalogue = load(Path(settings.catalogue.path), Path(settings.catalogue.roles))
    model = None if matchers else make_model(settings)
    hosts = [assumed_host(case.alert, catalogue, case.hosts) for case in cases]
    found = score(
        judge(case, decide(case.alert, Context(), catalogue, assumed, model=model)) for case, assumed in zip(cases, hosts, strict=True)
    )
    value = {**_counts(found), "results": as_rows(found.results)}
    if out is not None:
        out.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    wrong = [
        (item.case, item.mark, item.expected, item.entry, item.detail) for item in found.results if item.mark in ("missed", "wrong_action")
    ]
    session.show(
        value, (Facts(tuple(_counts(found).items())), "", Table(("case", "mark", "expected", "got", "detail"), wrong, "All right."))
    )
    return 1 if found.counts["wrong_action"] else 0


def _counts(found: Score) -> dict[str, Any]:
    return {
        "total": found.total,
        **found.counts,
        "right_rate": round(found.right_rate, 4),
        "wrong_action_rate": round(found.wrong_action_rate, 4),
    }


@evaluation.command()
@click.argument("before")
@click.argument("after")
@click.option("--alerts", metavar="FILE", help="Recorded alerts, from `eval record`: BEFORE and AFTER are then catalogues.")
@click.option("--markdown", is_flag=True, help="Print a comment for a pull request (with --alerts).")
@pass_session
def compare(session: Session, before: str, after: str, alerts: str | None, markdown: bool) -> int:
    r"""Tell what changed between two results of `eval run --out`, or which recorded alerts two catalogues decide in another way.

    With --alerts BEFORE and AFTER are git revisions, or folders that hold playbooks/ and roles/; exit code 1 where a decision changes.
    Without, they are result files; exit code 1 where a case got worse or is missing.

    \b
    Examples:
      orchestrator eval compare main HEAD --alerts alerts.json --markdown
      orchestrator eval compare before.json after.json
    """
    from orchestrator.decide.evaluate import compare as changes

    if alerts is not None:
        return compare_catalogues(session, before, after, alerts, as_markdown=markdown)
    found = changes(_read(Path(before)), _read(Path(after)))
    rows = [(kind, line) for kind in ("worse", "missing", "better") for line in getattr(found, kind)]
    session.show(
        {"ok": found.ok, **{kind: list(getattr(found, kind)) for kind in ("worse", "missing", "better")}},
        (Table(("", "case"), rows, "Nothing changed."),),
    )
    return 0 if found.ok else 1


def _read(file: Path) -> Score:
    from orchestrator.decide.evaluate import from_rows

    if not file.is_file():
        raise UsageError(f"{file}: there is no such file. Mend: name results of `eval run --out`, or add --alerts FILE for two catalogues.")
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["results"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: is no result of `eval run`. Mend: write one with `eval run FILE --out {file}`.") from error
    return from_rows(rows)


evaluation.add_command(record)
