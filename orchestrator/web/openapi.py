"""The API's description, made from the code: each call says what it takes and gives, the route table says where.

Source: OpenAPI 3.1, whose schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import Flask
from pydantic import TypeAdapter

from orchestrator.model import Role
from orchestrator.web import auth

FILTERS = {
    "status": "One or more words, separated by commas.",
    "state": "One or more words, separated by commas.",
    "fingerprint": "16 hex digits.",
    "alertname": "The alertname label, exactly.",
    "host": "The target, exactly.",
    "since": "ISO 8601 time; UTC where it has no offset.",
    "limit": "How many items at most, 1 to 1000; 100 by default.",
    "cursor": "`next` of the page before.",
    "after": "Number of the last item seen.",
    "incident": "An incident's id.",
    "entry": "A catalogue entry's id.",
    "hosts": "Some of the proposed hosts, separated by commas.",
    "pins": "A JSON object: parameter → pinned value.",
    "reason": "Why; kept on record.",
    "head": "A head of the global chain kept elsewhere.",
}
"""Query parameter → what it takes."""

_ERROR = {
    400: "The request is not JSON or a parameter is wrong; names the field and the mend.",
    401: "No token, or an unknown one.",
    403: "Known, but not allowed.",
    404: "There is no such thing.",
    409: "Decided already, or the world changed since; says by whom or what.",
    410: "The approval's time is over.",
    413: "The body is over server.max_body_bytes.",
    422: "JSON, but not what this call takes.",
    503: "Cannot be stored or served now; see Retry-After.",
}


@dataclass(frozen=True, slots=True)
class Call:
    """What one call of the API takes and gives."""

    summary: str
    role: Role | None
    """The least role; None: open."""
    answer: Any = None
    """Type of the answer, or None where it is no JSON."""
    query: tuple[str, ...] = ()
    body: Any = None
    status: int = 200
    errors: tuple[int, ...] = ()
    media: str = "application/json"
    also: str = ""
    """Another media type of the good answer, given where the caller asks for it."""
    more: dict[int, Any] = field(default_factory=dict)
    """Other good answers: status → type."""
    page: bool = False
    """Whether the answer is a page of `{"items": […], "next": …}` of `answer`."""


def call(described: Call) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a view as a call of the API and let in only who has its role."""

    def mark(view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        def guarded(**arguments: str) -> Any:
            if described.role is not None:
                auth.require(described.role)
            return view(**arguments)

        guarded.described = described  # type: ignore[attr-defined]
        return guarded

    return mark


def document(app: Flask, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of every described call of `app`."""
    calls = [(rule, app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()]
    described: list[tuple[str, str, Call]] = [
        (re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule), method.lower(), view.described)
        for rule, view in sorted(calls, key=lambda item: item[0].rule)
        if hasattr(view, "described")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]
    kinds = [kind for _, _, one in described for kind in (one.answer, one.body, *one.more.values()) if kind is not None]
    schemas, definitions = _schemas(kinds)
    paths: dict[str, Any] = {}
    for path, method, one in described:
        paths.setdefault(path, {})[method] = _operation(path, method, one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Recovery orchestrator", "version": version, "summary": "From an alert to a verified repair."},
        "paths": paths,
        "components": {
            "schemas": {**definitions, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, for a person."},
        "decided": {
            "type": "object",
            "description": "With 409: how it was decided already.",
            "properties": {
                "state": {"type": "string"},
                "by": {"type": "array", "items": {"type": "string"}},
                "at": {"type": ["string", "null"], "format": "date-time"},
                "reason": {"type": "string"},
            },
        },
        "changed": {
            "type": "array",
            "items": {"type": "string"},
            "description": "With 409: what changed since it was shown, in plain words.",
        },
    },
}


def _schemas(kinds: list[Any]) -> tuple[dict[int, Any], dict[str, Any]]:
    """Return type's identity → schema, and the shared definitions."""
    inputs: list[tuple[int, Any, TypeAdapter[Any]]] = [(id(kind), "serialization", TypeAdapter(kind)) for kind in kinds]
    found, shared = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    return {key: schema for (key, _), schema in found.items()}, dict(shared.get("$defs", {}))


def _operation(path: str, method: str, one: Call, schemas: dict[int, Any]) -> dict[str, Any]:
    names = re.findall(r"{([^}]+)}", path)
    operation: dict[str, Any] = {
        "operationId": method + "_" + re.sub(r"\W+", "_", path).strip("_"),
        "summary": one.summary,
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
        + [_query(name) for name in one.query],
        "responses": _responses(one, schemas),
    }
    if one.role is not None:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Needs the role `{one.role}`."
    if one.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas[id(one.body)]}}}
    return operation


def _query(name: str) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "string"}
    if name == "limit":
        kind = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    elif name == "after":
        kind = {"type": "integer", "minimum": 0, "default": 0}
    elif name == "since":
        kind = {"type": "string", "format": "date-time"}
    return {"name": name, "in": "query", "description": FILTERS[name], "schema": kind}


def _responses(one: Call, schemas: dict[int, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, kind in {one.status: one.answer, **one.more}.items():
        schema = schemas.get(id(kind), {}) if kind is not None else {}
        if one.page:
            schema = {
                "type": "object",
                "required": ["items", "next"],
                "properties": {"items": {"type": "array", "items": schema}, "next": {"type": ["string", "null"]}},
            }
        content: dict[str, Any] = {one.media: {"schema": schema}}
        if one.also and status == one.status:
            content[one.also] = {}
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": content}
    faults = set(one.errors) | ({401, 403} if one.role is not None else set()) | ({400} if one.query or one.body else set())
    faults |= {413, 422} if one.body is not None else set()
    for status in sorted(faults):
        answers[str(status)] = {
            "description": _ERROR[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return answers
