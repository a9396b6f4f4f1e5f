"""The JSON Schema of a whole `playbook.meta.yml`, for editors that complete and check it while it is written."""

from __future__ import annotations

from typing import Any

from orchestrator.catalogue.block import Block

SCHEMA_FILE = "playbook.meta.schema.json"
_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_LABEL = {"type": "string", "pattern": r"^labels\.[A-Za-z_][A-Za-z0-9_]*$"}

_OPTION: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "description": "One parameter. Its name starts with the entry's id.",
    "properties": {
        "type": {"enum": ["str", "int", "float", "bool", "list"], "default": "str"},
        "required": {"type": "boolean", "default": False},
        "default": {"description": "The value where none is given; the option itself must allow it."},
        "choices": {"type": "array", "minItems": 1, "description": "The only values allowed."},
        "pattern": {"type": "string", "description": "A regular expression that the whole value must fit."},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "description": {"type": "string", "description": "One sentence."},
        "from": {
            "anyOf": [_LABEL, {"type": "array", "items": _LABEL}],
            "description": "The alert's labels that give the value, first hit wins: labels.service.",
        },
        "allow_list": {
            "type": "string",
            "pattern": "^[a-z][a-z0-9_]*$",
            "description": "The inventory variable that lists what a host allows; needed where the value names a thing on the host.",
        },
        "elements": {"const": "str"},
        "no_log": {"type": "boolean"},
    },
}


def meta_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of `playbook.meta.yml`: Ansible's own spec with our `catalogue:` block in it."""
    block = Block.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    definitions = block.pop("$defs", {})
    spec = {
        "type": "object",
        "additionalProperties": False,
        "required": ["catalogue"],
        "properties": {
            "short_description": _TEXT,
            "description": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
            "options": {"type": ["object", "null"], "additionalProperties": {"$ref": "#/$defs/Option"}},
            "examples": _TEXT,
            "catalogue": {"$ref": "#/$defs/Block"},
            "author": {},
            "version_added": {},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "playbook.meta.yml of a catalogue entry",
        "type": "object",
        "additionalProperties": False,
        "required": ["argument_specs"],
        "properties": {
            "short_description": _TEXT,
            "description": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
            "argument_specs": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "description": "Exactly one spec, called as the entry's folder.",
                "additionalProperties": {"$ref": "#/$defs/Spec"},
            },
            "author": {},
            "version_added": {},
        },
        "$defs": {**definitions, "Block": block, "Option": _OPTION, "Spec": spec},
    }
