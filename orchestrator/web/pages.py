"""What people see: server-rendered pages that work without JavaScript."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, Response, current_app, flash, g, redirect, render_template, request, url_for

from orchestrator import __version__
from orchestrator.errors import Forbidden, NotFound, OrchestratorError
from orchestrator.model import OPEN, Approval, ApprovalState, Entry, Incident, Role, Run, RunKind, RunState, Status
from orchestrator.web import auth, openapi, words
from orchestrator.web.asking import facade, limit, moment, number, paged, text
from orchestrator.web.asking import words as closed_words

routes = Blueprint("pages", __name__)

visible = words.visible

NEEDS_ME = (Status.AWAITING_APPROVAL, Status.ESCALATED)
RUNNING = tuple(status for status in Status if status in OPEN and status not in NEEDS_ME)
ENDED = tuple(status for status in Status if status not in OPEN)

_OPEN_PAGES = ("pages.login", "pages.log_in", "pages.docs")
_TAIL = 200
"""Lines of a run's output on a page."""
_OFFERED = 200
"""Hosts offered for a proposal of one's own; the command line takes any."""
_CHECKED_AT_SIGHT = 20_000
"""Audit events up to which the page verifies the chains without being asked."""


def register(app: Flask) -> None:
    """Give the templates their words and values."""
    app.jinja_env.filters.update(
        short=words.short,
        spoken=words.spoken,
        span=words.span,
        stamp=words.stamp,
        as_json=words.as_json,
        brief=words.brief,
        diff_lines=words.diff_lines,
        origin=words.origin,
        web_link=words.web_link,
        ago=lambda value: words.ago(value, datetime.now(UTC)),
        tone=lambda status: words.TONES.get(status, "idle"),
    )
    app.jinja_env.globals.update(
        to=_to, steps=words.STEPS, check_words=words.CHECK_WORDS, undo_words=words.UNDO_WORDS, statuses=tuple(Status), version=__version__
    )
    app.context_processor(_frame)


def _to(endpoint: str, **names: str) -> str:
    """Return the address of a page about something, whatever its name is made of."""
    values: dict[str, Any] = {key: str(name)[:200].encode("utf-8", "replace").decode() for key, name in names.items()}
    return url_for(endpoint, **values)


def _frame() -> dict[str, Any]:
    """Return what every page shows around its content."""
    actor = g.get("actor")
    if actor is None:
        return {"actor": None, "paused": "", "csrf": auth.csrf_token, "may": lambda _role: False}
    try:
        paused = facade().paused()
    except OrchestratorError:
        paused = ""
    return {"actor": actor, "paused": paused, "csrf": auth.csrf_token, "may": lambda role: auth.allows(actor.role, Role(role))}


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
    return None


def render(template: str, **values: Any) -> Response:
    """Return a page; half characters from outside are replaced."""
    return Response(render_template(template, **values).encode("utf-8", "replace"), mimetype="text/html")


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
    if status or any(asked.values()):
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
        return render("overview.html", found=found, older=older, asked=asked, status=status, lists=())
    lists = [
        (name, title, teach, *facade().incidents(status=kinds, limit=most))
        for name, title, teach, kinds, most in (
            ("needs", "Needs you now", "Nothing waits for a person. Approvals and escalations appear here.", NEEDS_ME, 50),
            (
                "running",
                "Running",
                "Nothing is being worked on. A firing alert posted to /alert appears here within a second.",
                RUNNING,
                50,
            ),
            ("ended", "Ended recently", "Nothing has ended yet. Try `orchestrator alert send FILE` or `make demo`.", ENDED, 20),
        )
    ]
    return render("overview.html", lists=lists, found=None, asked=asked, status=status, health=facade().health())


@routes.get("/incidents/<id>")
def incident(id: str) -> Response:
    """Show an incident, whole."""
    found = facade().incident(id)
    runs, _ = facade().runs(incident=id, limit=50)
    return render(
        "incident.html",
        incident=found,
        runs=[(run, _lines(run)) for run in runs],
        timeline=facade().timeline(id),
        related=facade().related(id),
        approval=_approval(found),
        evidence={one.id for one in found.context.evidence} if found.context else set(),
        reached=_reached(found),
        undoable=_undoable(found),
        RunState=RunState,
    )


def _lines(run: Run) -> list[Any]:
    """Return the last lines of a run that goes on; others have a page of their own."""
    return facade().run_events(run.id, 0, 1000)[-_TAIL:] if run.state is RunState.RUNNING else []


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
    after = number("after")
    lines = facade().run_events(id, after, 1000)
    return render("run.html", run=found, lines=lines, incident_id=id.split(":", 1)[0], more=len(lines) == 1000, RunState=RunState)  # noqa: PLR2004


# ---------------------------------------------------------------- approvals


@routes.get("/approvals")
def approvals() -> Response:
    """Show the approvals that wait, or those of another state."""
    state = closed_words("state", ApprovalState) or (ApprovalState.PENDING,)
    most = limit(50)
    items, following = paged(lambda cursor: facade().approvals(state=state, limit=most, cursor=cursor))
    return render("approvals.html", items=items, next=following, state=state, states=tuple(ApprovalState))


@routes.get("/approvals/<id>")
def approval(id: str) -> Response:
    """Show an approval as a card to decide on."""
    found = facade().approval(id)
    entry = _entry(found.proposal.entry)
    return render(
        "approval.html",
        approval=found,
        entry=entry,
        stats=facade().entry_stats(entry.id) if entry else None,
        incident=facade().incident(found.incident),
        pending=found.state is ApprovalState.PENDING and found.expires_at > datetime.now(UTC),
    )


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
    """Show the newest audit events, or those of one incident, and whether the chains are whole."""
    most, chosen = limit(100), text("incident")
    newest = facade().changes(0)
    after = number("after", 0 if chosen else max(newest - most, 0))
    events = facade().audit(incident=chosen, after=after, limit=most)
    asked = bool(text("verify"))
    chain = facade().verify_audit() if asked or newest <= _CHECKED_AT_SIGHT else None
    return render("audit.html", events=events, after=after, most=most, newest=newest, incident_id=chosen, chain=chain)


@routes.get("/system")
def system() -> Response:
    """Show the server's state, the kill switch and, to an admin, who may come in."""
    admin = auth.allows(auth.me().role, Role.ADMIN)
    return render(
        "system.html",
        health=facade().health(),
        catalogue=facade().catalogue(),
        hosts=facade().hosts(),
        users=facade().users() if admin else None,
        tokens=facade().tokens() if admin else None,
    )


@routes.get("/docs")
def docs() -> Response:
    """Show the API's description."""
    return render("docs.html", document=openapi.document(current_app, __version__))
