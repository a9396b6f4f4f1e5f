"""What programs do: deliver alerts, answer approvals, act on incidents and runs, stop everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request, url_for
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from orchestrator.card import Note
from orchestrator.errors import InvalidRequest
from orchestrator.model import Approval, ApprovalState, Entry, Incident, Receipt, Role, Run, StandingGrant, StandingState
from orchestrator.web.api import entry_values
from orchestrator.web.asking import body, facade, plain, text
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


class Chosen(Body):
    """Another entry instead of what is proposed; `parameters` where labels and defaults do not give them."""

    alternative: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=_WORDS)
    parameters: dict[str, JsonValue] = {}
    hosts: list[str] = Field([], max_length=1000)


class Escalated(Body):
    """Whom an open question is handed to, and why."""

    to: str = Field(min_length=1, max_length=200, description="A person's or a group's name.")
    reason: str = Field(min_length=1, max_length=_WORDS)


class Until(Body):
    """A time: `until`, or `minutes` from now; one of the two."""

    until: AwareDatetime | None = Field(None, description="ISO 8601 with an offset.")
    minutes: float | None = Field(None, gt=0, le=525_600)

    def moment(self, now: datetime) -> datetime:
        """Return the time that is meant.

        Raises:
            InvalidRequest: none, or both.
        """
        if (self.until is None) == (self.minutes is None):
            raise InvalidRequest("until: give either until or minutes.")
        try:
            return self.until.astimezone(UTC) if self.until is not None else now + timedelta(minutes=self.minutes or 0)
        except OverflowError:
            raise InvalidRequest("until: is too far away.") from None


class Snoozed(Until):
    """Until when an open question is put off; before it expires."""

    reason: str = Field("", max_length=_WORDS)


class Noted(Body):
    """What a person writes down at an incident."""

    text: str = Field(min_length=1, max_length=_WORDS)


class Given(Until):
    """A standing grant: this entry on these hosts or this group, until a time, at most so many runs."""

    entry: str = Field(min_length=1, max_length=200)
    hosts: list[str] = Field([], max_length=1000)
    group: str = Field("", max_length=200)
    max_runs: int = Field(ge=1, le=100)
    alertnames: list[str] = Field([], max_length=100, description="Only for these alerts; empty: any.")
    reason: str = Field(min_length=1, max_length=_WORDS)


class Confirmed(Body):
    """The second person's yes to a standing grant, bound to the entry's digest that was shown."""

    digest: str = Field(max_length=200)
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
@call(Call("Decide without acting: nothing is stored, nothing runs", Role.APPROVER, dict[str, Any], body=dict[str, Any], page=True))
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


@routes.post("/api/v1/incidents/<id>/notes")
@call(Call("Write something down at an incident; kept on record", Role.APPROVER, Note, body=Noted, status=201, errors=(404,)))
def note_incident(id: str) -> Any:
    """Write a note."""
    return jsonify(plain(Note, facade().note_incident(id, me(), body(Noted).text))), 201


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


@routes.post("/api/v1/approvals/<id>/choose")
@call(
    Call(
        "Choose another entry: a new proposal with its own check and digest; the old question is void",
        Role.APPROVER,
        Incident,
        body=Chosen,
        errors=(404, 409, 410),
    )
)
def choose(id: str) -> Response:
    """Choose an alternative."""
    asked = body(Chosen)
    return _incident(facade().choose(id, me(), asked.alternative, asked.reason, dict(asked.parameters), tuple(asked.hosts)))


@routes.post("/api/v1/approvals/<id>/escalate")
@call(
    Call(
        "Hand an open question to a person or a group; it expires as before",
        Role.APPROVER,
        Approval,
        body=Escalated,
        errors=(404, 409, 410),
    )
)
def escalate(id: str) -> Response:
    """Hand a question over."""
    asked = body(Escalated)
    return jsonify(plain(Approval, facade().escalate(id, me(), asked.to, asked.reason)))


@routes.post("/api/v1/approvals/<id>/snooze")
@call(
    Call(
        "Put an open question off until a time before it expires; it stays listed",
        Role.APPROVER,
        Approval,
        body=Snoozed,
        errors=(404, 409, 410),
    )
)
def snooze(id: str) -> Response:
    """Put a question off."""
    asked = body(Snoozed)
    return jsonify(plain(Approval, facade().snooze(id, me(), asked.moment(facade().now()), asked.reason)))


# ---------------------------------------------------------------- standing grants


@routes.post("/api/v1/grants")
@call(
    Call(
        "Let an entry run on these hosts without asking, within limits; 202 where a second person has to confirm it",
        Role.APPROVER,
        StandingGrant,
        body=Given,
        status=201,
        errors=(404,),
        more={202: StandingGrant},
    )
)
def create_grant() -> Any:
    """Give a standing grant."""
    asked = body(Given)
    given = facade().create_grant(
        asked.entry,
        me(),
        until=asked.moment(facade().now()),
        max_runs=asked.max_runs,
        reason=asked.reason,
        hosts=tuple(asked.hosts),
        group=asked.group,
        alertnames=tuple(asked.alertnames),
    )
    status = 202 if given.state is StandingState.WAITING else 201
    return jsonify(plain(StandingGrant, given)), status, {"Location": url_for("api.grant", id=given.id)}


@routes.post("/api/v1/grants/<id>/confirm")
@call(Call("Give a standing grant as the second person", Role.APPROVER, StandingGrant, body=Confirmed, errors=_CHANGED))
def confirm_grant(id: str) -> Response:
    """Confirm a standing grant."""
    asked = body(Confirmed)
    return jsonify(plain(StandingGrant, facade().confirm_grant(id, me(), asked.digest, asked.reason)))


@routes.delete("/api/v1/grants/<id>")
@call(Call("Take a standing grant back, at once", Role.APPROVER, StandingGrant, ("reason",), errors=_CHANGED))
def revoke_grant(id: str) -> Response:
    """Revoke a standing grant."""
    return jsonify(plain(StandingGrant, facade().revoke_grant(id, me(), text("reason")[:_WORDS])))


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
