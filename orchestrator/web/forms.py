"""What people do: the forms of the pages. Each has a CSRF token, and leads back to a page that shows what came of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import current_app, flash, redirect, request, url_for

from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.model import ApprovalState, Parameter, Proposal, StandingState
from orchestrator.web.asking import facade
from orchestrator.web.auth import check_csrf, local_path, me
from orchestrator.web.frame import THEME_COOKIE, THEMES
from orchestrator.web.pages import routes

__all__ = ["routes"]

_WORDS = 4000
"""Longest reason, in characters."""


def _field(name: str, *, needed: str = "") -> str:
    """Return a field of the form.

    Raises:
        InvalidRequest: it is empty where `needed` says why it may not be, too long, or holds a NUL character.
    """
    value = request.form.get(name, "").strip()
    if needed and not value:
        raise InvalidRequest(f"{needed} Mend: go back and write it down.")
    if len(value) > _WORDS or "\0" in value:
        raise InvalidRequest(f"{name}: is longer than {_WORDS} characters or holds a NUL. Mend: go back and shorten it.")
    return value


def _back(endpoint: str, said: str, **values: Any) -> Any:
    flash(said)
    return redirect(url_for(endpoint, **values), 303)


@routes.post("/theme")
def set_theme() -> Any:
    """Keep whether the pages are light, dark, or as the reader's system is."""
    check_csrf()
    chosen = request.form.get("theme", "")
    answer = redirect(local_path(request.form.get("next", "/")), 303)
    answer.set_cookie(
        THEME_COOKIE,
        chosen if chosen in THEMES else THEMES[0],
        max_age=400 * 86_400,
        httponly=True,
        samesite="Lax",
        secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
    )
    return answer


@routes.post("/incidents/<id>/<verb>")
def act_on_incident(id: str, verb: str) -> Any:
    """Cancel, close, retry or take an incident."""
    reason = _field("reason")
    match verb:
        case "cancel":
            facade().cancel_incident(id, me(), reason)
        case "close":
            facade().close_incident(id, me(), reason)
        case "retry":
            facade().retry_incident(id, me())
        case "take":
            facade().take_incident(id, me())
        case _:
            raise NotFound(f"There is nothing called {verb[:50]} to do with an incident.")
    return _back(
        "pages.incident", {"cancel": "Cancelled.", "close": "Closed.", "retry": "Looked at anew.", "take": "It is yours."}[verb], id=id
    )


@routes.post("/approvals/<id>/approve")
def approve(id: str) -> Any:
    """Say yes, for the hosts that are ticked, with the values that are pinned."""
    offered = facade().approval(id).proposal
    hosts = tuple(request.form.getlist("hosts"))
    if len(offered.hosts) > 1 and not hosts:
        raise InvalidRequest("No host is ticked. Mend: go back and tick at least one, or reject.")
    narrowed = hosts if set(hosts) != set(offered.hosts) else ()
    answered = facade().approve(id, me(), _field("digest"), _field("reason"), narrowed, _pins(offered))
    if answered.state is ApprovalState.PENDING:
        said = f"Noted: {answered.have} of {answered.need} have approved; another person has to."
        return _back("pages.approval", said, id=id)
    return _back("pages.incident", "Approved.", id=answered.incident)


def _pins(offered: Proposal) -> dict[str, Any]:
    """Return the parameters that the form pins, each as its entry's type."""
    given = {name: _field(f"pin:{name}") for name in offered.parameters}
    if not any(given.values()):
        return {}
    known = {one.name: one for one in facade().entry(offered.entry).parameters}
    return {name: _typed(known[name], value) if name in known else value for name, value in given.items() if value}


@routes.post("/approvals/<id>/reject")
def reject(id: str) -> Any:
    """Say no, with a reason."""
    answered = facade().reject(id, me(), _field("digest"), _field("reason", needed="A rejection needs a reason."))
    return _back("pages.incident", "Rejected.", id=answered.incident)


@routes.post("/approvals/<id>/choose")
def choose(id: str) -> Any:
    """Choose another entry instead of what is proposed."""
    entry = _field("entry", needed="No other way is chosen.")
    reason = _field("reason", needed="Choosing another way needs a reason.")
    return _back("pages.incident", "Proposed instead; it is asked anew.", id=facade().choose(id, me(), entry, reason).id)


@routes.post("/approvals/<id>/escalate")
def escalate(id: str) -> Any:
    """Hand a question to a person or a group."""
    to = _field("to", needed="It is not said to whom.")
    facade().escalate(id, me(), to, _field("reason", needed="Handing over needs a reason."))
    return _back("pages.approval", f"Handed to {to[:80]}.", id=id)


@routes.post("/approvals/<id>/snooze")
def snooze(id: str) -> Any:
    """Put a question off for some minutes."""
    minutes = _number("minutes", 1, 24 * 60)
    facade().snooze(id, me(), datetime.now(UTC) + timedelta(minutes=minutes))
    return _back("pages.overview", f"Put off for {minutes} minutes. It expires all the same.")


@routes.post("/incidents/<id>/notes")
def note(id: str) -> Any:
    """Write something down at an incident."""
    facade().note_incident(id, me(), _field("text", needed="The note is empty."))
    return redirect(f"{url_for('pages.incident', id=id)}#notes", 303)


@routes.post("/grants")
def give_grant() -> Any:
    """Give a standing grant."""
    given = facade().create_grant(
        _field("entry"),
        me(),
        until=datetime.now(UTC) + timedelta(minutes=_number("minutes", 1, 7 * 24 * 60)),
        max_runs=_number("max_runs", 1, 1000),
        reason=_field("reason", needed="A standing grant needs a reason."),
        hosts=tuple(request.form.getlist("hosts")),
        alertnames=tuple(name for name in (_field("alertname"),) if name),
    )
    said = "Given." if given.state is StandingState.ACTIVE else "Noted; a second person has to confirm it."
    return _back("pages.grants", said)


@routes.post("/grants/<id>/confirm")
def confirm_grant(id: str) -> Any:
    """Give a standing grant as the second person."""
    facade().confirm_grant(id, me(), _field("digest"), _field("reason"))
    return _back("pages.grants", "Confirmed.")


@routes.post("/grants/<id>/revoke")
def revoke_grant(id: str) -> Any:
    """Take a standing grant back."""
    facade().revoke_grant(id, me(), _field("reason"))
    return _back("pages.grants", "Taken back.")


def _number(name: str, least: int, most: int) -> int:
    value = request.form.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) < 9 and least <= int(value) <= most):  # noqa: PLR2004 - fits any bound here
        raise InvalidRequest(f"{name}: is no number from {least} to {most}. Mend: go back and correct it.")
    return int(value)


@routes.post("/runs/<id>/cancel")
def cancel_run(id: str) -> Any:
    """Cancel a run."""
    facade().cancel_run(id, me())
    return _back("pages.run", "Asked the run to stop.", id=id)


@routes.post("/runs/<id>/undo")
def undo_run(id: str) -> Any:
    """Ask for a run's undo."""
    return _back("pages.incident", "Asked for the undo.", id=facade().undo_run(id, me()).id)


@routes.post("/runs/<id>/settle")
def settle_run(id: str) -> Any:
    """Say how a run of unknown end ended."""
    outcome = request.form.get("outcome", "")
    if outcome not in ("done", "not-done"):
        raise InvalidRequest("outcome: is neither done nor not-done. Mend: go back and choose one.")
    reason = _field("reason", needed="Settling a run needs a reason.")
    return _back("pages.incident", "Settled.", id=facade().settle_run(id, me(), outcome == "done", reason).id)


@routes.post("/catalogue/<id>/start")
def start(id: str) -> Any:
    """Propose a run oneself."""
    entry, hosts = facade().entry(id), tuple(dict.fromkeys(request.form.getlist("hosts")))
    if not hosts:
        raise InvalidRequest("No host is ticked. Mend: go back and tick at least one.")
    given = {one.name: _typed(one, _field(f"set:{one.name}")) for one in entry.parameters}
    parameters = {name: value for name, value in given.items() if value is not None}
    begun = facade().start_run(id, hosts, parameters, me(), _field("reason", needed="A proposal needs a reason."))
    return _back("pages.incident", "Proposed: it takes the same way as any other.", id=begun.id)


def _typed(parameter: Parameter, value: str) -> Any:
    """Return a form's text as the parameter's type; None where it was left empty.

    Raises:
        InvalidRequest: it cannot be read as that type.
    """
    if not value:
        return None
    try:
        match parameter.type:
            case "int":
                return int(value)
            case "float":
                return float(value)
            case "bool":
                return {"true": True, "false": False}[value]
            case "list":
                return [part for part in (part.strip() for part in value.split(",")) if part]
            case _:
                return value
    except (ValueError, KeyError):
        raise InvalidRequest(f"{parameter.name}: {value[:80]!r} is no {parameter.type}. Mend: go back and correct it.") from None


@routes.post("/catalogue/<id>/admit")
def admit(id: str) -> Any:
    """Admit an entry at its present digest."""
    facade().admit(id, me())
    return _back("pages.entry", "Admitted at this digest.", id=id)


@routes.post("/pause")
def pause() -> Any:
    """Pull the kill switch."""
    facade().pause(me(), _field("reason"))
    return _back("pages.system", "Paused: no run starts.")


@routes.post("/resume")
def resume() -> Any:
    """Release the kill switch."""
    facade().resume(me())
    return _back("pages.system", "Resumed.")
