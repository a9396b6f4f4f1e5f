"""Earned autonomy for programs, and the schema of an entry's spec file for editors."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response, jsonify
from pydantic import Field

from orchestrator.autonomy import Level, Line, Standing
from orchestrator.catalogue import SCHEMA_FILE, meta_schema
from orchestrator.model import Role
from orchestrator.web.acts import Body
from orchestrator.web.asking import body, facade, plain
from orchestrator.web.auth import me
from orchestrator.web.openapi import Call, call

routes = Blueprint("autonomy", __name__)

_NAME = 256
_LEVELS = {"accept": Level.PROMOTED, "decline": Level.DECLINED, "demote": Level.DEMOTED}


class Answered(Body):
    """An admin's answer to one line."""

    answer: Literal["accept", "decline", "demote"]
    alertname: str = Field(min_length=1, max_length=_NAME)
    entry: str = Field(min_length=1, max_length=_NAME)
    group: str = Field(min_length=1, max_length=_NAME)
    reason: str = Field("", max_length=4000)


@routes.get("/api/v1/autonomy")
@call(Call("What has been earned: alert × entry × group with its record", Role.VIEWER, dict[str, Any], page=True))
def table() -> Response:
    """List every line with its record, the best first."""
    return jsonify({"items": plain(list[dict[str, Any]], facade().autonomy()), "next": None})


@routes.post("/api/v1/autonomy")
@call(Call("Accept or decline a proposal, or take a promotion back", Role.ADMIN, Standing, body=Answered, errors=(404, 409)))
def answer() -> Response:
    """Answer a proposal."""
    given = body(Answered)
    line = Line(given.alertname, given.entry, given.group)
    return jsonify(plain(Standing, facade().answer_autonomy(line, _LEVELS[given.answer], me(), given.reason)))


@routes.get(f"/schemas/{SCHEMA_FILE}")
@call(Call("JSON Schema of playbook.meta.yml, for editors", None, dict[str, Any]))
def schema() -> Response:
    """Return the schema; it tells nothing about this installation, so that an editor needs no login."""
    return jsonify(meta_schema())
