"""The entry's own spec against the specs of the roles it uses: what one asks for the other must be able to give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.catalogue.files import read_yaml
from orchestrator.catalogue.plays import read_play
from orchestrator.errors import CatalogueError
from orchestrator.model import Entry, Parameter

_ALIKE = {"path": "str", "raw": "str"}


def spec_problems(entry: Entry, roles: Path) -> Iterator[CatalogueError]:
    """Yield what does not go together between an entry's parameters and the `main` spec of each role its playbook lists.

    Args:
        entry: an entry that loads.
        roles: the folder of roles.
    """
    play = read_play(Path(entry.folder) / "playbook.yml")
    parameters = {one.name: one for one in entry.parameters}
    meta, where = f"{entry.folder}/playbook.meta.yml", f"argument_specs.{entry.id}.options"
    known: set[str] = set()
    for use in play.data.get("roles") or ():
        name = use.get("role", use.get("name")) if isinstance(use, Mapping) else use
        given = dict(use.get("vars") or {}) if isinstance(use, Mapping) else {}
        file = roles / str(name) / "meta" / "argument_specs.yml"
        if not file.is_file():
            yield CatalogueError(str(file), "", f"the role {name} has no argument specs.", "write meta/argument_specs.yml.")
            continue
        options = _main_options(file)
        known |= set(options)
        for option, spec in options.items():
            yield from _option_problems(str(file), option, spec, parameters, given)
    for name in parameters:
        if known and name not in known and name.startswith(f"{entry.id}_") and entry.id in {*entry.roles}:
            yield CatalogueError(
                meta, f"{where}.{name}", "no role of the playbook takes it.", "add it to the role's argument specs, or drop it."
            )


def _main_options(file: Path) -> Mapping[str, Any]:
    """Return the options of a role's `main` entry point; empty where there are none."""
    data = read_yaml(file)
    specs = data.get("argument_specs") if isinstance(data, Mapping) else None
    main = specs.get("main") if isinstance(specs, Mapping) else None
    options = main.get("options") if isinstance(main, Mapping) else None
    return options if isinstance(options, Mapping) else {}


def _option_problems(
    file: str, name: str, spec: Any, parameters: Mapping[str, Parameter], given: Mapping[str, Any]
) -> Iterator[CatalogueError]:
    """Yield what is wrong with one option of a role, seen from the entry."""
    where, parameter = f"argument_specs.main.options.{name}", parameters.get(name)
    if not isinstance(spec, Mapping) or name in given:
        return
    if parameter is None:
        if spec.get("required") is True:
            problem = "the role asks for it, and the entry has no such parameter."
            yield CatalogueError(file, where, problem, "give the entry the parameter, or the role a default.")
        return
    kind = str(spec.get("type", "str"))
    if _ALIKE.get(kind, kind) != parameter.type:
        problem = f"it is {kind} here and {parameter.type} in the entry."
        yield CatalogueError(file, f"{where}.type" if "type" in spec else where, problem, "write the same type in both.")
    if spec.get("required") is True and not parameter.required and parameter.default is None:
        problem = "the role asks for it, and the entry neither asks for it nor has a default."
        yield CatalogueError(file, where, problem, "make it required in the entry, or give it a default.")
    lost = sorted(str(choice) for choice in parameter.choices if spec.get("choices") and choice not in spec["choices"])
    if lost:
        problem = f"the entry also allows {', '.join(lost)}."
        yield CatalogueError(file, f"{where}.choices", problem, "list the same choices in both.")
