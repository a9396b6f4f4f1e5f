"""An entry's parameters, read from the options of its argument spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.catalogue.parameters import check_value
from orchestrator.errors import CatalogueError
from orchestrator.model import Parameter

_KEYS = frozenset(
    {"type", "required", "default", "choices", "pattern", "minimum", "maximum", "description", "from", "allow_list", "elements", "no_log"},
)
_TYPES = ("str", "int", "float", "bool", "list")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LABEL = re.compile(r"labels\.[A-Za-z_][A-Za-z0-9_]*")
_THING_LABELS = {"labels.service": "services", "labels.name": "services", "labels.unit": "services"}
_THING_ENDINGS = {
    "_service": "services",
    "_unit": "services",
    "_path": "paths",
    "_directory": "paths",
    "_folder": "paths",
    "_mount": "paths",
    "_mountpoint": "paths",
    "_file": "paths",
    "_process": "processes",
    "_certificate": "certificates",
}


class OptionReader:
    """Turns options into parameters and collects every problem on the way.

    Args:
        file: path of the spec file, for the problems.
        entry: the entry's id; every name starts with it.
        problems: where problems are put.
    """

    def __init__(self, file: str, entry: str, problems: list[CatalogueError]) -> None:
        self._file, self._entry, self._problems = file, entry, problems

    def read(self, options: Any) -> tuple[Parameter, ...]:
        """Return the parameters that can be read; those at fault are left out and listed as problems."""
        where = f"argument_specs.{self._entry}.options"
        if options is None:
            return ()
        if not isinstance(options, Mapping):
            self._add(where, "options is no mapping.", "write one option per key.")
            return ()
        read = [self._option(f"{where}.{name}", name, option) for name, option in options.items()]
        return tuple(parameter for parameter in read if parameter is not None)

    def _add(self, field: str, problem: str, mend: str) -> None:
        self._problems.append(CatalogueError(self._file, field, problem, mend))

    def _option(self, where: str, name: Any, option: Any) -> Parameter | None:
        before = len(self._problems)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.startswith(f"{self._entry}_"):
            self._add(where, f"the name {name!r} does not start with the entry's id.", f"call it {self._entry}_….")
            return None
        if not isinstance(option, Mapping):
            self._add(where, "the option is no mapping.", "write {type: …, description: …}.")
            return None
        for key in option:
            if key not in _KEYS:
                self._add(f"{where}.{key}", "this key is not known.", f"use {', '.join(sorted(_KEYS))}.")
        kind = option.get("type", "str")
        if kind not in _TYPES:
            self._add(
                f"{where}.type", f"the type {kind!r} is refused.", f"use {', '.join(_TYPES)}; one option per value instead of a dict."
            )
            return None
        self._limits(where, option, kind)
        sources = self._sources(where, option.get("from"))
        allow_list = self._allow_list(where, name, option, kind, sources)
        if len(self._problems) > before:
            return None
        return self._default(where, _parameter(name, option, kind, sources, allow_list))

    def _limits(self, where: str, option: Mapping[str, Any], kind: str) -> None:
        """Check choices, pattern, minimum, maximum, required and elements."""
        choices, pattern = option.get("choices"), option.get("pattern")
        text = kind in ("str", "list")
        if choices is not None and (
            not isinstance(choices, list) or not choices or not all(isinstance(item, str | int | float) for item in choices)
        ):
            self._add(f"{where}.choices", "choices is no list of plain values.", "list the values.")
        if pattern is not None:
            self._pattern(f"{where}.pattern", pattern, text)
        if text and not choices and not pattern:
            self._add(where, "a string has neither choices nor pattern.", "add choices: […] or pattern: '…'.")
        for key in ("minimum", "maximum"):
            bound = option.get(key)
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float) or kind not in ("int", "float")):
                self._add(f"{where}.{key}", f"{bound!r} is no bound for {kind}.", "give a number, for int and float only.")
        for key in ("required", "no_log"):
            if not isinstance(option.get(key, False), bool):
                self._add(f"{where}.{key}", f"{option[key]!r} is neither true nor false.", "write true or false.")
        if option.get("elements", "str") != "str" or ("elements" in option and kind != "list"):
            self._add(f"{where}.elements", f"{option.get('elements')!r} is refused.", "only a list has elements, and they are str.")
        if not isinstance(option.get("description", ""), str):
            self._add(f"{where}.description", "the description is no text.", "write one sentence.")

    def _pattern(self, where: str, pattern: Any, text: bool) -> None:
        if not isinstance(pattern, str) or not text:
            self._add(where, f"{pattern!r} is no pattern for this type.", "give a regular expression, for str and list only.")
            return
        try:
            re.compile(f"^(?:{pattern})$")  # as the JSON Schema writes it: no flags for the whole
        except (re.error, OverflowError, RecursionError) as exc:
            self._add(where, f"{pattern!r} is no regular expression: {exc}.", "mend it.")

    def _sources(self, where: str, sources: Any) -> tuple[str, ...]:
        listed = [] if sources is None else sources if isinstance(sources, list) else [sources]
        for source in listed:
            if not isinstance(source, str) or not _LABEL.fullmatch(source):
                self._add(f"{where}.from", f"{source!r} is refused: a value comes from a label only.", "write labels.<name>.")
        return tuple(str(source) for source in listed)

    def _allow_list(self, where: str, name: str, option: Mapping[str, Any], kind: str, sources: tuple[str, ...]) -> str:
        """Return the inventory variable that lists what a host allows for this parameter, empty where it names nothing there."""
        inferred = allow_list_for(name, sources) if kind in ("str", "list") else ""
        if "allow_list" not in option:
            return inferred
        given = option["allow_list"]
        if isinstance(given, str) and _NAME.fullmatch(given) and not given.startswith("ansible"):
            return given
        problem = f"{given!r} is no inventory variable"
        if inferred:
            problem += ", and this parameter names a thing on the host"
        self._add(f"{where}.allow_list", f"{problem}.", f"write allow_list: {inferred or 'recoverable_…'}.")
        return ""

    def _default(self, where: str, parameter: Parameter) -> Parameter | None:
        """Return the parameter, unless it refuses its own default or choices."""
        before = len(self._problems)
        if parameter.required and parameter.default is not None:
            self._add(f"{where}.default", "a required parameter has a default.", "drop one of the two.")
        elif parameter.default is not None:
            for problem in check_value(parameter, parameter.default):
                self._add(f"{where}.default", f"{problem}.", "give a default that the option itself allows.")
        for choice in parameter.choices:
            value = [choice] if parameter.type == "list" else choice
            for problem in check_value(parameter, value):
                self._add(f"{where}.choices", f"{problem}.", "list only values of the option's own type.")
        return parameter if len(self._problems) == before else None


def allow_list_for(name: str, sources: tuple[str, ...]) -> str:
    """Return the inventory variable that the name and origin of a parameter stand for, or an empty string.

    Args:
        name: `restart_service_name`.
        sources: the labels that give its value.
    """
    for ending, things in _THING_ENDINGS.items():
        if name.endswith(ending):
            return f"recoverable_{things}"
    for source in sources:
        if source in _THING_LABELS:
            return f"recoverable_{_THING_LABELS[source]}"
    return ""


def _parameter(name: str, option: Mapping[str, Any], kind: str, sources: tuple[str, ...], allow_list: str) -> Parameter:
    return Parameter(
        name=name,
        type=kind,
        required=option.get("required", False),
        default=tuple(option["default"]) if isinstance(option.get("default"), list) else option.get("default"),
        choices=tuple(option.get("choices") or ()),
        pattern=option.get("pattern") or "",
        minimum=option.get("minimum"),
        maximum=option.get("maximum"),
        description=option.get("description", ""),
        sources=sources,
        allow_list=allow_list,
    )
