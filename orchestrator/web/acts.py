"""What programs do: deliver alerts, answer approvals, act on incidents and runs, stop everything."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request, url_for
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from orchestrator.model import Approval, ApprovalState, Entry, Incident, Receipt, Role, Run
from orchestrator.web.api import entry_values
from orchestrator.web.asking import body, facade, plain
from orchestrator.web.auth import me
from orchestrator.web.openapi import Call, call

routes = Blueprint("acts", __name__)

_CHANGED = (404, 409)
_WORDS = 4000
"""Longest reason, in characters."""


class Body(BaseModel):
    """A request's body: closed to unknown keys."""

    model_config = ConfigDict(extra="forbid")


class Reasoned(Body):
    """An act with an optional reason."""

    reason: str = Field("", max_length=_WORDS)


class Approved(Body):
    """A yes, bound to what was shown; `hosts` and `pins` can only narrow it."""

    digest: str = Field(max_length=200)
    reason: str = Field("", max_length=_WORDS)
    hosts: list[str] = Field([], max_length=1000)
    pins: dict[str, JsonValue] = {}


class Rejected(Body):
    """A no, with its reason."""

    digest: str = Field(max_length=200)
    reason: str = Field(min_length=1, max_length=_WORDS)


class Settled(Body):
    """What a person found out about a run that nobody could tell the end of."""

    outcome: Literal["done", "not-done"]
    reason: str = Field(min_length=1, max_length=_WORDS)


class Started(Body):
    """A person's own proposal."""

    entry: str = Field(max_length=200)
    hosts: list[str] = Field(min_length=1, max_length=1000)
    parameters: dict[str, JsonValue] = {}
    reason: str = Field("", max_length=_WORDS)


class Counted(BaseModel):
    """How many have approved, and how many have to."""

    have: int
    need: int


# ---------------------------------------------------------------- intake


@routes.post("/alert")
@call(Call("Deliver alerts: Alertmanager's webhook, version 4", Role.WEBHOOK, Receipt, body=dict[str, Any], status=202, errors=(503,)))
def alert() -> tuple[Response, int]:
    """Take a delivery; answered only after everything is stored."""
    receipt = facade().receive(request.get_data())
    return jsonify(
        {
            "incidents": [plain(dict[str, Any], dict(incident)) for incident in receipt.incidents],
            "rejected": [plain(dict[str, Any], {"index": one.index, "reason": one.reason}) for one in receipt.rejected],
            "received": receipt.received,
        }
    ), 202


@routes.post("/api/v1/decide")
@call(Call("Decide without acting: nothing is stored, nothing runs", Role.APPROVER, list[dict[str, Any]], body=dict[str, Any]))
def decide() -> Response:
    """Show what would be decided for a delivery."""
    return jsonify({"items": plain(list[Any], facade().decide(request.get_data())), "next": None})


# ---------------------------------------------------------------- incidents


@routes.post("/api/v1/incidents/<id>/cancel")
@call(Call("Cancel an incident", Role.APPROVER, Incident, body=Reasoned, errors=_CHANGED))
def cancel_incident(id: str) -> Response:
    """Cancel an incident."""
    return _incident(facade().cancel_incident(id, me(), body(Reasoned).reason))


@routes.post("/api/v1/incidents/<id>/close")
@call(Call("Close an incident that a person has dealt with", Role.APPROVER, Incident, body=Reasoned, errors=_CHANGED))
def close_incident(id: str) -> Response:
    """Close an incident."""
    return _incident(facade().close_incident(id, me(), body(Reasoned).reason))


@routes.post("/api/v1/incidents/<id>/retry")
@call(Call("Look at an incident anew", Role.APPROVER, Incident, errors=_CHANGED))
def retry_incident(id: str) -> Response:
    """Retry an incident."""
    return _incident(facade().retry_incident(id, me()))


@routes.post("/api/v1/incidents/<id>/take")
@call(Call("Take an incident into one's own hands", Role.APPROVER, Incident, errors=_CHANGED))
def take_incident(id: str) -> Response:
    """Take an incident."""
    return _incident(facade().take_incident(id, me()))


def _incident(value: Incident) -> Response:
    return jsonify(plain(Incident, value))


# ---------------------------------------------------------------- approvals


@routes.post("/api/v1/approvals/<id>/approve")
@call(
    Call("Say yes; 202 while another person is needed", Role.APPROVER, Approval, body=Approved, errors=(404, 409, 410), more={202: Counted})
)
def approve(id: str) -> Any:
    """Approve."""
    asked = body(Approved)
    answered = facade().approve(id, me(), asked.digest, asked.reason, tuple(asked.hosts), dict(asked.pins))
    if answered.state is ApprovalState.PENDING:
        return jsonify({"have": answered.have, "need": answered.need}), 202
    return jsonify(plain(Approval, answered))


@routes.post("/api/v1/approvals/<id>/reject")
@call(Call("Say no, with a reason", Role.APPROVER, Approval, body=Rejected, errors=(404, 409, 410)))
def reject(id: str) -> Response:
    """Reject."""
    asked = body(Rejected)
    return jsonify(plain(Approval, facade().reject(id, me(), asked.digest, asked.reason)))


# ---------------------------------------------------------------- runs


@routes.post("/api/v1/runs")
@call(Call("Propose a run oneself: same card, same guards", Role.APPROVER, Incident, body=Started, status=201, errors=_CHANGED))
def start_run() -> Any:
    """Start a person's own proposal."""
    asked = body(Started)
    begun = facade().start_run(asked.entry, tuple(asked.hosts), dict(asked.parameters), me(), asked.reason)
    return jsonify(plain(Incident, begun)), 201, {"Location": url_for("api.incident", id=begun.id)}


@routes.post("/api/v1/runs/<id>/cancel")
@call(Call("Cancel a run", Role.APPROVER, Run, errors=_CHANGED))
def cancel_run(id: str) -> Response:
    """Cancel a run."""
    return jsonify(plain(Run, facade().cancel_run(id, me())))


@routes.post("/api/v1/runs/<id>/undo")
@call(Call("Ask for the undo of a run", Role.APPROVER, Incident, errors=_CHANGED))
def undo_run(id: str) -> Response:
    """Undo a run."""
    return _incident(facade().undo_run(id, me()))


@routes.post("/api/v1/runs/<id>/settle")
@call(Call("Say how a run of unknown end ended; frees its hosts", Role.APPROVER, Incident, body=Settled, errors=_CHANGED))
def settle_run(id: str) -> Response:
    """Settle a run."""
    asked = body(Settled)
    return _incident(facade().settle_run(id, me(), asked.outcome == "done", asked.reason))


# ---------------------------------------------------------------- catalogue and kill switch


@routes.post("/api/v1/catalogue/<id>/admit")
@call(Call("Admit an entry at its present digest", Role.ADMIN, Entry, errors=_CHANGED))
def admit(id: str) -> Response:
    """Admit an entry."""
    facade().admit(id, me())
    return jsonify(entry_values(facade().entry(id)))


@routes.post("/api/v1/pause")
@call(Call("Stop: intake and deciding go on, no run starts", Role.APPROVER, dict[str, str], body=Reasoned))
def pause() -> Response:
    """Pull the kill switch."""
    facade().pause(me(), body(Reasoned).reason)
    return jsonify({"paused": facade().paused()})


@routes.post("/api/v1/resume")
@call(Call("Let runs start again", Role.APPROVER, dict[str, str]))
def resume() -> Response:
    """Release the kill switch."""
    facade().resume(me())
    return jsonify({"paused": facade().paused()})
