"""The faces over HTTP: the API for programs and the pages for people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest
from werkzeug.middleware.proxy_fix import ProxyFix

from orchestrator.web import account, acts, api, autonomy, forms, frame, mailed, oidc, problems, slack, words
from orchestrator.web.events import Streams

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; connect-src 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def create_app(orchestrator: Orchestrator) -> Flask:
    """Return the Flask app that shows `orchestrator`.

    Args:
        orchestrator: what the faces call; it is not started here.
    """
    settings = orchestrator.settings.server
    app = Flask("orchestrator.web")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.jinja_options = {"finalize": words.visible, "trim_blocks": True, "lstrip_blocks": True}
    app.config.update(
        SECRET_KEY=orchestrator.session_key(),
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        MAX_FORM_MEMORY_SIZE=min(settings.max_body_bytes, 512 * 1024),
        SESSION_COOKIE_NAME="orchestrator_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.cookie_secure,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=orchestrator.settings.login.session_s),
        SESSION_REFRESH_EACH_REQUEST=False,
    )
    if settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxies, x_proto=0, x_host=0)  # type: ignore[method-assign]
    app.extensions["orchestrator"] = orchestrator
    app.extensions["streams"] = Streams(settings.threads // 2)
    app.before_request(_refuse_nul)
    app.after_request(_secure)
    problems.register(app)
    for routes in dict.fromkeys(
        (account.routes, api.routes, acts.routes, autonomy.routes, slack.routes, forms.routes, oidc.routes, mailed.routes)
    ):
        app.register_blueprint(routes)
    frame.register(app)
    oidc.register(app, orchestrator.settings.oidc)
    return app


def _refuse_nul() -> None:
    """Refuse paths with a NUL character, which no database takes."""
    if "\0" in request.path:
        raise BadRequest("The address holds a NUL character.")


def _secure(answer: Response) -> Response:
    """Put the security headers on every answer."""
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    if request.endpoint == "static":
        answer.headers["Cache-Control"] = "public, max-age=3600"
    else:
        answer.headers["Cache-Control"] = "no-store"
    return answer
