"""What a parameter may be: the strict check, the allow-lists of hosts, and the JSON Schema."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.model import Entry, Host, Parameter

_LONGEST = 1024
_MOST_ITEMS = 64
_LARGEST_NUMBER = 2**53
_TEMPLATE_MARKS = ("{{", "{%", "{#")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array"}


def check_parameters(entry: Entry, parameters: Mapping[str, Any]) -> list[str]:
    """Check parameters against the entry's own spec.

    Types are strict (`true` is no int, `"1"` neither), a pattern has to fit the whole value, a string has at most 1024 characters, no control
    characters and no template marks.

    Args:
        entry: the entry they are for.
        parameters: name → value.

    Returns:
        One line per problem; empty where all is well.
    """
    known = {parameter.name: parameter for parameter in entry.parameters}
    problems = [f"{name!r} is no parameter of {entry.id}" for name in parameters if name not in known]
    for name, parameter in known.items():
        if name in parameters:
            problems += check_value(parameter, parameters[name])
        elif parameter.required:
            problems.append(f"{name} is missing")
    return problems


def check_value(parameter: Parameter, value: Any) -> list[str]:
    """Return one line per problem of one value of `parameter`."""
    name = parameter.name
    if not _is_of_type(parameter.type, value):
        shown = type(value).__name__ if isinstance(value, list | tuple | dict) else _shown(value)
        return [f"{name}: {shown} is no {parameter.type}"]
    match parameter.type:
        case "str":
            return _check_text(parameter, value)
        case "list":
            if len(value) > _MOST_ITEMS:
                return [f"{name} has more than {_MOST_ITEMS} items"]
            return [problem for item in value for problem in _check_text(parameter, item)]
        case "bool":
            return [f"{name}: {value} is none of {list(parameter.choices)}"] if parameter.choices and value not in parameter.choices else []
        case _:
            return _check_number(parameter, value)


def check_names(entry: Entry, parameters: Mapping[str, Any], hosts: Sequence[Host]) -> list[str]:
    """Check that every host allows the things that the parameters name there.

    A parameter that is not given counts with its default; an empty string names nothing.

    Args:
        entry: the entry they are for.
        parameters: name → value.
        hosts: the hosts of the proposal, with their inventory variables.

    Returns:
        One line per host and name that is not on the host's allow-list; empty where all is well.
    """
    problems: list[str] = []
    for parameter in entry.parameters:
        named = parameters.get(parameter.name, parameter.default)
        values = [str(value) for value in (named if isinstance(named, list | tuple) else [named]) if value not in (None, "")]
        if not parameter.allow_list or not values:
            continue
        if not hosts:
            problems.append(f"{parameter.name} names a thing on a host, and there is no host")
        problems += [
            f"{host.name}: {parameter.name}={_shown(value)} is not in its {parameter.allow_list}"
            for host in hosts
            for value in values
            if not host.allows(parameter.allow_list, value)
        ]
    return problems


def schema(entry: Entry) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the entry's parameters; unknown names are refused."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": entry.id,
        "type": "object",
        "properties": {parameter.name: _property(parameter) for parameter in entry.parameters},
        "required": [parameter.name for parameter in entry.parameters if parameter.required],
        "additionalProperties": False,
    }


def _property(parameter: Parameter) -> dict[str, Any]:
    """Return the schema of one parameter."""
    text: dict[str, Any] = {}
    if parameter.choices:
        text["enum"] = list(parameter.choices)
    if parameter.type in ("str", "list"):
        text |= {"type": "string", "maxLength": _LONGEST}
        if parameter.pattern:
            text["pattern"] = f"^(?:{parameter.pattern})$"
    found: dict[str, Any] = text
    if parameter.type == "list":
        found = {"type": "array", "items": text, "maxItems": _MOST_ITEMS}
    elif parameter.type != "str":
        found = {"type": _JSON_TYPES[parameter.type], **text}
    for key in ("minimum", "maximum"):
        if getattr(parameter, key) is not None:
            found[key] = getattr(parameter, key)
    if parameter.description:
        found["description"] = parameter.description
    if parameter.default is not None:
        found["default"] = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    return found


def _is_of_type(kind: str, value: Any) -> bool:
    match kind:
        case "str":
            return isinstance(value, str)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and math.isfinite(value))
        case "bool":
            return isinstance(value, bool)
        case "list":
            return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        case _:
            return False


def _check_text(parameter: Parameter, value: str) -> list[str]:
    name = parameter.name
    if len(value) > _LONGEST:
        return [f"{name} is longer than {_LONGEST} characters"]
    problems: list[str] = []
    if any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in value):
        problems.append(f"{name} holds a control character")
    if any(mark in value for mark in _TEMPLATE_MARKS):
        problems.append(f"{name} holds a template mark")
    if parameter.choices and value not in parameter.choices:
        problems.append(f"{name}: {_shown(value)} is none of {list(parameter.choices)}")
    if parameter.pattern and not re.fullmatch(parameter.pattern, value):
        problems.append(f"{name}: {_shown(value)} does not fit {parameter.pattern}")
    if not parameter.pattern and not parameter.choices:
        problems.append(f"{name} has neither choices nor pattern")
    return problems


def _check_number(parameter: Parameter, value: float) -> list[str]:
    name = parameter.name
    if abs(value) > _LARGEST_NUMBER:
        return [f"{name} is out of all bounds"]
    if parameter.choices and value not in parameter.choices:
        return [f"{name}: {value} is none of {list(parameter.choices)}"]
    if parameter.minimum is not None and value < parameter.minimum:
        return [f"{name}: {value} is below {parameter.minimum:g}"]
    if parameter.maximum is not None and value > parameter.maximum:
        return [f"{name}: {value} is above {parameter.maximum:g}"]
    return []


def _shown(value: Any) -> str:
    """Return a value for a message: escaped and short."""
    # Python refuses to write out very long numbers.
    text = "a very long number" if isinstance(value, int) and abs(value) > _LARGEST_NUMBER else ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}…"  # noqa: PLR2004 - one line of a message
