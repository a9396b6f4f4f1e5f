"""The tests that come with an entry: alert → expected entry, hosts and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr, TypeAdapter, ValidationError

from orchestrator.catalogue.files import read_yaml
from orchestrator.errors import CatalogueError
from orchestrator.model import Entry, Rule


@dataclass(frozen=True, slots=True)
class EntryTest:
    """One alert and what the catalogue is expected to make of it."""

    file: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    rule: Rule | None = None
    entry: str = ""
    """The expected entry; empty: none."""
    hosts: tuple[str, ...] | None = None
    """The expected hosts; None where the test does not say."""
    parameters: Mapping[str, Any] | None = None
    """The expected parameters; None where the test does not say."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Alert(_Strict):
    labels: dict[StrictStr, StrictStr]
    annotations: dict[StrictStr, StrictStr] = {}


class _Rule(_Strict):
    expr: StrictStr
    annotations: dict[StrictStr, StrictStr] = {}


class _Expect(_Strict):
    entry: Annotated[StrictStr, Field(min_length=1)]
    hosts: list[StrictStr] | None = None
    parameters: dict[StrictStr, Any] | None = None


class _Case(_Strict):
    name: Annotated[StrictStr, Field(min_length=1)]
    alert: _Alert
    rule: _Rule | None = None
    expect: _Expect


_CASES = TypeAdapter(list[_Case])


def entry_tests(entry: Entry) -> list[EntryTest]:
    """Return the tests in an entry's `tests/*.yml`, by file name; running them is the caller's.

    Raises:
        CatalogueError: a file is no list of tests.
    """
    files = sorted(file for file in (Path(entry.folder) / "tests").glob("*") if file.suffix in (".yml", ".yaml"))
    return [test for file in files for test in _read(file)]


def _read(file: Path) -> list[EntryTest]:
    try:
        cases = _CASES.validate_python(read_yaml(file))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        mend = "write a list of {name, alert: {labels, annotations}, rule?, expect: {entry, hosts, parameters}}."
        raise CatalogueError(str(file), ".".join(map(str, first["loc"])), f"{first['msg']}.", mend) from exc
    return [_test(file, case) for case in cases]


def _test(file: Path, case: _Case) -> EntryTest:
    name = case.alert.labels.get("alertname", "")
    return EntryTest(
        file=str(file),
        name=case.name,
        labels=case.alert.labels,
        annotations=case.alert.annotations,
        rule=Rule(name, case.rule.expr, annotations=case.rule.annotations) if case.rule else None,
        entry="" if case.expect.entry == "none" else case.expect.entry,
        hosts=None if case.expect.hosts is None else tuple(case.expect.hosts),
        parameters=case.expect.parameters,
    )
