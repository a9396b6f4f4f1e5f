"""The closed lists of words, for the reference: errors, statuses, reasons, metrics, a catalogue entry's fields."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from orchestrator import errors, model

MARK = "<!-- Written by `make docs` from the code; do not edit. -->"
WORDS: tuple[tuple[type[StrEnum], str], ...] = (
    (model.Status, "Statuses of an incident"),
    (model.Reason, "Reasons"),
    (model.Agreement, "Who stands behind a proposal"),
    (model.RunState, "States of a run"),
    (model.Outcome, "Outcomes of a run"),
    (model.ApprovalState, "States of an approval"),
    (model.Health, "What verification says"),
    (model.Role, "Roles"),
)


def meanings(words: type[StrEnum]) -> Iterator[tuple[str, str]]:
    """Yield each word of an enum and the line that stands below it in the source."""
    (definition,) = ast.parse(inspect.getsource(words)).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            told = following.value if isinstance(following, ast.Expr) else None
            yield str(statement.value.value), str(told.value) if isinstance(told, ast.Constant) else ""


def errors_page() -> str:
    """Return `docs/reference/errors.md`."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n", 1)[1]
    lines = ["# Errors, statuses and reasons", "", MARK, "", "Every error has one root; the tree says what each means.", ""]
    lines += ["```text", tree, "```", "", "Over HTTP every error is a problem document (RFC 9457, `application/problem+json`).", ""]
    for words, title in WORDS:
        lines += [f"## {title}", "", (words.__doc__ or "").strip(), "", "| word | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {meaning} |" for name, meaning in meanings(words)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


SAMPLE: Mapping[str, Any] = {
    "counts": {"resolved": 1},
    "queue": 0,
    "outbox": {"pending": 0},
    "degraded": [{"what": "model"}],
    "paused": "",
    "broken": 0,
    "version": "0",
}
"""A state in which every gauge has a sample."""


def metrics_page() -> str:
    """Return `docs/reference/metrics.md`."""
    from orchestrator.metrics import Metrics

    lines = ["# Metrics", "", MARK, ""]
    lines += ["`GET /metrics`, in Prometheus' text format; without a token on loopback, from elsewhere with one of the role `viewer`.", ""]
    lines += ["Rules and a dashboard that use them stand in `deploy/`.", "", "| name | kind | meaning |", "|---|---|---|"]
    for family in sorted(Metrics(lambda: SAMPLE).registry.collect(), key=lambda family: family.name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(f"| `{name}` | {family.type} | {family.documentation} |")
    return "\n".join(lines) + "\n"


CATALOGUE_HEAD = """\
An entry is a folder below `catalogue.path`, found without a restart:

```text
playbooks/<id>/playbook.yml        one play, roles only; asserts its limit and its parameters in pre_tasks
playbooks/<id>/playbook.meta.yml   Ansible's own spec file for a playbook: argument_specs, and our catalogue block
playbooks/<id>/verify.yml          read-only health check
playbooks/<id>/undo.yml            optional
playbooks/<id>/tests/*.yml         alert → expected entry and parameters, `none` among them
playbooks/<id>/tests/plays/*.yml   play tests: broken, checked, repaired, run again, verified, undone (play-tests.md)
roles/<role>/                      reusable roles
```

Editors complete and check the spec file from a JSON Schema: `orchestrator catalogue schema`, or `/schemas/playbook.meta.schema.json` of
a running server. Every change of the catalogue is in the audit log (`catalogue.changed`: entries, digests before and after, files,
the checkout's revision), and every decision names the revision that it was made from, with `+` where the checkout was dirty.

A broken entry never takes the others down: it is listed as broken, with file, field and mend (`orchestrator catalogue lint`).
Refused at load are: unknown keys; text parameters without choices or pattern; the types `raw`, `json`, `bytes`, and a dict without
options; names that do not start with the id; a parameter that names a thing on the host without an inventory allow-list; a
parameter used in `shell`, `raw` or free-form `command`; a remediation without `verify`; a playbook that does not parse; two entries
whose matchers overlap without an order.

A parameter is one of Ansible's options, with these keys of ours besides: `pattern` (matched whole), `minimum`, `maximum`, `from`
(labels, the first that is there), `allow_list` (the inventory variable that lists what a host allows).

Matchers may also look at the rule behind an alert, as Prometheus tells it and not as the alert's text says: `rule_expr`,
`rule_summary`, `rule_description`.
"""


def catalogue_page() -> str:
    """Return `docs/reference/catalogue.md`."""
    from orchestrator.catalogue import block_schema

    schema = block_schema()
    parts = schema["$defs"]
    lines = ["# Catalogue entry", "", MARK, "", CATALOGUE_HEAD]
    lines += ["## `catalogue`", "", *_fields(schema, parts)]
    for title, name in (("`targets`", "TargetsBlock"), ("`verify`", "VerifyBlock")):
        lines += [f"## {title}", "", parts[name]["description"], "", *_fields(parts[name], parts)]
    return "\n".join(lines).rstrip() + "\n"


def _fields(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[str]:
    yield "| name | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in schema["properties"].items():
        default = "required" if name in schema.get("required", ()) else _shown(field.get("default"))
        meaning = str(field.get("description") or parts.get(_part(field), {}).get("description", ""))
        yield f"| `{name}` | {_kind(field, parts)} | {default} | {meaning} |"
    yield ""


def _part(field: Mapping[str, Any]) -> str:
    return str(field.get("$ref", "")).rsplit("/", 1)[-1]


def _shown(value: Any) -> str:
    if value in (None, [], "") or isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "$ref" in field:
        part = parts[_part(field)]
        return " or ".join(f"`{word}`" for word in part["enum"]) if "enum" in part else "mapping"
    if "anyOf" in field:
        return next(_kind(one, parts) for one in field["anyOf"] if one.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_kind(field['items'], parts)}"
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}.get(str(field.get("type")), "")
