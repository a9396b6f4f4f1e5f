"""What programs read: alerts, incidents, approvals, runs, catalogue, audit and the state of the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, jsonify

from orchestrator import __version__, model
from orchestrator.card import Card, Desk, Note
from orchestrator.errors import NotAuthenticated
from orchestrator.model import (
    AlertRecord,
    Approval,
    ApprovalState,
    AuditEvent,
    Incident,
    IncidentSummary,
    Role,
    Run,
    RunEvent,
    StandingGrant,
    StandingState,
    Status,
)
from orchestrator.web import auth, events, openapi
from orchestrator.web.asking import MAX_LIMIT, facade, limit, moment, names, number, paged, plain, text, values, words
from orchestrator.web.openapi import Call, call
from orchestrator.web.problems import problem

routes = Blueprint("api", __name__)

_Item = TypeVar("_Item")


def page(kind: Any, items: Sequence[Any], following: str | None) -> Response:
    """Return one page of a list: `{"items": […], "next": cursor or null}`."""
    return jsonify({"items": plain(list[kind], list(items)), "next": following or None})


# ---------------------------------------------------------------- alerts and incidents


@routes.get("/api/v1/alerts")
@call(
    Call(
        "Stored deliveries, newest first",
        Role.VIEWER,
        AlertRecord,
        ("status", "fingerprint", "alertname", "host", "since", "limit", "cursor"),
        page=True,
    )
)
def alerts() -> Response:
    """List stored alert deliveries."""
    stati = words("status", model.AlertStatus)
    status = stati[0] if len(stati) == 1 else ""
    host, since, most = text("host"), moment("since"), limit()

    def ask(cursor: str) -> tuple[list[AlertRecord], str]:
        return facade().alerts(fingerprint=text("fingerprint"), alertname=text("alertname"), status=status, limit=most, cursor=cursor)

    items, following = _first_hits(ask, lambda alert: _about(alert, host, since))
    return page(AlertRecord, items, following)


def _about(alert: AlertRecord, host: str, since: datetime | None) -> bool:
    if host and host not in (model.target_of(alert.labels), alert.labels.get("instance", "")):
        return False
    return since is None or alert.received_at >= since


def _first_hits(ask: Callable[[str], tuple[list[_Item], str]], fits: Callable[[_Item], bool]) -> tuple[list[_Item], str]:
    """Return the first page that holds an item that fits, and the cursor after it."""
    items, cursor = paged(ask)
    while True:
        hits = [item for item in items if fits(item)]
        if hits or not cursor:
            return hits, cursor
        items, cursor = ask(cursor)


@routes.get("/api/v1/incidents")
@call(
    Call(
        "Incidents, newest first",
        Role.VIEWER,
        IncidentSummary,
        ("status", "fingerprint", "alertname", "host", "since", "limit", "cursor"),
        page=True,
    )
)
def incidents() -> Response:
    """List incidents."""
    status, since, most = words("status", Status), moment("since"), limit()
    items, following = paged(
        lambda cursor: facade().incidents(
            status=status,
            fingerprint=text("fingerprint"),
            alertname=text("alertname"),
            host=text("host"),
            since=since,
            limit=most,
            cursor=cursor,
        )
    )
    return page(IncidentSummary, items, following)


@routes.get("/api/v1/incidents/<id>")
@call(Call("One incident, whole", Role.VIEWER, Incident, errors=(404,)))
def incident(id: str) -> Response:
    """Show an incident."""
    return jsonify(plain(Incident, facade().incident(id)))


@routes.get("/api/v1/incidents/<id>/timeline")
@call(Call("All audit events of one incident, oldest first", Role.VIEWER, AuditEvent, errors=(404,), page=True))
def timeline(id: str) -> Response:
    """Show an incident's audit events."""
    return page(AuditEvent, facade().timeline(id), None)


@routes.get("/api/v1/incidents/<id>/related")
@call(Call("Children, similar and previous incidents", Role.VIEWER, dict[str, list[IncidentSummary]], errors=(404,)))
def related(id: str) -> Response:
    """Show related incidents."""
    return jsonify(plain(dict[str, list[IncidentSummary]], facade().related(id)))


@routes.get("/api/v1/incidents/<id>/notes")
@call(Call("What people wrote down at an incident, oldest first", Role.VIEWER, Note, errors=(404,), page=True))
def notes(id: str) -> Response:
    """Show an incident's notes."""
    return page(Note, facade().notes(id), None)


@routes.get("/api/v1/desk")
@call(Call("What needs a person now, what was put off, which standing grants are in force", Role.VIEWER, Desk))
def desk() -> Response:
    """Show what lies on the caller's desk."""
    return jsonify(plain(Desk, facade().desk(auth.me())))


# ---------------------------------------------------------------- approvals


@routes.get("/api/v1/approvals")
@call(Call("Approvals, pending ones where no state is given", Role.VIEWER, Approval, ("state", "limit", "cursor"), page=True))
def approvals() -> Response:
    """List approvals."""
    state = words("state", ApprovalState) or words("status", ApprovalState) or (ApprovalState.PENDING,)
    most = limit()
    items, following = paged(lambda cursor: facade().approvals(state=state, limit=most, cursor=cursor))
    return page(Approval, items, following)


@routes.get("/api/v1/approvals/<id>")
@call(Call("One approval: the question, what it rests on and the answers", Role.VIEWER, Approval, errors=(404,)))
def approval(id: str) -> Response:
    """Show an approval."""
    return jsonify(plain(Approval, facade().approval(id)))


@routes.get("/api/v1/approvals/<id>/card")
@call(
    Call(
        "Everything that an answer covers, as it stands now; narrowed where hosts or pins are given",
        Role.VIEWER,
        Card,
        ("hosts", "pins"),
        errors=(404, 409, 422),
    )
)
def card(id: str) -> Response:
    """Show an approval's card."""
    return jsonify(plain(Card, facade().card(id, names("hosts"), values("pins"))))


# ---------------------------------------------------------------- standing grants


@routes.get("/api/v1/grants")
@call(Call("Standing grants, newest first", Role.VIEWER, StandingGrant, ("entry", "state", "limit", "cursor"), page=True))
def grants() -> Response:
    """List standing grants."""
    state, most = words("state", StandingState), limit()
    items, following = paged(lambda cursor: facade().grants(entry=text("entry"), state=state, limit=most, cursor=cursor))
    return page(StandingGrant, items, following)


@routes.get("/api/v1/grants/<id>")
@call(Call("One standing grant, as it stands now", Role.VIEWER, StandingGrant, errors=(404,)))
def grant(id: str) -> Response:
    """Show a standing grant."""
    return jsonify(plain(StandingGrant, facade().grant(id)))


# ---------------------------------------------------------------- runs


@routes.get("/api/v1/runs")
@call(Call("Runs, newest first", Role.VIEWER, Run, ("incident", "entry", "limit", "cursor"), page=True))
def runs() -> Response:
    """List runs."""
    most = limit()
    items, following = paged(lambda cursor: facade().runs(incident=text("incident"), entry=text("entry"), limit=most, cursor=cursor))
    return page(Run, items, following)


@routes.get("/api/v1/runs/<id>")
@call(Call("One run", Role.VIEWER, Run, errors=(404,)))
def run(id: str) -> Response:
    """Show a run."""
    return jsonify(plain(Run, facade().run(id)))


@routes.get("/api/v1/runs/<id>/events")
@call(
    Call(
        "The run's stream: JSON, or server-sent events with Accept: text/event-stream (resumes after Last-Event-ID)",
        Role.VIEWER,
        RunEvent,
        ("after", "limit"),
        errors=(404, 503),
        page=True,
        also="text/event-stream",
    )
)
def run_events(id: str) -> Response:
    """Show a run's events."""
    after = number("after")
    if events.wanted():
        facade().run(id)
        return events.run_stream(id, after)
    most = number("limit", MAX_LIMIT, least=1, most=MAX_LIMIT)
    found = facade().run_events(id, after, most)
    if not found:
        facade().run(id)
    return page(RunEvent, found, str(found[-1].seq) if len(found) == most else None)


# ---------------------------------------------------------------- catalogue, hosts, audit


def entry_values(entry: model.Entry) -> dict[str, Any]:
    """Return an entry as JSON values, with `admitted` and `stats`."""
    return {**plain(model.Entry, entry), "admitted": facade().admitted(entry), "stats": facade().entry_stats(entry.id)}


@routes.get("/api/v1/catalogue")
@call(Call("All entries of the catalogue, and the broken ones", Role.VIEWER, model.Catalogue))
def catalogue() -> Response:
    """List the catalogue."""
    found = facade().catalogue()
    return jsonify(
        {
            "items": [entry_values(entry) for entry in found.entries.values()],
            "next": None,
            "broken": plain(list[model.BrokenEntry], list(found.broken)),
            "revision": found.revision,
            "digest": found.digest,
        }
    )


@routes.get("/api/v1/catalogue/<id>")
@call(Call("One entry of the catalogue", Role.VIEWER, model.Entry, errors=(404,)))
def entry(id: str) -> Response:
    """Show an entry."""
    return jsonify(entry_values(facade().entry(id)))


@routes.get("/api/v1/hosts")
@call(Call("Inventory hosts and their groups", Role.VIEWER, dict[str, Any], page=True))
def hosts() -> Response:
    """List inventory hosts; their variables may be secret and stay here."""
    return jsonify({"items": [{"name": host.name, "groups": list(host.groups)} for host in facade().hosts()], "next": None})


@routes.get("/api/v1/audit")
@call(Call("The audit log, oldest first", Role.VIEWER, AuditEvent, ("incident", "after", "limit", "cursor"), page=True))
def audit() -> Response:
    """List audit events."""
    most = limit()
    found = facade().audit(incident=text("incident"), after=number("cursor") or number("after"), limit=most)
    return page(AuditEvent, found, str(found[-1].id) if len(found) == most else None)


@routes.get("/api/v1/audit/verify")
@call(Call("Whether the chains are whole", Role.VIEWER, dict[str, Any], ("head",)))
def verify_audit() -> Response:
    """Check the audit log's chains."""
    return jsonify(plain(dict[str, Any], facade().verify_audit(text("head"))))


@routes.get("/api/v1/health")
@call(Call("What works, what is degraded and since when", Role.VIEWER, dict[str, Any]))
def health() -> Response:
    """Show the server's state."""
    return jsonify(plain(dict[str, Any], facade().health()))


@routes.get("/api/v1/changes")
@call(
    Call(
        "The number of the newest audit event: JSON, or server-sent events with Accept: text/event-stream whenever it grows",
        Role.VIEWER,
        dict[str, int],
        errors=(503,),
        also="text/event-stream",
    )
)
def changes() -> Response:
    """Stream the newest audit number, or give it once as JSON."""
    if events.wanted():
        return events.change_stream()
    return jsonify({"id": facade().changes(0)})


# ---------------------------------------------------------------- open


@routes.get("/healthz")
@call(Call("Whether the process answers", None, dict[str, str]))
def healthz() -> Response:
    """Answer that the process lives."""
    return jsonify({"status": "ok", "version": __version__})


@routes.get("/readyz")
@call(Call("Whether alerts can be taken, and what is degraded", None, dict[str, Any], more={503: dict[str, Any]}))
def readyz() -> Any:
    """Answer whether we can serve; what is degraded is named either way."""
    state = facade().health()
    degraded = [{"what": str(item["what"]), "why": str(item["why"])} for item in state["degraded"]]
    if state["ready"]:
        return jsonify({"ready": True, "degraded": degraded, "paused": bool(state["paused"])})
    reasons = "; ".join(f"{item['what']}: {item['why']}" for item in degraded) or "The server is not ready."
    return problem(503, reasons, ready=False, degraded=degraded, paused=bool(state["paused"]))


@routes.get("/metrics")
@call(Call("Metrics in Prometheus' text format; without a token on loopback only", None, media="text/plain", errors=(401, 403)))
def metrics() -> Response:
    """Show metrics."""
    actor = auth.token_actor()
    if actor is None and not auth.local_caller():
        raise NotAuthenticated("Metrics need a token from elsewhere than this machine. Mend: send Authorization: Bearer.")
    if actor is not None:
        auth.remember(actor, Role.VIEWER)
    return Response(facade().metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")


@routes.get("/openapi.json")
@call(Call("This description", None, dict[str, Any]))
def openapi_json() -> Response:
    """Show the API's description."""
    return jsonify(openapi.document(current_app, __version__))
