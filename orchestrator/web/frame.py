"""What stands around and behind every page: the templates' words, who is in, what waits, light or dark."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, render_template, request, url_for

from orchestrator import __version__
from orchestrator.errors import OrchestratorError
from orchestrator.model import Role, Status
from orchestrator.web import auth, words
from orchestrator.web.asking import facade

THEMES = ("auto", "light", "dark")
"""`auto` follows the reader's system."""
THEME_COOKIE = "orchestrator_theme"


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
        slug=words.slug,
        plainly=words.plainly,
        ago=lambda value: words.ago(value, datetime.now(UTC)),
        left=lambda value: words.left(value, datetime.now(UTC)),
        tone=lambda status: words.TONES.get(status, "idle"),
    )
    app.jinja_env.globals.update(
        to=to,
        steps=words.STEPS,
        check_words=words.CHECK_WORDS,
        undo_words=words.UNDO_WORDS,
        asking=words.ASKING,
        statuses=tuple(Status),
        version=__version__,
    )
    app.context_processor(_frame)


def to(endpoint: str, **names: Any) -> str:
    """Return the address of a page about something, whatever its name is made of."""
    values: dict[str, Any] = {
        key: name if isinstance(name, int) else str(name)[:200].encode("utf-8", "replace").decode() for key, name in names.items()
    }
    return url_for(endpoint, **values)


def render(template: str, **values: Any) -> Response:
    """Return a page; half characters from outside are replaced."""
    return Response(render_template(template, **values).encode("utf-8", "replace"), mimetype="text/html")


def theme() -> str:
    """Return how the reader wants the pages: one of `THEMES`."""
    chosen = request.cookies.get(THEME_COOKIE, "auto")
    return chosen if chosen in THEMES else "auto"


def _frame() -> dict[str, Any]:
    """Return what every page shows around its content."""
    actor = g.get("actor")
    found: dict[str, Any] = {
        "actor": actor,
        "paused": "",
        "csrf": auth.csrf_token,
        "theme": theme(),
        "seen": g.get("seen", 0),
        "needing": 0,
        "asked_now": 0,
    }
    if actor is None:
        return {**found, "may": lambda _role: False}
    try:
        state = facade().health()
        found["paused"] = facade().paused()
        found["asked_now"] = state["counts"].get(str(Status.AWAITING_APPROVAL), 0)
        found["needing"] = found["asked_now"] + state["counts"].get(str(Status.ESCALATED), 0)
    except OrchestratorError:
        pass  # the page itself says what it cannot show; its frame stays silent
    return {**found, "may": lambda role: auth.allows(actor.role, Role(role))}
