"""What people see: server-rendered pages that work without JavaScript."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, current_app, flash, g, redirect, request, url_for

from orchestrator import __version__
from orchestrator.approval import may_answer
from orchestrator.card import Need
from orchestrator.errors import Forbidden, NotFound
from orchestrator.model import OPEN, Approval, ApprovalState, Entry, Incident, Role, Run, RunKind, RunState, StandingState, Status
from orchestrator.web import auth, charts, openapi, output, words
from orchestrator.web.asking import facade, limit, moment, number, paged, text
from orchestrator.web.asking import words as closed_words
from orchestrator.web.frame import render
from orchestrator.web.lots import lots
from orchestrator.web.story import moments

routes = Blueprint("pages", __name__)

NEEDS_ME = (Status.AWAITING_APPROVAL, Status.ESCALATED)
RUNNING = tuple(status for status in Status if status in OPEN and status not in NEEDS_ME)
ENDED = tuple(status for status in Status if status not in OPEN)

_OPEN_PAGES = ("pages.login", "pages.log_in", "pages.docs", "pages.set_theme")
_LINES = 1000
"""Lines of a run's output on a page."""
_LISTED = 500
"""Incidents of one part of the overview; the filter leads to all."""
_OFFERED = 200
"""Hosts offered for a proposal of one's own; the command line takes any."""
_CHECKED_AT_SIGHT = 20_000
"""Audit events up to which the page verifies the chains without being asked."""


@routes.before_request
def _let_in() -> Any:
    """Let in who is logged in; a form also needs its CSRF token."""
    if request.endpoint in _OPEN_PAGES:
        g.actor = auth.session_actor()
        return None
    actor = auth.session_actor()
    if actor is None:
        back = request.full_path.rstrip("?") if request.method == "GET" else "/"
        return redirect(url_for("pages.login", next=back), 303)
    auth.remember(actor, Role.VIEWER)
    if request.method == "POST":
        auth.check_csrf()
    else:
        g.seen = facade().changes(0)  # before anything is read: what happens meanwhile makes the page look again
    return None


# ---------------------------------------------------------------- login


@routes.get("/login")
def login() -> Any:
    """Show the login form, or take the first start's single-use link."""
    code = text("code")
    if code and request.method == "GET":
        actor = facade().redeem_link(code)
        if actor is None:
            raise Forbidden("This link has been used or is too old. Mend: log in, or set a password with `orchestrator user passwd`.")
        auth.start_session(actor, "link")
        return redirect("/", 303)
    return render("login.html", next=auth.local_path(text("next") or "/"), fault="", ways=auth.ways(), hint=text("hint")[:200])


@routes.post("/login")
def log_in() -> Any:
    """Check name and password; one answer for every wrong pair."""
    auth.check_csrf()
    target = auth.local_path(request.form.get("next", "/"))
    try:
        actor = facade().login(request.form.get("name", ""), request.form.get("password", ""), request.remote_addr or "")
    except Forbidden as error:
        return _refused(target, str(error), 429)
    if actor is None:
        return _refused(target, "Name or password is wrong.", 401)
    auth.start_session(actor, "password")
    return redirect(target, 303)


def _refused(target: str, fault: str, status: int) -> Response:
    page = render("login.html", next=target, fault=fault, ways=auth.ways(), hint="")
    page.status_code = status
    return page


@routes.post("/logout")
def logout() -> Any:
    """End the session."""
    auth.end_session()
    flash("You are logged out.")
    return redirect(url_for("pages.login"), 303)


# ---------------------------------------------------------------- incidents


@routes.get("/")
def overview() -> Response:
    """Show what needs a person, what runs and what has ended; or what a filter finds."""
    asked = {name: text(name) for name in ("alertname", "host", "fingerprint", "since")}
    status = closed_words("status", Status)
    desk = facade().desk(auth.me())
    questions = {one.incident.id: one for one in desk.now if one.approval}
    if status or any(asked.values()):
        return _found(asked, status, questions)
    return render(
        "overview.html",
        found=None,
        asked=asked,
        status=status,
        health=facade().health(),
        questions=questions,
        needs={"lots": lots([one.incident for one in desk.now]), "count": len(desk.now)},
        snoozed=desk.snoozed,
        running=_part(RUNNING, _LISTED),
        ended=_part(ENDED, 20),
    )


def _part(status: tuple[Status, ...], most: int) -> dict[str, Any]:
    items, more = facade().incidents(status=status, limit=most)
    return {"lots": lots(items), "count": len(items), "more": bool(more)}


def _found(asked: dict[str, str], status: tuple[Status, ...], questions: Mapping[str, Need]) -> Response:
    since, most = moment("since"), limit(50)
    found, following = paged(
        lambda cursor: facade().incidents(
            status=status,
            fingerprint=asked["fingerprint"],
            alertname=asked["alertname"],
            host=asked["host"],
            since=since,
            limit=most,
            cursor=cursor,
        )
    )
    again: dict[str, Any] = {**{name: value for name, value in asked.items() if value}, "status": ",".join(status), "cursor": following}
    older = url_for("pages.overview", **again) if following else ""
    return render("overview.html", found=lots(found), count=len(found), older=older, asked=asked, status=status, questions=questions)


@routes.get("/incidents/<id>")
def incident(id: str) -> Response:
    """Show an incident, whole."""
    found = facade().incident(id)
    runs, _ = facade().runs(incident=id, limit=50)
    events = facade().timeline(id)
    return render(
        "incident.html",
        incident=found,
        runs=runs,
        timeline=moments(events),
        related=facade().related(id),
        approval=_approval(found),
        evidence={one.id for one in found.context.evidence} if found.context else set(),
        charted=_charted(found),
        reached=_reached(found),
        undoable=_undoable(found),
        notes=facade().notes(id),
        letters=facade().letters([event.id for event in events]),
        **_live(runs),
    )


def _live(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the run that goes on now, with its output so far."""
    live = next((run for run in runs if run.state is RunState.RUNNING), None)
    if live is None:
        return {"live": None}
    lines = facade().run_events(live.id, 0, _LINES)
    return {
        "live": live,
        "live_plays": output.plays(lines),
        "live_hosts": output.hosts(live, lines),
        "live_last": lines[-1].seq if lines else 0,
        "usual_s": _usual_s(live),
    }


def _usual_s(run: Run) -> float | None:
    """Return how long a changing run of this entry usually takes, in seconds; None where nothing is known."""
    usual = facade().entry_stats(run.entry)["usual_s"] if run.kind is RunKind.APPLY else None
    return float(usual) if usual else None


def _charted(found: Incident) -> dict[str, tuple[charts.Chart, ...]]:
    if found.context is None:
        return {}
    return {one.id: charts.charts(one, found.context.rule) for one in found.context.evidence}


@routes.get("/incidents/<id>/charts/<evidence>/<int:number>.svg")
def chart(id: str, evidence: str, number: int) -> Response:
    """Draw a chart of an incident's evidence."""
    found = facade().incident(id)
    drawn = _charted(found).get(evidence, ())
    if number >= len(drawn):
        raise NotFound(f"There is no chart {number} of the evidence {evidence[:50]}.")
    chosen = replace(drawn[number], small=drawn[number].small or text("small") == "1")
    image = charts.svg(chosen, found.alert.starts_at, dark=text("theme") == "dark")
    return Response(image, mimetype="image/svg+xml", headers={"Content-Security-Policy": charts.POLICY})


def _approval(found: Incident) -> Approval | None:
    try:
        return facade().approval(found.approval) if found.approval else None
    except NotFound:
        return None


def _undoable(found: Incident) -> bool:
    """Return whether a person may start the undo of the latest run."""
    if (
        found.status is not Status.ESCALATED
        or found.run is None
        or found.run.kind is not RunKind.APPLY
        or found.run.state is not RunState.DONE
    ):
        return False
    entry = _entry(found.run.entry)
    return entry is not None and bool(entry.undo)


def _reached(found: Incident) -> int:
    """Return how many steps of the corridor the incident has entered."""
    order = [status for status, _ in words.STEPS]
    if found.status in order:
        return order.index(found.status) + 1
    if found.verification is not None:
        return len(order)
    signs = (True, found.context is not None, found.proposal is not None, bool(found.approval), found.run is not None)
    return max(index + 1 for index, sign in enumerate(signs) if sign)


@routes.get("/runs/<id>")
def run(id: str) -> Response:
    """Show a run with its output."""
    found = facade().run(id)
    lines = facade().run_events(id, number("after"), _LINES)
    return render(
        "run.html",
        run=found,
        plays=output.plays(lines),
        hosts=output.hosts(found, lines),
        last=lines[-1].seq if lines else 0,
        more=len(lines) == _LINES,
        usual_s=_usual_s(found),
        incident_id=id.split(":", 1)[0],
    )


# ---------------------------------------------------------------- approvals


@routes.get("/approvals")
def approvals() -> Response:
    """Show the approvals that wait, or those of another state."""
    state = closed_words("state", ApprovalState) or (ApprovalState.PENDING,)
    most = limit(50)
    items, following = paged(lambda cursor: facade().approvals(state=state, limit=most, cursor=cursor))
    return render("approvals.html", items=items, next=following, state=state, states=tuple(ApprovalState), now=datetime.now(UTC))


@routes.get("/approvals/<id>")
def approval(id: str) -> Response:
    """Show an approval as a card to decide on."""
    card = facade().card(id)
    return render(
        "approval.html",
        card=card,
        mine=may_answer(facade().approval(id), auth.me()),
        entry=_entry(card.entry),
        known={one.id for one in card.evidence},
        charted=_charted(facade().incident(card.incident)),
    )


@routes.get("/grants")
def grants() -> Response:
    """Show the standing grants, newest first."""
    items, following = paged(lambda cursor: facade().grants(limit=limit(50), cursor=cursor))
    return render("grants.html", items=items, next=following)


def _entry(id: str) -> Entry | None:
    try:
        return facade().entry(id)
    except NotFound:
        return None


# ---------------------------------------------------------------- catalogue, audit, system


@routes.get("/catalogue")
def catalogue() -> Response:
    """Show all entries and the broken ones."""
    found = facade().catalogue()
    rows = [(entry, facade().admitted(entry), facade().entry_stats(entry.id)) for entry in found.entries.values()]
    return render("catalogue.html", catalogue=found, rows=rows)


@routes.get("/catalogue/<id>")
def entry(id: str) -> Response:
    """Show one entry."""
    found = facade().entry(id)
    runs, _ = facade().runs(entry=id, limit=20)
    groups = set(found.targets.groups)
    fitting = [host.name for host in facade().hosts() if not groups or groups & set(host.groups)]
    return render(
        "entry.html", entry=found, admitted=facade().admitted(found), stats=facade().entry_stats(id), runs=runs, fitting=fitting[:_OFFERED]
    )


@routes.get("/audit")
def audit() -> Response:
    """Show the newest audit events, or those that a filter finds, and whether the chains are whole."""
    most, before = limit(100), number("before")
    asked = {name: text(name) for name in ("incident", "kind", "actor")}
    events = facade().latest_events(**asked, before=before, limit=most)
    chain = facade().verify_audit() if text("verify") or facade().changes(0) <= _CHECKED_AT_SIGHT else None
    again: dict[str, Any] = {**{name: value for name, value in asked.items() if value}, "limit": most}
    older = url_for("pages.audit", **again, before=events[-1].id) if len(events) == most else ""
    newest = url_for("pages.audit", **again) if before else ""
    return render("audit.html", events=events, asked=asked, older=older, newest=newest, chain=chain)


@routes.get("/system")
def system() -> Response:
    """Show the server's state, the kill switch and, to an admin, who may come in."""
    admin = auth.allows(auth.me().role, Role.ADMIN)
    return render(
        "system.html",
        health=facade().health(),
        catalogue=facade().catalogue(),
        hosts=facade().hosts(),
        grants=facade().grants(state=(StandingState.ACTIVE,))[0],
        mode=facade().settings.policy.mode,
        python=platform.python_version(),
        users=facade().users() if admin else None,
        tokens=facade().tokens() if admin else None,
    )


@routes.get("/docs")
def docs() -> Response:
    """Show the API's description."""
    return render("docs.html", document=openapi.document(current_app, __version__))
