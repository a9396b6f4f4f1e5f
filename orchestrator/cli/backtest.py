"""`orchestrator eval record` and the backtest behind `eval compare`: recorded alerts decided by two catalogues."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.command import Verb, pass_session
from orchestrator.cli.entries import places
from orchestrator.cli.render import Part, Table
from orchestrator.cli.session import Session, read_input
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.decide.backtest import Recorded
    from orchestrator.model import Catalogue

_GIT_TIMEOUT_S = 60.0


@click.command(cls=Verb)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write them here (default: standard output).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="How many incidents at most, newest first.")
@pass_session
def record(session: Session, out: Path | None, limit: int) -> None:
    r"""Export the alerts of recorded incidents from the database, one per set of labels, for `eval compare --alerts`.

    Labels and annotations are written as they were delivered: look through the file before it leaves your hands.

    \b
    Example: orchestrator eval record --out alerts.json
    """
    from orchestrator.decide.backtest import as_json

    found = list(_recorded(session, limit))
    if out is None:
        print(as_json(found), end="")
        return
    out.write_text(as_json(found), encoding="utf-8")
    session.done({"alerts": len(found), "written": str(out)}, f"{len(found)} alerts are written to {out}.")


def _recorded(session: Session, limit: int) -> Iterator[Recorded]:
    """Yield the alert of each incident once, newest first."""
    from orchestrator.decide.backtest import NONE, Recorded

    seen: set[str] = set()
    with session.orchestrator() as program:
        cursor, left = "", limit
        while left > 0:
            page, cursor = program.incidents(limit=min(left, 500), cursor=cursor)
            left -= len(page)
            for line in page:
                if line.fingerprint in seen:
                    continue
                seen.add(line.fingerprint)
                whole = program.incident(line.id)
                rule = whole.context.rule if whole.context else None
                given = {"name": rule.name, "expr": rule.expr, "labels": rule.labels, "annotations": rule.annotations} if rule else None
                yield Recorded.model_validate(
                    {
                        "fingerprint": line.fingerprint,
                        "labels": whole.alert.labels,
                        "annotations": whole.alert.annotations,
                        "rule": given,
                        "incident": line.id,
                        "decided": (whole.proposal.entry if whole.proposal else "") or NONE,
                    }
                )
            if not cursor:
                return


def compare_catalogues(session: Session, before: str, after: str, alerts: str, *, as_markdown: bool) -> int:
    """Decide recorded alerts by two catalogues, tell which decisions change, and return 1 where one does."""
    from orchestrator.decide import decide
    from orchestrator.decide.backtest import backtest, markdown, read_recorded

    recorded = read_recorded(read_input(alerts).decode("utf-8", errors="replace"))
    with catalogue_of(session, before) as first, catalogue_of(session, after) as second:
        found = backtest(recorded, first, second, decide)
    page: list[Part] = []
    if as_markdown:
        print(markdown(found, before, after), end="")
    else:
        rows = [(one.alertname, one.target, one.kind, str(one.before), str(one.after)) for one in found.changes]
        page = [Table(("alert", "target", "what", "before", "after"), rows, "No decision changes."), ""]
        page.append(f"{found.alerts} alerts, {len(rows)} decisions change")
        if found.touched:
            page.append(f"still chosen, with a changed play: {', '.join(found.touched)}")
        session.show({"ok": not found.changes, "alerts": found.alerts, "items": found.changes, "touched": found.touched}, tuple(page))
    return 1 if found.changes else 0


@contextmanager
def catalogue_of(session: Session, name: str) -> Iterator[Catalogue]:
    """Give the catalogue of a git revision, or of a folder that holds `playbooks/` and `roles/`.

    Raises:
        UsageError: it is neither.
    """
    from orchestrator.catalogue import load

    path, roles = places(session)
    if Path(name).is_dir():
        yield load(Path(name) / path.name, Path(name) / roles.name)
        return
    with tempfile.TemporaryDirectory(prefix="catalogue-") as folder:
        _check_out(name, (path, roles), Path(folder))
        yield load(Path(folder) / path.name, Path(folder) / roles.name)


def _check_out(revision: str, folders: tuple[Path, Path], into: Path) -> None:
    """Write the folders as they are in a git revision, without touching the checkout.

    Raises:
        UsageError: there is no such revision, or git cannot be asked.
    """
    for folder in folders:
        mend = "Mend: name a revision of the checkout that holds the catalogue, or a folder with playbooks/ and roles/."
        if revision.startswith("-"):
            raise UsageError(f"{revision!r} is no revision. {mend}")
        command = ["git", "archive", "--format=tar", f"{revision}:./{folder.name}"]
        try:
            done = subprocess.run(
                command,
                cwd=folder.absolute().parent,
                capture_output=True,
                timeout=_GIT_TIMEOUT_S,
                check=False,
                env={**os.environ, "LANG": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UsageError(f"git cannot be asked: {error}. {mend}") from error
        if done.returncode:
            raise UsageError(f"{revision}: {done.stderr.decode(errors='replace').strip()} {mend}")
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            archive.extractall(into / folder.name, filter="data")
