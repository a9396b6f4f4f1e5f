"""Play tests: what an entry is to do on a real host, as `tests/plays/*.yml` say it; running them is the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictStr, StringConstraints, ValidationError, model_validator

from orchestrator.catalogue.files import read_yaml
from orchestrator.catalogue.tasks import tasks_in
from orchestrator.errors import CatalogueError
from orchestrator.model import CheckMode, Entry, EntryKind

FOLDER = "tests/plays"


class Expect(StrEnum):
    """What is expected of one step."""

    CHANGES = "changes"
    """The play succeeds and changes something."""
    NOTHING = "nothing"
    """The play succeeds and changes nothing."""
    REFUSES = "refuses"
    """A task fails before anything was changed."""
    FAILS_MIDWAY = "fails_midway"
    """A task fails after something was changed."""
    HOLDS = "holds"
    """Verification succeeds."""
    FAILS = "fails"
    """Verification fails."""
    SKIP = "skip"
    """The step is left out."""


class HostKind(StrEnum):
    """Which kind of throw-away host a test needs."""

    ROOT = "root"
    """A root file system, processes and a network of its own; needs root."""
    USER = "user"
    """A plain user's folder and supervisor on this machine."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of each step, all of them settled."""

    verify_before: Expect
    check: Expect
    apply: Expect
    verify_after: Expect
    again: Expect
    undo: Expect
    says: str = ""
    """A text that stands in the message of a refusal."""


@dataclass(frozen=True, slots=True)
class PlayTest:
    """One play test of one entry."""

    file: str
    name: str
    """The file's name without ending: the case."""
    entry: str
    about: str
    expected: Expected
    host: HostKind = HostKind.ROOT
    packages: tuple[str, ...] = ()
    inventory: Mapping[str, Any] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limit: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    supervisor: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    phases: Mapping[str, Any] = field(default_factory=dict)
    """`prepare`, `applied`, `restored`, `cleanup` → a list of tasks; those not written are not there."""
    timeout_s: float = 120.0


PHASES = ("prepare", "applied", "restored", "cleanup")

_Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
_Tasks = list[dict[str, Any]] | StrictStr


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Expect(_Strict):
    verify_before: Expect | None = None
    check: Expect | None = None
    apply: Expect | None = None
    verify_after: Expect | None = None
    again: Expect | None = None
    undo: Expect | None = None
    says: StrictStr = ""

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        looks = {Expect.HOLDS, Expect.FAILS}
        for name in ("verify_before", "verify_after", "check", "apply", "again", "undo"):
            value = getattr(self, name)
            if value not in (None, Expect.SKIP) and (value in looks) != name.startswith("verify"):
                words = "fails, holds or skip" if name.startswith("verify") else "changes, nothing, refuses, fails_midway or skip"
                raise ValueError(f"{name}: {value} cannot be; write {words}")
        if self.apply is Expect.SKIP:
            raise ValueError("apply: skip cannot be; a play test runs its play")
        return self


def _listed(given: list[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


class _File(_Strict):
    about: Annotated[StrictStr, Field(min_length=1)]
    host: HostKind = HostKind.ROOT
    packages: list[_Name] = []
    inventory: dict[StrictStr, Any] = {}
    hosts: dict[_Name, dict[StrictStr, Any] | None] = {}
    groups: dict[_Name, list[_Name]] = {}
    limit: list[_Name] | _Name = []
    parameters: dict[StrictStr, Any] = {}
    supervisor: dict[_Name, StrictStr | dict[StrictStr, StrictStr]] = {}
    prepare: _Tasks | None = None
    applied: _Tasks | None = None
    restored: _Tasks | None = None
    cleanup: _Tasks | None = None
    expect: _Expect = _Expect()
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0

    @model_validator(mode="after")
    def _of_its_hosts(self) -> Self:
        hosts = self.hosts or {"web1": {}}
        unknown = {*_listed(self.limit), *(name for names in self.groups.values() for name in names)} - set(hosts)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: no such host in this test; it has {', '.join(hosts)}")
        if self.host is HostKind.USER and len(hosts) > 1:
            raise ValueError("host: user has one host; take host: root for several")
        return self


def play_tests(entry: Entry) -> list[PlayTest]:
    """Return the play tests in an entry's `tests/plays/*.yml`, by file name.

    Raises:
        CatalogueError: a file is no play test.
    """
    folder = Path(entry.folder) / FOLDER
    return [read_play_test(file, entry) for file in sorted(folder.glob("*.yml"))]


def read_play_test(file: Path, entry: Entry) -> PlayTest:
    """Return the play test of one file.

    Raises:
        CatalogueError: it is none; says the field and the mend.
    """
    try:
        read = _File.model_validate(read_yaml(file))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise CatalogueError(str(file), ".".join(map(str, first["loc"])), f"{message}.", "see the reference of play tests.") from exc
    known = {item.name for item in entry.parameters}
    for name in read.parameters:
        if name not in known:
            raise CatalogueError(
                str(file), f"parameters.{name}", f"{entry.id} has no such parameter.", f"use {', '.join(sorted(known)) or 'none'}."
            )
    hosts = {name: variables or {} for name, variables in (read.hosts or {"web1": {}}).items()}
    return PlayTest(
        file=str(file),
        name=file.stem,
        entry=entry.id,
        about=read.about,
        expected=_settled(read.expect, entry),
        host=read.host,
        packages=tuple(read.packages),
        inventory=read.inventory,
        hosts=hosts,
        groups={name: tuple(names) for name, names in read.groups.items()},
        limit=_listed(read.limit) or tuple(hosts)[:1],
        parameters=read.parameters,
        supervisor=read.supervisor,
        phases={name: _tasks(file, name, getattr(read, name)) for name in PHASES if getattr(read, name)},
        timeout_s=read.timeout_s,
    )


def _tasks(file: Path, phase: str, given: list[dict[str, Any]] | str) -> list[Mapping[str, Any]]:
    """Return a phase's tasks, once each of them is known to be one; a file's name becomes an import of it.

    Raises:
        CatalogueError: something there is no task, or there is no such file.
    """
    if isinstance(given, str):
        other = file.parent / given
        list(tasks_in(other, read_yaml(other), ""))
        return [{"name": f"Import {given}", "ansible.builtin.import_tasks": given}]
    list(tasks_in(file, given, phase))
    return list(given)


def _settled(said: _Expect, entry: Entry) -> Expected:
    """Return what is expected of every step: what the test says, else what follows from what it says of `apply`."""
    apply = said.apply or (Expect.NOTHING if entry.kind is EntryKind.DIAGNOSTIC else Expect.CHANGES)
    changes, nothing = apply is Expect.CHANGES, apply is Expect.NOTHING
    derived = {
        "verify_before": Expect.FAILS if changes else Expect.HOLDS if nothing else Expect.SKIP,
        "check": apply,
        "verify_after": Expect.HOLDS if changes or nothing else Expect.SKIP,
        "again": Expect.NOTHING if changes else Expect.SKIP,
        "undo": Expect.CHANGES if changes and entry.undo else Expect.SKIP,
    }
    if apply is Expect.FAILS_MIDWAY or (changes and entry.check_mode is CheckMode.NONE):
        derived["check"] = Expect.SKIP
    if entry.kind is EntryKind.DIAGNOSTIC:
        derived["check"] = Expect.SKIP
    if entry.verify is None:
        derived |= {"verify_before": Expect.SKIP, "verify_after": Expect.SKIP}
    return Expected(apply=apply, says=said.says, **{name: getattr(said, name) or value for name, value in derived.items()})
