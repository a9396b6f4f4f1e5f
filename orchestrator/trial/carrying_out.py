"""Carrying out a play test: prepare, verify, check, apply, verify, apply again, undo."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.catalogue.playtest import Expect, PlayTest
from orchestrator.errors import OrchestratorError
from orchestrator.execute import Executor
from orchestrator.model import Entry, EntryKind, Outcome, Run, RunEvent, RunKind, RunRequest, VerifySpec
from orchestrator.throwaway import Root
from orchestrator.trial.outcome import Step, Trial
from orchestrator.trial.site import Site, lacking, site_of

PHASES = "phases"
"""What stands for the entry where a phase's tasks run."""
_VERIFY_WITHIN_S = 30.0
_LAST_LINES = 12


@dataclass(frozen=True, slots=True)
class Trials:
    """Carries out play tests.

    Args:
        roles: the folder of roles.
        config: `ansible.cfg`, or None.
        on_step: is told each step as it ends.
        on_failure: is called while the hosts still live, with the test and how to log in to each host.
        root: what hosts with a root of their own have for a file system.
    """

    roles: Path
    config: Path | None = None
    on_step: Callable[[PlayTest, Step], None] = lambda _test, _step: None
    on_failure: Callable[[PlayTest, str], None] = lambda _test, _how: None
    root: Root = Root.OVERLAY

    def carry_out(self, test: PlayTest, entry: Entry) -> Trial:
        """Carry out one play test; what the test or the machine does wrong is a step that failed, no error."""
        began = time.monotonic()
        told = (test.file, test.entry, test.name, test.about)
        if reason := lacking(test):
            return Trial(*told, skipped=reason)
        steps: list[Step] = []
        try:
            with ExitStack() as stack:
                site = stack.enter_context(site_of(test, self.root))
                stage = _stage(stack, test, entry, site, self)
                for step in stage.steps():
                    steps.append(step)
                    self.on_step(test, step)
                if not all(step.ok for step in steps):
                    self.on_failure(test, site.how_to_log_in())
        except OrchestratorError as error:
            steps.append(Step("trial", "carried out", "error", ok=False, took_s=time.monotonic() - began, detail=str(error)))
            self.on_step(test, steps[-1])
        return Trial(*told, steps=tuple(steps), took_s=time.monotonic() - began)


def _stage(stack: ExitStack, test: PlayTest, entry: Entry, site: Site, trials: Trials) -> _Stage:
    """Return what runs the test's plays on its hosts; its files go with the stack."""
    place = Path(tempfile.mkdtemp(prefix="trial-"))
    stack.callback(shutil.rmtree, place, ignore_errors=True)
    executor = Executor(
        data_dir=place / "data",
        inventory_paths=(site.inventory,),
        roles=trials.roles,
        node="trial",
        redact=lambda text: text,
        ansible_config=trials.config,
    )
    parameters = site.filled(dict(test.parameters))
    phases = Entry(PHASES, PHASES, "", EntryKind.REMEDIATION, str(_write_phases(place / PHASES, test, parameters)), "")
    snapshots = {each.id: str(executor.snapshot(each).path) for each in (entry, phases)}
    return _Stage(test, entry, site, executor, parameters, snapshots)


def _write_phases(folder: Path, test: PlayTest, parameters: Mapping[str, Any]) -> Path:
    """Write a playbook for each phase, beside the files that its tasks name."""
    shutil.copytree(Path(test.file).parent, folder)
    for name, tasks in test.phases.items():
        play = {"name": f"{name} of {test.name}", "hosts": "all", "gather_facts": False, "any_errors_fatal": True}
        play |= {"vars": dict(parameters), "tasks": list(tasks)}
        (folder / f"{name}.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    return folder


@dataclass(slots=True)
class _Stage:
    """One test on hosts that stand ready."""

    test: PlayTest
    entry: Entry
    site: Site
    executor: Executor
    parameters: Mapping[str, Any]
    snapshots: Mapping[str, str]
    """Id of the entry, or `phases` → the snapshot its plays run from."""
    lines: list[str] = field(default_factory=list)
    count: int = 0

    def steps(self) -> Iterator[Step]:
        """Yield every step in its order, until one goes wrong; `cleanup` comes in any case."""
        for make in self._makers():
            step = make()
            if step is not None:
                yield step
                if not step.ok:
                    break
        if (step := self._phase("cleanup")) is not None:
            yield step

    def _makers(self) -> Iterator[Callable[[], Step | None]]:
        expected = self.test.expected
        within_s = min((self.entry.verify or VerifySpec()).within_s, _VERIFY_WITHIN_S)
        yield lambda: self._phase("prepare")
        yield lambda: self._verify("verify before", expected.verify_before, patience_s=0)
        yield lambda: self._checked(expected.check)
        yield lambda: self._play("apply", RunKind.APPLY, "playbook.yml", expected.apply)
        yield lambda: self._phase("applied")
        yield lambda: self._verify("verify after", expected.verify_after, patience_s=within_s)
        yield lambda: self._play("again", RunKind.APPLY, "playbook.yml", expected.again)
        yield lambda: self._play("undo", RunKind.UNDO, self.entry.undo, expected.undo)
        if expected.undo is not Expect.SKIP:
            yield lambda: self._phase("restored")

    def _phase(self, name: str) -> Step | None:
        """Run a phase's tasks as root on every host."""
        if name not in self.test.phases:
            return None
        began = time.monotonic()
        run = self._run(RunKind.APPLY, PHASES, f"{name}.yml", tuple(self.test.hosts))
        ok = run.outcome is Outcome.SUCCESSFUL
        return Step(name, "no failure", _said(run), ok, time.monotonic() - began, "" if ok else self._detail(run, self.test.file))

    def _verify(self, name: str, expected: Expect, *, patience_s: float) -> Step | None:
        """Run the verify playbook, again and again while it is expected to hold and there is time."""
        if expected is Expect.SKIP or self.entry.verify is None:
            return None
        began, playbook = time.monotonic(), self.entry.verify.playbook
        while True:
            run = self._run(RunKind.VERIFY, self.entry.id, playbook, self.test.limit)
            got = _health(run)
            ok = got == expected and run.changed == 0
            if ok or expected is not Expect.HOLDS or time.monotonic() - began > patience_s:
                break
            time.sleep(0.5)
        said = f"{got}, changed={run.changed}" if run.changed else got
        return Step(name, expected, said, ok, time.monotonic() - began, "" if ok else self._detail(run, playbook))

    def _checked(self, expected: Expect) -> Step | None:
        """Run the playbook in check mode and see that nothing is different afterwards."""
        if expected is Expect.SKIP:
            return None
        before = self.site.state()
        step = self._play("check", RunKind.CHECK, "playbook.yml", expected)
        if step is None or not step.ok:
            return step
        different = sorted({key for key, _ in before.items() ^ self.site.state().items()})
        if not different:
            return step
        detail = f"{self.entry.folder}/playbook.yml: check mode changed {', '.join(different[:5])}"
        return Step("check", expected, "changed the host", ok=False, took_s=step.took_s, detail=detail)

    def _play(self, name: str, kind: RunKind, playbook: str, expected: Expect) -> Step | None:
        if expected is Expect.SKIP:
            return None
        began = time.monotonic()
        diagnostic = self.entry.kind is EntryKind.DIAGNOSTIC
        run = self._run(RunKind.DIAGNOSE if diagnostic else kind, self.entry.id, playbook, self.test.limit)
        ok = _outcome(run) == expected
        detail = "" if ok else self._detail(run, playbook)
        if ok and expected in (Expect.REFUSES, Expect.FAILS_MIDWAY) and self.test.expected.says not in run.message:
            ok, detail = False, f"{self._detail(run, playbook)}\nnot said: {self.test.expected.says}"
        return Step(name, expected, _said(run), ok, time.monotonic() - began, detail)

    def _run(self, kind: RunKind, entry: str, playbook: str, hosts: tuple[str, ...]) -> Run:
        self.count += 1
        self.lines.clear()
        parameters = self.parameters if entry == self.entry.id else {}
        request = RunRequest(f"trial:{self.count}", kind, entry, playbook, hosts, self.snapshots[entry], parameters, self.test.timeout_s)
        run = self.executor.run(request, self._hear, lambda: False)
        self.executor.settle(request.id)
        return run

    def _hear(self, event: RunEvent) -> None:
        self.lines += [f"  {line}" for line in event.text.splitlines() if line.strip()]

    def _detail(self, run: Run, playbook: str) -> str:
        """Return file, task, host and what was said, and the last lines of the play."""
        file = playbook if playbook.startswith("/") else f"{self.entry.folder}/{playbook}"
        return "\n".join([f"{file}: {run.message or 'no task failed'}", *self.lines[-_LAST_LINES:]])


def _outcome(run: Run) -> str:
    match run.outcome:
        case Outcome.SUCCESSFUL:
            return Expect.CHANGES if run.changed else Expect.NOTHING
        case Outcome.FAILED:
            return Expect.FAILS_MIDWAY if run.changed else Expect.REFUSES
        case other:
            return str(other)


def _health(run: Run) -> str:
    match run.outcome:
        case Outcome.SUCCESSFUL:
            return Expect.HOLDS
        case Outcome.FAILED:
            return Expect.FAILS
        case other:
            return str(other)


def _said(run: Run) -> str:
    return f"{run.outcome}, changed={run.changed}"
