"""`orchestrator catalogue test`: the tests that come with the entries, on alerts and on throw-away hosts."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.command import Verb, pass_session
from orchestrator.cli.entries import loaded, picked, places
from orchestrator.cli.render import Part, Table, console, word
from orchestrator.cli.session import Session
from orchestrator.model import Alert, AlertStatus, Choice, Context, Entry

if TYPE_CHECKING:
    from orchestrator.catalogue import EntryTest, PlayTest
    from orchestrator.model import Catalogue
    from orchestrator.trial import Step, Trial, Trials


@click.command(cls=Verb)
@click.argument("entries", nargs=-1)
@click.option("--plays/--no-plays", default=None, help="Also run the play tests on throw-away hosts (default: where entries are named).")
@click.option("-k", "text", metavar="TEXT", default="", help="Only play tests whose name holds this text, and no alert tests.")
@click.option("--keep", is_flag=True, help="After a failure leave the hosts up until Enter is pressed, and say how to log in.")
@pass_session
def test(session: Session, entries: tuple[str, ...], plays: bool | None, text: str, keep: bool) -> int:
    r"""Run the entries' own tests; exit code 1 where one fails.

    Alert tests are decided by the matchers: an alert's target is taken as an inventory host in every group, whose allow-lists hold the
    alert's label values. Play tests run the play on throw-away hosts: broken, checked, repaired, run again, verified, undone.

    \b
    Examples:
      orchestrator catalogue test
      orchestrator catalogue test restart_service
      orchestrator catalogue test restart_service -k nginx_killed --keep
    """
    from orchestrator.catalogue import entry_tests

    found = loaded(session)
    chosen = picked(found, entries)
    results = [] if text else [judge(case, found) for entry in chosen for case in entry_tests(entry)]
    wanted = bool(entries or text) if plays is None else plays
    trials = list(_trials(session, chosen, text, keep=keep)) if wanted else []
    failed = [trial for trial in trials if not trial.ok]
    wrong = sum(not result.ok for result in results)
    value = {"ok": not (wrong or failed), "items": results, "plays": [_as_json(trial) for trial in trials]}
    session.show(value, tuple(_page(results, trials)))
    return 1 if wrong or failed else 0


# ---------------------------------------------------------------- alert tests


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one alert test of an entry."""

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


# ---------------------------------------------------------------- play tests


def _trials(session: Session, entries: Sequence[Entry], text: str, *, keep: bool) -> Iterator[Trial]:
    """Carry out the play tests of entries, one after the other, and tell how they come on."""
    from orchestrator.catalogue import play_tests
    from orchestrator.trial import Trials

    tests = [(test, entry) for entry in entries for test in play_tests(entry) if text in test.name]
    path, roles = places(session)
    config = path.absolute().parent / "ansible.cfg"
    with _ending_cleanly(), _progress(session, len(tests)) as tell:
        trials = Trials(
            roles,
            config if config.is_file() else None,
            on_step=tell.step,
            on_failure=tell.wait if keep and not session.json else lambda _test, _how: None,
        )
        for test, entry in tests:
            yield tell.whole(trials, test, entry)


@contextlib.contextmanager
def _ending_cleanly() -> Iterator[None]:
    """Take SIGTERM as an interruption: the hosts that stand are removed before this program ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Tell:
    """Tells of nothing."""

    def step(self, test: PlayTest, step: Step) -> None:
        """Tell of a step that ended."""

    def wait(self, test: PlayTest, how: str) -> None:
        """Leave the hosts of a test that failed to a person."""
        print(f"\n{test.entry}/{test.name} failed; its hosts are up:\n{how}")
        with contextlib.suppress(EOFError):
            input("Press Enter to remove them. ")

    def whole(self, trials: Trials, test: PlayTest, entry: Entry) -> Trial:
        """Carry out a test and tell of it."""
        return trials.carry_out(test, entry)


class _Bar(_Tell):
    """Tells by a progress bar, and by a line where a test failed.

    Args:
        bar: rich's progress.
        count: how many tests there are.
    """

    def __init__(self, bar: Any, count: int) -> None:
        self._bar = bar
        self._task = bar.add_task("play tests", total=count)

    def step(self, test: PlayTest, step: Step) -> None:
        self._bar.update(self._task, description=f"{test.entry}/{test.name}: {step.name}")

    def wait(self, test: PlayTest, how: str) -> None:
        self._bar.stop()
        super().wait(test, how)
        self._bar.start()

    def whole(self, trials: Trials, test: PlayTest, entry: Entry) -> Trial:
        self._bar.update(self._task, description=f"{test.entry}/{test.name}")
        try:
            return super().whole(trials, test, entry)
        finally:
            self._bar.advance(self._task)


@contextlib.contextmanager
def _progress(session: Session, count: int) -> Iterator[_Tell]:
    """Give what tells how tests come on: a bar on a terminal, nothing in a pipe or with `--json`."""
    screen = console()
    if session.json or not screen.is_terminal or not count:
        yield _Tell()
        return
    from rich.progress import Progress, TimeElapsedColumn

    with Progress(*Progress.get_default_columns()[:2], TimeElapsedColumn(), console=screen, transient=True) as bar:
        yield _Bar(bar, count)


def _as_json(trial: Trial) -> dict[str, Any]:
    state = "skipped" if trial.skipped else "ok" if trial.ok else "fail"
    return {
        "file": trial.file,
        "entry": trial.entry,
        "name": trial.name,
        "about": trial.about,
        "state": state,
        "skipped": trial.skipped,
        "took_s": round(trial.took_s, 1),
        "steps": list(trial.steps),
    }


def _page(results: Sequence[Result], trials: Sequence[Trial]) -> Iterator[Part]:
    """Yield the tables, what went wrong in words, and the sum."""
    if results or not trials:
        rows = [(result.name, "ok" if result.ok else "fail", result.expected, result.got) for result in results]
        yield Table(("test", "", "expected", "got"), rows, "No tests.")
        yield ""
        yield f"{len(rows)} tests, {sum(not result.ok for result in results)} wrong"
    if not trials:
        return
    yield ""
    yield Table(("play test", "", "steps", "took"), [_row(trial) for trial in trials])
    for trial in trials:
        for step in trial.steps:
            if not step.ok:
                yield ""
                yield f"{trial.entry}/{trial.name}: {step.name}: expected {step.expected}, got {step.got}\n{step.detail}"
    skipped = sum(bool(trial.skipped) for trial in trials)
    yield ""
    yield f"{len(trials)} play tests, {sum(not trial.ok for trial in trials)} failed, {skipped} skipped"


def _row(trial: Trial) -> tuple[Any, ...]:
    state = "skipped" if trial.skipped else "ok" if trial.ok else "fail"
    steps = trial.skipped or ", ".join(step.name if step.ok else f"{step.name} FAILED" for step in trial.steps)
    return (f"{trial.entry}/{trial.name}", state, steps, f"{trial.took_s:.1f} s")
